"""The checks that `run` makes before it starts, and `check` without starting.

In: settings. Out: findings, and the files and connection that were read. Leaves nothing
open and writes nothing: a receiver may be running on the same outbox and port.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from receiver.azure import credentials as entra
from receiver.azure.connection_string import Connection
from receiver.cli.entry_text import describe
from receiver.cli.findings import Finding, Mark
from receiver.config.file_modes import file_warnings
from receiver.config.resources import load_routes, route_warnings
from receiver.config.settings import Address, Origin, Settings, find_connection, load_allowlist
from receiver.delivery.proxy import proxy_of
from receiver.delivery.setup import check_resource
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Allowlist
from receiver.intake.recogniser import IS_COMPILED, WITHOUT_KERNEL
from receiver.server.auth import Rules, exposure, read_rules
from receiver.server.listening import listen

NO_DESTINATION = """\
Set the connection string of your Application Insights resource (Azure portal, Overview):
  export APPLICATIONINSIGHTS_CONNECTION_STRING='InstrumentationKey=…;IngestionEndpoint=…'
or try it without Azure:
  appinsights-receiver run --sandbox"""
ENTRIES_SHOWN = 12
MOUNTS = Path("/proc/self/mountinfo")
_EMPTY_DIR = "/kubernetes.io~empty-dir/"
"""The folder of Kubernetes' emptyDir volumes, whose disk ends with their pod. Source: the kubelet's volume plugins."""


@dataclass(slots=True)
class Preflight:
    """The findings. `exit_code` is what `run` would return, 0 where it would start."""

    findings: list[Finding] = field(default_factory=list)
    allowlist: Allowlist | None = None
    connection: Connection | None = None
    exit_code: int = 0

    def fail(self, what: str, error: SettingsError | str, fix: str = "", code: int = 2) -> None:
        """Add a failure, which keeps the receiver from starting."""
        problems = error.problems if isinstance(error, SettingsError) else (error,)
        self.findings += (Finding(what, Mark.FAIL, problem, fix) for problem in problems)
        self.exit_code = max(self.exit_code, code)

    def warn(self, what: str, detail: str, fix: str = "") -> None:
        """Add a warning: something valid but probably not intended."""
        self.findings.append(Finding(what, Mark.WARN, detail, fix))

    def passed(self, what: str, detail: str) -> None:
        """Add a passed check."""
        self.findings.append(Finding(what, Mark.OK, detail))


def preflight(settings: Settings, origins: Sequence[Origin], *, sandbox: bool = False) -> Preflight:
    """Run all checks that are possible before the start. With `sandbox` no destination is needed."""
    report = Preflight()
    if not IS_COMPILED:
        report.warn("kernel", WITHOUT_KERNEL)
    _metrics_json(settings, report)
    if not sandbox:
        _destination(settings, report)
    _routes(settings, report)
    _outbox(settings.outbox_dir, report)
    _access(settings, origins, report)
    return report


def _metrics_json(settings: Settings, report: Preflight) -> None:
    try:
        report.allowlist = load_allowlist(settings)
    except SettingsError as error:
        report.fail("metrics.json", error)
        return
    entries = report.allowlist.entries
    file = settings.metrics_json or "the packaged metrics.json"
    report.passed(
        "metrics.json", f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'} in {file}"
    )
    for entry in entries[:ENTRIES_SHOWN]:
        report.passed("", describe(entry))
    if len(entries) > ENTRIES_SHOWN:
        report.passed("", f"and {len(entries) - ENTRIES_SHOWN} more")
    for suspicion in report.allowlist.suspicions():
        report.warn("metrics.json", suspicion)


def _destination(settings: Settings, report: Preflight) -> None:
    try:
        report.connection, warnings = find_connection(settings)
    except SettingsError as error:
        report.fail("destination", error)
    else:
        for warning in warnings:
            report.warn("destination", warning)
        if report.connection is None:
            report.fail("destination", "no destination is set", NO_DESTINATION)
        else:
            report.passed("destination", f"delivers to {report.connection.track_url}")
            _proxy(report.connection, report)
    try:
        authentication = entra.parse(settings.authentication_string)
        if authentication and report.connection:
            entra.credential_maker(authentication, report.connection)
            report.passed("sign-in", "with Microsoft Entra ID")
    except SettingsError as error:
        report.fail("sign-in", error)


def _routes(settings: Settings, report: Preflight) -> None:
    """Report the resource of each route."""
    if not settings.routes:
        return
    try:
        routes, _ = load_routes(settings)
        ways = [check_resource(resource) for resource in routes.resources]
    except SettingsError as error:
        report.fail("routes.json", error)
        return
    for route, resource, proxy in zip(routes.routing.routes, routes.resources, ways, strict=True):
        way = f" through {proxy.address}" if proxy else ""
        report.passed("route", f"{route.sentence()} to {resource.connection.track_url}{way}")
    rest = "dropped" if routes.routing.drops_unmatched else "the receiver's own connection string"
    report.passed("route", f"all others: {rest}")
    for warning in route_warnings(settings, routes, report.connection):
        report.warn("routes.json", warning)


def _proxy(connection: Connection, report: Preflight) -> None:
    """Report the proxy that items are sent through."""
    try:
        proxy = proxy_of(connection.track_url, os.environ)
    except SettingsError as error:
        report.fail("proxy", error)
    else:
        way = f"{proxy.address}, set by {proxy.variable}" if proxy else "none is set"
        report.passed("proxy", way)


def _outbox(directory: Path, report: Preflight) -> None:
    """Check that the outbox's directory can be written or created."""
    place = next((path for path in (directory, *directory.parents) if _exists(path)), directory)
    if not place.is_dir():
        why = f"{place} is not a directory"
    elif not os.access(place, os.W_OK | os.X_OK):
        read_only = os.statvfs(place).f_flag & os.ST_RDONLY
        why = f"{place} is on a read-only file system" if read_only else f"{place} is not writable"
    else:
        report.passed(
            "outbox", str(directory) if place == directory else f"{directory}, created at the start"
        )
        if is_in_empty_dir(place.resolve(), mounts()):
            detail = f"{directory} is in an emptyDir: items waiting there are lost with the pod"
            fix = "Mount a PersistentVolumeClaim there, or set RECEIVER_DRAIN_FOLD=yes and a RECEIVER_DRAIN_TIMEOUT that fits the pod's grace period (docs/kubernetes.md)."
            report.warn("outbox", detail, fix)
        return
    fix = "Make it writable, or name another with RECEIVER_OUTBOX_DIR."
    report.fail("outbox", f"the outbox directory {directory} cannot be written: {why}", fix, 1)


