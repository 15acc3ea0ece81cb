"""The kernel's own promises: its table is bounded and exact, and nothing that it is given crashes it."""

import gc
import random
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from receiver.intake.recogniser import IS_COMPILED
from receiver.rows import RECORD, record_of

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
    """Like a dictionary, but for what was not used while room was needed."""
    table = kernel.Table(1 << 16)
    chance = random.Random(1)
    kept = {}
    for number in range(5000):
        key = b"%d-" % number + bytes(chance.randrange(40))
        source = chance.randrange(1 << 16)
        kept[key] = chance.randbytes(chance.randrange(100)), chance.randrange(1 << 32), source, 3
        table.put(key, *kept[key])
        assert table.get(b"0-") in (None, kept.get(b"0-"))
        entries, size_bytes, limit_bytes, misses = table.statistics()
        assert size_bytes <= limit_bytes == 1 << 16
        assert misses == number + 1
        assert entries * 96 <= size_bytes
    values = {key: table.get(key) for key in kept}
    assert all(value in (None, kept[key]) for key, value in values.items())
    assert sum(value is not None for value in values.values()) == table.statistics()[0] > 50
    table.clear()
    assert table.statistics()[:2] == (0, 0)
    assert not any(map(table.get, kept))


@needs_kernel
def test_what_is_used_all_the_time_stays() -> None:
    """A crowd of newcomers does not push out the series of every scrape."""
    table = kernel.Table(1 << 16)
    table.put(b"always", b"here", 7)
    for number in range(20_000):
        table.put(b"once %d" % number, b"x" * 50)
        assert table.get(b"always") == (b"here", 7, 0, 0)


