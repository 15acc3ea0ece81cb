"""The kernel's own promises: its table is bounded and exact, and nothing it is told crashes it."""

import random
import shutil
import struct
import sysconfig
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from receiver.intake.recogniser import IS_COMPILED

if IS_COMPILED:
    from receiver import kernel

needs_kernel = pytest.mark.skipif(not IS_COMPILED, reason="the kernel is not built")

TIME_MS = 1_790_000_000_000
NAME = b"\x0a\x11\x0a\x08__name__\x12\x05metri"


def varint(number: int) -> bytes:
    return bytes((number >> 7 * n & 0x7F) | (0x80 if n < 5 else 0) for n in range(6))


def series(value: float = 1.5, time_ms: int = TIME_MS, name: bytes = NAME) -> bytes:
    inner = name + b"\x12\x10\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms)
    return b"\x0a" + bytes([len(inner)]) + inner


def test_it_is_built_where_it_can_be() -> None:
    """Setting up must not leave it out in silence."""
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    compiler = str(sysconfig.get_config_var("CC") or "cc").split()[0]
    assert IS_COMPILED or not (headers and shutil.which(compiler)), "python hatch_build.py"


@needs_kernel
def test_a_table_keeps_what_is_used_within_its_bytes() -> None:
    """Like a dictionary, but for what nobody used while room was needed."""
    table = kernel.Table(1 << 16)
    chance = random.Random(1)
    kept = {}
    for number in range(5000):
        key = b"%d-" % number + bytes(chance.randrange(40))
        kept[key] = chance.randbytes(chance.randrange(100))
        table.put(key, kept[key])
        assert table.get(b"0-") in (None, kept.get(b"0-"))
        entries, size_bytes, limit_bytes, misses = table.statistics()
        assert size_bytes <= limit_bytes == 1 << 16
        assert misses == number + 1
        assert entries * 96 <= size_bytes
    found = {key: table.get(key) for key in kept}
    assert all(value in (None, kept[key]) for key, value in found.items())
    assert sum(value is not None for value in found.values()) == table.statistics()[0] > 50


@needs_kernel
def test_what_is_used_all_the_time_stays() -> None:
    """A crowd of newcomers does not push out the series of every scrape."""
    table = kernel.Table(1 << 16)
    table.put(b"always", b"here")
    for number in range(20_000):
        table.put(b"once %d" % number, b"x" * 50)
        assert table.get(b"always") == b"here"


