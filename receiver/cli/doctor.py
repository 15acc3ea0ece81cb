"""`doctor`: online checks, from the destination back to the source; the root cause first.

Each failure may explain those after it: the destination, the receiver, Prometheus, Triton, and
the names of metrics.json.
"""

import argparse
import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    ask_prometheus,
    ask_range_calls,
    ask_sample_intervals,
    ask_triton,
)
from receiver.config.resources import load_routes
from receiver.config.settings import Origin, Settings, find_connection, load_allowlist
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Allowlist
from receiver.status.missing_metric import explain_missing
from receiver.status.verdicts import Severity, State
from receiver.text import span

BEHIND_SECONDS = 60.0
SYMPTOMS = {State.NOT_RECEIVING, State.FILTERED_OUT, State.INCOMPLETE, State.WAITING}
"""Verdicts caused further upstream: the findings about Prometheus and Triton precede them."""


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Run all checks, and print the findings."""
    running = _ask_status(ask_running(given, settings))
    allowlist, findings = _selection(settings, running)
    findings += _destination(settings, canary=not given.no_canary)
    findings += _routes(settings, canary=not given.no_canary)
    own, symptoms = _receiver(running)
    findings += own
    prometheus = ask_prometheus(given.prometheus_url) if given.prometheus_url else None
    triton = ask_triton(given.triton, given.triton_metrics) if given.triton else None
    wanted = [] if allowlist is None else [*(entry.name for entry in allowlist.entries), *(per for entry in allowlist.entries for per in entry.per)]  # fmt: skip
    if prometheus:
        port = port_of(given.receiver) or settings.listen.port
        addresses = Addresses(port, given.prometheus_url, given.triton_metrics)
        findings += _prometheus(prometheus, addresses, running, wanted)
    if triton:
        findings += _triton(triton)
    findings += _names(allowlist, prometheus, triton)
    return show(findings + symptoms, as_json=given.json)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of the parts."""

    receiver_port: int
    prometheus: str
    triton_metrics: str


Running = dict[str, Any] | NoAnswer
"""The running receiver's status, or why it could not be read."""


def _ask_status(ask: Ask) -> Running:
    try:
        return ask("/api/v1/status", "verdict", "metrics_json")
    except NoAnswer as error:
        return error


def port_of(url: str | None) -> int:
    """Return the port of a receiver's address; 0 for an invalid or missing address."""
    try:
        parts = urlsplit(url or "")
        return parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:
        return 0


def _selection(settings: Settings, running: Running) -> tuple[Allowlist | None, list[Finding]]:
    """Return the selection of the running receiver; if none answers, the one configured here."""
    if isinstance(running, NoAnswer):
        source = settings.metrics_json or "the packaged metrics.json"
        try:
            allowlist = load_allowlist(settings)
        except SettingsError as error:
            return None, [Finding("metrics.json", Mark.FAIL, str(error), "Correct the file; appinsights-receiver check shows where.")]  # fmt: skip
    else:
        entries, source = running_entries(settings, running)
        allowlist = Allowlist(entries)
    suspicions = [
        Finding("metrics.json", Mark.WARN, suspicion, "Correct the spelling.")
        for suspicion in allowlist.suspicions()
    ]
    return allowlist, suspicions or [Finding("metrics.json", Mark.OK, f"{len(allowlist.entries)} entries in {source}")]  # fmt: skip


def _destination(settings: Settings, *, canary: bool) -> list[Finding]:
    try:
        connection, warnings = find_connection(settings)
    except SettingsError as error:
        return [Finding("connection", Mark.FAIL, str(error), "Copy the connection string from the Azure portal again.")]  # fmt: skip
    if connection is None:
        return [Finding("connection", Mark.WARN, "no connection string is set", NO_DESTINATION)]  # fmt: skip
    findings = [Finding("connection", Mark.OK, f"delivers to {connection.track_url}")]
    findings += (Finding("connection", Mark.WARN, warning) for warning in warnings)
    dns = look_up(connection)
    findings.append(dns)
    if not canary:
        return [*findings, Finding("canary", Mark.SKIP, "not asked for")]
    if dns.mark is Mark.FAIL:
        return [*findings, Finding("canary", Mark.SKIP, "the endpoint has no address")]
    try:
        return findings + asyncio.run(send_canary(settings, connection))
    except SettingsError as error:
        return [*findings, Finding("sign-in", Mark.FAIL, str(error))]


