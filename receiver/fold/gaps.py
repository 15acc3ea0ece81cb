"""Whether samples of folded series are missing that another receiver gets. Pure.

In: the fold's columns, after each request. Out: the share of intervals of watched series that are longer than
their usual one.

Prometheus loses no sample that it has scraped, and sends those of a series in order. So a
series that comes every 15 s, and again and again after 30 or 45, has samples that went elsewhere: a
Service or a proxy deals requests out to several receivers. A scrape that fails looks the same
here, so it takes many, of most of the series. Eight series are watched at a time, of as many
targets, since looking must cost nothing; those that come more often than every ten seconds
are not, for one request may hold two of their samples.
"""

from dataclasses import dataclass, field

from receiver.fold.state import FORGOTTEN, NONE, State

WATCHED = 8
ROUND_MS = 600_000
"""How long the same series are watched."""
LONGEST_ROUND_MS = 3_600_000
INTERVALS = 10
"""As many of each series say something."""
PACE_MS = 10_000
LONG = 1.5
SHARE = 0.2
"""Long intervals among all, from which on samples are missing: of two receivers each sees half of them."""


@dataclass(slots=True)
class _Watched:
    number: int
    last_ms: int
    intervals: list[int] = field(default_factory=list)


class Gaps:
    """Watches some series after the other."""

    def __init__(self) -> None:
        """Begin without any."""
        self.share = 0.0
        """Of the last round, where most of its series had gaps; else 0."""
        self._watched: list[_Watched] = []
        self._began_ms = 0
        self._next = 0

    def look(self, state: State, now_ms: int) -> None:
        """Take note of what has come; call it after each request."""
        series = state.series
        for each in self._watched:
            time_ms = series.time_ms[each.number]
            if time_ms > each.last_ms:
                each.intervals.append(time_ms - each.last_ms)
                each.last_ms = time_ms
        lasted_ms = now_ms - self._began_ms
        if 0 <= lasted_ms < ROUND_MS:
            return
        is_said = all(len(each.intervals) >= INTERVALS for each in self._watched)
        if is_said or not 0 <= lasted_ms < LONGEST_ROUND_MS:
            self.share = self._judge()
            self._watched, self._began_ms = self._choose(state, now_ms), now_ms

    def forget(self) -> None:
        """Begin anew: numbers may be others'."""
        self._watched, self._began_ms = [], 0

    def _judge(self) -> float:
        shares = [
            share for each in self._watched if (share := _long_share(each.intervals)) is not None
        ]
        shares.sort()
        median = shares[(len(shares) - 1) // 2] if shares else 0.0
        return median if median >= SHARE else 0.0

    def _choose(self, state: State, now_ms: int) -> list[_Watched]:
        """Choose series that came lately, of a target each, others than the last time."""
        series, count = state.series, len(state.series.time_ms)
        chosen: dict[int, _Watched] = {}
        for step in range(count):
            number = (self._next + step) % count
            target, time_ms = series.target[number], series.time_ms[number]
            if target != NONE and time_ms > max(FORGOTTEN, now_ms - ROUND_MS):
                chosen.setdefault(target, _Watched(number, time_ms))
                if len(chosen) == WATCHED:
                    break
        self._next = max((each.number for each in chosen.values()), default=-1) + 1
        return list(chosen.values())


def _long_share(intervals: list[int]) -> float | None:
    """Give the share of long intervals; None where there are too few, or all too short."""
    if len(intervals) < INTERVALS or (pace := min(intervals)) < PACE_MS:
        return None
    return sum(interval > LONG * pace for interval in intervals) / len(intervals)
