"""Flag over environment over default; what cannot be used is said, and secrets are not."""

import dataclasses
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.azure.connection_string import GLOBAL_ENDPOINT
from receiver.config.settings import (
    SETTINGS,
    Address,
    Setting,
    Settings,
    find_connection,
    load_allowlist,
    read_address,
    read_count,
    read_replica_label,
    read_seconds,
    resolve,
)
from receiver.errors import SettingsError
from receiver.text import read_size

KEY = "12345678-9abc-def0-1234-56789abcdef0"
DEFAULT_METRICS = ["nv_inference_request_success", "nv_inference_request_duration_us", "nv_cpu_utilization"]  # fmt: skip


def settings(**environment: str) -> Settings:
    """Resolve settings from an environment alone."""
    return resolve({}, environment)[0]


def test_the_defaults_are_those_of_the_documentation() -> None:
    """Loopback, 9201, the packaged metrics, one gibibyte."""
    found = settings(XDG_STATE_HOME="/state")

    assert found.listen == Address("127.0.0.1", 9201)
    assert found.sandbox_listen == Address("127.0.0.1", 9202)
    assert found.outbox_dir == Path("/state/appinsights-receiver")
    assert found.outbox_max_bytes == 1 << 30
    assert (found.connection_string, found.instrumentation_key, found.metrics_json) == ("", "", "")
    assert found.host


def test_without_a_state_home_the_outbox_is_in_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the XDG specification has it; the path is absolute, wherever the service was started."""
    monkeypatch.setenv("HOME", "/home/someone")

    assert settings().outbox_dir == Path("/home/someone/.local/state/appinsights-receiver")
    assert settings(RECEIVER_OUTBOX_DIR="~/box").outbox_dir == Path("/home/someone/box")
    assert settings(RECEIVER_OUTBOX_DIR="box").outbox_dir == Path.cwd() / "box"


def test_a_flag_wins_over_the_environment_and_that_over_the_default() -> None:
    """And each value knows where it came from."""
    flags: dict[str, str | None] = {"listen": ":1", "senders": None}
    found, origins = resolve(flags, {"RECEIVER_LISTEN": ":2", "RECEIVER_SENDERS": " 3 "})
    by_name = {origin.setting.name: origin for origin in origins}

    assert (found.listen.port, found.senders, found.items_per_second) == (1, 3, 30000)
    assert by_name["listen"].source == "--listen"
    assert by_name["senders"].source == "RECEIVER_SENDERS"
    assert by_name["items_per_second"].source == "default"


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    """As `VAR= command` and empty values in manifests mean it."""
    assert settings(RECEIVER_LISTEN="  ").listen.port == 9201


def test_the_list_of_settings_and_their_values_agree() -> None:
    """Each setting has a field, each field is a setting, and no name is used twice."""
    fields = {field.name for field in dataclasses.fields(Settings)}

    assert {each.name for each in SETTINGS} == fields
    for names in (
        [each.environment for each in SETTINGS],
        [each.flag for each in SETTINGS if each.flag],
    ):
        assert len(set(names)) == len(names)
    assert all(each.meaning.endswith(".") for each in SETTINGS)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9201", Address("127.0.0.1", 9201)),
        (":9201", Address("::", 9201)),
        ("[::1]:0", Address("::1", 0)),
        (" host:65535 ", Address("host", 65535)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """Host and port, spelt again as they were."""
    assert read_address(text) == address
    assert read_address(str(address)) == address


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1073741824", 1 << 30),
        ("512MiB", 512 << 20),
        ("1 GiB", 1 << 30),
        ("1.5kib", 1536),
        ("0.5GiB", 1 << 29),
        ("10kB", 10_000),
        ("2 MB", 2_000_000),
        ("3gb", 3_000_000_000),
        ("7B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    """Bytes, or with a unit of two kinds."""
    assert read_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("0.5s", 0.5), (" 10s ", 10.0), ("0", 0.0)]
)
def test_seconds(text: str, seconds: float) -> None:
    """With an s or without."""
    assert read_seconds(text) == seconds


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((read_address, text) for text in ("", "host", "9201", "host:", "host:x", "host:65536", "host:-1", "h:1²")),
        *((read_size, text) for text in ("0", "-1", "x", "1TiB", "1 G", "MiB", "nan", "inf", "INFINITY", "1e400", "0.2", "1.2.3")),
        *((read_seconds, text) for text in ("-1", "x", "nan", "inf", "5m", "1e10")),
        *((read_count, text) for text in ("0", "-1", "1.5", "x", "1e3", "")),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_value_error_with_a_sentence(
    read: Callable[[str], object], text: str
) -> None:
    """Never another exception, never Python's own words."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        read(text)

    assert "invalid literal" not in str(refused.value)
    assert "could not convert" not in str(refused.value)
    assert str(refused.value)


