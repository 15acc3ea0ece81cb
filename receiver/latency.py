"""How long things took, counted in buckets as Prometheus' histograms are. Pure."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from operator import add

BOUNDS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds: from a commit to a quick disk up to the longest that a POST may take."""


class Latency:
    """Counts of lengths of time; an observation costs one search in a dozen bounds."""

    def __init__(self, counts: Sequence[int] = (), total_seconds: float = 0.0) -> None:
        """Start with nothing observed, or with the `counts` of another."""
        self._counts = list(counts) or [0] * (len(BOUNDS_SECONDS) + 1)
        self.total_seconds = total_seconds

    @property
    def counts(self) -> tuple[int, ...]:
        """How many fell under each bound and not under the one before; the last of them above all."""
        return tuple(self._counts)

    def plus(self, other: "Latency") -> "Latency":
        """Count what two have counted."""
        counts = list(map(add, self._counts, other.counts))
        return Latency(counts, self.total_seconds + other.total_seconds)

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.total_seconds += seconds

    def buckets(self) -> Iterator[tuple[str, int]]:
        """Give each upper bound with the number that took at most so long; the last is +Inf."""
        so_far = 0
        for bound, count in zip((*BOUNDS_SECONDS, float("inf")), self._counts, strict=True):
            so_far += count
            yield "+Inf" if bound == float("inf") else str(bound), so_far
