"""The renderer of rows to lines.

In: rows of a series' template, a time and a value, in the order sent. Out: lines of JSON in
chunks. A line is a head (its time, and the prefix common to all series of an identity), the
series' template, the value, and an end. Each distinct time is formatted once, and all values
of a request in one call.

`receiver.kernel` collects the rows of a recognised request, `PlainRows` those of any other.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Protocol

import orjson

from receiver.azure.envelope import (
    LINE_END,
    LINE_START,
    Identity,
    Template,
    TimeTexts,
    common_start,
    make_template,
)
from receiver.outbox.batch import Chunk, cut_points

Sample = tuple[int, float, int]
"""A time in milliseconds, a value, and the start timestamp: 0 or less for none."""

RECORD = struct.Struct("<Iqd")
"""A sample for the fold: the series' number, the time in milliseconds, the value."""
START_BITS = 0x7FF8535441525400
"""A record whose value has these bits, a NaN, is a start timestamp: that of the record behind it."""
START: float = struct.unpack("<d", struct.pack("<Q", START_BITS))[0]


def record_of(number: int, time_ms: int, value: float, start_ms: int = 0) -> bytes:
    """Pack a sample for the fold, its start timestamp first where it has one."""
    record = RECORD.pack(number, time_ms, value)
    return RECORD.pack(number, start_ms, START) + record if start_ms > 0 else record


class Rows(Protocol):
    """The samples of a request that are rendered or folded, in the order sent."""

    def __len__(self) -> int:
        """Count the rows that are rendered."""

    def folded(self) -> tuple[bytes, int]:
        """Return the records of folded samples, and how many samples are folded but not rendered."""

    def not_finite(self) -> list[float]:
        """Return the values that are not finite, which are neither rendered nor folded."""

    def times(self) -> list[int]:
        """Return the rendered rows' distinct times, in milliseconds."""

    def values(self) -> list[float]:
        """Return the rendered rows' values, in their order."""

    def layout(self, heads: tuple[bytes, ...], texts: bytes, end: bytes, /) -> bytes:
        """Return the offset of each line's end, as 64-bit numbers.

        `heads` has one entry for each of `times`; `texts` are the values, separated by commas.
        """

    def text(self, first: int, stop: int, /) -> bytes:
        """Return the lines from `first` up to `stop`; call `layout` first."""

    def sample(self, first: int, count: int, /) -> list[tuple[bytes, int, float]]:
        """Return `count` rendered rows, from `first` on, as template, time and value."""


class PlainRows:
    """Rows collected by the full parser."""

    def __init__(self) -> None:
        """Start empty."""
        self._rows: list[tuple[bytes, int, float]] = []
        self._records: list[bytes] = []
        self._only_folded = 0
        self._not_finite: list[float] = []
        self._lines: list[bytes] = []

    def put(self, template: bytes, fold_number: int, samples: Sequence[Sample]) -> None:
        """Add a series' samples; with an empty template they are not rendered, with number 0 not folded."""
        for time_ms, value, start_ms in samples:
            if not math.isfinite(value):
                self._not_finite.append(value)
                continue
            if fold_number:
                self._records.append(record_of(fold_number, time_ms, value, start_ms))
                self._only_folded += not template
            if template:
                self._rows.append((template, time_ms, value))

    def __len__(self) -> int:
        return len(self._rows)

    def folded(self) -> tuple[bytes, int]:
        """Return the records of folded samples, and how many samples are folded but not rendered."""
        return b"".join(self._records), self._only_folded

    def not_finite(self) -> list[float]:
        """Return the values that are not finite, which are neither rendered nor folded."""
        return self._not_finite

    def times(self) -> list[int]:
        """Return the rendered rows' distinct times, in milliseconds."""
        return list(dict.fromkeys(time_ms for _, time_ms, _ in self._rows))

    def values(self) -> list[float]:
        """Return the rendered rows' values, in their order."""
        return [value for _, _, value in self._rows]

    def layout(self, heads: tuple[bytes, ...], texts: bytes, end: bytes, /) -> bytes:
        """Return the offset of each line's end, as 64-bit numbers."""
        head_of = dict(zip(self.times(), heads, strict=True))
        self._lines = [
            b"".join((head_of[time_ms], template, text, end))
            for (template, time_ms, _), text in zip(self._rows, texts.split(b","), strict=True)
        ]
        ends = list(accumulate(map(len, self._lines)))
        return struct.pack(f"={len(ends)}Q", *ends)

    def text(self, first: int, stop: int, /) -> bytes:
        """Return the lines from `first` up to `stop`; call `layout` first."""
        return b"".join(self._lines[first:stop])

    def sample(self, first: int, count: int, /) -> list[tuple[bytes, int, float]]:
        """Return `count` rendered rows, from `first` on, as template, time and value."""
        return self._rows[first : first + count]


class Renderer:
    """Renders for one identity. Its templates lack the common prefix."""

    def __init__(self, identity: Identity) -> None:
        """Start with an empty cache of times."""
        self._identity = identity
        self._times = TimeTexts()
        self.common = common_start(identity)

    def template_of(self, labels: Mapping[str, str]) -> Template:
        """Return the template of a series; without `middle` it cannot be rendered."""
        made = make_template(labels, self._identity)
        return Template(made.middle.removeprefix(self.common), made.cut, made.left_out)

    def has_time(self, time_ms: int) -> bool:
        """Whether a time can be formatted: it is in the years 1 to 9999."""
        return self._times.get(time_ms) is not None

    def render(self, rows: Rows) -> list[Chunk]:
        """Return all lines, in chunks. All times must pass `has_time`."""
        if not len(rows):
            return []
        text_of, common = self._times.get, self.common
        heads = tuple(
            [b"".join((LINE_START, text_of(time) or b"", common)) for time in rows.times()]
        )
        texts = orjson.dumps(rows.values())[1:-1]
        ends = memoryview(rows.layout(heads, texts, LINE_END)).cast("Q")
        return [Chunk(rows.text(first, stop), stop - first) for first, stop in cut_points(ends)]
