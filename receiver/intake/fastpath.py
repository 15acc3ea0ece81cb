r"""What every scrape brings again is recognised by its bytes, and never parsed twice.

In: a decompressed request. Out: `Found`: the lines of all series that were recognised,
and the bytes of those that were not (the odd ones), for the full parser to take.

A request is opened one level deep: each series stays the bytes that it is on the wire.
Remote-write 1.0, a series with one sample; in hexadecimal, LL and NN lengths below 80:

    0a LL 0a 08 "__name__" 12 NN name   0a …   12 10 09 dddddddddddddddd 10 tttttttttttt
    \__ the first label, the name ___/  more \  \_ sample of 16 bytes     \_ time: a varint
    \__________ the label section ____________/    \_ its value, 8 bytes     of 6 bytes means
                                                                             1971 to 2109
or, where the value is 0 and so left out:      12 07 10 tttttttttttt

Remote-write 2.0, where labels are numbers of the request's symbols:

    0a LL 01 nn …   12 10 09 dddddddddddddddd 10 tttttttttttt 2a 00    or again 12 07
    \_ references   \_ the sample, as above                   \_ metadata, or nothing

Four dictionaries know what such bytes mean: the name's to wanted or not, the label
section's to the template, the end's (time and after) to the time's text, and in 2.0,
where numbers differ from request to request, the texts' that they stand for.

Why it is sound. Concatenated messages parse as one merged message. Bytes enter a
dictionary only after the full parser, given them alone, found a whole message in them
that holds labels and nothing else (the name: that one label). The header of the sample
is part of the section's key, the tag before the time part of the end's: when both are
found, and the header is the one of a double, the bytes between them are the double, and no
other reading is possible. A
series that is dropped by its name is not looked into further, as in the full parser,
which would refuse the whole request if it were damaged.

Where the package was built with a C compiler, `receiver.intake.recogniser` and kernel.c do the same
in a third of the time; this is what they are held to, and what runs without one. The loops
here run in C too (`map`, slices, one `orjson` call for all values); per series, Python
runs for newcomers alone. Pure, and bounded: the caches in bytes, the times by number.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import compress, count, repeat
from math import isfinite
from operator import getitem, itemgetter
from typing import Any

import orjson
from google.protobuf.message import DecodeError

from receiver.azure.envelope import LINE_END, LINE_START, Template, spell_time
from receiver.intake.cache import BoundedCache
from receiver.intake.decode import DEFAULT_LIMITS, NAME_LABEL, Message, check_series
from receiver.intake.learn import (
    LINE_OVERHEAD_BYTES,
    NAMES_LIMIT_BYTES,
    Found,
    Learn,
    check_rendered,
    learn_series,
    only_labels,
)
from receiver.intake.limits import Limits
from receiver.intake.metrics_json import Allowlist
from receiver.intake.wire.remote_write_lean_pb2 import (
    OpaqueRequest,
    OpaqueWriteRequest,
    ReferencingTimeSeries,
)
from receiver.outbox.batch import Chunk, cut

OPAQUE_COST = 18
"""Bytes of memory that each byte of a request can cost, opened one level deep: two bytes make
an empty series, 24 its place in two arrays, and while it grows the array is there twice."""
_SERIES_TAGS = {Message.V1: (0x0A, 0x8A, 0x1A, 0x9A), Message.V2: (0x2A, 0xAA, 0x22, 0xA2)}
"""What a series, metadata or a symbol begins with; a varint may be longer than it needs to be."""
CHUNK = 2000
"""Series that are taken at once: what is made of them stays in the processor's cache."""
TIMES_LIMIT = 4096
"""Ends that are known at once; some hundred are seen in a scrape."""
NAME_OVERHEAD_BYTES = 150
KEY_LIMIT_BYTES = 4096
"""Labels of 2.0 that are longer, spelt out, are odd: some bytes of references can name megabytes."""
END_LIMIT_BYTES = 64
"""An end with more metadata than that is odd."""

