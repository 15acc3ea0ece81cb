"""Any bytes end in an account that is right, or in a refusal: never in anything else."""

import struct
from typing import Any

import snappy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receiver.errors import RequestRefused
from receiver.intake.decode import Message, decompress
from receiver.intake.parse_cost import check_parts
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request
from tests.property.examples import examples
from tests.property.reading import LIMITS, check, new_selections

NAMES = st.sampled_from([b"__name__", b"", b"job", b"instance", b"b\xff", b"x" * 700])
VALUES = st.sampled_from([b"nv_a", b"a", b"other", b"", b"nv_\xc3\xa4", b"\xff", b"nv_" * 500])
TEXTS = st.one_of(NAMES, VALUES, st.binary(max_size=12))
NUMBERS = st.one_of(
    st.floats(width=64),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]),
)
TIMES = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(1_700_000_000_000, 1_800_000_000_000))  # fmt: skip
SAMPLES = st.lists(st.tuples(NUMBERS, TIMES), max_size=3)
MESSAGES = st.sampled_from(Message)
SHORT = settings(max_examples=examples(400), deadline=None)


def fill(series: Any, samples: list[tuple[float, int]], extra: int) -> None:
    """Add samples, and by `extra` histograms, exemplars or both."""
    for value, time in samples:
        series.samples.add(value=value, timestamp=time)
    if extra & 1:
        series.histograms.add(count_int=extra >> 2, sum=1.0, timestamp=1)
    if extra & 2:
        series.exemplars.add(value=1.0)


@st.composite
def requests_v1(draw: st.DrawFn) -> bytes:
    """Make a 1.0 message of whatever is in it."""
    request = WriteRequest()
    for _ in range(draw(st.integers(0, 4))):
        series = request.timeseries.add()
        for name, value in draw(st.lists(st.tuples(TEXTS, TEXTS), max_size=4)):
            series.labels.add(name=name, value=value)
        if draw(st.booleans()):
            series.labels.add(name=b"__name__", value=draw(VALUES))
        fill(series, draw(SAMPLES), draw(st.integers(0, 15)))
    if draw(st.booleans()):
        request.metadata.add(metric_family_name=b"nv_a", help=draw(TEXTS))
    return request.SerializeToString()


@st.composite
def requests_v2(draw: st.DrawFn) -> bytes:
    """Make a 2.0 message of whatever is in it."""
    symbols = [b"", b"__name__", *draw(st.lists(TEXTS, max_size=6))]
    request = Request(symbols=symbols)
    places = st.integers(0, len(symbols))
    for _ in range(draw(st.integers(0, 4))):
        references = draw(st.lists(places, max_size=8))
        series = request.timeseries.add(labels_refs=references)
        fill(series, draw(SAMPLES), draw(st.integers(0, 15)))
        if draw(st.booleans()):
            series.metadata.help_ref = draw(places)
    return request.SerializeToString()


@SHORT
@given(raw=requests_v1())
def test_a_request_of_1_0_is_taken_as_a_slow_reading_says(raw: bytes) -> None:
    """Points, counts and refusals, for a series learnt and for one that is known."""
    for selection in new_selections():
        check(selection, raw, Message.V1)
        check(selection, raw, Message.V1)


@SHORT
@given(raw=requests_v2())
def test_a_request_of_2_0_is_taken_as_a_slow_reading_says(raw: bytes) -> None:
    """The same of 2.0, with references that may lead nowhere."""
    for selection in new_selections():
        check(selection, raw, Message.V2)
        check(selection, raw, Message.V2)


@SHORT
@given(raw=st.one_of(requests_v1(), requests_v2()), message=MESSAGES, data=st.data())
def test_a_damaged_request_is_taken_as_a_slow_reading_says(
    raw: bytes, message: Message, data: st.DataObject
) -> None:
    """Bytes taken out, put in and changed; and the other message under a type."""
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(raw)))
        raw = raw[:place] + data.draw(st.binary(max_size=3)) + raw[place + 1 :]
    for selection in new_selections():
        check(selection, raw, message)


@SHORT
@given(body=st.binary(max_size=400), message=MESSAGES)
@example(body=b"\0", message=Message.V1)
@example(body=b"\xff\xff\xff\xff\x0f", message=Message.V1)
def test_any_body_is_taken_or_refused(body: bytes, message: Message) -> None:
    """What comes over the network, as it comes; nothing but a RequestRefused may escape."""
    try:
        raw = bytes(decompress(body, LIMITS.decoded_bytes))
        check_parts(raw, message, LIMITS)
    except RequestRefused:
        return
    for selection in new_selections():
        check(selection, raw, message)


@SHORT
@given(raw=st.binary(max_size=2000))
def test_snappy_gives_back_what_went_in(raw: bytes) -> None:
    """Decompression is lossless at and below the limit, and refused above it."""
    assert decompress(snappy.compress(raw), max(len(raw), 1)) == raw
