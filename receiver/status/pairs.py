"""Two senders that bring the same series, and are not told apart: noticed in samples. Pure.

In: requests that were picked, their series with labels and samples; and the times of a few series,
sample by sample. Out: a `Pair`, the label in which two senders differ, or that they differ in none.

Theory of operation. An external label stands on every series of a request with one value. Where
two requests differ in one such label, and the counters that are equal in all others run through the same values at
the same time, two Prometheus scrape the same targets. Equal labels are not enough: every
machine of a fleet may have a Triton at localhost:8002, told apart by such a label alone, and their
counters are not the same. Senders without a label of their own show in the times of a series: two
intervals that alternate, or times that go back.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

NOT_EXTERNAL = frozenset({"__name__", "job", "instance", "model", "version", "quantile", "le", "gpu_uuid", "policy", "reason"})  # fmt: skip
"""Labels of targets and metrics: they tell series apart, and no senders."""
LABELS_MAX = 4
"""External labels of a request that are looked at."""
SERIES_MAX = 400
"""Series that are remembered for each of them."""
PICKED_MAX = 200
"""Series that are looked at in one request."""
SAMPLES_MAX = 4
VALUES_MAX = 5
"""Values that a label has among replicas of one Prometheus, at most."""
GROWING_MIN = 5
"""Counters that two senders have to share, growing, before it is said."""
SHARE_MIN = 0.8
"""Which share of all counters that both have, and that grow, has to agree."""
RECENT_MS = 600_000
"""What was not seen for so long is no evidence any more."""
WATCHED_MAX = 6
"""Series whose every sample is looked at."""
TIMES = 13
"""How many times of a series are judged."""
TURNS = 3
"""How many series have to show it."""

Sample = tuple[int, float]


@dataclass(frozen=True, slots=True)
class Picked:
    """A series of a request that was picked."""

    labels: Mapping[str, str]
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two senders bring the same series: `label` is the one in which they differ, with its `values`.

    Without a label nothing tells them apart: `examples` then are names of raw series, if there are any.
    """

    label: str
    values: tuple[str, ...] = ()
    series: int = 0
    examples: tuple[str, ...] = ()


@dataclass(slots=True)
class _Label:
    """What was seen of one external label: by series without it, by its value, the latest samples."""

    series: dict[int, dict[str, deque[Sample]]] = field(default_factory=dict)
    seen_ms: dict[str, int] = field(default_factory=dict)


