"""The series that come, selected or wanted for a comparison: what a forecast of the cost counts on.

In: some series of a request now and then, whole, as `receiver.status.sampling` opens them. Out:
`Seen`s: labels, last value, how often it comes, whether it moves. Bounded; what did not come
for a while is forgotten.

Theory of operation: all series of a target have the times of its scrapes, those of a rule the
times of its evaluations. So the distance of two neighbouring times, over all looks, is how
often its series come, though a look sees one request of many.
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
"""A forecast of so many takes a second of CPU, in a thread."""
LABELS_BYTES = 4 << 20
GROUPS_MAX = 1_000
TIMES_KEPT = 32
SHORTEST_MS = 1_000
"""No interval is taken for shorter."""
GONE_SECONDS = 900.0
SETTLED_SECONDS = 90.0
"""A value that was the same for so long, over several looks, stands still."""
LOOKS = 3

SWITCH_SECONDS = 120.0
"""After so much silence of the replica that brought a series another one's samples are its."""

Group = tuple[str, str, bool, bytes]
"""Job, instance, whether a rule made it, and the replica: series of one group have the same times."""


@dataclass(slots=True)
class _Known:
    """One series: its last sample, and since when its value is what it is."""

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
    """The series, and the observed intervals with the number of series that come by each."""

    series: tuple[Seen, ...]
    intervals: Mapping[float, int]
    is_full: bool


@dataclass(slots=True)
class Census:
    """`wants` says of a name whether its series are counted. `replica_label` is taken off: of two
    replicas' series the one that was seen first counts."""  # noqa: D205,D209 - one sentence and one more

    wants: Callable[[bytes], bool] = lambda _: True
    replica_label: bytes = b""
    _known: dict[int, _Known] = field(default_factory=dict)
    _times: dict[Group, deque[int]] = field(default_factory=dict)
    _labels_bytes: int = 0
    _is_full: bool = False

    def saw(self, series: Series, now: float) -> None:
        """Take in a series of a request."""
        if not series.samples or not self.wants(series.name):
            return
        try:
            pairs, replica = self._told_apart(series.label_pairs())
            known = self._known.get(hash(pairs))
            if known is None:
                known = self._learn(pairs, replica, now)
        except ReceiverError:  # it was refused, and said so
            return
        if known is None:
            return
        if known.group[3] != replica:
            if now - known.at < SWITCH_SECONDS:
                return
            known.group = (*known.group[:3], replica)
        self._update(known, series, now)

    def _told_apart(self, pairs: tuple[bytes, ...]) -> tuple[tuple[bytes, ...], bytes]:
        """Take the replica's label off."""
        if self.replica_label:
            for place in range(0, len(pairs), 2):
                if pairs[place] == self.replica_label:
                    return pairs[:place] + pairs[place + 2 :], pairs[place + 1]
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
        """Forget what did not come for a while."""
        gone = [key for key, known in self._known.items() if now - known.at > GONE_SECONDS]
        for key in gone:
            self._labels_bytes -= self._known.pop(key).size
            self._is_full = False
        left = {known.group for known in self._known.values()}
        for group in [group for group in self._times if group not in left]:
            del self._times[group]

    def counted(self, now: float) -> Counted:
        """Give the series as a forecast takes them."""
        every = {group: _interval(times) for group, times in self._times.items()}
        series = tuple(
            Seen(
                known.seen.labels,
                known.seen.value,
                every.get(known.group, 0.0),
                _moves(known, now),
            )
            for known in self._known.values()
        )
        return Counted(series, Counter(row.seconds for row in series), self._is_full)


def _moves(known: _Known, now: float) -> bool | None:
    """Say whether a value changes; None while too little of it was seen."""
    if now - known.changed_at <= GONE_SECONDS:
        return True
    is_settled = known.looks >= LOOKS and known.at - known.first_at >= SETTLED_SECONDS
    return False if is_settled else None


def _interval(times: Iterable[int]) -> float:
    """Find the distance of neighbouring times, in seconds; 0 while there are too few.

    Scrapes are a little early or late, so it is all the time by the number of the shortest gaps in it.
    """
    ordered = sorted(times)
    gaps = [later - earlier for earlier, later in pairwise(ordered)]
    if not gaps:
        return 0.0
    whole, shortest = ordered[-1] - ordered[0], max(SHORTEST_MS, min(gaps))
    return whole / max(1, round(whole / shortest)) / 1000
