"""`explain METRIC`: one metric followed from scrape to delivery."""

import argparse
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.cli.entry_text import describe
from receiver.cli.fetch import NoAnswer
from receiver.cli.findings import Finding, Mark, show
from receiver.cli.receiver_api import Ask, ask_running, running_entries
from receiver.cli.top import values
from receiver.cli.upstream import Prometheus, Triton, ask_prometheus, ask_series, ask_triton
from receiver.config.resources import load_routes
from receiver.config.settings import Origin, Settings, load_allowlist
from receiver.errors import SettingsError
from receiver.intake.metrics_json import Entry
from receiver.intake.routes import OWN_ROUTE, shown
from receiver.rows import NO_LANE
from receiver.status.missing_metric import NOT_SENT, explain_missing, nearest
from receiver.status.verdicts import Severity, State
from receiver.text import span
from receiver.triton import METRIC_NAMES, METRICS, Category, Metric, series_names

LATE_SECONDS = 180.0
STAGES = ("triton", "prometheus", "selection", "receiver", "delivery")
"""The stages of a metric; the first stage that stops it is the cause."""
NAMES_SHOWN = 6


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Follow the metric, and print the findings."""
    name = given.metric.strip()
    if not name:
        raise SettingsError("METRIC is empty: name a series, as Prometheus shows it")
    seen = _ask_receiver(ask_running(given, settings))
    listed, source = _listed(settings, seen)
    triton = ask_triton(given.triton, given.triton_metrics) if given.triton_metrics else Triton()
    prometheus = ask_prometheus(given.prometheus_url) if given.prometheus_url else Prometheus()
    known = Known(triton, prometheus, _arriving(seen))
    family = members(name, known.names)
    if family:
        findings = [*_family(name, family, known, listed, source)]
        return show(findings, as_json=given.json)
    findings = [*_misspelt(name, known), *_meaning(name)]
    if given.triton_metrics:
        findings += _at_triton(name, triton)
    if given.prometheus_url:
        findings += _at_prometheus(name, given.prometheus_url, prometheus, known.names)
    findings += _selected(name, listed, source, known)
    if settings.routes:
        findings += _routed(name, settings, given.prometheus_url)
    findings += [seen] if isinstance(seen, Finding) else _at_receiver(name, seen)
    return show(findings, as_json=given.json, cause=_cause(findings))


@dataclass(frozen=True, slots=True)
class Known:
    """The known names, by the place where they were seen."""

    triton: Triton
    prometheus: Prometheus
    arriving: frozenset[str]

    @property
    def names(self) -> set[str]:
        """All names that exist anywhere."""
        return {*self.triton.names, *self.prometheus.names, *self.prometheus.recorded, *self.arriving}  # fmt: skip


def members(name: str, names: Collection[str]) -> list[str]:
    """Expand a glob or a histogram's name to its series' names; a series' own name gives none."""
    everything = {*names, *METRIC_NAMES}
    entry = Entry(name)
    if entry.is_glob:
        return sorted(series_name for series_name in everything if entry.fits(series_name)) or [
            name
        ]
    if name not in names and f"{name}_bucket" in everything:
        return [f"{name}_{part}" for part in ("bucket", "sum", "count")]
    return []


def _misspelt(name: str, known: Known) -> Iterator[Finding]:
    """Suggest the nearest name for one that is unknown everywhere."""
    if name in known.names or name in METRIC_NAMES:
        return
    if near := nearest(name, {*known.names, *METRIC_NAMES}, cutoff=0.85, limit=1):
        yield Finding("name", Mark.WARN, f"unknown name; the nearest metric is {near[0]}", f"appinsights-receiver explain {near[0]}")  # fmt: skip


def _cause(findings: Sequence[Finding]) -> Finding | None:
    """Return the first stage that stops the metric; an unreachable stage only if no other does."""
    stops = [finding for finding in findings if finding.mark is Mark.FAIL]
    unclear = [finding for finding in findings if finding.mark is Mark.WARN]
    away = [finding for finding in unclear if finding.fix.startswith(NOT_ASKED)]
    answered = sorted((finding for finding in stops + unclear if finding not in away), key=lambda finding: STAGES.index(finding.what) if finding.what in STAGES else -1)  # fmt: skip
    certain = [finding for finding in answered if finding.what not in {"receiver", "delivery"}]
    return next(iter(certain + away + answered), None)


