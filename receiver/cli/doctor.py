"""`doctor`: everything online, from where data end to where they begin; the cause on top.

Looks in the order in which one thing's failure explains another's: the destination, the
receiver itself, Prometheus, Triton, and the names of metrics.json.
"""

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from receiver.cli.canary import look_up, send_canary
from receiver.cli.fetch import NoAnswer
from receiver.cli.findings import Finding, Mark, show
from receiver.cli.preflight import NO_DESTINATION
from receiver.cli.prometheus.addresses import Fit, best, masked
from receiver.cli.prometheus.check import address_is_fine, explain_address
from receiver.cli.prometheus.windows import judge_windows
from receiver.cli.receiver_api import Ask, ask_running, running_entries
from receiver.cli.upstream import (
    Prometheus,
    Triton,
    ask_looks,
    ask_paces,
    ask_prometheus,
    ask_triton,
)
from receiver.config.settings import Origin, Settings, find_connection, load_allowlist
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Allowlist
from receiver.status.missing_metric import explain_missing
from receiver.status.verdicts import Severity, State
from receiver.text import span

BEHIND_SECONDS = 60.0
SYMPTOMS = {State.NOT_RECEIVING, State.FILTERED_OUT, State.INCOMPLETE, State.WAITING}
"""Verdicts whose cause lies further up: what Prometheus and Triton say goes before them."""


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Look at all of it."""
    running = _ask_status(ask_running(given, settings))
    allowlist, findings = _selection(settings, running)
    findings += _destination(settings, canary=not given.no_canary)
    own, symptoms = _receiver(running)
    findings += own
    prometheus = ask_prometheus(given.prometheus_url) if given.prometheus_url else None
    triton = ask_triton(given.triton, given.triton_metrics) if given.triton else None
    wanted = [] if allowlist is None else [*(each.name for each in allowlist.entries), *(per for each in allowlist.entries for per in each.per)]  # fmt: skip
    if prometheus:
        port = port_of(given.receiver) or settings.listen.port
        place = Place(port, given.prometheus_url, given.triton_metrics)
        findings += _prometheus(prometheus, place, running, wanted)
    if triton:
        findings += _triton(triton)
    findings += _names(allowlist, prometheus, triton)
    return show(findings + symptoms, as_json=given.json)


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are."""

    receiver_port: int
    prometheus: str
    triton_metrics: str


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
        entries, source = running_entries(settings, running)
        allowlist = Allowlist(entries)
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
        return [Finding("connection", Mark.WARN, "no connection string is set here", NO_DESTINATION)]  # fmt: skip
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
    findings = [
        Finding("receiver", marks[Severity(each["severity"])], each["line"], each["hint"])
        for each in said.get("findings") or [said]  # an older receiver has its verdict alone
    ]
    return ([], findings) if said["state"] in SYMPTOMS else (findings, [])


def _prometheus(
    found: Prometheus, place: Place, running: Running, wanted: Sequence[str]
) -> Iterator[Finding]:
    if found.error:
        yield Finding("prometheus", Mark.FAIL, found.error, "Start it, or say where it is: --prometheus-url.")  # fmt: skip
        return
    if found.is_agent:
        yield Finding("prometheus", Mark.OK, "it runs as an agent: it evaluates no rules, and is asked for no series")  # fmt: skip
        irates = [name for name in wanted if name.endswith("_irate")]
        if irates:
            detail = f"an agent makes no {', '.join(irates)}"
            yield Finding("rules", Mark.WARN, detail, "Name the counters themselves in metrics.json, or record them before the agent.")  # fmt: skip
    yield from _scrape(found, place)
    yield from _queue(found, place.receiver_port, running)
    yield from _windows(found, place.prometheus, wanted)


def _scrape(found: Prometheus, place: Place) -> Iterator[Finding]:
    """Say whether Triton is scraped; others' targets that are down are no failure of ours."""
    if not found.targets:
        yield Finding("scrape", Mark.FAIL, "Prometheus scrapes nothing", "Add a job whose target is Triton's port 8002.")  # fmt: skip
        return
    triton = [each for each in found.targets if _is_triton(each, place.triton_metrics)]
    for each in found.targets:
        if each.get("health") == "down":
            mark = Mark.FAIL if each in triton or not triton else Mark.WARN
            detail = f"{masked(str(each.get('scrapeUrl')))} is down: {masked(str(each.get('lastError')))}"  # fmt: skip
            fix = "Is the address right, and does Triton's metrics port listen there?"
            yield Finding("scrape", mark, detail, fix if mark is Mark.FAIL else "")
    up = sum(each.get("health") == "up" for each in triton or found.targets)
    whose = "Triton's targets" if triton else "targets"
    if up == len(triton or found.targets):
        yield Finding("scrape", Mark.OK, f"{up} of {up} {whose} up")


def _is_triton(target: dict[str, Any], metrics_url: str) -> bool:
    url = str(target.get("scrapeUrl", ""))
    job = str(target.get("labels", {}).get("job", ""))
    return "triton" in job.lower() or ":8002/" in url or (bool(metrics_url) and url == metrics_url)


def _queue(found: Prometheus, port: int, running: Running) -> Iterator[Finding]:
    urls = [each.url for each in found.queues]
    how, ours = best(((each.url, each) for each in found.queues), port)
    if how <= Fit.MISSPELT:
        arrives = not isinstance(running, NoAnswer) and bool(
            running.get("flow", {}).get("requests")
        )
        for finding in explain_address(how, urls, port):
            if arrives:  # a second remote_write would double every item
                detail = f"{finding.detail}; the receiver is written to all the same: through another address, or by another Prometheus"
                yield Finding(finding.what, Mark.WARN, detail)
            else:
                yield finding
        return
    for each in ours:
        url = masked(each.url)
        if each.behind_seconds > BEHIND_SECONDS:
            detail = f"{url} is {span(each.behind_seconds)} behind, {each.pending:.0f} samples wait, {each.retried:.0f} were retried"
            yield Finding("remote_write", Mark.FAIL, detail, "Prometheus' log and the receiver's say why requests fail.")  # fmt: skip
        elif each.failed:
            detail = f"{each.failed:.0f} samples to {url} failed for good since Prometheus' start"
            yield Finding("remote_write", Mark.WARN, detail, "Prometheus' log has the receiver's words for each.")  # fmt: skip
        else:
            detail = f"{address_is_fine(how, each.url, port)}; {each.sent:.0f} samples sent, none failed"  # fmt: skip
            yield Finding("remote_write", Mark.OK, detail)


def _windows(found: Prometheus, url: str, wanted: Sequence[str]) -> Iterator[Finding]:
    """Judge the rules that make what is wanted: by Prometheus' own reading, job by job."""
    ours = [rule for rule in found.rules if rule.name in wanted]
    rules = {rule.name: ask_looks(url, rule.query) for rule in ours}
    every = [look for looks in rules.values() for look in looks]
    try:
        paces = ask_paces(url, found, {look.name for look in every if look.name})
    except NoAnswer:
        return
    yield from judge_windows(rules, {look: paces.get(look.name, ()) for look in every})


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