@needs_kernel
@pytest.mark.parametrize("size", [*range(40), 127, 128, 1000, 65536])
def test_keys_of_all_sizes_are_distinguished(size: int) -> None:
    """One bit makes another key, wherever it is."""
    table = kernel.Table(1 << 20)
    key = bytes(range(256)) * 257
    table.put(key[:size], b"this")
    assert table.get(key[:size]) == (b"this", 0, 0, 0)
    assert table.get(key[: size + 1]) is None
    for place in {0, size // 2, size - 1} & set(range(size)):
        other = bytearray(key[:size])
        other[place] ^= 1
        assert table.get(bytes(other)) is None


@needs_kernel
@pytest.mark.parametrize("size", [65537, 1 << 20])
def test_what_is_too_large_is_not_kept(size: int) -> None:
    """Neither a key nor a template that would take half the room."""
    table = kernel.Table(1 << 20)
    table.put(b"k" * size, b"")
    table.put(b"v", b"v" * size)
    assert table.get(b"k" * size) is None
    assert table.statistics()[1] <= 1 << 20


def opened(raw: bytes, template: bytes = b"template", fold_number: int = 0) -> "kernel.Reading":
    known = kernel.Table(1 << 16)
    known.put(NAME, template, fold_number)
    reading = kernel.read(raw, 1, kernel.Table(1 << 16), known, 100)
    assert reading is not None
    return reading


def written(rows: "kernel.Rows", texts: bytes) -> bytes:
    heads = tuple(b"<%d " % time for time in rows.times())
    ends = rows.layout(heads, texts, b">")
    text = rows.text(0, len(rows))
    assert memoryview(ends).cast("Q")[-1] == len(text)
    return text


@needs_kernel
def test_rows_are_lines() -> None:
    """Head of the time, template, value, end; in the order sent, in parts or at once."""
    values = (1.0, 2.0, 3.0, 4.0)
    rows = opened(b"".join(series(v, TIME_MS + int(v) % 2) for v in values)).rows()
    assert rows.values() == list(values)
    assert rows.times() == [TIME_MS + 1, TIME_MS]
    text = written(rows, b"1,22,333,4")
    odd, even = b"<%d template" % (TIME_MS + 1), b"<%d template" % TIME_MS
    assert text == b"".join((odd, b"1>", even, b"22>", odd, b"333>", even, b"4>"))
    assert b"".join(rows.text(n, n + 1) for n in range(4)) == text
    assert rows.text(2, 2) == b""
    assert rows.sample(1, 2) == [(b"template", TIME_MS, 2.0), (b"template", TIME_MS + 1, 3.0)]
    assert rows.sample(-1, 2) == rows.sample(4, 1) == rows.sample(0, -1) == []


@needs_kernel
def test_distinct_times_are_numbered_once() -> None:
    """However many there are, and whatever their order."""
    chance = random.Random(2)
    times = [TIME_MS + chance.randrange(40) * 1000 for _ in range(90)]
    rows = opened(b"".join(series(time_ms=time) for time in times)).rows()
    assert rows.times() == list(dict.fromkeys(times))
    assert [time for _, time, _ in rows.sample(0, 90)] == times


@needs_kernel
def test_rows_are_in_the_order_of_their_lanes() -> None:
    """Each lane's in the order sent, with a head for each time of a lane; a series in none is counted."""
    known = kernel.Table(1 << 16)
    names = [NAME[:-1] + b"%d" % number for number in range(4)]
    for name, lane in zip(names, (2, 0, 2, 0xFFFF), strict=True):
        known.put(name, b"" if lane == 0xFFFF else b"template%d" % lane, 0, 0, lane)
    raw = b"".join(series(float(n), name=name) for name in names for n in (1, 2))
    reading = kernel.read(raw, 1, kernel.Table(1 << 16), known, 100)
    assert reading is not None
    rows = reading.rows()
    assert rows.unrouted() == 2
    assert rows.spans() == [(0, 0, 2), (2, 2, 6)]
    assert rows.lanes() == [2, 0]
    assert rows.times() == [TIME_MS, TIME_MS]
    assert rows.values() == [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]
    rows.layout((b"two ", b"zero "), b"1,2,3,4,5,6", b">")
    assert rows.text(0, 3) == b"zero template01>zero template02>two template23>"


@needs_kernel
def test_a_folded_series_becomes_records() -> None:
    """Of 20 bytes each; one that is rendered too is a line and a record."""
    raw = series(1.5) + series(float("inf")) + series(2.5)
    records = RECORD.pack(7, TIME_MS, 1.5) + RECORD.pack(7, TIME_MS, 2.5)
    alone = opened(raw, b"", 7).rows()
    assert (alone.folded(), len(alone)) == ((records, 2, TIME_MS), 0)
    both = opened(raw, b"template", 7).rows()
    assert (both.folded(), len(both)) == ((records, 0, TIME_MS), 2)
    assert alone.not_finite() == both.not_finite() == [float("inf")]
    assert (alone.times(), alone.values()) == ([], [])


@needs_kernel
@pytest.mark.parametrize("texts", [b"", b"1.5", b"1.5,", b"1.5,1.5,1.5", b",,", b"1.5,,1.5"])
def test_texts_that_are_not_those_of_the_values_are_refused(texts: bytes) -> None:
    """Fewer or more than there are values, or empty ones: an error, and no line that is wrong."""
    rows = opened(series() * 2).rows()
    with pytest.raises(ValueError, match="not those of the values"):
        rows.layout((b"head",), texts, b">")
    with pytest.raises(IndexError, match="not measured"):
        rows.text(0, 1)


@needs_kernel
@pytest.mark.parametrize("heads", [(), (b"one", b"more")])
def test_a_head_for_each_time(heads: tuple[bytes, ...]) -> None:
    """No line is written with a time that is not its own."""
    with pytest.raises(ValueError, match="a head for each moment"):
        opened(series()).rows().layout(heads, b"1.5", b">")


@needs_kernel
@pytest.mark.parametrize(("first", "stop"), [(-1, 1), (1, 0), (0, 3), (3, 3), (0, 1 << 40)])
def test_lines_that_are_none_are_refused(first: int, stop: int) -> None:
    """Numbers are checked before memory is touched."""
    rows = opened(series() * 2).rows()
    with pytest.raises(IndexError):
        rows.text(0, 1)
    rows.layout((b"head",), b"1,2", b">")
    with pytest.raises(IndexError):
        rows.text(first, stop)


@needs_kernel
def test_places_that_are_none_are_refused() -> None:
    """What is recognised cannot be given another place, nor what has one twice."""
    reading = opened(series() + series(name=NAME[:-1] + b"x"))
    assert reading.unrecognised() == [1]
    for place in (0, 2, -1, 1 << 40):
        with pytest.raises(IndexError):
            reading.series_at(place)
    reading.skip(1)
    with pytest.raises(IndexError):
        reading.skip(1)
    with pytest.raises(IndexError):
        reading.set_template(1, b"x", 0, 0)
    with pytest.raises(IndexError):
        reading.set_template(1, b"x", 0, 0, 0, [])
    assert reading.counts() == (2, 1, 1, 1, 1, len(b"template"))


@needs_kernel
def test_samples_up_to_the_floor_of_their_source_have_no_row() -> None:
    """They are counted, by source; those that count too, with the latest time of a number."""
    reading = opened(series() + b"\x0a\x02\x12\x00" * 3)
    nan = float("nan")
    reading.set_template(1, b"x", 9, 3, 0, [(5, 1.0, 0), (6, 2.0, 0), (7, nan, 0)])
    reading.set_template(2, b"x", 0, 2, 0, [(1 << 62, 1.0, 0)])
    reading.set_template(3, b"x", 0, 4, 0, [])
    assert reading.sources() == [0, 2, 3, 4]
    with pytest.raises(ValueError, match="floor"):
        reading.rows(struct.pack("<3q", -(1 << 63), 0, 0))
    rows = reading.rows(struct.pack("<5q", -(1 << 63), 0, (1 << 63) - 1, 5, 0))
    assert rows.accounts() == [(0, 1, 0, TIME_MS), (2, 0, 1, -(1 << 63)), (3, 2, 1, 6)]
    assert rows.values() == [1.5, 2.0]
    assert rows.folded() == (RECORD.pack(9, 6, 2.0), 0, 6)
    assert len(rows.not_finite()) == 1
    assert reading.rows().accounts() == []


@needs_kernel
def test_what_was_collected_is_final() -> None:
    """A place that is given after the rows were collected would be lost in silence."""
    reading = opened(series() + series(name=NAME[:-1] + b"x"))
    assert len(reading.rows()) == 1
    with pytest.raises(IndexError):
        reading.set_template(1, b"x", 0, 0)


@needs_kernel
def test_a_series_of_another_shape_brings_its_samples() -> None:
    """It has no sample of the usual shape; several keep their order, and none is none."""
    reading = opened(series() + b"\x0a\x02\x12\x00" * 2)
    assert reading.unrecognised() == [1, 2]
    with pytest.raises(ValueError, match="usual shape"):
        reading.set_template(1, b"x", 0)
    for samples in ([1.5], [(1.5, 1, 0)], [(1, "x", 0)], [(1 << 70, 1.0, 0)], [()], [(1, 1.0)]):
        with pytest.raises((TypeError, OverflowError)):
            reading.set_template(1, b"x", 0, 0, 0, samples)  # type: ignore[arg-type]
    several = [(TIME_MS, 5.0, TIME_MS - 1), (-1, 6.0, 0), (TIME_MS, float("nan"), 1)]
    reading.set_template(1, b"x", 9, 0, 0, several)
    reading.set_template(2, b"x", 0, 0, 0, [])
    rows = reading.rows()
    assert rows.values() == [1.5, 5.0, 6.0]
    assert rows.times() == [TIME_MS, -1]
    records = record_of(9, TIME_MS, 5.0, TIME_MS - 1) + RECORD.pack(9, -1, 6.0)
    assert rows.folded() == (records, 0, TIME_MS)
    assert len(rows.not_finite()) == 1


@needs_kernel
def test_what_was_read_outlives_what_is_forgotten() -> None:
    """Rows hold their templates while the table and the reading are gone."""
    known = kernel.Table(1000)
    known.put(NAME, b"template")
    reading = kernel.read(series(), 1, kernel.Table(1 << 16), known, 10)
    assert reading is not None
    for number in range(1000):
        known.put(b"other %d" % number, b"x" * 100)
    assert known.get(NAME) is None
    rows = reading.rows()
    del reading, known
    gc.collect()
    assert written(rows, b"1.5").endswith(b" template1.5>")


@needs_kernel
def test_the_memory_that_is_read_stays_in_place() -> None:
    """A bytearray that a reading points into cannot be resized before the reading is gone."""
    raw, names, known = bytearray(series()), kernel.Table(1 << 16), kernel.Table(1 << 16)
    known.put(NAME, b"template")
    reading = kernel.read(raw, 1, names, known, 10)
    with pytest.raises(BufferError):
        raw.extend(b"\xff" * 1000)
    del reading
    raw.extend(b"\xff" * 1000)
    assert kernel.read(raw, 1, names, known, 10) is None  # damaged now, and released again
    raw.clear()
    with pytest.raises(TypeError):
        kernel.read("text", 1, names, known, 10)  # type: ignore[arg-type]


@needs_kernel
def test_an_empty_template_or_name_is_no_harm() -> None:
    """A known series without any end has no row, and an empty key is a key like any other."""
    unwanted, known = kernel.Table(1 << 16), kernel.Table(1 << 16)
    unwanted.put(b"")
    known.put(b"", b"")
    known.put(NAME, b"")
    reading = kernel.read(series(), 1, unwanted, known, 10)
    assert reading is not None
    assert reading.counts() == (1, 0, 0, 1, 0, 0)
    assert len(reading.rows()) == 0


@needs_kernel
def test_a_label_pair_is_spelt_as_a_key_of_2_0() -> None:
    """So that the full parser finds what was recognised, and the other way round."""
    symbols = (b"", b"__name__", b"metri", b"job", b"j")
    sample = b"\x12\x10\x09" + struct.pack("<d", 1.5) + b"\x10" + varint(TIME_MS)
    raw = b"".join(b"\x22" + bytes([len(text)]) + text for text in symbols)
    raw += b"\x2a\x18\x0a\x04\x01\x02\x03\x04" + sample
    unwanted, known = kernel.Table(1 << 16), kernel.Table(1 << 16)
    reading = kernel.read(raw, 2, unwanted, known, 10)
    assert reading is not None
    _, name, labels_size, key = reading.series_at(0)
    assert (name, labels_size) == (b"metri", 6)
    assert key == kernel.key(symbols[1:])
    for pairs in (None, [b"x"], (1,)):
        with pytest.raises(TypeError):
            kernel.key(pairs)  # type: ignore[arg-type]


@needs_kernel
def test_it_can_be_imported_more_than_once() -> None:
    """No state is global: each import has its own, and its own secret."""
    program = """if True:
        import gc, sys
        from receiver import kernel
        first = kernel.Table(1000)
        del sys.modules["receiver.kernel"]
        from importlib import import_module
        again = import_module("receiver.kernel")
        assert again is not kernel and again.Table is not kernel.Table
        first.put(b"k", b"v", 3)
        del kernel, again
        gc.collect()
        assert first.get(b"k") == (b"v", 3, 0, 0)
        """
    subprocess.run([sys.executable, "-c", program], check=True)


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
    """A byte of a series names a text of any length: what is spelt out is bounded, the rest is not recognised."""
    names, known = kernel.Table(1 << 16), kernel.Table(1 << 16)
    sample = b"\x12\x10\x09" + struct.pack("<d", 1.5) + b"\x10" + varint(TIME_MS)
    references = bytes([1, 2, *[3] * times])
    inner = b"\x0a" + bytes([len(references)]) + references + sample
    series = b"\x2a" + spelt(len(inner)) + inner
    raw = b"\x22\x00\x22\x08__name__\x22\x05metri\x22" + spelt(size) + b"x" * size
    raw += series * 20_000
    before = resident_bytes()
    reading = kernel.read(raw, 2, names, known, 20_000)
    assert reading is not None
    assert len(reading.unrecognised()) == 20_000
    assert max(len(reading.series_at(place)[3]) for place in range(0, 20_000, 100)) <= 4096
    assert (
        resident_bytes() - before < 80 << 20
    )  # 32 MiB of keys, and while they move the half of it


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
    assert [len(reading.series_at(place)[1]) for place in reading.unrecognised()] == [
        size * is_read
    ] * 3


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def spelt(number: int) -> bytes:
    """Spell a varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