UNWANTED, WANTED = 1, 2
"""What is kept of a name; no 0 among them, since what the cache holds is true."""
_IS_WANTED = bytes.maketrans(bytes((UNWANTED, WANTED)), b"\0\1")

DOUBLE_HEADER, ZERO_HEADER = b"\x12\x10\x09", b"\x12\x07\x10"
_HEADERS = frozenset((DOUBLE_HEADER, ZERO_HEADER))
_ZERO = 0x07
_TIME_TAG = 0x10
NO_METADATA = b"\x2a\x00"
_SEPARATOR = b"\xff"
"""Between the labels of 2.0 in a key: no text that is UTF-8 holds it."""

# A series of 1.0 is read from its end. The byte before the time's tag tells the two
# shapes apart: it is the length 07 of a sample without value, or the last of a double,
# and doubles that end in 07 (of the order of 1e-270) are merely not recognised.
_SHAPE_V1 = itemgetter(-8)
_SECTION_V1 = [slice(None, -15)] * 256
_SECTION_V1[_ZERO] = slice(None, -6)
_END_V1 = slice(-7, None)
_VALUE_V1 = itemgetter(slice(-15, -7))
_HEADER_V1 = itemgetter(slice(-18, -15))

# A series of 2.0 is read from its start: first its references, then this tail.
_STARTS_V2 = frozenset(bytes((0x0A, length)) for length in range(2, 0x80))
_START_V2 = itemgetter(slice(0, 2))
_NAME_V2 = itemgetter(slice(2, 6))
_SHAPE_V2 = itemgetter(1)
_HEADER_V2 = itemgetter(slice(0, 3))
_END_V2 = [slice(0, 0)] * 256
_END_V2[0x10], _END_V2[_ZERO] = slice(11, None), slice(2, None)
_VALUE_V2 = itemgetter(slice(3, 11))


@dataclass(slots=True)
class _Reading:
    """A request while it is read; an odd series has with it how many lines come before its own."""

    series: int = 0
    unselected: int = 0
    lines: list[bytes] = field(default_factory=list)
    times_ms: set[int] = field(default_factory=set)
    not_finite: list[float] = field(default_factory=list)
    odd: list[tuple[int, bytes]] = field(default_factory=list)
    symbols: Sequence[bytes] = ()
    rendered_bytes: int = 0
    learnt: list[Template] = field(default_factory=list)

    def finish(self, odd_lines: Sequence[Sequence[bytes]]) -> list[Chunk]:
        """Join all lines, each in its place."""
        lines: list[bytes] = []
        done = 0
        for (place, _), own in zip(self.odd, odd_lines, strict=True):
            lines += self.lines[done:place]
            lines += own
            done = place
        return cut(lines + self.lines[done:] if lines else self.lines)


