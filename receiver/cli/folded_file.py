"""A metrics.json that folds: for each metric of Triton's the entry that means most in Azure.

In: a category, and the series' names that are there with their counts. Out: entries. Pure.
Counters become what they grew or, where their events are counted beside them, true means;
gauges their span; summaries their last value. Per-model entries keep model and version
alone: a model that was loaded after Triton's start has a second set of series, with
gpu_uuid, and the two belong together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from receiver.intake.entries import EVERY_SECONDS, Entry
from receiver.triton import Category

MODEL = ["model", "version"]
QUIET = "15m"
FIVE_MINUTES, HOUR = 300, 3600


@dataclass(frozen=True, slots=True)
class Proposal:
    """An entry as it stands in the file, and the names that it takes; `needs` must be there too."""

    category: Category
    entry: Mapping[str, Any]
    every_seconds: int = EVERY_SECONDS
    needs: str = ""

    def series(self, seen: Mapping[str, int]) -> int:
        """Count the series that it makes items of, at most; 0 where it has nothing to do."""
        if self.needs and self.needs not in seen:
            return 0
        fits = Entry(self.entry["name"]).fits
        return sum(count for name, count in seen.items() if fits(name))


def _mean(category: Category, name: str, per: str, rename: str = "") -> Proposal:
    entry = {"name": name, "as": "mean", "per": per, "keep": MODEL}
    return Proposal(category, entry | ({"rename": rename} if rename else {}), needs=per)


def _delta(category: Category, name: str, keep: list[str], *, quiet: bool = False) -> Proposal:
    entry = {"name": name, "as": "delta", "keep": keep}
    return Proposal(category, entry | ({"quiet": QUIET} if quiet else {}))


def _gauge(category: Category, name: str, keep: list[str] | None = None) -> Proposal:
    entry: dict[str, Any] = {"name": name, "as": "aggregate"}
    return Proposal(category, entry | ({"keep": keep} if keep else {}) | {"quiet": QUIET})


_HISTOGRAM = "nv_inference_first_response_histogram_ms"

PROPOSALS = (
    _delta(Category.COUNT, "nv_inference_request_success", MODEL),
    _delta(Category.COUNT, "nv_inference_request_failure", [*MODEL, "reason"], quiet=True),
    _delta(Category.COUNT, "nv_inference_count", MODEL),
    _mean(Category.COUNT, "nv_inference_count", "nv_inference_exec_count", "nv_inference_batch_size"),
    _gauge(Category.COUNT, "nv_inference_pending_request_count", MODEL),
    _mean(Category.LATENCY, "nv_inference_*_duration_us", "nv_inference_request_success"),
    Proposal(Category.SUMMARY, {"name": "nv_inference_*_summary_us", "as": "last", "every": "5m"}, FIVE_MINUTES),
    _gauge(Category.GPU, "nv_gpu_*", ["gpu_uuid"]),
    _delta(Category.GPU, "nv_energy_consumption", ["gpu_uuid"]),
    _gauge(Category.CPU, "nv_cpu_*"),
    _gauge(Category.OTHER, "nv_pinned_memory_pool_*"),
    _mean(Category.OTHER, f"{_HISTOGRAM}_sum", f"{_HISTOGRAM}_count", "nv_inference_first_response_ms"),
    Proposal(Category.OTHER, {"name": "nv_model_load_duration_secs", "as": "last", "every": "1h"}, HOUR),
    _delta(Category.OTHER, "nv_cache_num_*_per_model", MODEL, quiet=True),
    _mean(Category.OTHER, "nv_cache_hit_duration_per_model", "nv_cache_num_hits_per_model"),
    _mean(Category.OTHER, "nv_cache_miss_duration_per_model", "nv_cache_num_misses_per_model"),
    Proposal(Category.OTHER, {"name": "nv_cache_*_summary_per_model", "as": "last", "every": "5m"}, FIVE_MINUTES),
    _gauge(Category.OTHER, "nv_cache_util"),
    _gauge(Category.OTHER, "nv_cache_num_entries"),
)  # fmt: skip
"""The entries, in the order in which they stand in a file."""


def propose(category: Category, seen: Mapping[str, int]) -> list[tuple[Proposal, int]]:
    """Choose a category's entries that have something to do, each with its number of series."""
    counted = [(each, each.series(seen)) for each in PROPOSALS if each.category is category]
    return [(proposal, count) for proposal, count in counted if count]
