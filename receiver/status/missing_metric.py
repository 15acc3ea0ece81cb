"""Why a metric that is asked for does not come, and which names are near it.

In: a name of metrics.json and the names that arrive. Out: a sentence. Pure. What
Triton shows, and under which of its flags, is from its metrics documentation.
"""

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from receiver.triton import METRIC_NAMES

_NEAR_CUTOFF = 0.75
_CANDIDATES = 40
NOT_SENT = "Prometheus does not send it"
"""What is left when nothing is known of a name."""


@dataclass(frozen=True, slots=True)
class MissingMetric:
    """A listed name that was never seen; `nearest` arrive."""

    name: str
    why: str
    nearest: tuple[str, ...] = ()


def explain_missing(name: str, seen: Collection[str]) -> MissingMetric:
    """Say why `name` is not among the names `seen`, the likeliest reason first."""
    near = nearest(name, seen)
    return MissingMetric(name, _why(name, seen, near), near)


def _why(name: str, seen: Collection[str], near: tuple[str, ...]) -> str:
    if "*" in name or "?" in name:
        return "no name that arrives fits this pattern"
    if not seen:
        return "nothing has arrived yet"
    if name in METRIC_NAMES:
        return _why_not_shown(name, seen)
    if known := nearest(name, METRIC_NAMES, cutoff=0.9, limit=1):
        return f"misspelt? Triton's metric is {known[0]}"
    if near:
        return f"misspelt? {near[0]} arrives"
    if name.endswith("_irate"):
        return "no recording rule makes it: prometheus/rules/triton_irate.yml makes Triton's"
    return f"{NOT_SENT}: is it scraped, and not dropped by write_relabel_configs?"


def _why_not_shown(name: str, seen: Collection[str]) -> str:
    """Say why a metric that Triton has is not there."""
    if name.endswith("_irate"):
        base = name.removesuffix("_irate")
        if base in seen or f"{base}_sum" in seen:
            return (
                "Prometheus does not compute it: load prometheus/rules/triton_irate.yml under "
                "rule_files; the first value comes after two scrapes and one evaluation"
            )
        name = base
    if not any(each.startswith("nv_") for each in seen):
        return "nothing of Triton arrives: is its port 8002 scraped?"
    for part, reason in _REASONS:
        if part in name:
            return reason
    return "this Triton does not show it, or write_relabel_configs drops it"


_REASONS = (
    ("_cache_", "Triton shows it only with --cache-config, and per model with response_cache on"),
    ("_summary_", "Triton shows summaries only with --metrics-config summary_latencies=true; a request summary is missing too where the response cache is on"),
    ("_histogram_", "Triton shows it from 2.52 on, with --metrics-config histogram_latencies=true"),
    ("nv_model_load_", "Triton shows it from 2.52 (24.11) on"),
    ("nv_gpu_", "there is no GPU that Triton can read, or --allow-gpu-metrics=false"),
    ("nv_energy_", "there is no GPU that Triton can read, or --allow-gpu-metrics=false"),
    ("nv_cpu_", "Triton runs with --allow-cpu-metrics=false, or is older than 22.09"),
    ("nv_inference_", "Triton shows it once a model is loaded"),
)  # fmt: skip


def nearest(
    name: str, names: Iterable[str], *, cutoff: float = _NEAR_CUTOFF, limit: int = 3
) -> tuple[str, ...]:
    """Name those of `names` that are spelt most like `name`, the nearest first.

    Of very many only those that begin or end alike are compared in full.
    """
    ranked = sorted(names, key=lambda other: -_alike(name, other))[:_CANDIDATES]
    return tuple(difflib.get_close_matches(name, ranked, n=limit, cutoff=cutoff))


def _alike(one: str, other: str) -> int:
    return _same(one, other) + _same(one[::-1], other[::-1])


def _same(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
