"""The entries that fold Triton's metrics, in the most useful form for Azure. Pure.

One list. `suggest` chooses from the whole list; receiver/config/folded_metrics.json is its
usual part, written by `make docs`; `receiver.pack.forms` folds a given metrics.json by it.

Counters become deltas or, if another counter counts their events, true means; gauges become
aggregates, summaries their last value. Per-model entries keep only model and version: a model
that was loaded after Triton's start has a second set of series, with gpu_uuid, and the two
belong together.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.intake.entries import Entry
from receiver.triton import Category

MODEL = ["model", "version"]
QUIET = "15m"


@dataclass(frozen=True, slots=True)
class Proposal:
    """An entry, as in the file.

    `needs` are counters that must exist too. `unless` is a counter that makes the entry
    superfluous if it is folded as well: a mean over the same events counts them. `usual` entries
    are in the packaged file.
    """

    category: Category
    entry: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    unless: str = ""
    usual: bool = False

    def fits(self, name: str) -> bool:
        """Whether the entry folds the series named `name`."""
        return Entry(self.entry["name"]).fits(name)

    def applies(self, names: Collection[str]) -> bool:
        """Whether the entry folds any of these names."""
        return all(need in names for need in self.needs) and any(map(self.fits, names))


def _mean(
    category: Category,
    name: str,
    *per: str,
    keep: Sequence[str] | None = MODEL,
    rename: str = "",
    usual: bool = False,
) -> Proposal:
    entry: dict[str, Any] = {"name": name, "as": "mean", "per": per[0] if len(per) == 1 else list(per)}  # fmt: skip
    entry |= ({"keep": list(keep)} if keep else {}) | ({"rename": rename} if rename else {})
    return Proposal(category, entry, per, usual=usual)


def _delta(
    category: Category,
    name: str,
    *keep: str,
    quiet: bool = False,
    unless: str = "",
    usual: bool = False,
) -> Proposal:
    entry: dict[str, Any] = {"name": name, "as": "delta"}
    entry |= ({"keep": list(keep)} if keep else {}) | ({"quiet": QUIET} if quiet else {})
    return Proposal(category, entry, unless=unless, usual=usual)


def _gauge(
    category: Category, name: str, *keep: str, quiet: bool = True, usual: bool = False
) -> Proposal:
    entry: dict[str, Any] = {"name": name, "as": "aggregate"}
    entry |= ({"keep": list(keep)} if keep else {}) | ({"quiet": QUIET} if quiet else {})
    return Proposal(category, entry, usual=usual)


def _last(category: Category, name: str, every: str, *, usual: bool = False) -> Proposal:
    return Proposal(category, {"name": name, "as": "last", "every": every}, usual=usual)


_SUCCESS, _FAILURE = "nv_inference_request_success", "nv_inference_request_failure"
_HITS, _MISSES = "nv_cache_num_hits_per_model", "nv_cache_num_misses_per_model"
_HISTOGRAM = "nv_inference_first_response_histogram_ms"

PROPOSALS = (
    _mean(Category.LATENCY, "nv_inference_*_duration_us", _SUCCESS, usual=True),
    _mean(Category.COUNT, "nv_inference_count", "nv_inference_exec_count", rename="nv_inference_batch_size", usual=True),
    _mean(Category.COUNT, _FAILURE, _SUCCESS, _FAILURE, rename="nv_inference_failure_ratio", usual=True),
    _delta(Category.COUNT, _FAILURE, *MODEL, "reason", quiet=True, usual=True),
    _delta(Category.COUNT, _SUCCESS, *MODEL, unless="nv_inference_request_duration_us"),
    _delta(Category.COUNT, "nv_inference_count", *MODEL, unless="nv_inference_exec_count"),
    _gauge(Category.COUNT, "nv_inference_pending_request_count", *MODEL, usual=True),
    _mean(Category.OTHER, _HITS, _HITS, _MISSES, rename="nv_cache_hit_ratio", usual=True),
    _last(Category.SUMMARY, "nv_inference_*_summary_us", "5m", usual=True),
    _gauge(Category.GPU, "nv_gpu_*", "gpu_uuid", usual=True),
    _delta(Category.GPU, "nv_energy_consumption", "gpu_uuid", quiet=True, usual=True),
    _gauge(Category.CPU, "nv_cpu_utilization", quiet=False, usual=True),
    _gauge(Category.CPU, "nv_cpu_memory_*_bytes", usual=True),
    _gauge(Category.OTHER, "nv_pinned_memory_pool_*"),
    _mean(Category.OTHER, f"{_HISTOGRAM}_sum", f"{_HISTOGRAM}_count", rename="nv_inference_first_response_ms"),
    _last(Category.OTHER, "nv_model_load_duration_secs", "1h"),
    _mean(Category.OTHER, "nv_cache_hit_duration_per_model", _HITS),
    _mean(Category.OTHER, "nv_cache_miss_duration_per_model", _MISSES),
    _last(Category.OTHER, "nv_cache_*_summary_per_model", "5m"),
    _gauge(Category.OTHER, "nv_cache_util"),
    _gauge(Category.OTHER, "nv_cache_num_entries"),
    _mean(Category.OTHER, "nv_cache_num_hits", "nv_cache_num_lookups", keep=None, rename="nv_cache_hit_ratio_of_all_models"),
    _mean(Category.OTHER, "nv_cache_lookup_duration", "nv_cache_num_lookups", keep=None),
    _mean(Category.OTHER, "nv_cache_insertion_duration", "nv_cache_num_misses", keep=None),
    _delta(Category.OTHER, "nv_cache_num_evictions", quiet=True),
)  # fmt: skip
"""The entries, in the order of a file."""


def propose(names: Collection[str], categories: Collection[Category]) -> Iterator[Proposal]:
    """Choose the entries of these categories that fold any of these names."""
    chosen = [
        proposal
        for proposal in PROPOSALS
        if proposal.category in categories and proposal.applies(names)
    ]
    for proposal in chosen:
        counted = any(proposal.unless in other.needs for other in chosen) or any(
            other.fits(proposal.unless) for other in chosen
        )
        if not (proposal.unless and proposal.unless in names and counted):
            yield proposal


def to_text(entries: Sequence[Any]) -> str:
    """Write a metrics.json, one line for each entry."""
    lines = ",\n".join(f"    {json.dumps(entry)}" for entry in entries)
    return f'{{\n  "customMetrics": [\n{lines}\n  ]\n}}\n'
