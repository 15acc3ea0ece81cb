"""Files of metrics.json that tests make queries from."""

RAW = '{"customMetrics": ["nv_*"]}'
IRATE = """{"customMetrics": ["nv_inference_*_irate",
    "nv_gpu_*", "nv_cpu_*", "nv_inference_pending_request_count"]}"""
DELTA = """{"customMetrics": [
    {"name": "nv_inference_*", "as": "delta"},
    {"name": "nv_inference_pending_request_count", "as": "aggregate", "rename": "pending"},
    {"name": "nv_energy_consumption", "as": "delta"}, {"name": "nv_cache_num_*", "as": "delta"},
    {"name": "nv_gpu_*", "as": "aggregate"}, {"name": "nv_cpu_*", "as": "aggregate"}]}"""
FOLDED = """{"customMetrics": [
    {"name": "nv_inference_pending_request_count", "as": "aggregate"},
    {"name": "nv_inference_*_duration_us", "as": "mean", "per": "nv_inference_request_success",
     "keep": ["model", "version"]},
    {"name": "nv_inference_count", "as": "mean", "per": "nv_inference_exec_count", "rename": "nv_inference_batch_size"},
    {"name": "nv_inference_request_failure", "as": "delta", "quiet": "15m"},
    {"name": "nv_inference_request_failure", "as": "mean", "drop": ["reason"], "rename": "nv_inference_failure_ratio",
     "per": ["nv_inference_request_success", "nv_inference_request_failure"]},
    {"name": "nv_cache_num_hits_per_model", "as": "mean",
     "per": ["nv_cache_num_hits_per_model", "nv_cache_num_misses_per_model"], "rename": "nv_cache_hit_ratio"},
    {"name": "nv_energy_consumption", "as": "delta"},
    {"name": "nv_gpu_*", "as": "aggregate", "keep": ["gpu_uuid"], "quiet": "15m"},
    {"name": "nv_cpu_*", "as": "aggregate"},
    {"name": "nv_inference_*_summary_us", "as": "last", "every": "5m"}]}"""
DEFAULT = """{"customMetrics": [
    "nv_inference_request_success", "nv_inference_request_duration_us", "nv_cpu_utilization"]}"""
FILES = {"raw": RAW, "irate": IRATE, "delta": DELTA, "folded": FOLDED, "default": DEFAULT}
