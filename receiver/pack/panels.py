"""The charts of a Triton, each with its query. Pure.

In: the forms in which metrics reach Azure. Out: panels; a panel exists only if its metrics
are selected in a usable form. The measures are those of Triton's own and of public
dashboards; each query returns one row per bin and label.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from receiver.pack.kql import Column, Scope, counters, dimension, gauge, per_second, relation, table
from receiver.pack.sources import Form, Source, Sources

SUCCESS, FAILURE = "nv_inference_request_success", "nv_inference_request_failure"
DURATION = "nv_inference_request_duration_us"
QUEUE = "nv_inference_queue_duration_us"
COMPUTE = "nv_inference_compute_{}_duration_us"
STAGES = {
    "queue": QUEUE,
    "compute_input": COMPUTE.format("input"),
    "compute_infer": COMPUTE.format("infer"),
    "compute_output": COMPUTE.format("output"),
}
INFERENCES, EXECUTIONS = "nv_inference_count", "nv_inference_exec_count"
PENDING = "nv_inference_pending_request_count"
HITS, MISSES = "nv_cache_num_hits_per_model", "nv_cache_num_misses_per_model"
GPU_MEMORY_USED, GPU_MEMORY_TOTAL = "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"
FORMS = (Form.TOTAL, Form.RAW, Form.RATE)
"""In order of preference: the exact form first; an `_irate` needs recording rules."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart. `query` returns its query for a scope with a bin; `labels` split it.

    `columns` are the numbers of a row; `form` is the counters' form, None for gauges.
    `note` is a remark on the measure.
    """

    key: str
    title: str
    columns: tuple[str, ...]
    query: Callable[[Scope], str]
    labels: tuple[str, ...] = ()
    form: Form | None = None
    note: str = ""
    drawn: str = "timechart"


def panels(sources: Sources) -> list[Panel]:
    """Return all panels that these metrics allow, the most important first."""
    made = [
        _requests(sources),
        _failures(sources),
        failure_ratio(sources),
        latency(sources),
        _breakdown(sources),
        queue_time(sources),
        _quantiles(sources),
        _batch_size(sources),
        _queue_to_compute(sources),
        pending(sources),
        _cache(sources),
        *_gpu(sources),
        *_cpu(sources),
        _delivery(),
        _cost(),
    ]
    return [panel for panel in made if panel]


def _labels(chosen: Sequence[Source], *wanted: str) -> tuple[str, ...]:
    return tuple(label for label in wanted if all(source.has(label) for source in chosen))


def _counter(
    sources: Sources, *names: str, labels: Sequence[str] = ("model",)
) -> tuple[Form, list[Source]] | None:
    """Return counters in the best available form, with these labels if possible."""
    for form in FORMS:
        if chosen := sources.counter(names, form, labels) or sources.counter(names, form):
            return form, chosen
    return None


def _pair(
    sources: Sources, above: Sequence[str], below: Sequence[str]
) -> tuple[Form, list[Source], list[Source]] | None:
    """Return two sums of counters in one form: from an item that is their ratio, else separately."""
    if len(above) == 1 and (mean := sources.mean(above[0], below)):
        return (
            Form.TOTAL,
            [Source(Form.TOTAL, mean.item, "valueSum", mean.entry)],
            [Source(Form.TOTAL, mean.item, "valueCount", mean.entry)],
        )
    for form in FORMS:
        for labels in (("model",), ()):
            up, down = sources.counter(above, form, labels), sources.counter(below, form, labels)
            if up and down:
                return form, up, down
    return None


def _relation(
    sources: Sources,
    key: str,
    title: str,
    above: Sequence[str],
    below: Sequence[str],
    result: str,
    scale: str = "",
    note: str = "",
) -> Panel | None:
    """Return the panel of one sum of counters over another; None where they share no form."""
    pair = _pair(sources, above, below)
    if not pair:
        return None
    form, up, down = pair
    labels = _labels([*up, *down], "model")

    def query(scope: Scope) -> str:
        return relation(
            scope, form, Column("above", up), Column("below", down), result, labels, scale
        )

    return Panel(key, title, (result,), query, labels, form, note)


def _requests(sources: Sources) -> Panel | None:
    counter = _counter(sources, SUCCESS)
    if not counter:
        return None
    form, up = counter
    labels = _labels(up, "model")
    return Panel(
        "requests",
        "Requests a second",
        ("requests",),
        lambda scope: per_second(scope, form, [Column("requests", up)], labels),
        labels,
        form,
        "Requests that Triton answered; a batch counts once.",
    )


def _failures(sources: Sources) -> Panel | None:
    counter = _counter(sources, FAILURE, labels=("model", "reason"))
    if not counter:
        return None
    form, up = counter
    labels = _labels(up, "model", "reason")
    return Panel(
        "failures",
        "Failed requests a second, by reason",
        ("failures",),
        lambda scope: per_second(scope, form, [Column("failures", up)], labels),
        labels,
        form,
        "A failure inside an ensemble counts for the member and for the ensemble.",
    )


def failure_ratio(sources: Sources) -> Panel | None:
    """Return the panel of the share of failed requests."""
    note = "0 to 1. Triton does not count a Python model's error response as a failure."
    title = "Share of requests that failed"
    return _relation(
        sources, "failure_ratio", title, [FAILURE], [SUCCESS, FAILURE], "ratio", note=note
    )


def latency(sources: Sources) -> Panel | None:
    """Return the panel of the requests' mean latency, end to end."""
    title = "Mean latency of a request"
    return _relation(sources, "latency", title, [DURATION], [SUCCESS], "milliseconds", " / 1000")


