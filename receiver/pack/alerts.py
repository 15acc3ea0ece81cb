"""Alert rules: on queries, and on metrics. Pure.

In: the forms in which metrics reach Azure. Out: rules; a rule exists only if its metrics are
selected in a usable form. Thresholds are whole numbers, like a template's parameters:
percent, milliseconds, megabytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from receiver.pack.kql import Scope, quoted
from receiver.pack.panels import (
    DURATION,
    FORMS,
    PENDING,
    QUEUE,
    SUCCESS,
    Panel,
    failure_ratio,
    gpu_memory,
    latency,
    queue_time,
)
from receiver.pack.sources import Form, Source, Sources

SPLIT_OPT_IN = (
    "To split it by model, first switch on 'Enable alerting on custom metric dimensions' under the resource's "
    "Usage and estimated costs; only items sent after that have dimensions."
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A parameter of the template."""

    parameter: str
    default: int
    meaning: str


@dataclass(frozen=True, slots=True)
class LogRule:
    """A rule on a query over the last `window`; with an empty `measure` every row is an alert."""

    key: str
    title: str
    description: str
    severity: int
    query: str
    measure: str
    labels: tuple[str, ...]
    threshold: Threshold | None
    window: str = "PT15M"
    frequency: str = "PT5M"


@dataclass(frozen=True, slots=True)
class MetricRule:
    """A rule on a metric of the metrics store: evaluated within a minute or two, without a query."""

    key: str
    title: str
    description: str
    severity: int
    metric: str
    aggregation: str
    threshold: Threshold


FAILURES = Threshold("failurePercent", 5, "Failed requests of a model, in percent.")
LATENCY = Threshold("latencyMilliseconds", 1000, "Mean latency of a model's requests.")
QUEUED = Threshold("queueMilliseconds", 100, "Mean time of a model's requests in the queue.")
WAITING = Threshold("pendingRequests", 50, "Requests waiting for one model at a time.")
MEMORY = Threshold("gpuMemoryPercent", 95, "Used memory of a GPU, in percent.")
BUDGET = Threshold("dailyMegabytes", 200, "Billed megabytes of customMetrics in a day.")


def log_rules(sources: Sources) -> list[LogRule]:
    """Return the rules on queries."""
    rules = [
        _on_panel("failures", failure_ratio(sources), FAILURES, 1, "requests of a model fail", " * 100", "percent"),
        _on_panel("latency", latency(sources), LATENCY, 2, "requests of a model are slow", "", "milliseconds"),
        _on_panel("queue", queue_time(sources), QUEUED, 2, "requests of a model wait long in the queue", "", "milliseconds"),
        _no_traffic(sources),
        _on_panel("gpu_memory", gpu_memory(sources), MEMORY, 2, "the memory of a GPU is nearly full", " * 100", "percent"),
        _cost(),
    ]  # fmt: skip
    return [rule for rule in rules if rule]


def metric_rules(sources: Sources) -> list[MetricRule]:
    """Return the rules on metrics: only for means and aggregates, which Azure's metrics show correctly."""
    return list(_metric_rules(sources))


def _on_panel(
    key: str,
    panel: Panel | None,
    threshold: Threshold,
    severity: int,
    what: str,
    scale: str,
    measure: str,
) -> LogRule | None:
    if panel is None:
        return None
    (column,) = panel.columns
    query = f"{panel.query(Scope())}\n| project {', '.join((*panel.labels, f'{measure} = {column}{scale}'))}"
    description = f"Over the last 15 minutes {what}. {panel.note}".strip()
    return LogRule(key, f"Triton: {what}", description, severity, query, measure, panel.labels, threshold)  # fmt: skip


def _no_traffic(sources: Sources) -> LogRule | None:
    requests = _requests(sources)
    if not requests:
        return None
    form, source = requests
    before, column = "customMetrics", "value"
    if form is Form.TOTAL:
        column = source.column
    elif form is Form.RAW:
        before = (
            "customMetrics\n| summarize grown = max(value) - min(value) by name, cloud_RoleName, "
            "cloud_RoleInstance, line = tostring(customDimensions)"
        )
        column = "grown"
    query = (
        f"{before}\n"
        f"| summarize rows = count(), requests = sumif({column}, name == {quoted(source.item)}) by cloud_RoleInstance\n"
        "| where requests == 0\n"
        "| project cloud_RoleInstance, requests"
    )
    return LogRule(
        "no_traffic",
        "Triton: no request in 15 minutes, although the receiver delivers",
        "An instance sends metrics, but none of its models got a request. Disable this rule where hours without requests "
        "are normal. An instance that sends nothing is not in the result: monitor the receiver itself.",
        2,
        query,
        "",
        ("cloud_RoleInstance",),
        None,
    )


def _requests(sources: Sources) -> tuple[Form, Source] | None:
    for form in FORMS:
        if sources_in_form := sources.counter([SUCCESS], form):
            return form, sources_in_form[0]
    return None


def _cost() -> LogRule:
    query = "customMetrics\n| summarize megabytes = sum(_BilledSize) / 1e6"
    return LogRule(
        "cost",
        "Triton: custom metrics exceed their budget",
        "Billed size of all custom metrics in a day, from Azure's own column. The workbook's last table lists it by metric.",
        3,
        query,
        "megabytes",
        (),
        BUDGET,
        "P1D",
        "PT1H",
    )


def _metric_rules(sources: Sources) -> Iterator[MetricRule]:
    for key, name, threshold, what in (
        ("latency_metric", DURATION, LATENCY, "mean latency over all models"),
        ("queue_metric", QUEUE, QUEUED, "mean time in the queue over all models"),
    ):
        if mean := sources.mean(name, [SUCCESS]):
            yield MetricRule(
                key,
                f"Triton: {what}",
                f"Average of {mean.item}, which is in microseconds: the {what}. {SPLIT_OPT_IN}",
                2,
                mean.item,
                "Average",
                threshold,
            )
    source = sources.gauge(PENDING)
    if source:
        yield MetricRule(
            "pending_metric",
            "Triton: many pending requests",
            f"Maximum of {source.item}: the requests waiting for one model. {SPLIT_OPT_IN}",
            2,
            source.item,
            "Maximum",
            WAITING,
        )
