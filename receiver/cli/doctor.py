"""`doctor`: everything online, from where data end to where they begin; the cause on top.

Looks in the order in which one thing's failure explains another's: the destination, the
receiver itself, Prometheus, Triton, and the names of metrics.json.
"""

import argparse
import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from receiver.cli.canary import look_up, send_canary
from receiver.cli.fetch import NoAnswer
from receiver.cli.findings import Finding, Mark, show
from receiver.cli.prometheus_config import is_ours
from receiver.cli.receiver_api import Ask, ask_running
from receiver.cli.run import NO_DESTINATION
from receiver.cli.upstream import Prometheus, Triton, ask_prometheus, ask_triton
from receiver.config.settings import Origin, Settings, find_connection, load_allowlist
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.status.missing_metric import explain_missing
from receiver.status.verdicts import Severity, State
from receiver.text import span

BEHIND_SECONDS = 60.0
SYMPTOMS = {State.NOT_RECEIVING, State.FILTERED_OUT, State.INCOMPLETE, State.WAITING}
"""Verdicts whose cause lies further up: what Prometheus and Triton say goes before them."""


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Look at all of it."""
    running = _ask_status(ask_running(given.receiver, settings))
    allowlist, findings = _selection(settings, running)
    findings += _destination(settings, canary=not given.no_canary)
    own, symptoms = _receiver(running)
    findings += own
    prometheus = ask_prometheus(given.prometheus_url) if given.prometheus_url else None
    triton = ask_triton(given.triton, given.triton_metrics) if given.triton else None
    if prometheus:
        findings += _prometheus(prometheus, port_of(given.receiver) or settings.listen.port)
    if triton:
        findings += _triton(triton)
    findings += _names(allowlist, prometheus, triton)
    return show(findings + symptoms, as_json=given.json)


Running = dict[str, Any] | NoAnswer
"""What the receiver that runs says of itself, or why it says nothing."""


def _ask_status(ask: Ask) -> Running:
    try:
        return ask("/api/v1/status", "verdict", "metrics_json")
    except NoAnswer as error:
        return error


def port_of(url: str | None) -> int:
    """Give the port of a receiver's address; 0 for none, or for what is no address."""
    try:
        parts = urlsplit(url or "")
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return 0


def _selection(settings: Settings, running: Running) -> tuple[Allowlist | None, list[Finding]]:
    """Find what is selected: by the receiver that runs, or by what is set here if none answers."""
    if isinstance(running, NoAnswer):
        source = settings.metrics_json or "the packaged metrics.json"
        try:
            allowlist = load_allowlist(settings)
        except SettingsError as error:
            return None, [Finding("metrics.json", Mark.FAIL, str(error), "Mend the file: appinsights-receiver check.")]  # fmt: skip
    else:
        source = running["metrics_json"]["file"]
        allowlist = Allowlist([Entry(name) for name in running["metrics_json"]["names"]])
    suspicions = [
        Finding("metrics.json", Mark.WARN, each, "Mend the spelling.")
        for each in allowlist.suspicions()
    ]
    return allowlist, suspicions or [Finding("metrics.json", Mark.OK, f"{len(allowlist.entries)} entries in {source}")]  # fmt: skip


def _destination(settings: Settings, *, canary: bool) -> list[Finding]:
    try:
        connection, warnings = find_connection(settings)
    except SettingsError as error:
        return [Finding("connection", Mark.FAIL, str(error), "Copy the connection string from the Azure portal again.")]  # fmt: skip
    if connection is None:
        return [Finding("connection", Mark.WARN, "no connection string is set here", NO_DESTINATION.splitlines()[2].strip())]  # fmt: skip
    findings = [Finding("connection", Mark.OK, f"delivers to {connection.track_url}")]
    findings += (Finding("connection", Mark.WARN, each) for each in warnings)
    dns = look_up(connection)
    findings.append(dns)
    if not canary:
        return [*findings, Finding("canary", Mark.SKIP, "not asked for")]
    if dns.mark is Mark.FAIL:
        return [*findings, Finding("canary", Mark.SKIP, "there is no address to send it to")]
    try:
        return findings + asyncio.run(send_canary(settings, connection))
    except SettingsError as error:
        return [*findings, Finding("sign-in", Mark.FAIL, str(error))]