def is_in_empty_dir(directory: Path, mounts: str) -> bool:
    """Whether the directory is in an emptyDir, by the lines of proc(5) mountinfo."""
    origin, longest = "", 0
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 5:
            continue
        mounted_at = fields[4].replace("\\040", " ")
        if directory.is_relative_to(mounted_at) and len(mounted_at) >= longest:
            origin, longest = fields[3], len(mounted_at)
    return _EMPTY_DIR in origin


def mounts() -> str:
    """Read the mounts; empty if they cannot be read."""
    try:
        return MOUNTS.read_text(errors="replace")
    except OSError:
        return ""


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:  # a parent is a file, or a directory without permission to enter
        return path.parent == path
    return True


def _access(settings: Settings, origins: Sequence[Origin], report: Preflight) -> None:
    try:
        rules, _ = read_rules(settings.web_config_file, settings.bearer_token_file)
    except SettingsError as error:
        report.fail("access", error)
    else:
        for warning in file_warnings(settings, origins, rules.keys):
            report.warn("access", warning)
        if warning := exposure(settings.listen, rules):
            report.warn("access", warning)
        else:
            report.passed(
                "access",
                "; ".join(_credentials_needed(settings.listen, rules)),
            )
    try:
        listen(Address(settings.listen.host, 0)).close()
    except SettingsError as error:
        report.fail("listen", str(error).replace(f"{settings.listen.host}:0", str(settings.listen)))


def _credentials_needed(address: Address, rules: Rules) -> Iterator[str]:
    yield f"{address}{' with TLS' if rules.web.tls else ''}"
    ways = ["users"] * bool(rules.web.users) + ["a token"] * bool(rules.token)
    if rules.ask_nothing:
        yield "asks for no credentials"
    else:
        yield f"asks for {' or '.join(ways) or 'a client certificate'}"