class FastPath:
    """Remembers what bytes mean, for one metrics.json: a new one needs a new FastPath."""

    def __init__(
        self,
        allowlist: Allowlist,
        templates: BoundedCache[Any, bytes],
        learn: Learn,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Keep the templates' middles in `templates`, which others may use with other keys."""
        self._allowlist = allowlist
        self._templates = templates
        self._learn = learn
        self._limits = limits
        self._names: BoundedCache[bytes, int] = BoundedCache(
            NAMES_LIMIT_BYTES, lambda name, _: len(name) + NAME_OVERHEAD_BYTES
        )
        self._starts: dict[bytes, bytes] = {}
        self._milliseconds: dict[bytes, int] = {}
        self._with_metadata: set[bytes] = set()

    def read(self, raw: bytes, message: Message) -> Found | None:
        """Recognise what can be recognised; None for a request that is unusual as a whole.

        Raises: TooLarge for one over the limits.
        """
        if len(self._starts) >= TIMES_LIMIT:
            self._starts.clear()
            self._milliseconds.clear()
            self._with_metadata.clear()
        if len(raw) * OPAQUE_COST > self._limits.parsed_bytes:
            tags = sum(map(raw.count, _SERIES_TAGS[message]))
            if len(raw) + tags * 2 * OPAQUE_COST > self._limits.parsed_bytes:
                return None
        found = _Reading()
        try:
            usual = (
                self._read_v1(raw, found) if message is Message.V1 else self._read_v2(raw, found)
            )
        except (DecodeError, IndexError):  # no such message, or a series shorter than any sample
            return None
        if not usual:
            return None
        return Found(
            found.series,
            found.unselected,
            [each for _, each in found.odd],
            found.symbols,
            found.not_finite,
            (min(found.times_ms), max(found.times_ms)) if found.times_ms else (),
            found.rendered_bytes,
            found.learnt,
            found.finish,
        )

    # Remote-write 1.0

    def _read_v1(self, raw: bytes, found: _Reading) -> bool:
        request = OpaqueWriteRequest.FromString(raw)
        if request.metadata:
            return False
        series = request.timeseries
        check_series(len(series), self._limits.series)
        for start in range(0, len(series), CHUNK):
            self._read_chunk_v1(series[start : start + CHUNK], found)
        return len(series) > 0

    def _read_chunk_v1(self, series: Sequence[bytes], found: _Reading) -> None:
        wanted = list(compress(series, self._wanted_v1(series)))
        found.series += len(series)
        found.unselected += len(series) - len(wanted)
        if wanted:
            shapes = bytes(map(_SHAPE_V1, wanted))
            cuts = map(_SECTION_V1.__getitem__, shapes)
            middles = self._templates.peek(map(getitem, wanted, cuts))
            if ZERO_HEADER in map(_HEADER_V1, wanted):
                _forget_false_zeros(wanted, shapes, middles)
            if not all(middles):
                self._learn_sections(wanted, shapes, middles, found)
            starts = self._line_starts(wanted, repeat(_END_V1))
            values = _doubles(list(map(_VALUE_V1, wanted)), shapes)
            self._render(found, wanted, starts, middles, values)

    def _wanted_v1(self, series: Sequence[bytes]) -> bytes:
        """Say of each series whether to look into it: it is wanted, or its name is not found."""
        verdicts = self._names.peek([each[: each[1] + 2] for each in series])
        if not all(verdicts):
            for place, verdict in enumerate(verdicts):
                if not verdict:
                    key = series[place][: series[place][1] + 2]
                    verdicts[place] = self._names.get(key) or self._learn_name(key)
        return bytes(verdicts).translate(_IS_WANTED)  # type: ignore[arg-type] # none is None

    def _learn_name(self, key: bytes) -> int:
        name = _only_name(key)
        if not name:
            return WANTED
        verdict = WANTED if self._allowlist.wants(name) else UNWANTED
        self._names.put(key, verdict)
        return verdict

    def _learn_sections(
        self, wanted: Sequence[bytes], shapes: bytes, middles: list[bytes | None], found: _Reading
    ) -> None:
        for place, each in enumerate(wanted):
            if not middles[place]:
                key = each[_SECTION_V1[shapes[place]]]
                if key[-3:] == (ZERO_HEADER if shapes[place] == _ZERO else DOUBLE_HEADER):
                    middles[place] = self._templates.get(key) or self._learn_section(key, found)

    def _learn_section(self, key: bytes, found: _Reading) -> bytes | None:
        section = key[:-3]
        if len(section) > 4 * self._limits.label_bytes:
            return None
        twin = section + (ZERO_HEADER if key.endswith(DOUBLE_HEADER) else DOUBLE_HEADER)
        if middle := self._templates.get(twin):  # the series is known with the other kind of value
            self._templates.put(key, middle)
            return middle
        return self._learn_labels(key, only_labels(section), found)

    def _learn_labels(self, key: bytes, pairs: Sequence[bytes], found: _Reading) -> bytes | None:
        """Make a wanted series' template and keep it; None leaves the series to the full parser."""
        template = learn_series(pairs, self._allowlist, self._limits, self._learn)
        if template is None:
            return None
        self._templates.put(key, template.middle)
        found.learnt.append(template)
        return template.middle

    # Remote-write 2.0

    def _read_v2(self, raw: bytes, found: _Reading) -> bool:
        request = OpaqueRequest.FromString(raw)
        check_series(len(request.timeseries), self._limits.series)
        series, found.symbols = request.timeseries, request.symbols[:]
        if _SEPARATOR in b"".join(found.symbols):
            return False
        for start in range(0, len(series), CHUNK):
            if not self._read_chunk_v2(series[start : start + CHUNK], found):
                return False
        return len(series) > 0

    def _read_chunk_v2(self, series: Sequence[bytes], found: _Reading) -> bool:
        if not _STARTS_V2.issuperset(map(_START_V2, series)):
            return False
        tails = [each[each[1] + 2 :] for each in series]
        shapes = bytes(map(_SHAPE_V2, tails))
        cuts = list(map(_END_V2.__getitem__, shapes))
        starts = self._line_starts(tails, cuts)
        if not _HEADERS.issuperset(map(_HEADER_V2, tails)):
            for place, tail in enumerate(tails):
                if tail[:3] not in _HEADERS:
                    starts[place] = None
        verdicts = self._wanted_v2(series, found.symbols)
        if not all(starts):  # wanted or not, samples of unknown number have to be counted
            for place, start in enumerate(starts):
                if start is None and not self._has_one_sample(tails[place], cuts[place]):
                    verdicts[place] = True
        wanted = list(compress(series, verdicts))
        found.series += len(series)
        found.unselected += len(series) - len(wanted)
        if wanted:
            middles = self._middles_v2(wanted, found)
            values = _doubles(
                list(map(_VALUE_V2, compress(tails, verdicts))), bytes(compress(shapes, verdicts))
            )
            self._render(found, wanted, list(compress(starts, verdicts)), middles, values)
        return True

    def _has_one_sample(self, tail: bytes, cut: slice) -> bool:
        """Whether a series without a start is a usual one, but for its metadata."""
        return tail[:3] in _HEADERS and tail[cut] in self._with_metadata

    def _wanted_v2(self, series: Sequence[bytes], symbols: Sequence[bytes]) -> list[bool]:
        """Say of each series whether to look into it, asking for each name once in a request."""
        keys = list(map(_NAME_V2, series))
        verdicts = {key: self._wants_v2(key, symbols) for key in set(keys)}
        return list(map(verdicts.__getitem__, keys))

    def _wants_v2(self, key: bytes, symbols: Sequence[bytes]) -> bool:
        label, place = key[0], 0
        for shift, byte in enumerate(key[1:]):
            place |= (byte & 0x7F) << (7 * shift)
            if byte < 0x80:
                break
        else:
            return True
        if label >= 0x80 or symbols[label] != NAME_LABEL or not symbols[place]:
            return True
        return self._allowlist.wants(symbols[place])

    def _middles_v2(self, wanted: Sequence[bytes], found: _Reading) -> list[bytes | None]:
        keys = [_texts(each[: each[1] + 2], found.symbols) for each in wanted]
        middles = self._templates.peek(keys)
        if not all(middles):
            for place, key in enumerate(keys):
                if middles[place] is None and key:
                    pairs = key[1:].split(_SEPARATOR)
                    middles[place] = self._templates.get(key) or self._learn_labels(
                        key, pairs, found
                    )
        return middles

    # Both

    def _line_starts(self, tails: Sequence[bytes], cuts: Iterable[slice]) -> list[bytes | None]:
        """Say of each series how its line begins, from its end; None where that is not known."""
        ends: list[bytes] = list(map(bytes.__getitem__, tails, cuts))
        starts: list[bytes | None] = list(map(self._starts.get, ends))
        if not all(starts):
            for place, start in enumerate(starts):
                if start is None:
                    starts[place] = self._starts.get(ends[place]) or self._learn_end(ends[place])
        return starts

    def _learn_end(self, end: bytes) -> bytes | None:
        """Read the time from the tag 10 and a varint of 6 bytes, behind which nothing may count."""
        if (
            not 7 <= len(end) <= END_LIMIT_BYTES
            or end[0] != _TIME_TAG
            or end in self._with_metadata
        ):
            return None
        if min(end[1:6]) < 0x80 or end[6] >= 0x80 or not _holds_no_sample(end[7:]):
            return None
        if end[7:] not in (b"", NO_METADATA):  # the full parser reads it, if the series is wanted
            self._with_metadata.add(end)
            return None
        timestamp_ms = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(end[1:7]))
        text = spell_time(timestamp_ms)
        assert text is not None, "six bytes end in 2109"
        start = self._starts[end] = LINE_START + text
        self._milliseconds[start] = timestamp_ms
        return start

    def _render(
        self,
        found: _Reading,
        wanted: Sequence[bytes],
        starts: Sequence[bytes | None],
        middles: Sequence[bytes | None],
        values: list[float],
    ) -> None:
        """Join times, templates and values to lines; a series that lacks one of them is odd."""
        if not all(starts) or not all(middles):
            usual = list(map(all, zip(starts, middles, strict=True)))
            before = len(found.lines)
            for each, value, is_usual in zip(wanted, values, usual, strict=True):
                if not is_usual:
                    found.odd.append((before, each))
                elif isfinite(value):
                    before += 1
            starts, middles = list(compress(starts, usual)), list(compress(middles, usual))
            values = list(compress(values, usual))
        found.rendered_bytes += sum(map(len, middles)) + len(middles) * LINE_OVERHEAD_BYTES  # type: ignore[arg-type]
        check_rendered(found.rendered_bytes, self._limits)
        finite = list(map(isfinite, values))
        if not all(finite):
            found.not_finite += [value for value in values if not isfinite(value)]
            starts, middles = list(compress(starts, finite)), list(compress(middles, finite))
            values = list(compress(values, finite))
        if values:
            texts = orjson.dumps(values)[1:-1].replace(b",", LINE_END + b",") + LINE_END
            parts = zip(starts, middles, texts.split(b","), strict=True)
            found.lines += map(b"".join, parts)  # type: ignore[arg-type] # none is None
            found.times_ms.update(map(self._milliseconds.__getitem__, set(starts)))  # type: ignore[arg-type]


