"""Why a selected metric does not arrive, and the nearest names.

In: a name of metrics.json and the arriving names. Out: a sentence. Pure. Triton's metrics and
the flags that enable them are from its metrics documentation.
"""

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from receiver.triton import METRIC_NAMES

_NEAR_CUTOFF = 0.75
_CANDIDATES = 40
NOT_SENT = "Prometheus does not send it"
"""The reason for an unknown name."""


@dataclass(frozen=True, slots=True)
class MissingMetric:
    """A selected name that never arrived; `nearest` are arriving names."""

    name: str
    why: str
    nearest: tuple[str, ...] = ()


def explain_missing(name: str, seen: Collection[str]) -> MissingMetric:
    """Explain why `name` is not among the names `seen`, by the likeliest reason."""
    near = nearest(name, seen)
    return MissingMetric(name, _why(name, seen, near), near)


def _why(name: str, seen: Collection[str], near: tuple[str, ...]) -> str:
    if "*" in name or "?" in name:
        return "no arriving name matches this pattern"
    if not seen:
        return "nothing has arrived yet"
    if name in METRIC_NAMES:
        return _why_not_shown(name, seen)
    if known := nearest(name, METRIC_NAMES, cutoff=0.9, limit=1):
        return f"misspelt? Triton's metric is {known[0]}"
    if near:
        return f"misspelt? {near[0]} arrives"
    if name.endswith("_irate"):
        return "no recording rule records it: prometheus/rules/triton_irate.yml records Triton's"
    return f"{NOT_SENT}: check that it is scraped, and that no write_relabel_configs drops it"


def _why_not_shown(name: str, seen: Collection[str]) -> str:
    """Explain why a known metric of Triton does not arrive."""
    if name.endswith("_irate"):
        base = name.removesuffix("_irate")
        if base in seen or f"{base}_sum" in seen:
            return (
                "Prometheus does not compute it: load prometheus/rules/triton_irate.yml under "
                "rule_files; the first value comes after two scrapes and one evaluation"
            )
        name = base
    if not any(other.startswith("nv_") for other in seen):
        return "no metric of Triton arrives: check that its port 8002 is scraped"
    for part, reason in _REASONS:
        if part in name:
            return reason
    return "Triton does not export it, or write_relabel_configs drops it"


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
    """Return those of `names` that are most similar to `name`, the nearest first.

    Only the candidates with the longest common prefix and suffix are compared in full.
    """
    ranked = sorted(names, key=lambda other: -_alike(name, other))[:_CANDIDATES]
    return tuple(difflib.get_close_matches(name, ranked, n=limit, cutoff=cutoff))


def _alike(one: str, other: str) -> int:
    return _same(one, other) + _same(one[::-1], other[::-1])


def _same(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
