"""All settings: flag over environment over default.

In: flags and the environment. Out: a frozen `Settings`, and the source of every value.
Reads only the files of secrets (`NAME_FILE`), and metrics.json in `load_allowlist`.

The fields of `Settings` are the only list of settings, each with its variable, flag, default
and meaning: flags, `check`'s output and docs/settings.md are generated from it.
"""

import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, cast

from receiver.azure import connection_string as connection
from receiver.config.plain_file import read_plain
from receiver.errors import SettingsError
from receiver.intake import metrics_json as allowlist
from receiver.text import printable, read_size

MOST = 10**9
"""Upper limit of counts: larger values are mistakes."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return host:port, with IPv6 hosts in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_address(text: str) -> Address:
    """Read host:port, [::1]:port or :port (all addresses). Raises: ValueError."""
    host, colon, port = text.strip().rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        message = "not host:port"
        raise ValueError(message)
    return Address(host.strip("[]") or "::", int(port))


def read_seconds(text: str) -> float:
    """Read seconds, with or without the suffix s. Raises: ValueError."""
    try:
        seconds = float(text.strip().removesuffix("s"))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 10**9:
        message = "not a number of seconds like 30 or 0.5s"
        raise ValueError(message)
    return seconds


def read_price(text: str) -> float:
    """Read a price of at least 0. Raises: ValueError."""
    with suppress(ValueError):
        if 0 <= (price := float(text)) < 10**6:
            return price
    message = "not a price: a number of at least 0"
    raise ValueError(message)


def read_gigabytes(text: str) -> float:
    """Read GB of 10^9 bytes, at least 0, with or without the suffix GB. Raises: ValueError."""
    with suppress(ValueError):
        if 0 <= (amount := float(text.strip().upper().removesuffix("GB"))) < 10**9:
            return amount
    message = "not a number of GB like 5 or 0.5"
    raise ValueError(message)


def read_factor(text: str) -> float:
    """Read a factor above 0. Raises: ValueError."""
    with suppress(ValueError):
        if 0 < (factor := float(text)) <= 100:
            return factor
    message = "not a factor: a number above 0, at most 100"
    raise ValueError(message)


def read_switch(text: str) -> bool:
    """Read yes or no. Raises: ValueError."""
    switches = {"yes": True, "true": True, "1": True, "on": True, "no": False, "false": False, "0": False, "off": False}  # fmt: skip
    if (wanted := switches.get(text.strip().lower())) is None:
        message = "not yes or no"
        raise ValueError(message)
    return wanted


def read_count(text: str) -> int:
    """Read a whole number of at least 1. Raises: ValueError."""
    count = int(text) if text.strip().isdecimal() else 0
    if not 1 <= count <= MOST:
        message = "not a whole number of at least 1"
        raise ValueError(message)
    return count


_NEVER_OF_A_REPLICA = ("__name__", "job", "instance")


def read_label_name(text: str) -> str:
    """Read the name of a label; empty for none. Raises: ValueError."""
    label = text.strip()
    if label and not re.fullmatch(r"[^\W\d][\w.:/-]*", label):
        message = "not the name of a label like prometheus_replica"
        raise ValueError(message)
    return label


def read_replica_label(text: str) -> str:
    """Read the name of a label that only tells replicas apart. Raises: ValueError."""
    label = read_label_name(text)
    if label in _NEVER_OF_A_REPLICA:
        message = "it tells series apart, not replicas: name the external label in which they differ, like prometheus_replica"
        raise ValueError(message)
    return label


def read_word(*words: str) -> Callable[[str], str]:
    """Return a reader of one of these words, which raises ValueError for others."""

    def read(text: str) -> str:
        if (word := text.strip().lower()) in words:
            return word
        message = f"not one of {', '.join(filter(None, words))}"
        raise ValueError(message)

    return read


def read_path(text: str) -> Path:
    """Read a path and expand ~. Raises: SettingsError for an unprintable path or an unknown home."""
    if (shown := printable(text)) != text:
        raise SettingsError(f"{shown}: the path is not UTF-8")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # no HOME, or no such user
        message = f"{text}: there is no such home directory; write the full path"
        raise SettingsError(message) from error


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its variable, flag, default and meaning."""

    name: str
    environment: str
    flag: str
    default: str
    read: Callable[[str], Any]
    meaning: str
    secret: bool = False