def queue_time(sources: Sources) -> Panel | None:
    """Return the panel of the mean time in the queue."""
    title = "Mean time in the queue"
    return _relation(sources, "queue_time", title, [QUEUE], [SUCCESS], "milliseconds", " / 1000")


def _breakdown(sources: Sources) -> Panel | None:
    pairs = {stage: _pair(sources, [name], [SUCCESS]) for stage, name in STAGES.items()}
    stages = {stage: pair for stage, pair in pairs.items() if pair}
    forms = {form for form, _, _ in stages.values()}
    if len(stages) < 2 or len(forms) != 1:
        return None
    form = forms.pop()

    def query(scope: Scope) -> str:
        columns = [
            column
            for stage, (_, up, down) in stages.items()
            for column in (Column(f"{stage}_us", up), Column(f"{stage}_requests", down))
        ]
        means = ", ".join(f"{stage} = {stage}_us / {stage}_requests / 1000" for stage in stages)
        some = " and ".join(f"{stage}_requests > 0" for stage in stages)
        kept = "timestamp, " if scope.bin else ""
        return f"{counters(scope, form, columns)}\n| where {some}\n| project {kept}{means}"

    return Panel(
        "breakdown",
        "Where a request's time goes, in milliseconds, all models",
        tuple(stages),
        query,
        (),
        form,
        drawn="areachart",
    )


def _quantiles(sources: Sources) -> Panel | None:
    source = sources.gauge("nv_inference_request_summary_us")
    if not source or not source.has("quantile"):
        return None
    labels = _labels([source], "model")

    def query(scope: Scope) -> str:
        narrow = Scope((*scope.where, 'tostring(customDimensions.quantile) == "0.99"'), scope.bin)
        return gauge(narrow, source, {"milliseconds": "max(most) / 1000"}, labels)

    return Panel(
        "p99",
        "99th percentile of latency, the worst instance",
        ("milliseconds",),
        query,
        labels,
        None,
        "Quantiles cannot be averaged over instances.",
    )


def _batch_size(sources: Sources) -> Panel | None:
    note = "Inferences per execution. At 1 dynamic batching has no effect."
    return _relation(
        sources,
        "batch_size",
        "Mean batch size",
        [INFERENCES],
        [EXECUTIONS],
        "inferences",
        note=note,
    )


def _queue_to_compute(sources: Sources) -> Panel | None:
    note = "Above 1 requests wait longer than they compute: add instances, or allow larger batches."
    title = "Time in the queue against time in the model"
    below = [STAGES["compute_infer"]]
    return _relation(sources, "queue_to_compute", title, [QUEUE], below, "ratio", note=note)


def pending(sources: Sources) -> Panel | None:
    """Return the panel of the pending requests."""
    source = sources.gauge(PENDING)
    if not source:
        return None
    labels = _labels([source], "model")
    columns = {"waiting": "sum(mean)", "peak": "max(most)"}
    return Panel(
        "pending",
        "Pending requests",
        tuple(columns),
        lambda scope: gauge(scope, source, columns, labels),
        labels,
    )


def _cache(sources: Sources) -> Panel | None:
    title = "Share of requests answered from the cache"
    return _relation(sources, "cache", title, [HITS], [HITS, MISSES], "ratio")


