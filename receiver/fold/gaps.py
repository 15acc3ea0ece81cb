"""Detection of samples that went to another receiver. Pure.

In: the fold's columns, after each request. Out: the share of intervals of watched series that are longer than
their usual one.

Prometheus loses no scraped sample, and sends a series' samples in order. So a series with an
interval of 15 s, and repeatedly of 30 or 45 s, has samples that went elsewhere: a Service or a
proxy spreads requests over several receivers. A failed scrape looks the same, so the verdict
needs many long intervals, of most of the series. Eight series of eight targets are watched at
a time, which costs next to nothing; series with intervals below ten seconds are not watched,
since one request may hold two of their samples.
"""

from dataclasses import dataclass, field

from receiver.fold.state import FORGOTTEN, NONE, State

WATCHED = 8
ROUND_MS = 600_000
"""Time for which the same series are watched."""
LONGEST_ROUND_MS = 3_600_000
INTERVALS = 10
"""Intervals of each series that suffice."""
PACE_MS = 10_000
LONG = 1.5
SHARE = 0.2
"""Share of long intervals from which on samples are missing; with two receivers it is half."""


@dataclass(slots=True)
class _Watched:
    number: int
    last_ms: int
    intervals: list[int] = field(default_factory=list)


class Gaps:
    """Watches a few series at a time."""

    def __init__(self) -> None:
        """Start without series."""
        self.share = 0.0
        """The last round's share of long intervals, if most of its series had gaps; else 0."""
        self._watched: list[_Watched] = []
        self._began_ms = 0
        self._next = 0

    def observe(self, state: State, now_ms: int) -> None:
        """Note the new samples; call it after each request."""
        series = state.series
        for watched in self._watched:
            time_ms = series.time_ms[watched.number]
            if time_ms > watched.last_ms:
                watched.intervals.append(time_ms - watched.last_ms)
                watched.last_ms = time_ms
        lasted_ms = now_ms - self._began_ms
        if 0 <= lasted_ms < ROUND_MS:
            return
        is_enough = all(len(watched.intervals) >= INTERVALS for watched in self._watched)
        if is_enough or not 0 <= lasted_ms < LONGEST_ROUND_MS:
            self.share = self._judge()
            self._watched, self._began_ms = self._choose(state, now_ms), now_ms

    def forget(self) -> None:
        """Restart, since numbers may belong to other series now."""
        self._watched, self._began_ms = [], 0

    def _judge(self) -> float:
        shares = [
            share
            for watched in self._watched
            if (share := _long_share(watched.intervals)) is not None
        ]
        shares.sort()
        median = shares[(len(shares) - 1) // 2] if shares else 0.0
        return median if median >= SHARE else 0.0

    def _choose(self, state: State, now_ms: int) -> list[_Watched]:
        """Choose live series, one for each target, others than in the last round."""
        series, count = state.series, len(state.series.time_ms)
        chosen: dict[int, _Watched] = {}
        for step in range(count):
            number = (self._next + step) % count
            target, time_ms = series.target[number], series.time_ms[number]
            if target != NONE and time_ms > max(FORGOTTEN, now_ms - ROUND_MS):
                chosen.setdefault(target, _Watched(number, time_ms))
                if len(chosen) == WATCHED:
                    break
        self._next = max((watched.number for watched in chosen.values()), default=-1) + 1
        return list(chosen.values())


def _long_share(intervals: list[int]) -> float | None:
    """Return the share of long intervals; None if there are too few, or all are too short."""
    if len(intervals) < INTERVALS or (pace := min(intervals)) < PACE_MS:
        return None
    return sum(interval > LONG * pace for interval in intervals) / len(intervals)
