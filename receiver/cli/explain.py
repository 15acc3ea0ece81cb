"""`explain METRIC`: the whole fate of one metric, from scrape to last delivery."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from receiver.cli.fetch import NoAnswer
from receiver.cli.findings import Finding, Mark, show
from receiver.cli.receiver_api import Ask, ask_running
from receiver.cli.upstream import ask_prometheus, ask_series, ask_triton
from receiver.config.settings import Origin, Settings, load_allowlist
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Entry
from receiver.status.missing_metric import NOT_SENT, explain_missing
from receiver.status.verdicts import Severity, State
from receiver.text import span
from receiver.triton import METRIC_NAMES, METRICS, Category, Metric, series_names

LATE_SECONDS = 180.0


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Follow it."""
    name = given.metric.strip()
    findings = [*_meaning(name)]
    names: set[str] = set()
    if given.triton_metrics:
        triton = ask_triton(given.triton, given.triton_metrics)
        names |= set(triton.names)
        findings += _at_triton(name, triton.names, triton.metrics_error)
    if given.prometheus_url:
        prometheus = ask_prometheus(given.prometheus_url)
        names |= prometheus.names
        findings += _at_prometheus(name, given.prometheus_url, names, prometheus.recorded)
    seen = _ask_receiver(name, ask_running(given, settings))
    findings += _selected(name, settings, seen)
    findings += [seen] if isinstance(seen, Finding) else _at_receiver(name, seen)
    # Where the way breaks off is the cause, not where that is noticed at last.
    breaks = next((each for each in findings if each.mark is not Mark.OK), None)
    return show(findings, as_json=given.json, cause=breaks)


def _meaning(name: str) -> Iterator[Finding]:
    for metric in METRICS:
        if name in series_names(metric):
            yield Finding("meaning", Mark.OK, _spell_meaning(metric, name))


def _spell_meaning(metric: Metric, name: str) -> str:
    unit = metric.unit.removesuffix(", cumulative")
    if not name.endswith("_irate"):
        return f"{metric.meaning} [{metric.unit}]"
    if metric.category is Category.SUMMARY and name == f"{metric.name}_irate":
        return f"The mean of the requests between the last two scrapes [{unit}]. {metric.meaning}"
    what = (
        "requests"
        if name.endswith("_count_irate") and metric.category is Category.SUMMARY
        else unit
    )
    return f"The instant rate, once a minute [{what} per second]. {metric.meaning}"


def _at_triton(name: str, names: dict[str, int], error: str) -> Iterator[Finding]:
    if name.endswith("_irate"):
        base = name.removesuffix("_irate")
        shown = base in names or f"{base}_count" in names
        what = f"{base}, from which it is computed"
    else:
        shown, what = name in names, "it"
    if error:
        yield Finding(
            "triton", Mark.WARN, error, "Say where Triton's metrics are: --triton-metrics."
        )
    elif shown:
        yield Finding("triton", Mark.OK, f"Triton shows {what}")
    elif name.startswith("nv_"):
        why = explain_missing(name, names).why
        if why.startswith(NOT_SENT):
            why = "it has none of this name; a model may have"
        yield Finding("triton", Mark.FAIL, f"Triton does not show {what}: {why}")