def _gpu(sources: Sources) -> Iterator[Panel]:
    if source := sources.gauge("nv_gpu_utilization"):
        yield _simple(source, "gpu_utilization", "GPU utilisation", {"utilization": "avg(mean)"})
    if memory := gpu_memory(sources):
        yield memory
    if source := sources.gauge("nv_gpu_power_usage"):
        yield _simple(source, "gpu_power", "GPU power, watts", {"watts": "sum(mean)"})
    if counter := _counter(sources, "nv_energy_consumption", labels=("gpu_uuid",)):
        form, up = counter
        labels = _labels(up, "gpu_uuid")
        yield Panel(
            "gpu_energy",
            "GPU energy, joules a second",
            ("watts",),
            lambda scope: per_second(scope, form, [Column("watts", up)], labels),
            labels,
            form,
            "From the energy counter: it covers the time between scrapes, where power is only a momentary value.",
        )


def _simple(source: Source, key: str, title: str, columns: dict[str, str]) -> Panel:
    labels = _labels([source], "gpu_uuid")
    return Panel(
        key, title, tuple(columns), lambda scope: gauge(scope, source, columns, labels), labels
    )


def gpu_memory(sources: Sources) -> Panel | None:
    """Return the panel of the share of a GPU's memory in use."""
    used, total = sources.gauge(GPU_MEMORY_USED), sources.gauge(GPU_MEMORY_TOTAL)
    if not used or not total or not _labels([used, total], "gpu_uuid"):
        return None
    labels = ("cloud_RoleInstance", "gpu_uuid")

    def query(scope: Scope) -> str:
        # The total hardly ever changes, so it may be sent rarely ("quiet"): the maximum is used.
        by = ", ".join(("cloud_RoleInstance", dimension("gpu_uuid")))
        bins = f"timestamp = bin(timestamp, {scope.bin}), " if scope.bin else ""
        kept = "timestamp, " if scope.bin else ""
        return (
            f"let totals = {table(scope, [total.item])}\n"
            f"| summarize total = max(valueMax) by {by};\n"
            f"{table(scope, [used.item])}\n"
            f"| summarize used = sum(valueSum) / sum(valueCount) by {bins}{by}\n"
            "| join kind=inner totals on cloud_RoleInstance, gpu_uuid\n"
            "| where total > 0\n"
            f"| project {kept}{', '.join(labels)}, share = used / total"
        )

    return Panel("gpu_memory", "Share of GPU memory in use", ("share",), query, labels)


def _cpu(sources: Sources) -> Iterator[Panel]:
    for name, key, title, columns in (
        ("nv_cpu_utilization", "cpu_utilization", "CPU utilisation of the host", {"utilization": "avg(mean)", "peak": "max(most)"}),
        ("nv_cpu_memory_used_bytes", "cpu_memory", "Memory of the host in use, GB", {"gigabytes": "sum(mean) / 1e9"}),
    ):  # fmt: skip
        if source := sources.gauge(name):
            yield _host(source, key, title, columns)


def _host(source: Source, key: str, title: str, columns: dict[str, str]) -> Panel:
    def query(scope: Scope) -> str:
        bins = f"timestamp = bin(timestamp, {scope.bin}), " if scope.bin else ""
        kept = "timestamp, " if scope.bin else ""
        wanted = ", ".join(f"{name} = {how}" for name, how in columns.items())
        return (
            f"{table(scope, [source.item])}\n"
            f"| summarize mean = sum(valueSum) / sum(valueCount), most = max(valueMax) by {bins}cloud_RoleInstance\n"
            f"| summarize {wanted} by {kept}cloud_RoleInstance"
        )

    return Panel(key, title, tuple(columns), query, ("cloud_RoleInstance",))


def _delivery() -> Panel:
    def query(scope: Scope) -> str:
        where = f"\n| where {' and '.join(scope.where)}" if scope.where else ""
        bins = f"timestamp = bin(timestamp, {scope.bin}), " if scope.bin else ""
        return f"customMetrics{where}\n| summarize items = count(), metrics = dcount(name) by {bins}cloud_RoleInstance"

    return Panel(
        "delivery",
        "Items delivered, by instance",
        ("items", "metrics"),
        query,
        ("cloud_RoleInstance",),
        None,
        "Where an instance's line ends, its items stopped arriving.",
    )


def _cost() -> Panel:
    def query(scope: Scope) -> str:
        where = f"\n| where {' and '.join(scope.where)}" if scope.where else ""
        return (
            f"customMetrics{where}\n"
            "| summarize items = count(), megabytes = sum(_BilledSize) / 1e6 by name\n"
            "| order by megabytes desc"
        )

    return Panel(
        "cost",
        "Billed size by metric",
        ("items", "megabytes"),
        query,
        ("name",),
        None,
        "`_BilledSize` is Azure's own column.",
        "table",
    )