def _receiver(running: Running) -> tuple[list[Finding], list[Finding]]:
    """Tell what the receiver says; a verdict that is a symptom comes after what may cause it."""
    if isinstance(running, NoAnswer):
        fix = (
            "Start it, or say where it is: --receiver. Is RECEIVER_LISTEN the same here and there?"
        )
        return [Finding("receiver", Mark.FAIL, str(running), fix)], []
    said = running["verdict"]
    marks = {Severity.BAD: Mark.FAIL, Severity.WARN: Mark.WARN, Severity.GOOD: Mark.OK}
    finding = Finding("receiver", marks[Severity(said["severity"])], said["line"], said["hint"])
    return ([], [finding]) if said["state"] in SYMPTOMS else ([finding], [])


def _prometheus(found: Prometheus, port: int) -> Iterator[Finding]:
    if found.error:
        yield Finding("prometheus", Mark.FAIL, found.error, "Start it, or say where it is: --prometheus-url.")  # fmt: skip
        return
    down = [each for each in found.targets if each.get("health") == "down"]
    if not found.targets:
        yield Finding("scrape", Mark.FAIL, "Prometheus scrapes nothing", "Add a job whose target is Triton's port 8002.")  # fmt: skip
    elif down:
        for each in down:
            detail = f"{each.get('scrapeUrl')} is down: {each.get('lastError')}"
            yield Finding("scrape", Mark.FAIL, detail, "Is the address right, and does Triton's metrics port listen there?")  # fmt: skip
    else:
        yield Finding("scrape", Mark.OK, f"{len(found.targets)} targets are up")
    yield from _queue(found, port)


def _queue(found: Prometheus, port: int) -> Iterator[Finding]:
    ours = [each for each in found.queues if is_ours(each.url, port)]
    if not ours:
        urls = ", ".join(each.url for each in found.queues)
        detail = (
            f"Prometheus writes only to {urls}"
            if urls
            else "Prometheus writes nowhere: it has no remote_write"
        )
        fix = f"Add under remote_write in prometheus.yml: - url: http://localhost:{port}/api/v1/write, and reload it."
        yield Finding("remote_write", Mark.FAIL, detail, fix)
    for each in ours:
        if each.behind_seconds > BEHIND_SECONDS:
            detail = f"{each.url} is {span(each.behind_seconds)} behind, {each.pending:.0f} samples wait, {each.retried:.0f} were retried"
            yield Finding("remote_write", Mark.FAIL, detail, "Prometheus' log and the receiver's say why requests fail.")  # fmt: skip
        elif each.failed:
            detail = (
                f"{each.failed:.0f} samples to {each.url} failed for good since Prometheus' start"
            )
            yield Finding("remote_write", Mark.WARN, detail, "Prometheus' log has the receiver's words for each.")  # fmt: skip
        else:
            yield Finding("remote_write", Mark.OK, f"{each.url}: {each.sent:.0f} samples sent, none failed")  # fmt: skip


def _triton(found: Triton) -> Iterator[Finding]:
    if found.error:
        yield Finding("triton", Mark.FAIL, found.error, "Start it, or say where it is: --triton.")
    elif not found.ready:
        yield Finding("triton", Mark.FAIL, "Triton is not ready: a model is missing or failed to load", "Its log says which.")  # fmt: skip
    else:
        yield Finding("triton", Mark.OK, "ready")
    if found.metrics_error:
        fix = "It is a port of its own, 8002: bind it with --metrics-address, or say where it is: --triton-metrics."
        yield Finding("triton metrics", Mark.FAIL, found.metrics_error, fix)
    elif found.names:
        series = sum(n for name, n in found.names.items() if name.startswith("nv_"))
        switched = [what for part, what in (("_summary_", "summaries"), ("_histogram_", "histograms"), ("nv_gpu_", "GPU"), ("_cache_", "response cache")) if any(part in name for name in found.names)]  # fmt: skip
        yield Finding("triton metrics", Mark.OK, f"{series} series; beside the counters: {', '.join(switched) or 'nothing'}")  # fmt: skip


def _names(
    allowlist: Allowlist | None, prometheus: Prometheus | None, triton: Triton | None
) -> Iterator[Finding]:
    """Say of each entry whether anything can fit it, and why not."""
    names = (prometheus.names | prometheus.recorded) if prometheus else set()
    names |= set(triton.names) if triton else set()
    if allowlist is None or not names:
        return
    missing = [each for each in allowlist.entries if not any(each.fits(name) for name in names)]
    for each in missing:
        absence = explain_missing(each.name, names)
        near = f"Nearest: {', '.join(absence.nearest)}." if absence.nearest else ""
        mark = Mark.FAIL if len(missing) == len(allowlist.entries) else Mark.WARN
        yield Finding("name", mark, f"{each.name}: {absence.why}", near)
    if not missing:
        yield Finding("names", Mark.OK, "each entry of metrics.json has something that fits it")
