"""Durations, counted in the buckets of a Prometheus histogram. Pure."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from operator import add

BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds: from a commit on a fast disk up to the timeout of a POST."""


class Latency:
    """A histogram of durations; an observation costs one search in a dozen bounds."""

    def __init__(self, counts: Sequence[int] = (), total_seconds: float = 0.0) -> None:
        """Start empty, or with the `counts` of another."""
        self._counts = list(counts) or [0] * (len(BOUNDS_SECONDS) + 1)
        self.total_seconds = total_seconds

    @property
    def counts(self) -> tuple[int, ...]:
        """The number in each bucket; the last bucket is above all bounds."""
        return tuple(self._counts)

    def plus(self, other: "Latency") -> "Latency":
        """Return the sum of two histograms."""
        counts = list(map(add, self._counts, other.counts))
        return Latency(counts, self.total_seconds + other.total_seconds)

    def observe(self, seconds: float) -> None:
        """Count a duration."""
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.total_seconds += seconds

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Yield the upper bounds with their cumulative counts; the last bound is +Inf."""
        so_far = 0
        for bound, count in zip((*BOUNDS_SECONDS, float("inf")), self._counts, strict=True):
            so_far += count
            yield "+Inf" if bound == float("inf") else str(bound), so_far
