"""The fast path by example: what it recognises, what it leaves to the full parser, and why.

Compiled and in Python: each test takes both, where there is a kernel.
"""

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import snappy

from receiver.azure.envelope import Identity, Template
from receiver.errors import TooMuchToRender, Undecodable
from receiver.intake.cache import BoundedCache
from receiver.intake.decode import Message
from receiver.intake.fastpath import CHUNK, FastPath
from receiver.intake.limits import Limits
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import Pipeline
from receiver.intake.recogniser import IS_COMPILED, CompiledPath

CAPTURES = Path(__file__).parents[2] / "data" / "remote-write"
USUAL_MS = 1_790_000_000_000
TIME = b"\x10" + bytes((USUAL_MS >> 7 * n & 0x7F) | (0x80 if n < 5 else 0) for n in range(6))
DOUBLE = b"\x09" + struct.pack("<d", 1.5)
SAMPLE = b"\x12\x10" + DOUBLE + TIME
ZERO = b"\x12\x07" + TIME


def label(name: bytes, value: bytes) -> bytes:
    pair = b"\x0a" + bytes([len(name)]) + name + b"\x12" + bytes([len(value)]) + value
    return b"\x0a" + bytes([len(pair)]) + pair


WANTED = label(b"__name__", b"wanted") + label(b"job", b"j")
OTHER = label(b"__name__", b"other") + label(b"job", b"j")


def request(*series: bytes) -> bytes:
    return b"".join(b"\x0a" + length(each) + each for each in series)


def length(text: bytes) -> bytes:
    return bytes([len(text)] if len(text) < 0x80 else [len(text) & 0x7F | 0x80, len(text) >> 7])


@pytest.fixture(
    params=[
        False,
        pytest.param(
            True, marks=pytest.mark.skipif(not IS_COMPILED, reason="the kernel is not built")
        ),
    ],
    ids=["python", "compiled"],
)
def compiled(request: pytest.FixtureRequest) -> bool:
    """Say which of the two to take."""
    return bool(request.param)


def make_selection(compiled: bool, names: Sequence[str] = ("wanted",)) -> Pipeline:  # noqa: FBT001 - the fixture's
    allowlist = Allowlist([Entry(name) for name in names])
    return Pipeline(allowlist, Identity("key", "host"), 1 << 20, compiled=compiled)


def make_fastpath(compiled: bool) -> FastPath | CompiledPath:  # noqa: FBT001 - the fixture's
    allowlist = Allowlist([Entry("wanted")])
    if compiled:
        return CompiledPath(allowlist, 1 << 20, lambda _: Template(b"middle"), b"mid")
    cache: BoundedCache[bytes, bytes] = BoundedCache(1 << 20, lambda key, _: len(key))
    return FastPath(allowlist, cache, lambda _: Template(b"middle"))


@pytest.mark.parametrize("tail", [SAMPLE, ZERO], ids=["a double", "zero"])
def test_the_usual_series_is_recognised(*, compiled: bool, tail: bytes) -> None:
    """One sample behind the labels, the name first among them: nothing is left to the parser."""
    found = make_fastpath(compiled).read(request(WANTED + tail, OTHER + tail), Message.V1)
    assert found is not None
    assert (found.series, found.unselected, list(found.odd)) == (2, 1, [])
    assert [chunk.items for chunk in found.finish([])] == [1]
    assert found.span_ms == (USUAL_MS, USUAL_MS)


SHORT_TIME = b"\x10" + TIME[1:5] + bytes([TIME[5] & 0x7F])
LONG_TIME = TIME[:-1] + b"\xb4\x01"


@pytest.mark.parametrize(
    "series",
    [
        WANTED,
        WANTED + SAMPLE + SAMPLE,
        WANTED + ZERO + SAMPLE,
        WANTED + b"\x1a\x10" + DOUBLE + TIME,
        WANTED + b"\x22\x07" + TIME,
        WANTED + b"\x12\x0f" + DOUBLE + SHORT_TIME,
        WANTED + b"\x12\x11" + DOUBLE + LONG_TIME,
        WANTED + b"\x12\x09" + DOUBLE + b"\x12\x07" + TIME,
        WANTED + b"\x12\x10" + TIME + DOUBLE,
        WANTED + ZERO + b"\x39\x01" + TIME,  # behind the zero a field that nobody knows
        SAMPLE + WANTED,
        label(b"__name__", b"wanted") + label(b"__name__", b"wanted") + SAMPLE,
        label(b"__name__", b"") + SAMPLE,
        label(b"job", b"j") + SAMPLE,
        SAMPLE,
        b"\x0a\x00" + SAMPLE,
    ],
)
def test_an_unusual_series_is_left_to_the_full_parser(*, compiled: bool, series: bytes) -> None:
    """Warm or not, what differs in shape is odd, and its outcome is the full parser's."""
    fast = make_fastpath(compiled)
    fast.read(request(WANTED + SAMPLE, WANTED + ZERO), Message.V1)
    found = fast.read(request(WANTED + ZERO, series, WANTED + SAMPLE), Message.V1)
    assert found is None or found.odd == [series]
    raw = request(WANTED + ZERO, series, WANTED + SAMPLE)
    selection = make_selection(compiled)
    for _ in range(2):
        taken, expected = (
            selection.take(raw, Message.V1),
            make_selection(compiled).take_slowly(raw, Message.V1),
        )
        assert replace(taken, written_samples=0) == replace(expected, written_samples=0)


