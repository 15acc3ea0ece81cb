"""Say in a few lines what has arrived: in the sandbox, or at the real service.

In: what the sandbox's GET /latest or the receiver's GET /api/v1/status answers.
Out: lines for a person. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# One line each, in this order, for each series of them that is not 0.
HEADLINES = (
    "nv_inference_request_success",
    "nv_inference_request_success_irate",
    "nv_inference_request_failure",
    "nv_inference_request_failure_irate",
    "nv_inference_request_duration_us",
    "nv_inference_request_duration_us_irate",
    "nv_inference_request_summary_us_irate",
    "nv_gpu_utilization",
    "nv_cpu_utilization",
)
# The same for all series of a run, so they would only make the lines long.
UNTOLD = frozenset({"job", "instance", "gpu_uuid"})
STAND_IN = "gpufake"  # whose requests are no news: they set the nv_gpu_* values
SMALL = 0.01


@dataclass(frozen=True)
class Arrival:
    """The newest value of one series, and how many items of it there are."""

    name: str
    labels: tuple[tuple[str, str], ...]
    time: datetime
    value: float
    items: int

    @property
    def series(self) -> str:
        """The series as Prometheus writes it, without the labels that all share."""
        told = [
            f'{name}="{value}"'
            for name, value in self.labels
            if name not in UNTOLD and (name, value) != ("version", "1")
        ]
        return f"{self.name}{{{', '.join(told)}}}" if told else self.name


def read_latest(latest: Iterable[Mapping[str, Any]]) -> list[Arrival]:
    """Read the sandbox's answer to GET /latest."""
    return [
        Arrival(
            entry["name"],
            tuple(entry["properties"].items()),
            datetime.fromisoformat(entry["time"]).astimezone(),
            float(entry["value"]),
            int(entry["items"]),
        )
        for entry in latest
    ]


def tell(arrivals: Iterable[Arrival], told: Mapping[str, datetime] | None = None) -> Iterator[str]:
    """Yield a line for each headline series, then one that sums up the rest.

    Series with nothing newer than `told` says are left out; without any that
    is newer there is no line at all.
    """
    arrivals = list(arrivals)
    fresh = [arrival for arrival in arrivals if is_news(arrival, told or {})]
    lines = [
        f"{arrival.series} {number(arrival.value)}  "
        f"({arrival.items} item{'s' * (arrival.items != 1)}, {arrival.time:%H:%M:%S})"
        for name in HEADLINES
        for arrival in sorted(fresh, key=lambda each: each.series)
        if arrival.name == name and arrival.value and ("model", STAND_IN) not in arrival.labels
    ]
    yield from lines
    if rest := len(fresh) - len(lines):
        items = sum(arrival.items for arrival in arrivals)
        which = "other series" if lines else "series"
        yield f"and {rest} {which}; in all {len(arrivals)} series, {items} items"


def is_news(arrival: Arrival, told: Mapping[str, datetime]) -> bool:
    """Say whether `arrival` is newer than what `told` has of its series."""
    last = told.get(key(arrival))
    return last is None or arrival.time > last


def key(arrival: Arrival) -> str:
    """Return what tells a series from all others."""
    return f"{arrival.name}{arrival.labels}"


def number(value: float) -> str:
    """Write a value as short as a person wants it."""
    if value == round(value):
        return f"{value:.0f}"
    if abs(value) < SMALL:
        return f"{value:.2g}"
    return f"{value:.2f}".rstrip("0").rstrip(".")


def tell_counters(status: Mapping[str, Any]) -> str:
    """Say what became of the samples, from the receiver's own counters."""
    pairs = (
        ("received", "received"),
        ("unselected", "not in metrics.json"),
        ("dropped", "dropped"),
        ("accepted", "accepted by Application Insights"),
        ("rejected", "rejected"),
        ("expired", "expired"),
        ("pending", "pending"),
    )
    return ", ".join(f"{_total(status[name])} {words}" for name, words in pairs if name in status)


def _total(count: Any) -> int:
    return sum(map(_total, count.values())) if isinstance(count, Mapping) else int(count)