def _family(
    name: str, family: Sequence[str], known: Known, listed: Sequence[Entry], source: str
) -> Iterator[Finding]:
    """Explain a glob or a histogram's name: its series' names, and where they exist."""
    chosen = [
        series_name for series_name in family if any(entry.fits(series_name) for entry in listed)
    ]
    lost = [
        series_name
        for series_name in family
        if series_name in known.names and series_name not in chosen
    ]
    if Entry(name).is_glob:
        yield _entry(name, listed, source, chosen if not lost else [])
    else:
        yield Finding("meaning", Mark.OK, f"a histogram: its series {', '.join(family)} are separate metrics")  # fmt: skip
    for what, names in (("triton", known.triton.names), ("prometheus", known.prometheus.names | known.prometheus.recorded), ("receiver", known.arriving)):  # fmt: skip
        there = [series_name for series_name in family if series_name in names]
        if there:
            yield Finding(what, Mark.OK, f"{len(there)} of these names: {_some(there)}")
        elif names:
            yield Finding(what, Mark.WARN, "none of these names", f"Explain one of them by its name: {family[0]}.")  # fmt: skip
    if lost:
        yield Finding("selection", Mark.FAIL, f"{source} does not select {_some(lost)}", f'Add "{name if Entry(name).is_glob else name + "_*"}" to customMetrics.')  # fmt: skip
    else:
        yield Finding("selection", Mark.OK, f"{source} selects them")


def _entry(name: str, listed: Sequence[Entry], source: str, chosen: Sequence[str]) -> Finding:
    """Report the entry equal to the glob, or the entries that select its series."""
    if own := next((entry for entry in listed if entry.name == name), None):
        return Finding("entry", Mark.OK, describe(own))
    taken_by = [
        entry.name for entry in listed if any(entry.fits(series_name) for series_name in chosen)
    ]
    if taken_by:
        return Finding("entry", Mark.OK, f"no entry has this exact name; {_some(taken_by)} of {source} takes the series that it matches")  # fmt: skip
    return Finding("entry", Mark.WARN, f"no entry of {source} has this exact name", "Add it to customMetrics, or explain a series by its name.")  # fmt: skip


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


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


NOT_ASKED = "Say where"


def _at_triton(name: str, triton: Triton) -> Iterator[Finding]:
    names, error = triton.names, triton.metrics_error
    if name.endswith("_irate"):
        base = name.removesuffix("_irate")
        shown = base in names or f"{base}_count" in names
        what = f"{base}, from which it is computed"
    else:
        shown, what = name in names, "it"
    if error:
        yield Finding("triton", Mark.WARN, error, f"{NOT_ASKED} Triton's metrics are, with --triton-metrics.")  # fmt: skip
    elif shown:
        yield Finding("triton", Mark.OK, f"Triton shows {what}")
    elif name.startswith("nv_"):
        why = explain_missing(name, names).why
        if why.startswith(NOT_SENT):
            why = "it has none of this name; a model may have"
        yield Finding("triton", Mark.FAIL, f"Triton does not show {what}: {why}")