@pytest.mark.parametrize(
    "setting",
    [each for each in SETTINGS if each.read not in {str.strip, read_replica_label}],
    ids=lambda each: each.name,
)
def test_a_value_that_cannot_be_used_names_its_variable(setting: Setting) -> None:
    """And what stands there, and what should."""
    with pytest.raises(SettingsError) as refused:
        settings(**{setting.environment: "no such thing"})

    assert str(refused.value).startswith(f'{setting.environment} is "no such thing": not ')


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RECEIVER_IN_FLIGHT_MAX_BYTES": "1MiB"}, "RECEIVER_IN_FLIGHT_MAX_BYTES (1048576) is less than RECEIVER_BODY_MAX_BYTES"),
        ({"RECEIVER_HEADERS_TIMEOUT": "0"}, "RECEIVER_HEADERS_TIMEOUT is 0, so every request would time out"),
        ({"RECEIVER_BODY_TIMEOUT": "0s"}, "RECEIVER_BODY_TIMEOUT is 0"),
    ],
)  # fmt: skip
def test_settings_that_let_nothing_through_are_refused(
    environment: dict[str, str], message: str
) -> None:
    """Each can be read; together, or at that value, no request would ever get in."""
    with pytest.raises(SettingsError, match=re.escape(message)):
        resolve({}, environment)


def test_secrets_are_not_shown() -> None:
    """Only that they are there."""
    _, origins = resolve(
        {"connection_string": f"InstrumentationKey={KEY}"}, {"INSTRUMENTATION_KEY": KEY}
    )

    shown = {origin.setting.name: origin.shown for origin in origins}
    assert shown["connection_string"] == shown["instrumentation_key"] == "(set)"
    assert KEY not in " ".join(shown.values())
    assert shown["cloud_role"] == "(none)"
    assert shown["outbox_max_bytes"] == "1GiB"


def test_the_host_s_name_may_be_set() -> None:
    """A container's is but its id; without the setting it is the system's."""
    assert settings(RECEIVER_HOST_NAME="triton-1").host == "triton-1"
    assert settings().host == socket.gethostname()