class Pairs:
    """Looks for pairs."""

    def __init__(self, told_apart: Iterable[str] = ()) -> None:
        """Begin with nothing seen; senders that differ in the labels `told_apart` are no pair."""
        self._told_apart = NOT_EXTERNAL.union(told_apart)
        self._labels: dict[str, _Label] = {}
        self._times: dict[Hashable, deque[int]] = {}
        self._names: dict[Hashable, str] = {}
        self._judged: deque[tuple[str, bool]] = deque(maxlen=2 * TURNS)
        self._newest_ms = 0

    # Senders that differ in a label

    def look(self, request: Sequence[Picked]) -> None:
        """Look at a request that was picked; it has few series at most."""
        if len(request) < 2:
            return
        external = self._external(request)
        for name in sorted(external)[:LABELS_MAX]:
            label = self._labels.get(name)
            if label is None:
                if len(self._labels) >= 2 * LABELS_MAX:
                    continue
                label = self._labels[name] = _Label()
            self._remember(label, name, external[name], request)

    def _external(self, request: Sequence[Picked]) -> dict[str, str]:
        """Find the labels that stand on each series with one value."""
        first, *others = request
        return {
            name: text
            for name, text in first.labels.items()
            if name not in self._told_apart
            and all(other.labels.get(name) == text for other in others)
        }

    def _remember(self, label: _Label, name: str, text: str, request: Sequence[Picked]) -> None:
        if text not in label.seen_ms and len(label.seen_ms) > VALUES_MAX:
            oldest = min(label.seen_ms, key=label.seen_ms.__getitem__)
            del label.seen_ms[oldest]
            for by_value in label.series.values():
                by_value.pop(oldest, None)
        for series in request:
            if not series.samples:
                continue
            key = hash(frozenset((k, v) for k, v in series.labels.items() if k != name))
            known = label.series.get(key)
            if known is None:
                if len(label.series) >= SERIES_MAX:
                    continue
                known = label.series[key] = {}
            samples = known.setdefault(text, deque(maxlen=SAMPLES_MAX))
            time_ms = series.samples[-1][0]
            if not samples or time_ms > samples[-1][0]:
                samples.append(series.samples[-1])
            label.seen_ms[text] = max(label.seen_ms.get(text, 0), time_ms)
            self._newest_ms = max(self._newest_ms, time_ms)

    # Senders that differ in nothing

    def wants_times(self, series: Hashable) -> bool:
        """Say whether a series' times are looked at, or could be."""
        return series in self._times or len(self._times) < WATCHED_MAX

    def saw(self, series: Hashable, name: str, time_ms: int) -> None:
        """Take note of a sample's time; a series is judged when it has enough of them, and makes room."""
        times = self._times.get(series)
        if times is None:
            if len(self._times) >= WATCHED_MAX:
                return
            times = self._times[series] = deque(maxlen=TIMES)
            self._names[series] = name
        if times and times[-1] == time_ms:
            return  # a request that came again
        times.append(time_ms)
        if len(times) == TIMES:
            self._judged.append((self._names.pop(series), interleaves(times)))
            del self._times[series]

    def stop_waiting(self) -> None:
        """Let go of series that have ended: others are watched in their place."""
        self._times.clear()
        self._names.clear()

    # What it says

    def pair(self) -> Pair | None:
        """Say what was noticed; None for nothing."""
        for name, label in sorted(self._labels.items()):
            if pair := self._pair_of(name, label):
                return pair
        shown = [name for name, is_interleaved in self._judged if is_interleaved]
        if len(shown) >= TURNS and len(shown) >= SHARE_MIN * len(self._judged):
            return Pair("", examples=tuple(dict.fromkeys(filter(None, shown)))[:TURNS])
        return None

    def _pair_of(self, name: str, label: _Label) -> Pair | None:
        present = sorted(text for text, at in label.seen_ms.items() if at >= self._newest_ms - RECENT_MS)  # fmt: skip
        if not 2 <= len(present) <= VALUES_MAX:
            return None
        shared: set[str] = set()
        same = other = 0
        for by_value in label.series.values():
            growing = {text: samples for text, samples in by_value.items() if text in present and _grows(samples)}  # fmt: skip
            if len(growing) < 2:
                continue
            if _run_together(list(growing.values())):
                same += 1
                shared.update(growing)
            else:
                other += 1
        if same < GROWING_MIN or same < SHARE_MIN * (same + other):
            return None
        return Pair(name, tuple(sorted(shared)), same)


def _grows(samples: Sequence[Sample]) -> bool:
    """Whether it is a counter that grew: never less than before, and more at last."""
    values = [value for _, value in samples]
    return len(values) >= 2 and values[-1] > values[0] and values == sorted(values)


def _run_together(senders: Sequence[Sequence[Sample]]) -> bool:
    """Whether counters ran through the same values at the same time.

    One of them within the other's span is enough: their clocks are apart, and they are scraped at different times.
    """
    latest_start = max(samples[0][0] for samples in senders)
    first_end = min(samples[-1][0] for samples in senders)
    highest_start = max(samples[0][1] for samples in senders)
    lowest_end = min(samples[-1][1] for samples in senders)
    return latest_start <= first_end and highest_start <= lowest_end


def interleaves(times: Iterable[int]) -> bool:
    """Whether the times of a series are those of two senders: they go back, or two gaps alternate."""
    row = list(times)
    gaps = [after - before for before, after in pairwise(row)]
    if sum(gap < 0 for gap in gaps) >= 3:
        return True
    if len(gaps) < TIMES - 1 or min(gaps) <= 0:
        return False
    even, odd = sorted(gaps[::2]), sorted(gaps[1::2])
    both = even[0] + odd[0]
    apart = abs(even[len(even) // 2] - odd[len(odd) // 2]) > both / 5
    steady = even[-1] - even[0] < both / 10 and odd[-1] - odd[0] < both / 10
    return apart and steady
