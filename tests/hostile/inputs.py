"""Bodies that are made to do harm, as they come over the network. Spelt by hand, small in here."""

from collections.abc import Callable
from dataclasses import dataclass

import snappy

from tests.conformance.messages import varint

MIB = 1 << 20
NAME = b"\x0a\x10\x0a\x08__name__\x12\x04nv_a"
"""The label __name__="nv_a" of 1.0."""


def field(number: int, inner: bytes) -> bytes:
    """Spell a field that holds bytes."""
    return varint(number << 3 | 2) + varint(len(inner)) + inner


def squeeze(raw: bytes) -> bytes:
    """Compress."""
    return bytes(snappy.compress(raw))


def label(name: bytes, value: bytes) -> bytes:
    """Spell a label of 1.0."""
    return field(1, field(1, name) + field(2, value))


def nested(depth: int) -> bytes:
    """Put unknown groups into one another."""
    return b"\x7b" * depth + b"\x7c" * depth


@dataclass(frozen=True)
class Hostile:
    """A body, made when it is needed, and the statuses that are right for it."""

    name: str
    make: Callable[[], bytes]
    statuses: tuple[int, ...]
    version: int = 1


def _many(part: bytes, size: int = 31 * MIB) -> bytes:
    return part * (size // len(part))


def _series_with(part: bytes) -> bytes:
    return squeeze(field(1, NAME + _many(part, 30 * MIB)))


def _by_reference() -> bytes:
    """Let 15,000 series refer to the same long symbols."""
    symbols = [b"", b"__name__", b"nv_a", b"n", *(b"%d" % n for n in range(15_000))]
    symbols += [b"k%d" % n for n in range(7)] + [bytes([65 + n]) * 8000 for n in range(7)]
    first = 4 + 15_000
    tail = b"".join(varint(first + n) + varint(first + 7 + n) for n in range(7))
    rows = (
        field(5, field(1, b"\x01\x02\x03" + varint(4 + n) + tail) + b"\x12\x00")
        for n in range(15_000)
    )
    return squeeze(b"".join(field(4, symbol) for symbol in symbols) + b"".join(rows))


HOSTILE = (
    Hostile("empty body", lambda: b"", (400,)),
    Hostile("46 bytes that declare 4 GiB", lambda: b"\xff\xff\xff\xff\x0f" + b"x" * 41, (413,)),
    Hostile("a length without end", lambda: b"\xff" * 100, (400,)),
    Hostile("32 MiB of zeros", lambda: squeeze(bytes(32 * MIB)), (400,)),
    Hostile("33 MiB of zeros", lambda: squeeze(bytes(33 * MIB)), (413,)),
    Hostile("16 MiB of noise", lambda: b"\x80\x80\x80\x08" + b"\xf3\x0a" * (8 * MIB - 2), (400,)),
    Hostile("framed snappy", lambda: b"\xff\x06\x00\x00sNaPpY\x00" + b"x" * 100, (400,)),
    Hostile("cut off", lambda: squeeze(field(1, NAME * 1000))[:-3], (400,)),
    Hostile("millions of empty series, 1.0", lambda: squeeze(_many(b"\x0a\x00")), (413,)),
    Hostile("millions of empty series, longer tags", lambda: squeeze(_many(b"\x8a\x00\x00")), (413,)),
    Hostile("millions of empty series, 2.0", lambda: squeeze(_many(b"\x2a\x00")), (413,), 2),
    Hostile("millions of empty symbols", lambda: squeeze(_many(b"\x22\x00")), (413,), 2),
    Hostile("millions of empty labels", lambda: _series_with(b"\x0a\x00"), (413,)),
    Hostile("millions of empty samples", lambda: _series_with(b"\x12\x00"), (413,)),
    Hostile("millions of empty exemplars", lambda: _series_with(b"\x1a\x00"), (413,)),
    Hostile("millions of empty histograms", lambda: _series_with(b"\x22\x00"), (413,)),
    Hostile("a histogram of 30 MiB of deltas", lambda: squeeze(field(1, NAME + field(4, field(12, b"\x01" * (30 * MIB))))), (400,)),
    Hostile("30 MiB of references in a series", lambda: squeeze(field(4, b"") + field(5, field(1, bytes(30 * MIB)))), (413,), 2),
    Hostile("millions of metadata", lambda: squeeze(_many(b"\x1a\x00")), (413,)),
    Hostile("1 MiB of empty series: under the counting", lambda: squeeze(_many(b"\x0a\x00", MIB)), (413,)),
    Hostile("20,000 series without a name", lambda: squeeze(b"\x0a\x00" * 20_000), (400,)),
    Hostile("20,000 new series", lambda: squeeze(b"".join(field(1, NAME + label(b"n", b"%d" % n) + b"\x12\x00") for n in range(20_000))), (204,)),
    Hostile("one series of 900,000 labels", lambda: squeeze(field(1, NAME + b"\x0a\x00" * 900_000)), (400, 413)),
    Hostile("a label of 16 MiB", lambda: squeeze(field(1, NAME + label(b"a", b"x" * (16 * MIB)))), (400,)),
    Hostile("long labels times 130,000 samples", lambda: squeeze(field(1, NAME + label(b"a", b"x" * 60_000) + b"\x12\x00" * 130_000)), (413,)),
    Hostile("long labels by reference, 15,000 series", _by_reference, (413,), 2),
    Hostile("groups 10,000 deep", lambda: squeeze(nested(10_000)), (400,)),
    Hostile("not UTF-8", lambda: squeeze(field(1, NAME + label(b"\xff", b"\xfe") + b"\x12\x00")), (400,)),
)  # fmt: skip
