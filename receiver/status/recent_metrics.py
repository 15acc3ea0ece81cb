"""The recent values of metrics and their series, as the page shows them. Pure.

In: samples, and items of windows, with the time of their arrival. Out: the last value and its
time, the lowest and highest value of each minute of an hour, and the values of some series.
"""

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

import orjson

from receiver.azure.billing import FIXED_BYTES, billed_of_series
from receiver.azure.folded_item import FoldedItem
from receiver.status.census import GONE_SECONDS

MEASURED_SERIES = 50
FOLDED_GONE_SECONDS = 3 * 3600.0
"""Time after which an unseen folded series is forgotten: its windows and quiet times last at most an hour."""
FUTURE_MS = 60_000
"""Allowed lead of a sample's time over this machine's clock; one further ahead is soon replaced."""
MINUTES = 60
MINUTE_MS = 60_000
FOLDED_LATE = 10
"""Additional minutes kept, since a window's item arrives after its minute."""


@dataclass(slots=True)
class Minute:
    """One minute of a metric: lowest value, highest value, and number of samples."""

    low: float = math.inf
    high: float = -math.inf
    count: int = 0

    def add(self, value: float) -> None:
        """Add a value."""
        if value < self.low:  # noqa: PLR1730 - a third of the time of min()
            self.low = value
        if value > self.high:  # noqa: PLR1730 - the same
            self.high = value


class Hour:
    """The last value of each minute of an hour, in half a kilobyte."""

    __slots__ = ("_newest", "_values")

    def __init__(self) -> None:
        """Start empty."""
        self._values = array("d", [math.nan]) * MINUTES
        self._newest = -1

    def put(self, minute: int, value: float) -> None:
        """Set a minute's value; one an hour older than the newest is ignored."""
        if minute > self._newest:
            for passed in range(max(self._newest + 1, minute - MINUTES + 1), minute):
                self._values[passed % MINUTES] = math.nan
            self._newest = minute
        if minute > self._newest - MINUTES:
            self._values[minute % MINUTES] = value

    def values(self) -> dict[int, float]:
        """Return the values by minute."""
        minutes = range(max(0, self._newest - MINUTES + 1), self._newest + 1)
        values = {minute: self._values[minute % MINUTES] for minute in minutes}
        return {minute: value for minute, value in values.items() if not math.isnan(value)}


@dataclass(slots=True)
class SeriesSeen:
    """One series: its labels, its last sample, and the last value of every minute of an hour.

    `seen_at` is in seconds since the epoch, `time_ms` the sample's time. A folded series has
    its last `item`, and as `value` that item's mean, or its value if it has no mean. The labels
    are kept as JSON, a third of a dict's memory.
    """

    labels_json: bytes
    value: float = math.nan
    time_ms: int = 0
    seen_at: float = 0.0
    gap_seconds: float = 0.0
    minutes: Hour | None = None
    item: FoldedItem | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The labels by name."""
        labels: dict[str, str] = orjson.loads(self.labels_json)
        return labels

    def add(self, value: float, time_ms: int, now: float, item: FoldedItem | None = None) -> None:
        """Add a sample. An older one than the last does not replace the last value."""
        latest = now * 1000 + FUTURE_MS
        if time_ms >= self.time_ms or self.time_ms > latest:
            self.value, self.time_ms, self.item = value, time_ms, item
        if self.seen_at and now > self.seen_at + 1:
            self.gap_seconds = now - self.seen_at
        self.seen_at = now
        if self.minutes is not None:
            number = _window_minute(time_ms, now) if item else int(now // 60)
            self.minutes.put(number, value if item else self.value)

    def is_gone(self, now: float) -> bool:
        """Whether it has been absent for long, relative to its interval."""
        least = FOLDED_GONE_SECONDS if self.item else GONE_SECONDS
        return now - self.seen_at > max(least, 3 * self.gap_seconds)

    def hour(self, now: float) -> list[float | None]:
        """Return the last value of every minute, from the first of the last 60 to the present."""
        return _by_minute(self.minutes.values() if self.minutes else {}, now)


@dataclass(slots=True)
class MetricSeen:
    """One metric of the sampled rows. `seen_at` in seconds since the epoch."""

    name: str
    series: dict[int, SeriesSeen] = field(default_factory=dict)
    minutes: dict[int, Minute] = field(default_factory=dict)
    seen_at: float = 0.0
    last: SeriesSeen | None = None

    def add(
        self,
        series: SeriesSeen,
        value: float,
        time_ms: int,
        now: float,
        item: FoldedItem | None = None,
    ) -> None:
        """Add a sample, or a window's item."""
        series.add(value, time_ms, now, item)
        self.seen_at, self.last = now, series
        minute = self._minute(int(now // 60))
        minute.count += 1
        if item:
            minute = self._minute(_window_minute(time_ms, now))
        minute.add(value)

    def _minute(self, number: int) -> Minute:
        minute = self.minutes.get(number)
        if minute is not None:
            return minute
        minute = self.minutes[number] = Minute()
        while len(self.minutes) > MINUTES + FOLDED_LATE:
            oldest = min(self.minutes)
            del self.minutes[oldest]
        return minute

    def span(self) -> tuple[float, float] | None:
        """Return the lowest and highest of its series' last values; None before the first."""
        values = [series.value for series in self.series.values()]
        return (min(values), max(values)) if values else None

    def hour(self, now: float) -> tuple[list[float | None], list[float | None]]:
        """Return the lowest and highest values of every minute, from the first of the last 60 on."""
        known = {at: minute for at, minute in self.minutes.items() if minute.low < math.inf}
        return (
            _by_minute({at: minute.low for at, minute in known.items()}, now),
            _by_minute({at: minute.high for at, minute in known.items()}, now),
        )

    def billed_bytes(self) -> float:
        """Estimate the billed bytes of an item, on average over some of its series."""
        some = list(islice(self.series.values(), MEASURED_SERIES))
        sizes = [
            billed_of_series(self.name, series.labels, has_many_values=bool(series.item and series.item.count))
            for series in some
        ]  # fmt: skip
        return sum(sizes) / len(sizes) if sizes else FIXED_BYTES

    def lately(self, now: float) -> int:
        """Count the samples of the last ten whole minutes and the present one."""
        first = int(now // 60) - 10
        return sum(minute.count for at, minute in self.minutes.items() if at >= first)


def text_bytes(labels: Mapping[str, str]) -> int:
    """Return the length of labels in characters."""
    return sum(len(name) + len(value) for name, value in labels.items())


def _window_minute(time_ms: int, now: float) -> int:
    """Return the minute of a window's item: the first of its window."""
    return min(time_ms // MINUTE_MS, int(now // 60))


def _by_minute(known: Mapping[int, float], now: float) -> list[float | None]:
    last = int(now // 60)
    first = min((number for number in known if number > last - MINUTES), default=last + 1)
    return [known.get(number) for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Tapped:
    """One tapped item; `number` counts them."""

    number: int
    name: str
    labels: Mapping[str, str]
    time_ms: int
    value: float
    item: FoldedItem | None = None

    @property
    def size_bytes(self) -> int:
        """The approximate length of its JSON."""
        return 100 + len(self.name) + text_bytes(self.labels)