def _routes(settings: Settings, *, canary: bool) -> list[Finding]:
    """Send an item to the resource of each route."""
    try:
        routes, _ = load_routes(settings)
    except SettingsError as error:
        return [Finding("routes.json", Mark.FAIL, problem, "Correct the file; appinsights-receiver check shows where.") for problem in error.problems]  # fmt: skip
    findings: list[Finding] = []
    for resource in routes.resources:
        environ = os.environ if resource.environ is None else resource.environ
        dns = look_up(resource.connection, environ)
        if not canary or dns.mark is Mark.FAIL:
            sent = [dns]
        else:
            its = replace(settings, authentication_string=resource.authentication_string)
            try:
                sent = [dns, *asyncio.run(send_canary(its, resource.connection, environ))]
            except SettingsError as error:
                sent = [Finding("sign-in", Mark.FAIL, str(error))]
        findings += (replace(finding, what=f"{resource.name}: {finding.what}") for finding in sent)
    return findings


def _receiver(running: Running) -> tuple[list[Finding], list[Finding]]:
    """Return the receiver's findings, and separately mere symptoms of a cause upstream."""
    if isinstance(running, NoAnswer):
        fix = "Start it, or give its address with --receiver. Does it run with the same RECEIVER_LISTEN?"
        return [Finding("receiver", Mark.FAIL, str(running), fix)], []
    verdict = running["verdict"]
    marks = {Severity.BAD: Mark.FAIL, Severity.WARN: Mark.WARN, Severity.GOOD: Mark.OK}
    findings = [
        Finding("receiver", marks[Severity(finding["severity"])], finding["line"], finding["hint"])
        for finding in verdict.get("findings")
        or [verdict]  # an older receiver has its verdict alone
    ]
    return ([], findings) if verdict["state"] in SYMPTOMS else (findings, [])


def _prometheus(
    prometheus: Prometheus, addresses: Addresses, running: Running, wanted: Sequence[str]
) -> Iterator[Finding]:
    if prometheus.error:
        yield Finding("prometheus", Mark.FAIL, prometheus.error, "Start it, or give its address with --prometheus-url.")  # fmt: skip
        return
    if prometheus.is_agent:
        yield Finding("prometheus", Mark.OK, "it runs as an agent: it evaluates no rules and answers no queries")  # fmt: skip
        irates = [name for name in wanted if name.endswith("_irate")]
        if irates:
            detail = f"an agent evaluates no rules, so it never records {', '.join(irates)}"
            yield Finding("rules", Mark.WARN, detail, "Name the counters in metrics.json, or record the rates before the agent.")  # fmt: skip
    yield from _scrape(prometheus, addresses)
    yield from _queue(prometheus, addresses.receiver_port, running)
    yield from _windows(prometheus, addresses.prometheus, wanted)


def _scrape(prometheus: Prometheus, addresses: Addresses) -> Iterator[Finding]:
    """Check that Triton is scraped; other targets that are down are only warnings."""
    if not prometheus.targets:
        yield Finding("scrape", Mark.FAIL, "Prometheus scrapes nothing", "Add a job whose target is Triton's port 8002.")  # fmt: skip
        return
    triton = [
        target for target in prometheus.targets if _is_triton(target, addresses.triton_metrics)
    ]
    for target in prometheus.targets:
        if target.get("health") == "down":
            mark = Mark.FAIL if target in triton or not triton else Mark.WARN
            detail = f"{masked(str(target.get('scrapeUrl')))} is down: {masked(str(target.get('lastError')))}"  # fmt: skip
            fix = "Is the address right, and does Triton's metrics port listen there?"
            yield Finding("scrape", mark, detail, fix if mark is Mark.FAIL else "")
    up = sum(target.get("health") == "up" for target in triton or prometheus.targets)
    whose = "Triton's targets" if triton else "targets"
    if up == len(triton or prometheus.targets):
        yield Finding("scrape", Mark.OK, f"{up} of {up} {whose} up")


def _is_triton(target: dict[str, Any], metrics_url: str) -> bool:
    url = str(target.get("scrapeUrl", ""))
    job = str(target.get("labels", {}).get("job", ""))
    return "triton" in job.lower() or ":8002/" in url or (bool(metrics_url) and url == metrics_url)