def test_a_secret_is_read_from_the_file_that_is_named(tmp_path: Path) -> None:
    """As Docker, Kubernetes and systemd hand them over: with a line's end, and not in the environment."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")

    found, origins = resolve({}, {"INSTRUMENTATION_KEY_FILE": str(file)})

    assert found.instrumentation_key == KEY
    [origin] = [each for each in origins if each.setting.name == "instrumentation_key"]
    assert (origin.source, origin.shown) == ("INSTRUMENTATION_KEY_FILE", "(set)")


@pytest.mark.parametrize(
    ("content", "variables", "words"),
    [
        (b"  \n", {}, "the file is empty; INSTRUMENTATION_KEY_FILE names it"),
        (b"\xff", {}, "not UTF-8; INSTRUMENTATION_KEY_FILE names it"),
        (None, {}, "No such file or directory; INSTRUMENTATION_KEY_FILE names it"),
        (b"a", {"INSTRUMENTATION_KEY": KEY}, "are both set: remove one"),
        (b"a", {"RECEIVER_SENDERS": "many"}, "RECEIVER_SENDERS"),
    ],
)
def test_a_secret_s_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes | None, variables: dict[str, str], words: str
) -> None:
    """And never quoted; what else is wrong is said with it."""
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError) as caught:
        resolve({}, {"INSTRUMENTATION_KEY_FILE": str(file), **variables})

    assert words in "; ".join(caught.value.problems)
    assert KEY not in str(caught.value)


def test_only_secrets_are_read_from_files(tmp_path: Path) -> None:
    """RECEIVER_LISTEN_FILE means nothing, and reads nothing."""
    assert settings(RECEIVER_LISTEN_FILE=str(tmp_path / "missing")).listen.port == 9201


def test_nothing_set_is_nowhere_to_deliver() -> None:
    """`run` then says how to try without."""
    assert find_connection(settings()) == (None, [])


def test_the_connection_string_wins_over_the_key() -> None:
    """With a warning, since one of the two is a mistake."""
    found, warnings = find_connection(
        settings(
            APPLICATIONINSIGHTS_CONNECTION_STRING=f"InstrumentationKey={KEY};IngestionEndpoint=https://a/",
            INSTRUMENTATION_KEY="0" * 8,
        )
    )

    assert found
    assert found.endpoint == "https://a"
    assert warnings == ["INSTRUMENTATION_KEY is ignored, since a connection string is set"]


def test_the_key_alone_goes_to_the_global_endpoint_with_a_warning() -> None:
    """The older way still works, and says what is better."""
    found, [warning] = find_connection(settings(INSTRUMENTATION_KEY=f" {KEY.upper()} "))

    assert found
    assert (found.instrumentation_key, found.endpoint) == (KEY, GLOBAL_ENDPOINT)
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in warning


def test_what_is_unsafe_or_unknown_is_a_warning() -> None:
    """Plain http over a network, and keys that nobody knows."""
    text = f"InstrumentationKey={KEY};IngestionEndpoint=http://far.example;Locaton=x"

    _, warnings = find_connection(settings(APPLICATIONINSIGHTS_CONNECTION_STRING=text))

    assert any("locaton" in warning for warning in warnings)
    assert any("not https" in warning for warning in warnings)


@pytest.mark.parametrize("name", ["APPLICATIONINSIGHTS_CONNECTION_STRING", "INSTRUMENTATION_KEY"])
def test_a_destination_that_cannot_be_is_refused_under_its_name(name: str) -> None:
    """Without what stands in it."""
    with pytest.raises(SettingsError, match=f"^{name}") as refused:
        find_connection(settings(**{name: "my secret"}))
    assert "secret" not in str(refused.value)


def test_without_a_file_the_packaged_metrics_are_taken() -> None:
    """The three of the documentation."""
    assert [entry.name for entry in load_allowlist(settings()).entries] == DEFAULT_METRICS


def test_metrics_json_is_read_from_where_it_is_named(tmp_path: Path) -> None:
    """And the messages name the file as the operator did."""
    path = tmp_path / "metrics.json"
    path.write_text('{"customMetrics": ["a"]}')
    named = settings(RECEIVER_METRICS_JSON=str(path))
    assert [entry.name for entry in load_allowlist(named).entries] == ["a"]

    path.write_text("[]")
    with pytest.raises(SettingsError, match=f"^{path}: the file holds a list"):
        load_allowlist(named)
    path.unlink()
    with pytest.raises(
        SettingsError, match="No such file or directory; RECEIVER_METRICS_JSON or --metrics-json"
    ):
        load_allowlist(named)
    path.mkdir()
    with pytest.raises(SettingsError, match="is a directory, not a file"):
        load_allowlist(named)
