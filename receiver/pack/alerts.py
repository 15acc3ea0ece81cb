"""What wakes somebody: rules on queries, and rules on metrics. Pure.

In: the forms in which metrics reach Azure. Out: rules; one exists only if its metrics are
selected in a form that can carry it. Thresholds are whole numbers, since a template's
parameters are: percent, milliseconds, megabytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from receiver.intake.entries import As
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
    "Usage and estimated costs; only what is sent after that has dimensions."
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A parameter of the template."""

    parameter: str
    default: int
    meaning: str


@dataclass(frozen=True, slots=True)
class LogRule:
    """A rule on a query, which runs over the last `window`; `measure` empty: each row is one case."""

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
    """A rule on a metric of the metrics store: within a minute or two, and without a query."""

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
WAITING = Threshold("pendingRequests", 50, "Requests that wait for one model at a time.")
MEMORY = Threshold("gpuMemoryPercent", 95, "Memory of a GPU in use, in percent.")
BUDGET = Threshold("dailyMegabytes", 200, "Billed megabytes of customMetrics in a day.")


def log_rules(sources: Sources) -> list[LogRule]:
    """Make the rules on queries."""
    found = [
        _on_panel("failures", failure_ratio(sources), FAILURES, 1, "requests of a model fail", " * 100", "percent"),
        _on_panel("latency", latency(sources), LATENCY, 2, "requests of a model take long", "", "milliseconds"),
        _on_panel("queue", queue_time(sources), QUEUED, 2, "requests of a model wait long before they run", "", "milliseconds"),
        _no_traffic(sources),
        _on_panel("gpu_memory", gpu_memory(sources), MEMORY, 2, "the memory of a GPU is nearly full", " * 100", "percent"),
        _cost(),
    ]  # fmt: skip
    return [rule for rule in found if rule]


def metric_rules(sources: Sources) -> list[MetricRule]:
    """Make the rules on metrics: only what Azure itself shows right, a mean or an aggregate."""
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
    found = _requests(sources)
    if not found:
        return None
    form, source = found
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
        f"| summarize series = count(), requests = sumif({column}, name == {quoted(source.item)}) by cloud_RoleInstance\n"
        "| where requests == 0\n"
        "| project cloud_RoleInstance, requests"
    ).replace("series = ", "rows = ")
    return LogRule(
        "no_traffic",
        "Triton: no request in 15 minutes while the receiver delivers",
        "An instance sends its metrics, and none of its models was asked. Where a night without requests is normal, "
        "disable this rule. An instance of which nothing arrives at all is not in the result: watch the receiver itself.",
        2,
        query,
        "",
        ("cloud_RoleInstance",),
        None,
    )


def _requests(sources: Sources) -> tuple[Form, Source] | None:
    for form in FORMS:
        if found := sources.counter([SUCCESS], form):
            return form, found[0]
    return None


def _cost() -> LogRule:
    query = "customMetrics\n| summarize megabytes = sum(_BilledSize) / 1e6"
    return LogRule(
        "cost",
        "Triton: custom metrics cost more than planned",
        "Billed size of all custom metrics of a day, by Azure's own figure. What costs most: the workbook's last table.",
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
    if source and source.entry.as_ in {As.AGGREGATE, As.SAMPLES, As.LAST}:
        yield MetricRule(
            "pending_metric",
            "Triton: requests pile up",
            f"Maximum of {source.item}: as many wait for one model. {SPLIT_OPT_IN}",
            2,
            source.item,
            "Maximum",
            WAITING,
        )