def _at_prometheus(
    name: str, url: str, prometheus: Prometheus, names: Collection[str]
) -> Iterator[Finding]:
    if prometheus.is_agent:
        mark = Mark.FAIL if name.endswith("_irate") else Mark.OK
        detail = "it runs as an agent, which evaluates no rules" if mark is Mark.FAIL else "it runs as an agent, which answers no queries"  # fmt: skip
        fix = (
            f"Name the counter instead: {name.removesuffix('_irate')}." if mark is Mark.FAIL else ""
        )
        yield Finding("prometheus", mark, detail, fix)
        return
    try:
        series = ask_series(url, name)
    except NoAnswer as error:
        yield Finding("prometheus", Mark.WARN, str(error), f"{NOT_ASKED} Prometheus is, with --prometheus-url.")  # fmt: skip
        return
    if series:
        value = series[0]["value"][1]
        yield Finding("prometheus", Mark.OK, f"{len(series)} series, one of them {value}{_split_by_gpu(series)}")  # fmt: skip
    elif name in prometheus.recorded:
        yield Finding("prometheus", Mark.WARN, "a rule records it, but it has no value now", "The first value needs two scrapes and an evaluation; some rules have none without traffic.")  # fmt: skip
    else:
        absence = explain_missing(name, names)
        near = f"Nearest: {', '.join(absence.nearest)}." if absence.nearest else ""
        why = absence.why.removeprefix(f"{NOT_SENT}: ")
        yield Finding("prometheus", Mark.FAIL, f"Prometheus does not have it: {why}", near)


def _split_by_gpu(series: Sequence[dict[str, Any]]) -> str:
    """Point out that a model loaded after Triton's start has two sets of series, one with gpu_uuid."""
    of_models = [row.get("metric", {}) for row in series if "model" in row.get("metric", {})]
    with_gpu = sum("gpu_uuid" in labels for labels in of_models)
    if not 0 < with_gpu < len(of_models):
        return ""
    return f"; {with_gpu} of them with gpu_uuid: a model loaded after Triton's start has two sets of series, one with gpu_uuid (GPU instances) and one without; sum by model and version"


@dataclass(frozen=True, slots=True)
class _Seen:
    """The running receiver's list of metrics, and its status."""

    metrics: dict[str, Any]
    status: dict[str, Any]


def _ask_receiver(ask: Ask) -> _Seen | Finding:
    keys = ("selected", "unselected", "never_seen")
    try:
        metrics = ask("/api/v1/metrics?limit=5000", *keys)
        return _Seen(metrics, ask("/api/v1/status", "verdict", "metrics_json"))
    except NoAnswer as error:
        return Finding("receiver", Mark.FAIL, str(error), "Start it, or give its address with --receiver.")  # fmt: skip


def _arriving(seen: _Seen | Finding) -> frozenset[str]:
    """Return the names that arrive, selected or not."""
    if isinstance(seen, Finding):
        return frozenset()
    rows = [*seen.metrics["selected"]["rows"], *seen.metrics["unselected"]["rows"]]
    return frozenset(row.get("source", row["name"]) for row in rows)


def _listed(settings: Settings, seen: _Seen | Finding) -> tuple[list[Entry], str]:
    """Return the running receiver's entries; if none answers, those configured here.

    Raises: SettingsError where no receiver answers and the file configured here cannot be used.
    """
    if isinstance(seen, Finding):
        source = settings.metrics_json or "the packaged metrics.json"
        return list(load_allowlist(settings).entries), source
    return running_entries(settings, seen.status)


def _selected(name: str, listed: Sequence[Entry], source: str, known: Known) -> Iterator[Finding]:
    """Report the entry that selects the metric; advise a new entry only for a known metric."""
    if entries := [entry for entry in listed if entry.fits(name)]:
        yield Finding("selection", Mark.OK, f"{source} selects it by {'; '.join(entry.sentence() for entry in entries)}")  # fmt: skip
        return
    if counting := [entry.name for entry in listed if name in entry.per]:
        yield Finding("selection", Mark.OK, f"{source} uses it to count the events of {', '.join(counting)}; it is not sent by itself")  # fmt: skip
        return
    if name in known.names or name in METRIC_NAMES:
        fix = f'Add "{name}" to customMetrics.'
    elif near := nearest(name, {*known.names, *METRIC_NAMES}, limit=1):
        fix = f"The nearest metric is {near[0]}."
    else:
        fix = (
            "No metric of this name exists; explain expects a series' name as Prometheus shows it."
        )
    yield Finding("selection", Mark.FAIL, f"{source} does not name it", fix)