def _queue(prometheus: Prometheus, port: int, running: Running) -> Iterator[Finding]:
    urls = [queue.url for queue in prometheus.queues]
    how, ours = best(((queue.url, queue) for queue in prometheus.queues), port)
    if how <= Fit.MISSPELT:
        arrives = not isinstance(running, NoAnswer) and bool(
            running.get("flow", {}).get("requests")
        )
        for finding in explain_address(how, urls, port):
            if arrives:  # a second remote_write would double every item
                detail = f"{finding.detail}; the receiver gets requests all the same, through another address or from another Prometheus"
                yield Finding(finding.what, Mark.WARN, detail)
            else:
                yield finding
        return
    for queue in ours:
        url = masked(queue.url)
        if queue.behind_seconds > BEHIND_SECONDS:
            detail = f"{url} is {span(queue.behind_seconds)} behind, {queue.pending:.0f} samples wait, {queue.retried:.0f} were retried"
            yield Finding("remote_write", Mark.FAIL, detail, "The logs of Prometheus and of the receiver say why requests fail.")  # fmt: skip
        elif queue.failed:
            detail = (
                f"{queue.failed:.0f} samples to {url} failed permanently since Prometheus started"
            )
            yield Finding("remote_write", Mark.WARN, detail, "Prometheus' log has the receiver's answer for each.")  # fmt: skip
        else:
            detail = f"{address_is_fine(how, queue.url, port)}; {queue.sent:.0f} samples sent, none failed"  # fmt: skip
            yield Finding("remote_write", Mark.OK, detail)


def _windows(prometheus: Prometheus, url: str, wanted: Sequence[str]) -> Iterator[Finding]:
    """Check the windows of the rules that record selected names, per job, as Prometheus parses them."""
    ours = [rule for rule in prometheus.rules if rule.name in wanted]
    rules = {rule.name: ask_range_calls(url, rule.query) for rule in ours}
    every = [call for range_calls in rules.values() for call in range_calls]
    try:
        intervals = ask_sample_intervals(
            url, prometheus, {call.name for call in every if call.name}
        )
    except NoAnswer:
        return
    yield from judge_windows(rules, {call: intervals.get(call.name, ()) for call in every})


def _triton(triton: Triton) -> Iterator[Finding]:
    if triton.error:
        yield Finding(
            "triton", Mark.FAIL, triton.error, "Start it, or give its address with --triton."
        )
    elif not triton.ready:
        yield Finding("triton", Mark.FAIL, "Triton is not ready: a model is missing or failed to load", "Its log says which.")  # fmt: skip
    else:
        yield Finding("triton", Mark.OK, "ready")
    if triton.metrics_error:
        fix = "Triton serves metrics on a separate port, 8002: bind it with --metrics-address, or give its address with --triton-metrics."
        yield Finding("triton metrics", Mark.FAIL, triton.metrics_error, fix)
    elif triton.names:
        series = sum(n for name, n in triton.names.items() if name.startswith("nv_"))
        switched = [what for part, what in (("_summary_", "summaries"), ("_histogram_", "histograms"), ("nv_gpu_", "GPU"), ("_cache_", "response cache")) if any(part in name for name in triton.names)]  # fmt: skip
        yield Finding("triton metrics", Mark.OK, f"{series} series; beside the counters: {', '.join(switched) or 'nothing'}")  # fmt: skip


def _names(
    allowlist: Allowlist | None, prometheus: Prometheus | None, triton: Triton | None
) -> Iterator[Finding]:
    """Check that every entry matches a known name, and explain those that match none."""
    names = (prometheus.names | prometheus.recorded) if prometheus else set()
    names |= set(triton.names) if triton else set()
    if allowlist is None or not names:
        return
    missing = [entry for entry in allowlist.entries if not any(entry.fits(name) for name in names)]
    for entry in missing:
        absence = explain_missing(entry.name, names)
        near = f"Nearest: {', '.join(absence.nearest)}." if absence.nearest else ""
        mark = Mark.FAIL if len(missing) == len(allowlist.entries) else Mark.WARN
        yield Finding("name", mark, f"{entry.name}: {absence.why}", near)
    if not missing:
        yield Finding("names", Mark.OK, "every entry of metrics.json matches a known name")