def test_a_time_that_is_no_varint_of_six_bytes_is_not_learnt(*, compiled: bool) -> None:
    """Where the bytes before are a field of their own, the last seven can look like a time."""
    inner = b"\x12\x10" + DOUBLE + b"\x10" + b"\x80" * 5 + b"\x80"
    found = make_fastpath(compiled).read(request(WANTED + inner), Message.V1)
    assert found is not None
    assert found.odd == [WANTED + inner]
    with pytest.raises(Undecodable):
        make_selection(compiled).take(request(WANTED + inner), Message.V1)


@pytest.mark.parametrize("message", Message)
@pytest.mark.parametrize("zeros", [b"\x80", b"\x80\x80\x80\x80\x80"], ids=["few", "many"])
@pytest.mark.parametrize("where", ["tag", "length"])
def test_what_the_parser_takes_for_no_varint_is_none(
    *, compiled: bool, message: Message, zeros: bytes, where: str
) -> None:
    """Tags and lengths have at most five bytes: a longer one is refused, not read."""
    tag, size = (b"\x0a", b"\x2a")[message is Message.V2], bytes([len(WANTED + SAMPLE)])
    raw = tag + size + WANTED + SAMPLE
    if message is Message.V2:
        raw = b"\x22\x08__name__\x22\x06wanted\x2a\x16\x0a\x02\x00\x01" + SAMPLE
        size = b"\x16"
    place = raw.rindex(tag + size) + (where == "length")
    longer = bytes([raw[place] | 0x80]) + zeros[1:] + b"\x00"
    raw = raw[:place] + longer + raw[place + 1 :]
    selection = make_selection(compiled)
    for _ in range(2):
        if len(longer) > 5:
            with pytest.raises(Undecodable):
                selection.take(raw, message)
        else:
            assert len(selection.take(raw, message).lines) == 1


def test_odd_series_keep_their_places(*, compiled: bool) -> None:
    """Lines come in the order sent, whoever made them."""
    other_job = label(b"__name__", b"wanted") + label(b"job", b"k")
    raw = request(WANTED + SAMPLE, other_job + SAMPLE + ZERO, WANTED + ZERO, other_job + ZERO)
    expected = make_selection(compiled).take_slowly(raw, Message.V1).lines
    assert make_selection(compiled).take(raw, Message.V1).lines == expected
    assert len(expected) == 5


def test_requests_larger_than_a_chunk(*, compiled: bool) -> None:
    """Chunks are joined without a seam."""
    raw = request(*[(WANTED, OTHER)[n % 3 > 0] + (SAMPLE, ZERO)[n % 2] for n in range(CHUNK + 5)])
    raw += request(WANTED + SAMPLE + SAMPLE)
    taken, expected = (
        make_selection(compiled).take(raw, Message.V1),
        make_selection(compiled).take_slowly(raw, Message.V1),
    )
    assert taken.lines == expected.lines
    assert taken.received == expected.received == CHUNK + 7


def test_newcomers_are_charged_as_they_come(*, compiled: bool) -> None:
    """Few bytes that become very many are refused before all of them are there."""
    allowlist, asked = Allowlist([Entry("wanted")]), 0

    def learn(_: object) -> Template:
        nonlocal asked
        asked += 1
        return Template(b"x" * 1000)

    limits = Limits(rendered_bytes=100_000)
    cache: BoundedCache[bytes, bytes] = BoundedCache(1 << 20, lambda key, _: len(key))
    fast: FastPath | CompiledPath = FastPath(allowlist, cache, learn, limits)
    if compiled:
        fast = CompiledPath(allowlist, 1 << 20, learn, b"x", limits)
    jobs = (label(b"job", b"%d" % n) for n in range(3 * CHUNK))
    raw = request(*(label(b"__name__", b"wanted") + job + SAMPLE for job in jobs))
    with pytest.raises(TooMuchToRender):
        fast.read(raw, Message.V1)
    assert asked <= CHUNK


def test_labels_that_are_cut_count_once_for_each_series(*, compiled: bool) -> None:
    """A series that is zero now and then is not learnt anew."""
    pair = b"\x0a\x9b\x01" + b"l" * 155 + b"\x12\x01v"
    series = label(b"__name__", b"wanted") + b"\x0a" + length(pair) + pair
    selection = make_selection(compiled)
    taken = [selection.take(request(series + tail), Message.V1) for tail in (SAMPLE, ZERO, SAMPLE)]
    assert [len(each.lines) for each in taken] == [1, 1, 1]
    assert [each.labels_cut for each in taken] == [1, 0, 0]


def test_an_outcome_for_each_capture(*, compiled: bool) -> None:
    """What Prometheus 2.42 (1.0) and 3.5 (2.0) really sent; nothing of it is odd."""
    selections = {
        version: make_selection(compiled, ["nv_*", "up", "*_irate"]) for version in ("v1", "v2")
    }
    lines = 0
    for path in sorted(CAPTURES.glob("v*/*.bin")):
        message = Message.V1 if path.parent.name == "v1" else Message.V2
        raw = snappy.uncompress(path.read_bytes())
        selection = selections[path.parent.name]
        expected = make_selection(compiled, ["nv_*", "up", "*_irate"]).take_slowly(raw, message)
        found = make_fastpath(compiled).read(raw, message)
        assert found is None or not found.odd
        assert (found is None) == (not expected.received)
        for _ in range(2):
            taken = selection.take(raw, message)
            if message is Message.V1:
                expected = replace(expected, written_samples=taken.written_samples)
            assert taken == expected
        lines += len(expected.lines)
    assert lines > 1000
