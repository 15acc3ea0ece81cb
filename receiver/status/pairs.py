"""Detection of two senders of the same series that RECEIVER_REPLICA_LABEL does not name. Pure.

In: sampled requests, as series with labels and samples; and every sample's time of a few series.
Out: a `Pair`: the label in which two senders differ, if there is one.

Theory of operation. An external label has one value on all series of a request. If two requests
differ in one such label, and counters that are equal in all other labels run through the same
values at the same time, two Prometheus scrape the same targets. Equal labels are not enough: every
machine of a fleet may have a Triton at localhost:8002, distinguished only by such a label, with
different counters. Senders without any label of their own show in the times of a series: two
alternating intervals, or times that go back.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

NOT_EXTERNAL = frozenset({"__name__", "job", "instance", "model", "version", "quantile", "le", "gpu_uuid", "policy", "reason"})  # fmt: skip
"""Labels of targets and metrics: they distinguish series, not senders."""
LABELS_MAX = 4
"""External labels of a request that are compared."""
SERIES_MAX = 400
"""Series that are remembered for each label."""
PICKED_MAX = 200
"""Series that are compared in one request."""
SAMPLES_MAX = 4
VALUES_MAX = 5
"""Largest number of replicas of one Prometheus."""
GROWING_MIN = 5
"""Growing counters that two senders must share."""
SHARE_MIN = 0.8
"""Share of the growing counters of both senders that must have the same values."""
RECENT_MS = 600_000
"""Age after which a sample is no evidence."""
WATCHED_MAX = 6
"""Series of which every sample's time is kept."""
TIMES = 13
"""Times of a series that are judged together."""
TURNS = 3
"""Series that must have interleaved times."""

Sample = tuple[int, float]


@dataclass(frozen=True, slots=True)
class PickedSeries:
    """A series of a sampled request."""

    labels: Mapping[str, str]
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two senders of the same series: `label` is the one in which they differ, with its `values`.

    If no label differs, `label` is empty, and `examples` are names of raw series, if there are any.
    """

    label: str
    values: tuple[str, ...] = ()
    series: int = 0
    examples: tuple[str, ...] = ()


@dataclass(slots=True)
class _Label:
    """The latest samples under one external label, by series (without the label) and by its value."""

    series: dict[int, dict[str, deque[Sample]]] = field(default_factory=dict)
    seen_ms: dict[str, int] = field(default_factory=dict)


class Pairs:
    """Detects pairs."""

    def __init__(self, ignored_labels: Iterable[str] = ()) -> None:
        """Start empty; senders that differ in `ignored_labels` are no pair."""
        self._ignored_labels = NOT_EXTERNAL.union(ignored_labels)
        self._labels: dict[str, _Label] = {}
        self._times: dict[Hashable, deque[int]] = {}
        self._names: dict[Hashable, str] = {}
        self._judged: deque[tuple[str, bool]] = deque(maxlen=2 * TURNS)
        self._newest_ms = 0

    # Senders that differ in a label

    def observe(self, request: Sequence[PickedSeries]) -> None:
        """Add a sampled request, of few series."""
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

    def _external(self, request: Sequence[PickedSeries]) -> dict[str, str]:
        """Return the labels that have one value on all series."""
        first, *others = request
        return {
            name: text
            for name, text in first.labels.items()
            if name not in self._ignored_labels
            and all(other.labels.get(name) == text for other in others)
        }

    def _remember(
        self, label: _Label, name: str, text: str, request: Sequence[PickedSeries]
    ) -> None:
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
        """Whether a series' times are kept, or there is room for them."""
        return series in self._times or len(self._times) < WATCHED_MAX

    def observe_time(self, series: Hashable, name: str, time_ms: int) -> None:
        """Add a sample's time; a series with enough times is judged, and makes room for another."""
        times = self._times.get(series)
        if times is None:
            if len(self._times) >= WATCHED_MAX:
                return
            times = self._times[series] = deque(maxlen=TIMES)
            self._names[series] = name
        if times and times[-1] == time_ms:
            return  # a repeated request
        times.append(time_ms)
        if len(times) == TIMES:
            self._judged.append((self._names.pop(series), interleaves(times)))
            del self._times[series]

    def stop_waiting(self) -> None:
        """Replace series that have ended by others."""
        self._times.clear()
        self._names.clear()

    # The result

    def pair(self) -> Pair | None:
        """Return the detected pair, if any."""
        for name, label in sorted(self._labels.items()):
            if pair := self._pair_of(name, label):
                return pair
        names = [name for name, is_interleaved in self._judged if is_interleaved]
        if len(names) >= TURNS and len(names) >= SHARE_MIN * len(self._judged):
            return Pair("", examples=tuple(dict.fromkeys(filter(None, names)))[:TURNS])
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
    """Whether the samples are those of a growing counter: it never fell, and rose at least once."""
    values = [value for _, value in samples]
    return len(values) >= 2 and values[-1] > values[0] and values == sorted(values)


def _run_together(senders: Sequence[Sequence[Sample]]) -> bool:
    """Whether counters ran through the same values at the same time.

    Overlapping spans are enough: the scrapes are at different times, by different clocks.
    """
    latest_start = max(samples[0][0] for samples in senders)
    first_end = min(samples[-1][0] for samples in senders)
    highest_start = max(samples[0][1] for samples in senders)
    lowest_end = min(samples[-1][1] for samples in senders)
    return latest_start <= first_end and highest_start <= lowest_end


def interleaves(times: Iterable[int]) -> bool:
    """Whether the times of a series are those of two senders: they go back, or two gaps alternate."""
    gaps = [after - before for before, after in pairwise(times)]
    if sum(gap < 0 for gap in gaps) >= 3:
        return True
    if len(gaps) < TIMES - 1 or min(gaps) <= 0:
        return False
    evens, odds = sorted(gaps[::2]), sorted(gaps[1::2])
    both = evens[0] + odds[0]
    differ = abs(evens[len(evens) // 2] - odds[len(odds) // 2]) > both / 5
    are_steady = evens[-1] - evens[0] < both / 10 and odds[-1] - odds[0] < both / 10
    return differ and are_steady
