"""The accepted items, in bounded memory.

Items are stored in columns: time, value, and references to their series and request. When
the store is full the oldest items are removed, and a series with its last item.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fnmatch import translate
from re import compile as compile_pattern
from typing import NamedTuple

from receiver.sandbox.item import Item, Spread
from receiver.sandbox.series import Series, SeriesKey, series_key

DEFAULT_MAX_ITEMS = 1_000_000
DEFAULT_MAX_SERIES = 100_000
DEFAULT_MAX_SERIES_BYTES = 512 << 20
_CHUNK_ITEMS = 4_096


WINDOW_MS = 60_000


class StoredItem(NamedTuple):
    """One accepted item; `request` is the number of the request that brought it."""

    series: Series
    time_ms: int
    value: float
    request: int
    spread: Spread | None


class _Chunk:
    """Consecutive items as columns; those before `start` are removed."""

    __slots__ = ("requests", "series", "spreads", "start", "times", "values")

    def __init__(self) -> None:
        self.start = 0
        self.times = array("q")
        self.values = array("d")
        self.requests = array("q")
        self.series: list[Series] = []
        self.spreads: dict[int, Spread] = {}  # by index; few items have one


class Store:
    """The accepted items, at most `max_items` of at most `max_series` series.

    The series' texts and histories take at most `max_series_bytes`, roughly.
    """

    def __init__(
        self,
        max_items: int = DEFAULT_MAX_ITEMS,
        max_series: int = DEFAULT_MAX_SERIES,
        max_series_bytes: int = DEFAULT_MAX_SERIES_BYTES,
    ) -> None:
        """Start empty."""
        self.max_items = max_items
        self.max_series = max_series
        self.max_series_bytes = max_series_bytes
        self.series_bytes = 0
        self.items = 0
        self.items_evicted = 0
        self.copies = 0
        """Items of a whole minute that their series already had, after a lost answer or a fault."""
        self.sequence = 0  # items added since the start, never reset
        self.generation = 0  # number of removals of series
        self._next_series_id = 1
        self._chunks: deque[_Chunk] = deque()
        self._series: dict[SeriesKey, Series] = {}
        self._by_id: dict[int, Series] = {}

    @property
    def series(self) -> int:
        """The number of series that have an item in the store."""
        return len(self._series)

    def add(self, items: Iterable[Item], request: int) -> None:
        """Store items, replacing the oldest when full."""
        for item in items:
            key = series_key(item)
            series = self._series.get(key) or self._new_series(key, item)
            self.sequence += 1
            before = series.size_bytes
            if item.time_ms % WINDOW_MS == 0 and item.time_ms in series.history_ms:
                self.copies += 1
            series.take(item, self.sequence)  # before an eviction could take its last item
            self.series_bytes += series.size_bytes - before
            self._append(series, item, request)
            while self.series_bytes > self.max_series_bytes and self.items > 1:
                self._evict_oldest()

    def clear(self) -> None:
        """Remove all items and series."""
        self._chunks.clear()
        self._series.clear()
        self._by_id.clear()
        self.items = self.series_bytes = 0
        self.generation += 1

    def select(
        self, name: str = "*", since_ms: int | None = None, limit: int | None = None
    ) -> Iterator[StoredItem]:
        """Yield the items whose name matches the glob, in the order accepted; the last `limit` ones.

        Items may be added or evicted during the iteration.
        """
        wanted = _matcher(name)
        windows = [(chunk, chunk.start, len(chunk.times)) for chunk in self._chunks]
        picked = self._walk(windows, wanted, since_ms)
        return picked if limit is None else iter(deque(picked, maxlen=limit))

    def latest(self, name: str = "*", after: int = 0) -> list[Series]:
        """Return the series with an item numbered above `after`, sorted by name and properties."""
        wanted = _matcher(name)
        return sorted(
            (s for s in self._series.values() if s.sequence > after and wanted(s.name)),
            key=lambda s: s.key[0:1] + s.key[3:4],
        )

    def by_id(self, number: int) -> Series | None:
        """Return a series by its number."""
        return self._by_id.get(number)

    @staticmethod
    def _walk(
        windows: list[tuple[_Chunk, int, int]],
        wanted: Callable[[str], bool],
        since_ms: int | None,
    ) -> Iterator[StoredItem]:
        verdicts: dict[str, bool] = {}
        for chunk, start, end in windows:
            for index in range(start, end):
                time_ms = chunk.times[index]
                if since_ms is not None and time_ms < since_ms:
                    continue
                series = chunk.series[index]
                verdict = verdicts.get(series.name)
                if verdict is None:
                    verdict = verdicts[series.name] = wanted(series.name)
                if verdict:
                    yield StoredItem(
                        series,
                        time_ms,
                        chunk.values[index],
                        chunk.requests[index],
                        chunk.spreads.get(index),
                    )

    def _append(self, series: Series, item: Item, request: int) -> None:
        while self.items >= self.max_items:
            self._evict_oldest()
        if not self._chunks or len(self._chunks[-1].times) >= _CHUNK_ITEMS:
            self._chunks.append(_Chunk())
        chunk = self._chunks[-1]
        if item.spread is not None:
            chunk.spreads[len(chunk.times)] = item.spread
        chunk.times.append(item.time_ms)
        chunk.values.append(item.value)
        chunk.requests.append(request)
        chunk.series.append(series)
        self.items += 1

    def _new_series(self, key: SeriesKey, item: Item) -> Series:
        while len(self._series) >= self.max_series:
            self._evict_oldest()
        series = Series(self._next_series_id, key, item)
        self._next_series_id += 1
        self._series[key] = self._by_id[series.id] = series
        self.series_bytes += series.size_bytes
        return series

    def _evict_oldest(self) -> None:
        chunk = self._chunks[0]
        series = chunk.series[chunk.start]
        chunk.start += 1
        if chunk.start == len(chunk.times):
            self._chunks.popleft()
        self.items -= 1
        self.items_evicted += 1
        series.stored -= 1
        if series.stored == 0:
            del self._series[series.key]
            del self._by_id[series.id]
            self.series_bytes -= series.size_bytes
            self.generation += 1


def _matcher(glob: str) -> Callable[[str], bool]:
    if glob in ("", "*"):
        return lambda _name: True
    pattern = compile_pattern(translate(glob))
    return lambda name: pattern.match(name) is not None
