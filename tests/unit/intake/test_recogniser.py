"""Requests by example: what is recognised, what is left to the full parser, and why."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import snappy

from receiver.azure.envelope import Identity
from receiver.errors import TooMuchToRender, Undecodable
from receiver.intake.decode import DEFAULT_LIMITS, Limits, Message
from receiver.intake.metrics_json import Allowlist, Entry, Use
from receiver.intake.pipeline import Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.wire import remote_write_v2_pb2 as v2
from receiver.rows import RECORD, record_of
from tests.conformance.messages import varint

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


pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="the kernel is not built")


def make_pipeline(names: Sequence[str] = ("wanted",), limits: Limits = DEFAULT_LIMITS) -> Pipeline:
    allowlist = Allowlist([Entry(name) for name in names])
    return Pipeline(allowlist, Identity("key", "host"), 1 << 20, limits)


def unrecognised(
    pipeline: Pipeline, raw: bytes, message: Message = Message.V1
) -> list[bytes] | None:
    """Read a request as the pipeline would, and list what it does not know; None: the whole."""
    recogniser = pipeline._recogniser
    assert recogniser is not None
    reading = recogniser.read(raw, message, 20_000)
    return None if reading is None else [reading.series_at(n)[0] for n in reading.unrecognised()]


@pytest.mark.parametrize("tail", [SAMPLE, ZERO], ids=["a double", "zero"])
def test_the_usual_series_is_recognised(tail: bytes) -> None:
    """One sample behind the labels, the name first among them: known when it comes again."""
    raw = request(WANTED + tail, OTHER + tail)
    pipeline = make_pipeline()
    assert unrecognised(pipeline, raw) == [WANTED + tail, OTHER + tail]
    first = pipeline.process(raw, Message.V1)
    assert unrecognised(pipeline, raw) == []
    for outcome in (first, pipeline.process(raw, Message.V1)):
        assert (outcome.received, outcome.unselected, outcome.rendered) == (2, 1, 1)
        assert [chunk.items for chunk in outcome.chunks] == [1]
        assert (outcome.oldest_ms, outcome.newest_ms) == (USUAL_MS, USUAL_MS)


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
def test_an_unusual_series_is_left_to_the_full_parser(series: bytes) -> None:
    """Warm or not, what differs in shape is not recognised, and its outcome is the full parser's."""
    pipeline = make_pipeline()
    pipeline.process(request(WANTED + SAMPLE, WANTED + ZERO), Message.V1)
    raw = request(WANTED + ZERO, series, WANTED + SAMPLE)
    for _ in range(2):
        assert unrecognised(pipeline, raw) in (None, [series])
        taken = pipeline.process(raw, Message.V1)
        expected = make_pipeline().process_slowly(raw, Message.V1)
        assert replace(taken, written_samples=0) == replace(expected, written_samples=0)


def test_a_time_that_is_no_varint_of_six_bytes_is_not_learnt() -> None:
    """Where the bytes before are a field of their own, the last seven can look like a time."""
    inner = b"\x12\x10" + DOUBLE + b"\x10" + b"\x80" * 5 + b"\x80"
    pipeline = make_pipeline()
    pipeline.process(request(WANTED + SAMPLE), Message.V1)
    assert unrecognised(pipeline, request(WANTED + inner)) == [WANTED + inner]
    with pytest.raises(Undecodable):
        pipeline.process(request(WANTED + inner), Message.V1)