def _outbox_directory(given: str, environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        return read_path(given or f"{base}/appinsights-receiver").absolute()
    except SettingsError as error:
        raise SettingsError(f"{error}, in RECEIVER_OUTBOX_DIR or --outbox-dir") from error


def _setting(
    environment: str,
    flag: str,
    default: str,
    read: Callable[[str], Value],
    meaning: str,
    *,
    secret: bool = False,
) -> Value:
    """Return a field of `Settings`; the field's name is the setting's, `read` returns its type."""
    row = (environment, flag, default, read, meaning, secret)
    return cast("Value", field(metadata={"setting": row}))


_read_text_for_now: Callable[[str], Any] = str.strip
"""The outbox's default depends on the environment: `resolve` makes the path."""


# fmt: off
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The values of all settings. Sizes in bytes, times in seconds."""

    connection_string: str = _setting("APPLICATIONINSIGHTS_CONNECTION_STRING", "--connection-string", "", str.strip, "Connection string of the Application Insights resource.", secret=True)
    instrumentation_key: str = _setting("INSTRUMENTATION_KEY", "", "", str.strip, "Deprecated: an instrumentation key for the global endpoint. Ignored if a connection string is set.", secret=True)
    authentication_string: str = _setting("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "--authentication-string", "", str.strip, "Authorization=AAD or Authorization=AAD;ClientId=<id>: sign in with Microsoft Entra ID.")
    listen: Address = _setting("RECEIVER_LISTEN", "--listen", "127.0.0.1:9201", read_address, "Address for Prometheus' remote_write and for the receiver's pages.")
    metrics_json: str = _setting("RECEIVER_METRICS_JSON", "--metrics-json", "", str.strip, "File that names the metrics to send (default: the packaged three).")
    routes: str = _setting("RECEIVER_ROUTES", "--routes", "", str.strip, "File (routes.json) that routes series to resources by their labels (default: none).")
    cloud_role: str = _setting("RECEIVER_CLOUD_ROLE", "--cloud-role", "", str.strip, "Role name of all items (cloud_RoleName); without it the series' job label.")
    cloud_role_instance: str = _setting("RECEIVER_CLOUD_ROLE_INSTANCE", "--cloud-role-instance", "", str.strip, "Role instance of all items (cloud_RoleInstance); without it the series' instance label, or this host's name if that is a loopback address.")
    outbox_dir: Path = _setting("RECEIVER_OUTBOX_DIR", "--outbox-dir", "", _read_text_for_now, "Directory of the outbox; without it appinsights-receiver under XDG_STATE_HOME.")
    outbox_max_bytes: int = _setting("RECEIVER_OUTBOX_MAX_BYTES", "--outbox-max-bytes", "1GiB", read_size, "Limit of compressed bytes that wait for delivery; above it the receiver answers 503 and Prometheus keeps the data.")
    body_max_bytes: int = _setting("RECEIVER_BODY_MAX_BYTES", "--body-max-bytes", "16MiB", read_size, "Largest request body, compressed.")
    decoded_max_bytes: int = _setting("RECEIVER_DECODED_MAX_BYTES", "--decoded-max-bytes", "32MiB", read_size, "Largest request body, decompressed.")
    parsed_max_bytes: int = _setting("RECEIVER_PARSED_MAX_BYTES", "--parsed-max-bytes", "128MiB", read_size, "Largest memory of a parsed request, as estimated before parsing.")
    rendered_max_bytes: int = _setting("RECEIVER_RENDERED_MAX_BYTES", "--rendered-max-bytes", "64MiB", read_size, "Largest memory of a request's selected samples, rendered with their labels.")
    series_max: int = _setting("RECEIVER_SERIES_MAX", "--series-max", "20000", read_count, "Largest number of series in one request.")
    labels_max: int = _setting("RECEIVER_LABELS_MAX", "--labels-max", "100", read_count, "Largest number of labels of a series; a series with more is refused.")
    label_max_bytes: int = _setting("RECEIVER_LABEL_MAX_BYTES", "--label-max-bytes", "64KiB", read_size, "Largest size of all labels of a series, names and values; a larger series is refused.")
    requests_max: int = _setting("RECEIVER_REQUESTS_MAX", "--requests-max", "256", read_count, "Largest number of requests processed at once, from decoding to the disk; more are answered 503.")
    in_flight_max_bytes: int = _setting("RECEIVER_IN_FLIGHT_MAX_BYTES", "--in-flight-max-bytes", "128MiB", read_size, "Largest size of all requests in flight together; above it requests are answered 503 before they are decoded.")
    answers_max_bytes: int = _setting("RECEIVER_ANSWERS_MAX_BYTES", "--answers-max-bytes", "32MiB", read_size, "Largest size of all page answers being read together; above it pages are answered 503.")
    connections_max: int = _setting("RECEIVER_CONNECTIONS_MAX", "--connections-max", "512", read_count, "Largest number of connections; above it a new connection replaces the one that has waited longest.")
    headers_seconds: float = _setting("RECEIVER_HEADERS_TIMEOUT", "--headers-timeout", "10s", read_seconds, "Timeout for a request's headers, and for a TLS handshake.")
    body_seconds: float = _setting("RECEIVER_BODY_TIMEOUT", "--body-timeout", "30s", read_seconds, "Timeout for receiving a request's body, and for the client to read a large answer.")
    idle_seconds: float = _setting("RECEIVER_IDLE_TIMEOUT", "--idle-timeout", "120s", read_seconds, "Timeout of an idle connection between requests.")
    web_config_file: str = _setting("RECEIVER_WEB_CONFIG_FILE", "--web.config.file", "", str.strip, "File in Prometheus' web configuration format: TLS, client certificates, users (default: none).")
    bearer_token_file: str = _setting("RECEIVER_BEARER_TOKEN_FILE", "--bearer-token-file", "", str.strip, "File with the token that remote_write.authorization must send (default: none).")
    series_cache_bytes: int = _setting("RECEIVER_SERIES_CACHE_BYTES", "--series-cache-bytes", "256MiB", read_size, "Memory of the cache of selected series.")
    fold_max_bytes: int = _setting("RECEIVER_FOLD_MAX_BYTES", "--fold-max-bytes", "256MiB", read_size, "Memory of the state of folded series; above it new series are dropped as `fold_full`.")
    metric_series_max: int = _setting("RECEIVER_METRIC_SERIES_MAX", "--metric-series-max", "20000", read_count, "Largest number of series of one selected metric; above it new series are dropped as `cardinality`, known ones continue.")
    total_series_max: int = _setting("RECEIVER_TOTAL_SERIES_MAX", "--total-series-max", "200000", read_count, "Largest number of series of all selected metrics together; above it new series are dropped as `cardinality`.")
    replica_label: str = _setting("RECEIVER_REPLICA_LABEL", "--replica-label", "", read_replica_label, "External label that identifies the replicas of one Prometheus (prometheus_replica): it is removed, and one replica counts, the leader; without it every sender counts.")
    cluster_label: str = _setting("RECEIVER_CLUSTER_LABEL", "--cluster-label", "", read_label_name, "External label that identifies a pair of replicas (cluster): each value has its own leader; without it all replicas are of one cluster.")
    replica_timeout_seconds: float = _setting("RECEIVER_REPLICA_TIMEOUT", "--replica-timeout", "30s", read_seconds, "Longest silence of the leader before the next replica takes over: longer than the scrape interval, and than the difference of the replicas' clocks.")
    senders: int = _setting("RECEIVER_SENDERS", "--senders", "4", read_count, "Largest number of batches sent to Application Insights at once.")
    send_timeout_seconds: float = _setting("RECEIVER_SEND_TIMEOUT", "--send-timeout", "30s", read_seconds, "Timeout of one POST to Application Insights.")
    retry_max_seconds: float = _setting("RECEIVER_RETRY_MAX", "--retry-max", "120s", read_seconds, "Longest wait between attempts while Application Insights refuses or cannot be reached, plus or minus a quarter; 15 times that when the quota is used up. A Retry-After may extend it.")
    items_per_second: int = _setting("RECEIVER_ITEMS_PER_SECOND", "--items-per-second", "30000", read_count, "Highest rate of delivery; Application Insights accepts 32,000 items a second for one resource.")
    shutdown_seconds: float = _setting("RECEIVER_SHUTDOWN_TIMEOUT", "--shutdown-timeout", "10s", read_seconds, "Longest wait of a stop for requests and batches in flight, in addition to RECEIVER_DRAIN_TIMEOUT.")
    drain_seconds: float = _setting("RECEIVER_DRAIN_TIMEOUT", "--drain-timeout", "5s", read_seconds, "Longest time for which a stop sends waiting batches; it ends sooner if none is left, or none can be sent in that time. 0: a stop begins no further batch.")
    drain_fold: bool = _setting("RECEIVER_DRAIN_FOLD", "--drain-fold", "no", read_switch, "yes: a stop closes the open folded windows and sends their items: for a receiver whose disk ends with it.")
    billed_factor: float = _setting("RECEIVER_BILLED_FACTOR", "--billed-factor", "1", read_factor, "Ratio of the billed size of an item to the receiver's estimate, as `cost --calibrate` prints it.")
    slim_items: bool = _setting("RECEIVER_SLIM_ITEMS", "--slim-items", "no", read_switch, "yes: raw items omit the properties job and instance where cloud_RoleName and cloud_RoleInstance have the same value; about 15 % less is billed.")
    price_per_gb: float = _setting("RECEIVER_PRICE_PER_GB", "--price-per-gb", "0", read_price, "Your region's price for a GB of ingested logs, for the cost on the status page; 0 shows no cost.")
    budget_gb: float = _setting("RECEIVER_BUDGET_GB", "--budget-gb", "0", read_gigabytes, "Budget of billed GB a month; if the last hour's rate exceeds it, the verdict is OVER BUDGET, and nothing is dropped. 0: no budget.")
    log_level: str = _setting("RECEIVER_LOG_LEVEL", "--log.level", "info", read_word("debug", "info", "warning", "error"), "Lowest level of log lines: debug, info, warning or error.")
    log_format: str = _setting("RECEIVER_LOG_FORMAT", "--log.format", "", read_word("", "json", "logfmt", "console"), "Format of the log: json, logfmt, or console; by default console on a terminal, json elsewhere.")
    sandbox_listen: Address = _setting("RECEIVER_SANDBOX_LISTEN", "--sandbox-listen", "127.0.0.1:9202", read_address, "Address of the sandbox that run --sandbox starts.")
    host: str = _setting("RECEIVER_HOST_NAME", "--host-name", "", str.strip, "Name of this machine: the role instance of series whose instance is a loopback address (default: the host's name).")
# fmt: on


SETTINGS = tuple(
    Setting(setting.name, *setting.metadata["setting"])
    for setting in fields(Settings)
    if "setting" in setting.metadata
)
"""All settings; where a default is empty, `meaning` describes it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A setting's source and its text there; `file` is the file that contained it, if any."""

    setting: Setting
    source: str
    text: str
    file: str = ""

    @property
    def shown(self) -> str:
        """The printable value; a secret is only shown as set."""
        if self.setting.secret and self.text:
            return "(set)"
        return printable(self.text) or "(none)"


def resolve(
    flags: Mapping[str, str | None], environment: Mapping[str, str]
) -> tuple[Settings, list[Origin]]:
    """Read all settings; `flags` is keyed by the settings' names.

    Raises: SettingsError with all invalid values; it names the flag or the variable, never a
    secret's value.
    """
    origins: list[Origin] = []
    values: dict[str, Any] = {}
    problems: list[str] = []
    for setting in SETTINGS:
        try:
            origins.append(_origin(setting, flags, environment))
        except SettingsError as error:
            problems += error.problems
    for origin in origins:
        try:
            values[origin.setting.name] = origin.setting.read(origin.text)
        except ValueError as error:
            shown = "" if origin.setting.secret else f' is "{printable(origin.text)}"'
            problems.append(f"{origin.source}{shown}: {error}")
    problems += _contradictions(values)
    if problems:
        raise SettingsError(*problems)
    values["outbox_dir"] = _outbox_directory(values["outbox_dir"], environment)
    values["host"] = values["host"] or socket.gethostname()
    return Settings(**values), origins


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """Return the contradictions between settings."""
    replica, cluster = values.get("replica_label", ""), values.get("cluster_label", "")
    if cluster and not replica:
        return ["RECEIVER_CLUSTER_LABEL is set, RECEIVER_REPLICA_LABEL is not: set the label in which the replicas of a cluster differ, or neither"]  # fmt: skip
    if cluster and cluster == replica:
        return [f"RECEIVER_REPLICA_LABEL and RECEIVER_CLUSTER_LABEL are both {printable(replica)}: the replicas of a cluster differ in the one and agree in the other"]  # fmt: skip
    if replica and values.get("replica_timeout_seconds") == 0:
        return ["RECEIVER_REPLICA_TIMEOUT is 0: every replica would lead in turn; name some seconds, more than a scrape interval"]  # fmt: skip
    body, all_bodies = values.get("body_max_bytes", 0), values.get("in_flight_max_bytes", 0)
    if all_bodies and body > all_bodies:
        text = f"RECEIVER_IN_FLIGHT_MAX_BYTES ({all_bodies}) is less than RECEIVER_BODY_MAX_BYTES"
        return [f"{text} ({body}): a body between the two would always be refused; set both"]
    for name in ("headers_seconds", "body_seconds"):
        if values.get(name) == 0:
            variable = next(setting.environment for setting in SETTINGS if setting.name == name)
            return [f"{variable} is 0, so every request would time out; set some seconds"]
    return []


def _origin(
    setting: Setting, flags: Mapping[str, str | None], environment: Mapping[str, str]
) -> Origin:
    given = flags.get(setting.name)
    if given is not None:
        return Origin(setting, setting.flag, given)
    text = environment.get(setting.environment, "").strip()
    name = f"{setting.environment}_FILE"
    if setting.secret and (file := environment.get(name, "").strip()):
        if text:
            raise SettingsError(f"{setting.environment} and {name} are both set: remove one")
        return Origin(setting, name, _read_secret(file, name), file)
    if text:
        return Origin(setting, setting.environment, text)
    return Origin(setting, "default", setting.default)


def _read_secret(file: str, name: str) -> str:
    """Read a secret from a file, as mounted by Docker, Kubernetes and systemd."""
    try:
        text = read_plain(read_path(file)).decode().strip()
    except OSError as error:
        raise SettingsError(f"{printable(file)}: {error.strerror}; {name} names it") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{printable(file)}: not UTF-8; {name} names it") from None
    if not text:
        raise SettingsError(f"{printable(file)}: the file is empty; {name} names it")
    return text


def find_connection(settings: Settings) -> tuple[connection.Connection | None, list[str]]:
    """Return the destination, or None where none is set, and warnings.

    Raises: SettingsError.
    """
    warnings: list[str] = []
    if settings.connection_string:
        destination = connection.parse(
            settings.connection_string, "APPLICATIONINSIGHTS_CONNECTION_STRING"
        )
        if settings.instrumentation_key:
            warnings.append("INSTRUMENTATION_KEY is ignored, since a connection string is set")
        if destination.unknown:
            names = ", ".join(destination.unknown)
            warnings.append(f"the connection string has unknown keys: {names}")
        if destination.is_global:
            warnings.append(
                f"the connection string names no IngestionEndpoint, so items go to {destination.endpoint}, "
                "which accepts only those of old resources; copy the complete connection string again"
            )
    elif settings.instrumentation_key:
        key = connection.check_key(settings.instrumentation_key, "INSTRUMENTATION_KEY")
        destination = connection.Connection(key)
        warnings.append(
            f"INSTRUMENTATION_KEY alone sends to the global endpoint {destination.endpoint}, which Azure "
            "no longer supports; set APPLICATIONINSIGHTS_CONNECTION_STRING instead"
        )
    else:
        return None, warnings
    if destination.is_plain:
        warnings.append(
            f"{destination.endpoint} is not https: items and keys cross the network unencrypted"
        )
    return destination, warnings


def load_allowlist(settings: Settings) -> allowlist.Allowlist:
    """Read metrics.json, or the packaged default where no file is set.

    Raises: SettingsError.
    """
    if not settings.metrics_json:
        packaged = resources.files("receiver.config") / "default_metrics.json"
        return allowlist.parse(packaged.read_bytes(), "default_metrics.json")
    try:
        text = read_plain(read_path(settings.metrics_json))
    except OSError as error:
        message = f"{settings.metrics_json}: {error.strerror}; RECEIVER_METRICS_JSON or --metrics-json names it"
        raise SettingsError(message) from error
    return allowlist.parse(text, settings.metrics_json)
