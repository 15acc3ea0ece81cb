"""Why a listed metric does not come."""

import pytest

from receiver.status.missing_metric import explain_missing, nearest

SEEN = {
    "nv_inference_request_success",
    "nv_inference_queue_duration_us",
    "up",
    "my_app_requests_total",
}

CASES = {
    "nv_inference_request_succes": "misspelt? Triton's metric is nv_inference_request_success",
    "my_app_request_total": "misspelt? my_app_requests_total arrives",
    "nv_inference_request_summary_us": "summary_latencies=true",
    "nv_inference_request_success_irate": "load prometheus/rules/triton_irate.yml",
    "nv_inference_request_summary_us_irate": "summary_latencies=true",
    "nv_gpu_utilization": "no GPU",
    "nv_energy_consumption": "no GPU",
    "nv_cache_num_hits": "--cache-config",
    "nv_cpu_utilization": "--allow-cpu-metrics=false",
    "nv_inference_first_response_histogram_ms_count": "histogram_latencies=true",
    "my_rule_irate": "no recording rule",
    "zzz": "check that it is scraped",
    "nv_gpu_*": "no arriving name matches this pattern",
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_reason(name: str) -> None:
    """Each absence has its likeliest reason."""
    assert CASES[name] in explain_missing(name, SEEN).why


def test_nothing_of_triton() -> None:
    """When nothing of Triton's comes, its flags are not to blame."""
    assert "port 8002" in explain_missing("nv_gpu_utilization", {"up"}).why
    assert explain_missing("nv_gpu_utilization", set()).why == "nothing has arrived yet"


def test_nearest_of_many() -> None:
    """The near name is found among thousands, quickly enough for a page."""
    names = [f"kube_{number:05}_total" for number in range(5_000)] + ["nv_inference_count"]
    assert nearest("nv_inference_cuont", names) == ("nv_inference_count",)
    assert nearest("zzz", names) == ()
