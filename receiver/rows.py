"""The rows of a request: each a series' template, a time and a value, in the order sent.

`receiver.intake` puts samples in; `receiver.azure.renderer` takes the rows that are rendered out as
lines, and the outbox the records of folded samples. `receiver.kernel` collects the rows of a
recognised request, `PlainRows` those of any other. Pure.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, islice
from typing import Protocol

Sample = tuple[int, float, int]
"""A time in milliseconds, a value, and the start timestamp: 0 or less for none."""

NO_LANE = 0xFFFF
"""The lane of series whose samples are only counted: they take no route; also in the kernel."""
RECORD = struct.Struct("<Iqd")
"""A sample for the fold: the series' number, the time in milliseconds, the value."""
START_BITS = 0x7FF8535441525400
"""Value bits (a NaN) of a record that holds a start timestamp: that of the next record."""
START: float = struct.unpack("<d", struct.pack("<Q", START_BITS))[0]


def record_of(number: int, time_ms: int, value: float, start_ms: int = 0) -> bytes:
    """Pack a sample for the fold, after its start timestamp if it has one."""
    record = RECORD.pack(number, time_ms, value)
    return RECORD.pack(number, start_ms, START) + record if start_ms > 0 else record


class Rows(Protocol):
    """The samples of a request that are rendered or folded, lane by lane, each in the order sent."""

    def __len__(self) -> int:
        """Count the rows that are rendered."""

    def folded(self) -> tuple[bytes, int, int]:
        """Return the records of folded samples, and the number of samples that are only folded.

        The third value is the newest time of a folded sample in milliseconds, 0 for none.
        """

    def not_finite(self) -> list[float]:
        """Return the values that are not finite, which are neither rendered nor folded."""

    def unrouted(self) -> int:
        """Count the samples of series without a lane."""

    def times(self) -> list[int]:
        """Return the time of each moment (a time of a lane) of rendered rows, in milliseconds."""

    def lanes(self) -> list[int]:
        """Return the lane of each moment."""

    def spans(self) -> list[tuple[int, int, int]]:
        """Return each lane with rows, its first row, and the row after its last."""

    def values(self) -> list[float]:
        """Return the rendered rows' values, in their order."""

    def layout(self, heads: tuple[bytes, ...], texts: bytes, end: bytes, /) -> bytes:
        """Return the offset of each line's end, as 64-bit numbers.

        `heads` has one entry for each moment; `texts` are the values, separated by commas.
        """

    def text(self, first: int, stop: int, /) -> bytes:
        """Return the lines from `first` up to `stop`; call `layout` first."""

    def sample(self, first: int, count: int, /) -> list[tuple[bytes, int, float]]:
        """Return `count` rendered rows, from `first` on, as template, time and value."""


class PlainRows:
    """Rows collected by the full parser."""

    def __init__(self) -> None:
        """Start empty."""
        self._by_lane: dict[int, list[tuple[bytes, int, float]]] = {}
        self._records: list[bytes] = []
        self._only_folded = self._folded_newest_ms = 0
        self._unrouted = 0
        self._not_finite: list[float] = []
        self._lines: list[bytes] = []

    def put(self, template: bytes, fold_number: int, lane: int, samples: Sequence[Sample]) -> None:
        """Add a series' samples: rendered if the template is not empty, folded if the number is not 0."""
        for time_ms, value, start_ms in samples:
            if not math.isfinite(value):
                self._not_finite.append(value)
                continue
            if fold_number:
                newest_ms = self._folded_newest_ms if self._records else time_ms
                self._folded_newest_ms = max(newest_ms, time_ms)
                self._records.append(record_of(fold_number, time_ms, value, start_ms))
                self._only_folded += not template
            if template:
                self._by_lane.setdefault(lane, []).append((template, time_ms, value))
            else:
                self._unrouted += lane == NO_LANE

    def _rows(self) -> Iterator[tuple[bytes, int, float]]:
        return chain.from_iterable(rows for _, rows in sorted(self._by_lane.items()))

    def _moments(self) -> list[tuple[int, int]]:
        by_lane = sorted(self._by_lane.items())
        return list(dict.fromkeys((row[1], lane) for lane, rows in by_lane for row in rows))

    def __len__(self) -> int:
        return sum(map(len, self._by_lane.values()))

    def folded(self) -> tuple[bytes, int, int]:
        """Return the records, the number of samples that are only folded, and the newest time."""
        return b"".join(self._records), self._only_folded, self._folded_newest_ms

    def not_finite(self) -> list[float]:
        """Return the values that are not finite, which are neither rendered nor folded."""
        return self._not_finite

    def unrouted(self) -> int:
        """Count the samples of series without a lane."""
        return self._unrouted

    def times(self) -> list[int]:
        """Return the time of each moment of rendered rows, in milliseconds."""
        return [time_ms for time_ms, _ in self._moments()]

    def lanes(self) -> list[int]:
        """Return the lane of each moment."""
        return [lane for _, lane in self._moments()]

    def spans(self) -> list[tuple[int, int, int]]:
        """Return each lane with rows, its first row, and the row after its last."""
        lanes = sorted(self._by_lane)
        ends = list(accumulate(len(self._by_lane[lane]) for lane in lanes))
        return list(zip(lanes, [0, *ends], ends, strict=False))

    def values(self) -> list[float]:
        """Return the rendered rows' values, in their order."""
        return [value for _, _, value in self._rows()]

    def layout(self, heads: tuple[bytes, ...], texts: bytes, end: bytes, /) -> bytes:
        """Return the offset of each line's end, as 64-bit numbers."""
        head_of = dict(zip(self._moments(), heads, strict=True))
        ordered = ((lane, row) for lane, rows in sorted(self._by_lane.items()) for row in rows)
        self._lines = [
            b"".join((head_of[row[1], lane], row[0], text, end))
            for (lane, row), text in zip(ordered, texts.split(b","), strict=True)
        ]
        ends = list(accumulate(map(len, self._lines)))
        return struct.pack(f"={len(ends)}Q", *ends)

    def text(self, first: int, stop: int, /) -> bytes:
        """Return the lines from `first` up to `stop`; call `layout` first."""
        return b"".join(self._lines[first:stop])

    def sample(self, first: int, count: int, /) -> list[tuple[bytes, int, float]]:
        """Return `count` rendered rows, from `first` on, as template, time and value."""
        return list(islice(self._rows(), first, first + count))