def _routed(name: str, settings: Settings, url: str) -> Iterator[Finding]:
    """Report the routes of its series, by their labels in Prometheus. Raises: SettingsError."""
    routes, _ = load_routes(settings)
    routing = routes.routing
    try:
        series = [row["metric"] for row in ask_series(url, name)] if url else []
    except NoAnswer as error:
        yield Finding("route", Mark.WARN, str(error), f"{NOT_ASKED} Prometheus is: --prometheus-url.")  # fmt: skip
        return
    taken: dict[str, list[str]] = {}
    for labels in series:
        number = routing.number_of(labels)
        route = "none, and is dropped" if number == NO_LANE else shown(routing.lanes[number].name)
        taken.setdefault(route, []).append(", ".join(f"{k}={v}" for k, v in sorted(labels.items()) if k != "__name__"))  # fmt: skip
    for route, examples in taken.items():
        yield Finding("route", Mark.OK, f"{len(examples)} of its series take {route}, like {examples[0]}")  # fmt: skip
    if not series:
        takes = "; ".join(route.sentence() for route in routing.routes)
        yield Finding("route", Mark.OK, f"by the labels of each series: {takes}; others: {'dropped' if routing.drops_unmatched else OWN_ROUTE}")  # fmt: skip


def _at_receiver(name: str, seen: _Seen) -> Iterator[Finding]:
    rows = seen.metrics["selected"]["rows"]
    row = next((row for row in rows if row.get("source", row["name"]) == name), None)
    if row:
        if row["help"] and name not in METRIC_NAMES:
            yield Finding("meaning", Mark.OK, f"{row['help']} [{row['unit'] or row['type']}]")
        yield _arrival(row)
        explosion = seen.status.get("cardinality")  # an older receiver has none
        if explosion and explosion["metric"] == name:
            yield Finding("receiver", Mark.FAIL, explosion["words"], "Drop that label in Prometheus, or raise the limit.")  # fmt: skip
        yield from _replicas(seen.status)
        yield _delivery(seen.status)
    elif any(row["name"] == name for row in seen.metrics["unselected"]["rows"]):
        yield Finding("receiver", Mark.FAIL, "it arrives, but is not selected", "")
    else:
        yield _never(name, seen.metrics, seen.status["verdict"])


def _replicas(status: dict[str, Any]) -> Iterator[Finding]:
    """Report the leader of each cluster, if replicas are deduplicated."""
    for cluster in status.get("replicas", ())[:NAMES_SHOWN]:  # an older receiver has none
        others = [replica["replica"] for replica in cluster["replicas"] if not replica["leads"]]
        of = f" of cluster {cluster['cluster']}" if cluster["cluster"] else ""
        rest = f"; those of {_some(others)} are dropped as replica" if others else ""
        detail = f"the samples{of} that count are those of {cluster['leader']}, the leader since {cluster['since']}{rest}"
        yield Finding("replicas", Mark.OK, detail)


def _never(name: str, metrics: dict[str, Any], verdict: dict[str, Any]) -> Finding:
    """Explain why the metric never arrived: the receiver's reason, or why nothing arrives at all."""
    known = next((metric for metric in metrics["never_seen"] if metric["name"] == name), None)
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
        return Finding("receiver", Mark.WARN, "it arrives, but none of its samples was a number yet", "Quantiles and ratios are not numbers while no request comes.")  # fmt: skip
    detail = f"{row['series']} series, {row['per_minute']:g} items a minute, last {values(row)} {span(ago)} ago"
    mark = Mark.WARN if ago > LATE_SECONDS else Mark.OK
    return Finding("receiver", mark, detail, "It has stopped arriving." if mark is Mark.WARN else "")  # fmt: skip


def _delivery(status: dict[str, Any]) -> Finding:
    verdict = status["verdict"]
    if verdict["state"] in {
        State.INCOMPLETE,
        State.CONFIG,
        State.OVER_BUDGET,
    }:  # these verdicts do not concern this metric
        return Finding("delivery", Mark.OK, f"{status['accepted']} items accepted in all, {status['pending']} waiting")  # fmt: skip
    marks = {"bad": Mark.FAIL, "warn": Mark.WARN, "good": Mark.OK}
    return Finding("delivery", marks[verdict["severity"]], verdict["line"], verdict["hint"])
