"""A Triton whose numbers are known, as the items that each form of metrics.json makes of it.

Two models on two instances for half an hour, each minute the same: so each query has one right
answer, which the tests state. Samples come every 15 s; windows are a minute.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

MINUTES = 30
SCRAPES = 4
"""A minute."""
INSTANCES = ("gpu-1:8002", "gpu-2:8002")
GPU_BYTES = 80e9

PER_SCRAPE = {
    "fast": {"success": 60, "failure": 0, "count": 240, "exec": 60, "request": 3000, "queue": 500, "compute_input": 100, "compute_infer": 2000, "compute_output": 50, "hits": 30, "misses": 90},
    "slow": {"success": 15, "failure": 5, "count": 15, "exec": 15, "request": 90000, "queue": 60000, "compute_input": 1000, "compute_infer": 20000, "compute_output": 500, "hits": 0, "misses": 0},
}  # fmt: skip
"""What each model's counters grow between two scrapes; times in microseconds a request."""

COUNTERS = {
    "nv_inference_request_success": "success",
    "nv_inference_count": "count",
    "nv_inference_exec_count": "exec",
    "nv_cache_num_hits_per_model": "hits",
    "nv_cache_num_misses_per_model": "misses",
}
TIMES = ("request", "queue", "compute_input", "compute_infer", "compute_output")


def start() -> datetime:
    """Give the first minute: early enough for all to lie in the past, on a five-minute bound."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    return now - timedelta(minutes=now.minute % 5 + MINUTES + 5)


def item(
    time: datetime,
    name: str,
    value: float,
    instance: str,
    labels: dict[str, str] | None = None,
    spread: tuple[int, float, float] | None = None,
) -> dict[str, Any]:
    """Make an item; `spread` is count, min and max of one that stands for many."""
    point: dict[str, Any] = {"name": name, "value": value}
    if spread:
        count, least, most = spread
        point |= {"kind": "Aggregation", "count": count, "min": least, "max": most}
    return {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "name": "Microsoft.ApplicationInsights.Metric",
        "tags": {"ai.cloud.role": "triton", "ai.cloud.roleInstance": instance},
        "data": {"baseData": {"metrics": [point], "properties": labels or {}}},
    }


def growth(model: str, *, scrape: bool) -> dict[str, float]:
    """Give what a model's counters grow in a scrape or a minute, by name."""
    times = 1 if scrape else SCRAPES
    rows = PER_SCRAPE[model]
    grown = {name: float(rows[key] * times) for name, key in COUNTERS.items()}
    for stage in TIMES:
        grown[f"nv_inference_{stage}_duration_us"] = float(rows[stage] * rows["success"] * times)
    return grown


def failures(model: str) -> dict[str, float]:
    """Give a model's failures a scrape, by reason."""
    return {"BACKEND": float(PER_SCRAPE[model]["failure"]), "REJECTED": 0.0}


def samples() -> Iterator[dict[str, Any]]:
    """Make raw items of counters: each scrape's value; and of gauges."""
    for instance in INSTANCES:
        for number in range(MINUTES * SCRAPES + 1):
            time = start() + timedelta(seconds=15 * number)
            yield item(
                time,
                "nv_cpu_utilization",
                0.25 if number % 2 else 0.75,
                instance,
                {"job": "triton"},
            )
            yield item(time, "nv_cpu_memory_used_bytes", 16e9, instance, {"job": "triton"})
            yield item(time, "nv_gpu_utilization", 0.5, instance, {"gpu_uuid": f"GPU-{instance}"})
            yield item(
                time, "nv_gpu_memory_used_bytes", 60e9, instance, {"gpu_uuid": f"GPU-{instance}"}
            )
            yield item(
                time,
                "nv_gpu_memory_total_bytes",
                GPU_BYTES,
                instance,
                {"gpu_uuid": f"GPU-{instance}"},
            )
            yield item(time, "nv_gpu_power_usage", 200.0, instance, {"gpu_uuid": f"GPU-{instance}"})
            yield item(
                time,
                "nv_energy_consumption",
                3000.0 * number,
                instance,
                {"gpu_uuid": f"GPU-{instance}"},
            )
            for model in PER_SCRAPE:
                labels = {"model": model, "version": "1"}
                for name, grown in growth(model, scrape=True).items():
                    yield item(time, name, 1000 + grown * number, instance, labels)
                for reason, grown in failures(model).items():
                    yield item(
                        time,
                        "nv_inference_request_failure",
                        grown * number,
                        instance,
                        labels | {"reason": reason},
                    )
                yield item(
                    time, "nv_inference_pending_request_count", float(number % 2), instance, labels
                )
                yield item(
                    time,
                    "nv_inference_request_summary_us",
                    7000.0,
                    instance,
                    labels | {"quantile": "0.99"},
                )
                yield item(
                    time,
                    "nv_inference_request_summary_us",
                    1.0,
                    instance,
                    labels | {"quantile": "0.5"},
                )


