"""What `run` makes sure of before it starts, and `check` without starting.

In: settings. Out: findings, and what was read on the way. Opens nothing that stays open and
writes nothing: a receiver may run meanwhile, on the same outbox and port.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from receiver.azure import credentials as entra
from receiver.azure.connection_string import Connection
from receiver.cli.entry_text import describe
from receiver.cli.findings import Finding, Mark
from receiver.config.contradictions import contradictions
from receiver.config.disk_life import goes_with_the_pod, mounts
from receiver.config.file_modes import file_warnings
from receiver.config.settings import Address, Origin, Settings, find_connection, load_allowlist
from receiver.delivery.proxy import proxy_of
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Allowlist
from receiver.intake.recogniser import IS_COMPILED, WITHOUT_KERNEL
from receiver.server.auth import Rules, exposure, read_rules
from receiver.server.listen import listen

NO_DESTINATION = """\
Set the connection string of your Application Insights resource (Azure portal, Overview):
  export APPLICATIONINSIGHTS_CONNECTION_STRING='InstrumentationKey=…;IngestionEndpoint=…'
or try it without Azure:
  appinsights-receiver run --sandbox"""
ENTRIES_SHOWN = 12


@dataclass(slots=True)
class Preflight:
    """What was found. `exit_code` is how `run` would end at once, 0 if it would not."""

    findings: list[Finding] = field(default_factory=list)
    allowlist: Allowlist | None = None
    connection: Connection | None = None
    exit_code: int = 0

    def fail(self, what: str, error: SettingsError | str, fix: str = "", code: int = 2) -> None:
        """Note what keeps the receiver from its work."""
        problems = error.problems if isinstance(error, SettingsError) else (error,)
        self.findings += (Finding(what, Mark.FAIL, problem, fix) for problem in problems)
        self.exit_code = max(self.exit_code, code)

    def warn(self, what: str, detail: str, fix: str = "") -> None:
        """Note what is possible and probably not meant."""
        self.findings.append(Finding(what, Mark.WARN, detail, fix))

    def well(self, what: str, detail: str) -> None:
        """Note what is as it should be."""
        self.findings.append(Finding(what, Mark.OK, detail))


def preflight(settings: Settings, origins: Sequence[Origin], *, sandbox: bool = False) -> Preflight:
    """Look at all that can be looked at before the start. With `sandbox` no destination is needed."""
    found = Preflight()
    if not IS_COMPILED:
        found.warn("kernel", WITHOUT_KERNEL)
    for contradiction in contradictions(settings):
        found.fail("settings", contradiction)
    _metrics_json(settings, found)
    if not sandbox:
        _destination(settings, found)
    _outbox(settings.outbox_dir, found)
    _access(settings, origins, found)
    return found


def _metrics_json(settings: Settings, found: Preflight) -> None:
    try:
        found.allowlist = load_allowlist(settings)
    except SettingsError as error:
        found.fail("metrics.json", error)
        return
    entries = found.allowlist.entries
    file = settings.metrics_json or "the packaged metrics.json"
    found.well(
        "metrics.json", f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'} in {file}"
    )
    for entry in entries[:ENTRIES_SHOWN]:
        found.well("", describe(entry))
    if len(entries) > ENTRIES_SHOWN:
        found.well("", f"and {len(entries) - ENTRIES_SHOWN} more")
    for suspicion in found.allowlist.suspicions():
        found.warn("metrics.json", suspicion)


def _destination(settings: Settings, found: Preflight) -> None:
    try:
        found.connection, warnings = find_connection(settings)
    except SettingsError as error:
        found.fail("destination", error)
    else:
        for warning in warnings:
            found.warn("destination", warning)
        if found.connection is None:
            found.fail("destination", "there is nowhere to deliver to", NO_DESTINATION)
        else:
            found.well("destination", f"delivers to {found.connection.track_url}")
            _way(found.connection, found)
    try:
        authentication = entra.parse(settings.authentication_string)
        if authentication and found.connection:
            entra.credential_maker(authentication, found.connection)
            found.well("sign-in", "with Microsoft Entra ID")
    except SettingsError as error:
        found.fail("sign-in", error)


def _way(connection: Connection, found: Preflight) -> None:
    """Say which proxy the items go through."""
    try:
        proxy = proxy_of(connection.track_url, os.environ)
    except SettingsError as error:
        found.fail("proxy", error)
    else:
        way = f"through {proxy.address}, by {proxy.variable}" if proxy else "none is set"
        found.well("proxy", way)


def _outbox(directory: Path, found: Preflight) -> None:
    """Look whether the outbox' directory can be used, or made."""
    place = next((each for each in (directory, *directory.parents) if _exists(each)), directory)
    if not place.is_dir():
        why = f"{place} is no directory"
    elif not os.access(place, os.W_OK | os.X_OK):
        read_only = os.statvfs(place).f_flag & os.ST_RDONLY
        why = f"{place} is on a read-only file system" if read_only else f"{place} is not writable"
    else:
        found.well(
            "outbox", str(directory) if place == directory else f"{directory}, made at the start"
        )
        if goes_with_the_pod(place.resolve(), mounts()):
            detail = f"{directory} is in an emptyDir: what waits there when the pod goes is lost"
            fix = "Mount a PersistentVolumeClaim there, or set RECEIVER_DRAIN_FOLD=yes and a RECEIVER_DRAIN_TIMEOUT that fits the pod's grace period (docs/kubernetes.md)."
            found.warn("outbox", detail, fix)
        return
    fix = "Make it writable, or name another with RECEIVER_OUTBOX_DIR."
    found.fail("outbox", f"the outbox directory {directory} cannot be written: {why}", fix, 1)


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:  # a file on the way, or a folder that may not be entered
        return path.parent == path
    return True


def _access(settings: Settings, origins: Sequence[Origin], found: Preflight) -> None:
    try:
        rules, _ = read_rules(settings.web_config_file, settings.bearer_token_file)
    except SettingsError as error:
        found.fail("access", error)
    else:
        for warning in file_warnings(settings, origins, rules.keys):
            found.warn("access", warning)
        if warning := exposure(settings.listen, rules):
            found.warn("access", warning)
        else:
            found.well(
                "access",
                "; ".join(_asked(settings.listen, rules)),
            )
    try:
        listen(Address(settings.listen.host, 0)).close()
    except SettingsError as error:
        found.fail("listen", str(error).replace(f"{settings.listen.host}:0", str(settings.listen)))


def _asked(address: Address, rules: Rules) -> Iterator[str]:
    yield f"{address}{' with TLS' if rules.web.tls else ''}"
    ways = ["users"] * bool(rules.web.users) + ["a token"] * bool(rules.token)
    if rules.ask_nothing:
        yield "asks nobody for credentials"
    else:
        yield f"asks for {' or '.join(ways) or 'a client certificate'}"