@needs_kernel
@pytest.mark.parametrize("size", [*range(40), 127, 128, 1000, 65536])
def test_keys_of_all_sizes_are_told_apart(size: int) -> None:
    """One bit makes another key, wherever it is."""
    table = kernel.Table(1 << 20)
    key = bytes(range(256)) * 257
    table.put(key[:size], b"this")
    assert table.get(key[:size]) == b"this"
    assert table.get(key[: size + 1]) is None
    for place in {0, size // 2, size - 1} & set(range(size)):
        other = bytearray(key[:size])
        other[place] ^= 1
        assert table.get(bytes(other)) is None


@needs_kernel
@pytest.mark.parametrize("size", [65537, 1 << 20])
def test_what_is_too_large_is_not_kept(size: int) -> None:
    """Neither a key nor a value that would take half the room."""
    table = kernel.Table(1 << 20)
    table.put(b"k" * size, b"")
    table.put(b"v", b"v" * size)
    assert table.get(b"k" * size) is None
    assert table.statistics()[1] <= 1 << 20


def opened(raw: bytes) -> "kernel.Reading":
    names, known = kernel.Table(1 << 16), kernel.Table(1 << 16)
    names.put(b"metri", b"\2")
    known.put(NAME, b'","name":"metri","value":')
    reading = kernel.read(raw, 1, names, known, 100)
    assert reading is not None
    return reading


@needs_kernel
def test_times_are_spelt_as_the_calendar_has_them() -> None:
    """Each day of the years that six bytes can tell, 1971 to 2109, and the last millisecond of it."""
    day_ms = 86_400_000
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    for first in range(398, 50_903, 100):
        days = range(first, min(first + 100, 50_903))
        times = [day * day_ms + (day_ms - 1 if day % 2 else day * 7919 % day_ms) for day in days]
        raw = b"".join(series(time_ms=each) for each in times)
        [(text, items)] = opened(raw).render(
            b",".join([b"1.5"] * len(times)), b"", b"", b"\n", 100, 1 << 20
        )
        assert items == len(times)
        spelt = [line[:24].decode() for line in text.splitlines()]
        assert spelt == [
            (epoch + timedelta(milliseconds=each))
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z")
            for each in times
        ]


@needs_kernel
@pytest.mark.parametrize("texts", [b"", b"1.5", b"1.5,", b"1.5,1.5,1.5", b",,", b"1.5,,1.5"])
def test_texts_that_are_not_those_of_the_values_are_refused(texts: bytes) -> None:
    """Fewer or more than there are values, or empty ones: an error, and no line that is wrong."""
    with pytest.raises(ValueError, match="not those of the values"):
        opened(series() * 2).render(texts, b"<", b"", b">", 10, 1000)


@needs_kernel
def test_places_that_are_none_are_refused() -> None:
    """What is not strange cannot be settled, nor twice."""
    reading = opened(series() + series(name=NAME[:-1] + b"x"))
    assert reading.strange() == [1]
    for place in (0, 2, -1, 1 << 40):
        with pytest.raises(IndexError):
            reading.look(place)
    reading.drop(1)
    with pytest.raises(IndexError):
        reading.drop(1)
    with pytest.raises(IndexError):
        reading.give(1, b"x")
    with pytest.raises(IndexError):
        reading.place(1, [])
    assert reading.counts() == (2, 1)


@needs_kernel
def test_a_series_of_another_shape_takes_no_template() -> None:
    """It has no value to put behind it."""
    reading = opened(series() + b"\x0a\x02\x12\x00")
    with pytest.raises(ValueError, match="usual shape"):
        reading.give(1, b"x")
    with pytest.raises(TypeError):
        reading.place(1, ["text"])  # type: ignore[list-item]
    lines = [b"one\n", b"two\n"]
    reading.place(1, lines)
    lines.clear()
    assert reading.render(b"1.5", b"<", b"", b">", 2, 1000)[-1] == (b"two\n", 1)


@needs_kernel
def test_what_was_read_outlives_what_is_forgotten() -> None:
    """A reading holds its templates while the table throws all of them away."""
    names, known = kernel.Table(1 << 16), kernel.Table(1000)
    names.put(b"metri", b"\2")
    known.put(NAME, b"middle")
    reading = kernel.read(series(), 1, names, known, 10)
    assert reading is not None
    for number in range(1000):
        known.put(b"other %d" % number, b"x" * 100)
    assert known.get(NAME) is None
    [(text, _)] = reading.render(b"1.5", b"<", b"", b">", 10, 1000)
    assert text.endswith(b"middle1.5>")


@needs_kernel
def test_more_series_than_allowed_are_left_to_the_full_parser() -> None:
    """It is the one that says so."""
    names, known = kernel.Table(1 << 16), kernel.Table(1 << 16)
    assert kernel.read(series() * 11, 1, names, known, 10) is None
    assert kernel.read(series() * 10, 1, names, known, 10) is not None
    assert kernel.read(b"", 1, names, known, 10) is None


@needs_kernel
@pytest.mark.parametrize(("size", "times"), [(1000, 60), (1000, 98), (1000, 2), (1 << 20, 98)])
def test_references_to_long_texts_do_not_fill_the_memory(size: int, times: int) -> None:
    """A byte of a series names a text of any length: what is spelt out is bounded, the rest is strange."""
    names, known = kernel.Table(1 << 16), kernel.Table(1 << 16)
    names.put(b"metri", b"\2")
    sample = b"\x12\x10\x09" + struct.pack("<d", 1.5) + b"\x10" + varint(TIME_MS)
    references = bytes([1, 2, *[3] * times])
    inner = b"\x0a" + bytes([len(references)]) + references + sample
    series = b"\x2a" + spelt(len(inner)) + inner
    raw = b"\x22\x00\x22\x08__name__\x22\x05metri\x22" + spelt(size) + b"x" * size
    raw += series * 20_000
    tracemalloc.start()
    reading = kernel.read(raw, 2, names, known, 20_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert reading is not None
    assert len(reading.strange()) == 20_000
    assert peak < 48 << 20


@needs_kernel
@pytest.mark.parametrize(("size", "is_read"), [(2000, True), (20_000, False)])
def test_a_long_name_is_not_read_once_for_each_series(size: int, *, is_read: bool) -> None:
    """One symbol of megabytes, named by each of many series, would be hashed and copied for minutes."""
    names, known = kernel.Table(1 << 16), kernel.Table(1 << 16)
    sample = b"\x12\x10\x09" + struct.pack("<d", 1.5) + b"\x10" + varint(TIME_MS)
    raw = b"\x22\x08__name__\x22" + spelt(size) + b"x" * size
    raw += (b"\x2a\x16\x0a\x02\x00\x01" + sample) * 3
    reading = kernel.read(raw, 2, names, known, 10)
    assert reading is not None
    assert [len(reading.look(place)[1]) for place in reading.strange()] == [size * is_read] * 3


def spelt(number: int) -> bytes:
    """Spell a varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