def rates() -> Iterator[dict[str, Any]]:
    """Make the items of `_irate` series, one a minute, and gauges."""
    yield from (
        each for each in samples() if each["data"]["baseData"]["metrics"][0]["name"] in GAUGES
    )
    for instance in INSTANCES:
        for minute in range(MINUTES):
            time = start() + timedelta(minutes=minute, seconds=20)
            for model in PER_SCRAPE:
                labels = {"model": model, "version": "1"}
                for name, grown in growth(model, scrape=True).items():
                    yield item(time, f"{name}_irate", grown / 15, instance, labels)
                for reason, grown in failures(model).items():
                    yield item(
                        time,
                        "nv_inference_request_failure_irate",
                        grown / 15,
                        instance,
                        labels | {"reason": reason},
                    )


GAUGES = {
    "nv_cpu_utilization", "nv_cpu_memory_used_bytes", "nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes",
    "nv_gpu_power_usage", "nv_inference_pending_request_count",
}  # fmt: skip


def _aggregates(*, quiet_total: bool) -> Iterator[dict[str, Any]]:
    for instance in INSTANCES:
        for minute in range(MINUTES):
            time = start() + timedelta(minutes=minute)
            gpu = {"gpu_uuid": f"GPU-{instance}"}
            yield item(time, "nv_cpu_utilization", 2.0, instance, {}, (4, 0.25, 0.75))
            yield item(time, "nv_cpu_memory_used_bytes", 64e9, instance, {}, (4, 16e9, 16e9))
            yield item(time, "nv_gpu_utilization", 2.0, instance, gpu, (4, 0.5, 0.5))
            yield item(time, "nv_gpu_power_usage", 800.0, instance, gpu, (4, 200.0, 200.0))
            yield item(time, "nv_gpu_memory_used_bytes", 240e9, instance, gpu, (4, 60e9, 60e9))
            if not quiet_total or minute % 15 == 0:
                yield item(
                    time,
                    "nv_gpu_memory_total_bytes",
                    4 * GPU_BYTES,
                    instance,
                    gpu,
                    (4, GPU_BYTES, GPU_BYTES),
                )
            yield item(time, "nv_energy_consumption", 12000.0, instance, gpu)
            for model in PER_SCRAPE:
                labels = {"model": model, "version": "1"}
                pending = "nv_inference_pending_request_count" if quiet_total else "pending"
                yield item(time, pending, 2.0, instance, labels, (4, 0.0, 1.0))


def deltas() -> Iterator[dict[str, Any]]:
    """Make the items of counters as deltas, and of gauges as aggregates."""
    yield from _aggregates(quiet_total=False)
    for instance in INSTANCES:
        for minute in range(MINUTES):
            time = start() + timedelta(minutes=minute)
            for model in PER_SCRAPE:
                labels = {"model": model, "version": "1"}
                for name, grown in growth(model, scrape=False).items():
                    yield item(time, name, grown, instance, labels)
                for reason, grown in failures(model).items():
                    yield item(
                        time,
                        "nv_inference_request_failure",
                        grown * SCRAPES,
                        instance,
                        labels | {"reason": reason},
                    )


def folded() -> Iterator[dict[str, Any]]:
    """Make the items of means and aggregates, as the folded example makes them."""
    yield from _aggregates(quiet_total=True)
    for instance in INSTANCES:
        for minute in range(MINUTES):
            time = start() + timedelta(minutes=minute)
            for model, row in PER_SCRAPE.items():
                labels = {"model": model, "version": "1"}
                events = row["success"] * SCRAPES
                for stage in TIMES:
                    yield item(
                        time,
                        f"nv_inference_{stage}_duration_us",
                        float(row[stage] * events),
                        instance,
                        labels,
                        (events, row[stage], row[stage]),
                    )
                batch = row["count"] / row["exec"]
                yield item(
                    time,
                    "nv_inference_batch_size",
                    float(row["count"] * SCRAPES),
                    instance,
                    labels,
                    (row["exec"] * SCRAPES, batch, batch),
                )
                whole = events + row["failure"] * SCRAPES
                ratio = row["failure"] * SCRAPES / whole
                yield item(
                    time,
                    "nv_inference_failure_ratio",
                    float(row["failure"] * SCRAPES),
                    instance,
                    labels,
                    (whole, ratio, ratio),
                )
                if row["failure"]:  # a delta of 0 is quiet
                    yield item(
                        time,
                        "nv_inference_request_failure",
                        float(row["failure"] * SCRAPES),
                        instance,
                        labels | {"reason": "BACKEND"},
                    )
                looked = (row["hits"] + row["misses"]) * SCRAPES
                if looked:
                    share = row["hits"] * SCRAPES / looked
                    yield item(
                        time,
                        "nv_cache_hit_ratio",
                        float(row["hits"] * SCRAPES),
                        instance,
                        labels,
                        (looked, share, share),
                    )
                if minute % 5 == 0:
                    yield item(
                        time,
                        "nv_inference_request_summary_us",
                        7000.0,
                        instance,
                        labels | {"quantile": "0.99"},
                    )
                    yield item(
                        time,
                        "nv_inference_request_summary_us",
                        1.0,
                        instance,
                        labels | {"quantile": "0.5"},
                    )


ITEMS = {"raw": samples, "irate": rates, "delta": deltas, "folded": folded, "default": samples}
