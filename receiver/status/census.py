"""The sampled series on which the forecast of the cost is based.

In: some series of some requests, as `receiver.status.sampling` opens them. Out: `Seen`s: labels,
last value, interval, and whether the value changes. Bounded; series that have not arrived for
a while are forgotten.

Theory of operation: all series of a target have the times of its scrapes, those of a rule the
times of its evaluations. So the shortest gap between the times of a group, over all sampled
requests, is the interval of its series, though most requests are not sampled.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from receiver.errors import ReceiverError
from receiver.intake.decode import Series, read_labels
from receiver.pack.forecast import Seen
from receiver.pack.forms import RATE

SERIES_MAX = 1_000
"""A forecast for this many takes a second of CPU, in a thread."""
LABELS_BYTES = 4 << 20
GROUPS_MAX = 1_000
TIMES_KEPT = 32
SHORTEST_MS = 1_000
"""Shortest interval that is assumed."""
GONE_SECONDS = 900.0
"""Time after which an unseen series is forgotten; longer for a series with a longer interval."""
SETTLED_SECONDS = 90.0
"""Time after which a value that did not change, in at least `LOOKS` samples, counts as constant."""
LOOKS = 3

SWITCH_SECONDS = 120.0
"""Silence of a series' replica after which another replica's samples are used."""

Group = tuple[str, str, bool, bytes]
"""Job, instance, whether it is a recording rule's, and replica: series of one group have the same times."""


@dataclass(slots=True)
class _Known:
    """One series: its last sample, and the time of its value's last change."""

    seen: Seen
    group: Group
    size: int
    time_ms: int
    first_at: float
    at: float
    changed_at: float = -math.inf
    looks: int = 1


@dataclass(frozen=True, slots=True)
class Counted:
    """The series, and the number of series by observed interval."""

    series: tuple[Seen, ...]
    intervals: Mapping[float, int]
    is_full: bool


@dataclass(slots=True)
class Census:
    """The series of names that pass `wants`, without `replica_label`: the first replica seen counts."""

    wants: Callable[[bytes], bool] = lambda _: True
    replica_label: bytes = b""
    _known: dict[int, _Known] = field(default_factory=dict)
    _times: dict[Group, deque[int]] = field(default_factory=dict)
    _labels_bytes: int = 0
    _is_full: bool = False

    def observe(self, series: Series, now: float) -> None:
        """Add a series of a request."""
        if not series.samples or not self.wants(series.name):
            return
        try:
            pairs, replica = self._without_replica(series.label_pairs())
            known = self._known.get(hash(pairs))
            if known is None:
                known = self._learn(pairs, replica, now)
        except ReceiverError:  # it was refused, and reported
            return
        if known is None:
            return
        if known.group[3] != replica:
            if now - known.at < SWITCH_SECONDS:
                return
            known.group = (*known.group[:3], replica)
        self._update(known, series, now)

    def _without_replica(self, pairs: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], bytes]:
        """Split off the replica's label."""
        if self.replica_label:
            for index in range(0, len(pairs), 2):
                if pairs[index] == self.replica_label:
                    return pairs[:index] + pairs[index + 2 :], pairs[index + 1]
        return pairs, b""

    def _learn(self, pairs: tuple[bytes, ...], replica: bytes, now: float) -> _Known | None:
        labels = read_labels(pairs)
        name, size = labels["__name__"], sum(map(len, pairs))
        if len(self._known) >= SERIES_MAX or self._labels_bytes + size > LABELS_BYTES:
            self._is_full = True
            return None
        made = name.endswith(RATE) or ":" in name
        group = labels.get("job", ""), labels.get("instance", ""), made, replica
        self._labels_bytes += size
        known = _Known(Seen(labels, math.nan), group, size, 0, now, now, looks=0)
        self._known[hash(pairs)] = known
        return known

    def _update(self, known: _Known, series: Series, now: float) -> None:
        last = series.samples[-1]
        if known.looks and last.value != known.seen.value and known.seen.has_number:
            known.changed_at = now
        if last.timestamp != known.time_ms:
            known.looks += 1
        known.seen = Seen(known.seen.labels, last.value)
        known.time_ms, known.at = last.timestamp, now
        times = self._times.get(known.group)
        if times is None:
            if len(self._times) >= GROUPS_MAX:
                return
            times = self._times[known.group] = deque(maxlen=TIMES_KEPT)
        for sample in series.samples:
            if not times or (sample.timestamp != times[-1] and sample.timestamp not in times):
                times.append(sample.timestamp)

    def forget(self, now: float) -> None:
        """Forget series that have not arrived for a while."""
        gone = [key for key, known in self._known.items() if now - known.at > GONE_SECONDS]
        for key in gone:
            self._labels_bytes -= self._known.pop(key).size
            self._is_full = False
        left = {known.group for known in self._known.values()}
        for group in [group for group in self._times if group not in left]:
            del self._times[group]

    def counted(self, now: float) -> Counted:
        """Return the series for a forecast."""
        intervals = {group: _interval(times) for group, times in self._times.items()}
        series = tuple(
            Seen(
                known.seen.labels,
                known.seen.value,
                intervals.get(known.group, 0.0),
                _moves(known, now),
            )
            for known in self._known.values()
        )
        return Counted(series, Counter(row.seconds for row in series), self._is_full)


def _moves(known: _Known, now: float) -> bool | None:
    """Whether a value changes; None before enough samples."""
    if now - known.changed_at <= GONE_SECONDS:
        return True
    is_settled = known.looks >= LOOKS and known.at - known.first_at >= SETTLED_SECONDS
    return False if is_settled else None


def _interval(times: Iterable[int]) -> float:
    """Return the interval of times, in seconds; 0 while there are too few.

    Scrapes are a little early or late, so it is the whole time, divided by the number of shortest gaps in it.
    """
    ordered = sorted(times)
    gaps = [later - earlier for earlier, later in pairwise(ordered)]
    if not gaps:
        return 0.0
    whole, shortest = ordered[-1] - ordered[0], max(SHORTEST_MS, min(gaps))
    return whole / max(1, round(whole / shortest)) / 1000
