"""Files of metrics.json that tests make queries from."""

from demo.parts import REPOSITORY

RAW = '{"customMetrics": ["nv_*"]}'
IRATE = """{"customMetrics": ["nv_inference_*_irate",
    "nv_gpu_*", "nv_cpu_*", "nv_inference_pending_request_count"]}"""
DELTA = """{"customMetrics": [
    {"name": "nv_inference_*", "as": "delta"},
    {"name": "nv_inference_pending_request_count", "as": "aggregate", "rename": "pending"},
    {"name": "nv_energy_consumption", "as": "delta"}, {"name": "nv_cache_num_*", "as": "delta"},
    {"name": "nv_gpu_*", "as": "aggregate"}, {"name": "nv_cpu_*", "as": "aggregate"}]}"""
FOLDED = (REPOSITORY / "receiver/config/folded_metrics.json").read_text(encoding="utf-8")
DEFAULT = """{"customMetrics": [
    "nv_inference_request_success", "nv_inference_request_duration_us", "nv_cpu_utilization"]}"""
FILES = {"raw": RAW, "irate": IRATE, "delta": DELTA, "folded": FOLDED, "default": DEFAULT}