@pytest.mark.parametrize("message", Message)
@pytest.mark.parametrize("zeros", [b"\x80", b"\x80\x80\x80\x80\x80"], ids=["few", "many"])
@pytest.mark.parametrize("where", ["tag", "length"])
def test_what_the_parser_takes_for_no_varint_is_none(
    *, message: Message, zeros: bytes, where: str
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
    selection = make_pipeline()
    for _ in range(2):
        if len(longer) > 5:
            with pytest.raises(Undecodable):
                selection.process(raw, message)
        else:
            assert len(selection.process(raw, message).lines) == 1


def test_unrecognised_series_keep_their_places() -> None:
    """Lines come in the order sent, whoever made them."""
    other_job = label(b"__name__", b"wanted") + label(b"job", b"k")
    raw = request(WANTED + SAMPLE, other_job + SAMPLE + ZERO, WANTED + ZERO, other_job + ZERO)
    expected = make_pipeline().process_slowly(raw, Message.V1).lines
    assert make_pipeline().process(raw, Message.V1).lines == expected
    assert len(expected) == 5


def test_requests_larger_than_a_chunk() -> None:
    """Chunks are cut where the full parser cuts them."""
    raw = request(*[(WANTED, OTHER)[n % 3 > 0] + (SAMPLE, ZERO)[n % 2] for n in range(2005)])
    raw += request(WANTED + SAMPLE + SAMPLE)
    taken = make_pipeline().process(raw, Message.V1)
    expected = make_pipeline().process_slowly(raw, Message.V1)
    assert taken.chunks == expected.chunks
    assert len(taken.chunks) > 1
    assert taken.received == expected.received == 2007


def test_newcomers_are_charged_as_they_come() -> None:
    """Few bytes that become very many are refused before all of them are there."""
    pipeline = make_pipeline(limits=Limits(rendered_bytes=100_000))
    jobs = (label(b"job", b"%d" % n) for n in range(6000))
    raw = request(*(label(b"__name__", b"wanted") + job + SAMPLE for job in jobs))
    with pytest.raises(TooMuchToRender):
        pipeline.process(raw, Message.V1)
    assert 0 < pipeline.statistics().entries < 500


def test_what_is_known_is_charged_before_it_is_rendered() -> None:
    """A known series of few bytes, named very often, is refused like any other."""
    pipeline = make_pipeline(limits=Limits(rendered_bytes=100_000))
    pipeline.process(request(WANTED + SAMPLE), Message.V1)
    with pytest.raises(TooMuchToRender):
        pipeline.process(request(*[WANTED + SAMPLE] * 500), Message.V1)


def test_labels_that_are_cut_count_once_for_each_series() -> None:
    """A series that is zero now and then is not learnt anew."""
    pair = b"\x0a\x9b\x01" + b"l" * 155 + b"\x12\x01v"
    series = label(b"__name__", b"wanted") + b"\x0a" + length(pair) + pair
    selection = make_pipeline()
    taken = [
        selection.process(request(series + tail), Message.V1) for tail in (SAMPLE, ZERO, SAMPLE)
    ]
    assert [len(each.lines) for each in taken] == [1, 1, 1]
    assert [each.labels_cut for each in taken] == [1, 0, 0]
    twice = make_pipeline().process(request(series + SAMPLE, series + ZERO), Message.V1)
    assert (twice.rendered, twice.labels_cut) == (2, 1)


@pytest.mark.parametrize("version", [1, 2])
def test_an_outcome_for_each_capture(version: int) -> None:
    """What Prometheus 2.42 (1.0) and 3.5 (2.0) really sent; when it comes again nothing is unknown."""
    wanted = ["nv_*", "up", "*_irate"]
    pipeline, message = make_pipeline(wanted), (Message.V1, Message.V2)[version - 1]
    lines = 0
    for path in sorted(CAPTURES.glob(f"v{version}/*.bin")):
        raw = snappy.uncompress(path.read_bytes())
        expected = make_pipeline(wanted).process_slowly(raw, message)
        for _ in range(2):
            taken = pipeline.process(raw, message)
            if message is Message.V1:
                expected = replace(expected, written_samples=taken.written_samples)
            assert taken == expected
        assert unrecognised(pipeline, raw, message) == ([] if expected.received else None)
        lines += expected.rendered
    assert lines > 500


class Folding(Allowlist):
    """Folds what is called so, and renders the rest."""

    def use_of(self, labels: Mapping[str, str]) -> Use:
        number = int(labels.get("fold", "0"))
        if number == 99:
            return Use(dropped="no_room")
        return Use(labels if labels.get("raw") or not number else None, number)


@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "full parser"])
def test_a_folded_series_becomes_records(*, compiled: bool) -> None:
    """Rendered, folded, both or neither: each sample has its end, the same with a kernel and without."""
    folding = Folding([Entry("wanted")])
    pipeline = Pipeline(folding, Identity("key", "host"), 1 << 20, compiled=compiled)
    raw_label, fold = label(b"raw", b"1"), [label(b"fold", b"%d" % n) for n in (7, 8, 99)]
    nan = b"\x12\x10\x09" + struct.pack("<d", float("nan")) + TIME
    raw = request(
        WANTED + SAMPLE,
        WANTED + fold[0] + SAMPLE,
        WANTED + fold[1] + raw_label + ZERO,
        WANTED + fold[0] + nan,
        WANTED + fold[2] + SAMPLE,
        WANTED + fold[0] + ZERO + SAMPLE,
        OTHER + SAMPLE,
    )
    for _ in range(2):
        outcome = pipeline.process(raw, Message.V1)
        assert list(RECORD.iter_unpack(outcome.folded)) == [
            (7, USUAL_MS, 1.5),
            (8, USUAL_MS, 0.0),
            (7, USUAL_MS, 0.0),
            (7, USUAL_MS, 1.5),
        ]
        assert (outcome.rendered, outcome.folded_samples, len(outcome.lines)) == (2, 3, 2)
        assert outcome.dropped == {"nan": 1, "no_room": 1}
        assert (outcome.received, outcome.unselected) == (8, 1)


