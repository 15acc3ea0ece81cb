"""The list of Triton's metrics is whole and free of contradictions."""

import pytest

from receiver.triton import METRIC_NAMES, METRICS, Category, Metric, series_names

STAGES = ("request", "queue", "compute_input", "compute_infer", "compute_output")
COUNTS = ("nv_inference_request_success", "nv_inference_request_failure", "nv_inference_count", "nv_inference_exec_count")  # fmt: skip
LATENCIES = tuple(f"nv_inference_{stage}_duration_us" for stage in STAGES)
SUMMARIES = tuple(f"nv_inference_{stage}_summary_us" for stage in STAGES)
GPU = ("nv_gpu_power_usage", "nv_gpu_power_limit", "nv_energy_consumption", "nv_gpu_utilization", "nv_gpu_memory_total_bytes", "nv_gpu_memory_used_bytes")  # fmt: skip
CPU = ("nv_cpu_utilization", "nv_cpu_memory_total_bytes", "nv_cpu_memory_used_bytes")


def test_each_metric_that_must_arrive_is_listed_in_its_category() -> None:
    """Counts, latencies, summaries, GPU and CPU, as users look for them."""
    by_category = {
        category: {each.name for each in METRICS if each.category is category}
        for category in Category
    }

    assert by_category[Category.COUNT] >= set(COUNTS)
    assert by_category[Category.LATENCY] == set(LATENCIES)
    assert by_category[Category.SUMMARY] == set(SUMMARIES)
    assert by_category[Category.GPU] == set(GPU)
    assert by_category[Category.CPU] == set(CPU)


def test_the_fourteen_rated_metrics_have_their_irate() -> None:
    """And no others: these are the recording rules."""
    rated = {each.name for each in METRICS if each.rated}

    assert rated == {*COUNTS, *LATENCIES, *SUMMARIES}
    assert {f"{name}_irate" for name in rated} <= set(METRIC_NAMES)
    assert "nv_cpu_utilization_irate" not in METRIC_NAMES


def test_a_summary_has_its_sum_and_count_and_their_rates() -> None:
    """Quantiles under the name itself."""
    [summary] = (each for each in METRICS if each.name == "nv_inference_queue_summary_us")
    name = summary.name

    assert series_names(summary) == (
        name,
        f"{name}_sum",
        f"{name}_count",
        f"{name}_irate",
        f"{name}_sum_irate",
        f"{name}_count_irate",
    )


def test_a_histogram_has_no_series_of_its_own_name() -> None:
    """Prometheus shows buckets, sum and count."""
    [histogram] = (each for each in METRICS if "_histogram_" in each.name)

    assert series_names(histogram) == tuple(
        f"{histogram.name}_{part}" for part in ("bucket", "sum", "count")
    )


def test_no_name_is_listed_twice() -> None:
    """Neither among the metrics nor among their series."""
    assert len(set(METRIC_NAMES)) == len(METRIC_NAMES)
    assert len({each.name for each in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_metric_says_unit_and_meaning(metric: Metric) -> None:
    """README's table has no holes."""
    assert metric.unit
    assert metric.meaning.endswith(".")