def _only_name(key: bytes) -> bytes:
    """Read the name from a first label that is it, whole and alone; else nothing."""
    pairs = only_labels(key)
    return pairs[1] if len(pairs) == 2 and pairs[0] == NAME_LABEL else b""


def _forget_false_zeros(
    wanted: Sequence[bytes], shapes: bytes, middles: list[bytes | None]
) -> None:
    """Leave those to the full parser that are a zero, which is known, and fields behind it."""
    for place, each in enumerate(wanted):
        if _HEADER_V1(each) == ZERO_HEADER and shapes[place] != _ZERO:
            middles[place] = None


def _holds_no_sample(rest: bytes) -> bool:
    """Whether what follows the sample of a series is metadata at most."""
    try:
        fields = ReferencingTimeSeries.FromString(rest)
    except DecodeError:
        return False
    return not (fields.labels_refs or fields.samples or fields.histograms or fields.exemplars)


def _texts(section: bytes, symbols: Sequence[bytes]) -> bytes:
    """Spell the labels of references out, as a key; empty where they are not right, or too long."""
    try:
        references = ReferencingTimeSeries.FromString(section).labels_refs
        parts = list(map(symbols.__getitem__, references))
    except (DecodeError, IndexError):
        return b""
    if not parts or len(parts) % 2:
        return b""
    key = _SEPARATOR + _SEPARATOR.join(parts)
    return key if len(key) <= KEY_LIMIT_BYTES else b""


def _doubles(values: Sequence[bytes], shapes: bytes) -> list[float]:
    """Read little-endian doubles; where the shape says that there is none, the value is 0."""
    joined = b"".join(values)
    if len(joined) != 8 * len(values):  # the tails of zeros, and odd ones, may be shorter
        joined = b"".join(value.ljust(8, b"\0") for value in values)
    doubles = list(struct.unpack(f"<{len(values)}d", joined))
    if _ZERO in shapes:
        for place in compress(count(), map(_ZERO.__eq__, shapes)):
            doubles[place] = 0.0
    return doubles
