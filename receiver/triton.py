"""The metrics of NVIDIA Triton, and the `_irate` series of the recording rules.

Only names, units and meanings, for the documentation and for suggestions of names.
Source: Triton's metrics documentation and core, releases 2.51 to 2.73.
"""

from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    """The groups of metrics."""

    COUNT = "Count"
    LATENCY = "Latency"
    SUMMARY = "Summary latency"
    GPU = "GPU"
    CPU = "CPU"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `rated`: prometheus/rules records its NAME_irate."""

    name: str
    category: Category
    unit: str
    meaning: str
    rated: bool = False


_STAGES = {
    "request": "whole request, end to end",
    "queue": "waiting in the scheduler's queue",
    "compute_input": "preparing the inputs",
    "compute_infer": "running the model",
    "compute_output": "reading the outputs",
}

METRICS = (
    Metric("nv_inference_request_success", Category.COUNT, "requests", "Requests answered; a batch counts once; cache hits and a Python model's error responses count too.", True),
    Metric("nv_inference_request_failure", Category.COUNT, "requests", "Requests failed, by reason: REJECTED, CANCELED, BACKEND, OTHER.", True),
    Metric("nv_inference_count", Category.COUNT, "inferences", "Inferences done (a batch of n counts n), without cached ones.", True),
    Metric("nv_inference_exec_count", Category.COUNT, "executions", "Executions of the model; nv_inference_count over this is the mean batch size.", True),
    Metric("nv_inference_pending_request_count", Category.COUNT, "requests", "Requests waiting in the queue now."),
    *(
        Metric(f"nv_inference_{stage}_duration_us", Category.LATENCY, "us, cumulative", f"Time spent: {what}.", True)
        for stage, what in _STAGES.items()
    ),
    *(
        Metric(f"nv_inference_{stage}_summary_us", Category.SUMMARY, "us", f"Quantiles over the last 60 s: {what}; has _sum and _count.", True)
        for stage, what in _STAGES.items()
    ),
    Metric("nv_gpu_power_usage", Category.GPU, "W", "Current power draw."),
    Metric("nv_gpu_power_limit", Category.GPU, "W", "Power limit of the GPU."),
    Metric("nv_energy_consumption", Category.GPU, "J", "Energy used since Triton started."),
    Metric("nv_gpu_utilization", Category.GPU, "0 to 1", "Share of time in which the GPU was busy."),
    Metric("nv_gpu_memory_total_bytes", Category.GPU, "bytes", "Total memory of the GPU."),
    Metric("nv_gpu_memory_used_bytes", Category.GPU, "bytes", "Used memory of the GPU."),
    Metric("nv_cpu_utilization", Category.CPU, "0 to 1", "Share of all the host's CPU cores in use."),
    Metric("nv_cpu_memory_total_bytes", Category.CPU, "bytes", "Total memory of the host."),
    Metric("nv_cpu_memory_used_bytes", Category.CPU, "bytes", "Used memory of the host."),
    Metric("nv_pinned_memory_pool_total_bytes", Category.OTHER, "bytes", "Size of the pool of pinned memory."),
    Metric("nv_pinned_memory_pool_used_bytes", Category.OTHER, "bytes", "Pinned memory in use."),
    Metric("nv_inference_first_response_histogram_ms", Category.OTHER, "ms", "Histogram: request to first response (Triton 2.52 and newer, histogram_latencies=true)."),
    Metric("nv_model_load_duration_secs", Category.OTHER, "s", "How long the model took to load (Triton 2.52 and newer)."),
    Metric("nv_cache_num_hits_per_model", Category.OTHER, "requests", "Requests answered from the response cache."),
    Metric("nv_cache_num_misses_per_model", Category.OTHER, "requests", "Look-ups in the response cache without a result."),
    Metric("nv_cache_hit_duration_per_model", Category.OTHER, "us, cumulative", "Time spent on cache hits."),
    Metric("nv_cache_miss_duration_per_model", Category.OTHER, "us, cumulative", "Time spent on cache misses, including insertion."),
    Metric("nv_cache_hit_summary_per_model", Category.OTHER, "us", "Quantiles of cache hits over the last 60 s; has _sum and _count."),
    Metric("nv_cache_miss_summary_per_model", Category.OTHER, "us", "Quantiles of cache misses over the last 60 s; has _sum and _count."),
    Metric("nv_cache_util", Category.OTHER, "0 to 1", "Share of the response cache in use."),
    Metric("nv_cache_num_entries", Category.OTHER, "entries", "Answers in the response cache."),
    Metric("nv_cache_num_lookups", Category.OTHER, "look-ups", "Look-ups in the response cache, all models."),
    Metric("nv_cache_num_hits", Category.OTHER, "look-ups", "Look-ups with a result, all models."),
    Metric("nv_cache_num_misses", Category.OTHER, "look-ups", "Look-ups without a result, all models."),
    Metric("nv_cache_num_evictions", Category.OTHER, "entries", "Answers evicted from the response cache."),
    Metric("nv_cache_lookup_duration", Category.OTHER, "us, cumulative", "Time spent looking up."),
    Metric("nv_cache_insertion_duration", Category.OTHER, "us, cumulative", "Time spent inserting."),
)  # fmt: skip


def series_names(metric: Metric) -> tuple[str, ...]:
    """Return the names of a metric's series in Prometheus, including recorded ones."""
    names = [metric.name]
    if "_summary_" in metric.name:
        names += [f"{metric.name}_sum", f"{metric.name}_count"]
    if "_histogram_" in metric.name:
        names = [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
    return tuple(names) + (tuple(f"{name}_irate" for name in names) if metric.rated else ())


METRIC_NAMES = tuple(name for metric in METRICS for name in series_names(metric))
"""All series' names that Triton and the recording rules can produce."""