def _at_prometheus(name: str, url: str, names: set[str], recorded: set[str]) -> Iterator[Finding]:
    try:
        series = ask_series(url, name)
    except NoAnswer as error:
        yield Finding("prometheus", Mark.WARN, str(error), "Say where Prometheus is: --prometheus-url.")  # fmt: skip
        return
    if series:
        value = series[0]["value"][1]
        yield Finding("prometheus", Mark.OK, f"{len(series)} series, one of them {value}")
    elif name in recorded:
        yield Finding("prometheus", Mark.WARN, "a rule makes it, and has no value now", "The first comes after two scrapes and an evaluation; some have none without traffic.")  # fmt: skip
    else:
        absence = explain_missing(name, names)
        near = f"Nearest: {', '.join(absence.nearest)}." if absence.nearest else ""
        why = absence.why.removeprefix(f"{NOT_SENT}: ")
        yield Finding("prometheus", Mark.FAIL, f"Prometheus does not have it: {why}", near)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the receiver that runs says: its list of metrics that fit the name, and its status."""

    metrics: dict[str, Any]
    status: dict[str, Any]


def _ask_receiver(name: str, ask: Ask) -> _Seen | Finding:
    keys = ("selected", "unselected", "never_seen")
    try:
        metrics = ask(f"/api/v1/metrics?limit=5000&match={quote(name)}", *keys)
        return _Seen(metrics, ask("/api/v1/status", "verdict", "metrics_json"))
    except NoAnswer as error:
        fix = "Start it, or say where it is: --receiver."
        return Finding("receiver", Mark.FAIL, str(error), fix)


def _selected(name: str, settings: Settings, seen: _Seen | Finding) -> Iterator[Finding]:
    """Say which entry selects it: of the receiver that runs, or of what is set here if none does."""
    fix = f'Add "{name}" to customMetrics.'
    if isinstance(seen, _Seen):
        source = seen.status["metrics_json"]["file"]
        listed = [Entry(each) for each in seen.status["metrics_json"]["names"]]
    else:
        source = settings.metrics_json or "the packaged metrics.json"
        fix = f"{fix[:-1]}; RECEIVER_METRICS_JSON or --metrics-json names the file."
        try:
            listed = list(load_allowlist(settings).entries)
        except SettingsError as error:
            yield Finding("selection", Mark.FAIL, str(error), "Mend the file.")
            return
    if entries := [each.name for each in listed if each.fits(name)]:
        yield Finding("selection", Mark.OK, f"{source} selects it by {', '.join(entries)}")
    else:
        yield Finding("selection", Mark.FAIL, f"{source} does not name it", fix)


def _at_receiver(name: str, seen: _Seen) -> Iterator[Finding]:
    row = next((each for each in seen.metrics["selected"]["rows"] if each["name"] == name), None)
    if row:
        if row["help"] and name not in METRIC_NAMES:
            yield Finding("meaning", Mark.OK, f"{row['help']} [{row['unit'] or row['type']}]")
        yield _arrival(row)
        yield _delivery(seen.status)
    elif any(each["name"] == name for each in seen.metrics["unselected"]["rows"]):
        yield Finding("receiver", Mark.FAIL, "it arrives, and is not selected", "")
    else:
        yield _never(name, seen.metrics, seen.status["verdict"])


def _never(name: str, metrics: dict[str, Any], verdict: dict[str, Any]) -> Finding:
    """Say of what never came why that may be: as the receiver sees it, or why nothing comes."""
    known = next((each for each in metrics["never_seen"] if each["name"] == name), None)
    if known and verdict["state"] != State.NOT_RECEIVING:
        near = f"Nearest: {', '.join(known['nearest'])}." if known["nearest"] else ""
        return Finding("receiver", Mark.FAIL, f"it has never arrived: {known['why']}", near)
    if verdict["severity"] == Severity.GOOD and verdict["state"] != State.WAITING:
        return Finding("receiver", Mark.FAIL, "it has never arrived; other metrics do")
    line, hint = verdict["line"], verdict["hint"]
    return Finding("receiver", Mark.FAIL, f"it has never arrived. {line}", hint)


def _arrival(row: dict[str, Any]) -> Finding:
    ago = row["seen_seconds_ago"]
    if ago is None:
        return Finding("receiver", Mark.WARN, "it arrives, and none of its samples was a number yet", "Quantiles and ratios are not numbers while no request comes.")  # fmt: skip
    detail = f"{row['series']} series, {row['per_minute']:g} items a minute, last {row['last_value']:g} {span(ago)} ago"
    mark = Mark.WARN if ago > LATE_SECONDS else Mark.OK
    return Finding("receiver", mark, detail, "It has stopped arriving." if mark is Mark.WARN else "")  # fmt: skip


def _delivery(status: dict[str, Any]) -> Finding:
    found = status["verdict"]
    if found["state"] in {State.INCOMPLETE, State.CONFIG}:  # it is not about this metric
        return Finding("delivery", Mark.OK, f"{status['accepted']} items accepted in all, {status['pending']} waiting")  # fmt: skip
    marks = {"bad": Mark.FAIL, "warn": Mark.WARN, "good": Mark.OK}
    return Finding("delivery", marks[found["severity"]], found["line"], found["hint"])