def test_what_was_decided_is_forgotten_when_it_should_be() -> None:
    """Once forgotten, a series is decided anew."""
    folding = Folding([Entry("wanted")])
    pipeline = Pipeline(folding, Identity("key", "host"), 1 << 20)
    raw = request(WANTED + label(b"fold", b"7") + SAMPLE)
    assert pipeline.process(raw, Message.V1).folded_samples == 1
    pipeline.forget_series()
    assert pipeline.statistics().entries == 0
    assert pipeline.process(raw, Message.V1).folded_samples == 1


@pytest.mark.parametrize("value", [1.5, 0.0])
@pytest.mark.parametrize(
    ("own", "created", "metadata"),
    [
        (USUAL_MS - 5, 0, False),
        (0, USUAL_MS - 9, True),
        (USUAL_MS - 5, USUAL_MS - 9, True),
        (USUAL_MS - 5, 0, True),
    ],
)
def test_a_start_timestamp_goes_before_its_record(
    value: float, own: int, created: int, *, metadata: bool
) -> None:
    """Of a sample, or of its series as until 2.0-rc.3; it is of the usual shape, and recognised."""
    series = request2_with(value, own, created, metadata=metadata)
    raw = v2.Request(symbols=[b"", b"__name__", b"wanted", b"fold", b"7"]).SerializeToString()
    raw += b"\x2a" + length(series) + series
    pipelines = [
        Pipeline(Folding([Entry("wanted")]), Identity("key", "host"), 1 << 20, compiled=compiled)
        for compiled in (True, False)
    ]
    for _ in range(2):
        for pipeline in pipelines:
            outcome = pipeline.process(raw, Message.V2)
            assert outcome.folded == record_of(7, USUAL_MS, value, own or created)
            assert (outcome.folded_samples, outcome.written_samples) == (1, 1)
    assert unrecognised(pipelines[0], raw, Message.V2) == []


def request2_with(value: float, own: int, created: int, *, metadata: bool) -> bytes:
    """Spell a series of 2.0; `created` is a field that the message has not any more."""
    series = v2.TimeSeries(labels_refs=[1, 2, 3, 4])
    series.samples.add(value=value, timestamp=USUAL_MS, start_timestamp=own)
    if metadata:
        series.metadata.SetInParent()
    return series.SerializeToString() + (b"\x30" + varint(created) if created else b"")


@pytest.mark.parametrize("start_ms", [1, -1, 1 << 50])
def test_a_start_timestamp_of_another_size_is_left_to_the_full_parser(start_ms: int) -> None:
    """Nothing else is the usual shape; one that is no time counts as none."""
    raw = v2.Request(symbols=[b"", b"__name__", b"wanted", b"fold", b"7"]).SerializeToString()
    series = request2_with(1.5, start_ms, 0, metadata=False)
    pipeline = Pipeline(Folding([Entry("wanted")]), Identity("key", "host"), 1 << 20)
    for _ in range(2):
        outcome = pipeline.process(raw + b"\x2a" + length(series) + series, Message.V2)
        assert outcome.folded == record_of(7, USUAL_MS, 1.5, start_ms)
