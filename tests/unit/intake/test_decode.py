"""Bodies become series; what is not a body is refused with a sentence."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import snappy

from receiver.errors import InvalidSeries, TooLarge, TooManySeries, Undecodable
from receiver.intake.decode import (
    BAD_REFERENCE,
    DEFAULT_LIMITS,
    DUPLICATE_LABEL,
    EMPTY_LABEL_NAME,
    INVALID_UTF8,
    NO_NAME,
    Message,
    Series,
    declared_length,
    decode,
    decompress,
    read_labels,
    show,
)
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request

Label = tuple[bytes, bytes]


def v1(*series: Sequence[Label], samples: Iterable[tuple[float, int]] = ((1.5, 2000),)) -> bytes:
    """Spell a 1.0 message."""
    request = WriteRequest()
    for labels in series:
        added = request.timeseries.add()
        for name, value in labels:
            added.labels.add(name=name, value=value)
        for number, time in samples:
            added.samples.add(value=number, timestamp=time)
    return request.SerializeToString()


def v2(symbols: Sequence[bytes], *references: Sequence[int]) -> bytes:
    """Spell a 2.0 message, one sample in each series."""
    request = Request(symbols=symbols)
    for refs in references:
        added = request.timeseries.add(labels_refs=refs)
        added.samples.add(value=1.5, timestamp=2000)
    return request.SerializeToString()


def one(raw: bytes, message: Message) -> Series:
    """Decode a message of one series."""
    [series] = decode(raw, message)
    return series


def why_invalid(pairs: Sequence[bytes]) -> str:
    """Return the reason for which labels are refused."""
    with pytest.raises(InvalidSeries) as refused:
        read_labels(pairs)
    return refused.value.series_reason


def test_both_messages_give_the_same_series() -> None:
    """Name, labels, samples: whoever comes after does not know the protocol."""
    labels = [(b"__name__", b"up"), (b"job", b"triton")]
    old = one(v1(labels), Message.V1)
    new = one(v2([b"", b"__name__", b"up", b"job", b"triton"], [1, 2, 3, 4]), Message.V2)

    for series in (old, new):
        assert series.name == b"up"
        assert series.label_pairs() == (b"__name__", b"up", b"job", b"triton")
        assert [(sample.value, sample.timestamp) for sample in series.samples] == [(1.5, 2000)]
        assert (series.histograms, series.exemplars) == (0, 0)


def test_the_name_is_found_wherever_it_stands() -> None:
    """Senders shall sort labels; not all do, and an upper-case label sorts before the name."""
    old = one(v1([(b"Zone", b"a"), (b"__name__", b"up")]), Message.V1)
    new = one(v2([b"", b"Zone", b"a", b"__name__", b"up"], [1, 2, 3, 4]), Message.V2)

    assert old.name == new.name == b"up"


def test_a_value_that_looks_like_the_name_label_is_no_name() -> None:
    """Only places for names are looked at."""
    assert one(v2([b"", b"__name__", b"x"], [2, 1]), Message.V2).name == b""
    assert one(v1([(b"x", b"__name__")]), Message.V1).name == b""


def test_series_come_in_the_order_sent() -> None:
    """So that lines can be compared with what was sent."""
    raw = v1(*([(b"__name__", name)] for name in (b"c", b"a", b"b")))

    assert [series.name for series in decode(raw, Message.V1)] == [b"c", b"a", b"b"]


def test_metadata_alone_is_a_request_without_series() -> None:
    """Prometheus sends one every minute."""
    request = WriteRequest()
    request.metadata.add(type="COUNTER", metric_family_name=b"up", help=b"h")

    assert list(decode(request.SerializeToString(), Message.V1)) == []


def test_metadata_is_no_series() -> None:
    """It has the limit for itself, so that what is told of many families refuses no series."""
    request = WriteRequest.FromString(v1([(b"__name__", b"up")], [(b"__name__", b"down")]))
    for number in range(2):
        request.metadata.add(type="COUNTER", metric_family_name=b"m%d" % number)
    limits = replace(DEFAULT_LIMITS, series=2)
    assert len(list(decode(request.SerializeToString(), Message.V1, limits))) == 2
    request.metadata.add(type="COUNTER", metric_family_name=b"m")
    with pytest.raises(TooManySeries, match="3 entries of metadata"):
        decode(request.SerializeToString(), Message.V1, limits)


def test_custom_buckets_of_1_0_are_not_judged() -> None:
    """Their bounds do not travel there; in 2.0 they do, and have to fit."""
    histogram: dict[str, Any] = {
        "schema": -53,
        "count_int": 3,
        "sum": 1.0,
        "positive_deltas": [1, 1],
    }
    write_request = WriteRequest.FromString(v1([(b"__name__", b"h")]))
    request = Request.FromString(v2([b"", b"__name__", b"h"], [1, 2]))
    both: tuple[tuple[Any, Message], ...] = ((write_request, Message.V1), (request, Message.V2))
    for message, kind in both:
        added = message.timeseries[0].histograms.add(**histogram)
        added.positive_spans.add(offset=0, length=2)
        series = one(message.SerializeToString(), kind)
        if kind is Message.V1:
            series.check_histograms()
        else:
            with pytest.raises(InvalidSeries, match="custom buckets than bounds"):
                series.check_histograms()


def test_exemplars_alone_are_a_series() -> None:
    """Prometheus puts each exemplar into a series of its own."""
    request = WriteRequest()
    added = request.timeseries.add()
    added.labels.add(name=b"__name__", value=b"up")
    added.exemplars.add(value=1.0, timestamp=1)
    series = one(request.SerializeToString(), Message.V1)

    assert (len(series.samples), series.exemplars) == (0, 1)


def test_histograms_are_counted() -> None:
    """They cannot be sent, but they must not vanish."""
    request = Request(symbols=[b"", b"__name__", b"h"])
    added = request.timeseries.add(labels_refs=[1, 2])
    added.histograms.add(count_int=1, timestamp=5)
    added.histograms.add(count_float=2.0, timestamp=6)

    assert one(request.SerializeToString(), Message.V2).histograms == 2


def test_fields_that_are_not_known_are_passed_over() -> None:
    """created_timestamp of 2.0-rc.3, field 6 of a series, and whatever comes later."""
    series = v2([b"", b"__name__", b"up"], [1, 2])
    [known] = Request.FromString(series).timeseries
    inner = known.SerializeToString() + b"\x30\x85\x80\x01" + b"\xfa\x7f\x02hi"
    raw = b"\x22\x00\x22\x08__name__\x22\x02up" + b"\x2a" + bytes([len(inner)]) + inner

    assert one(raw, Message.V2).name == b"up"


@pytest.mark.parametrize("message", list(Message))
def test_nothing_is_a_request_of_nothing(message: Message) -> None:
    """An empty message is valid, and empty."""
    assert list(decode(b"", message)) == []


@pytest.mark.parametrize(
    ("raw", "message", "said"),
    [
        (b"\xff\xff\xff", Message.V1, "is not a prometheus.WriteRequest"),
        (b"\x0a\x05ab", Message.V1, "is not a prometheus.WriteRequest"),
        (b"\x2a\x05ab", Message.V2, "is not a io.prometheus.write.v2.Request"),
        (v2([b"", b"__name__", b"up"], [1, 2]), Message.V1, "Content-Type"),
        (v1([(b"__name__", b"up")]), Message.V2, "Content-Type"),
    ],
)
def test_what_is_not_the_message_is_refused(raw: bytes, message: Message, said: str) -> None:
    """The other message above all: decoded under the wrong type it would be lost in silence."""
    with pytest.raises(Undecodable) as refused:
        list(decode(raw, message))

    assert said in str(refused.value)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("references", "name"),
    [
        ([1], b""),
        ([1, 2, 3], b"up"),
        ([1, 9], b""),
        ([9, 2], b""),
        ([1, 2, 4294967295, 2], b"up"),
    ],
)
def test_references_that_lead_nowhere_refuse_their_series_alone(
    references: list[int], name: bytes
) -> None:
    """Odd or out of range: the labels cannot be read, and no look at the name raises."""
    good, bad = decode(v2([b"", b"__name__", b"up", b"x"], [1, 2], references), Message.V2)

    assert good.label_pairs() == (b"__name__", b"up")
    assert bad.name == name
    with pytest.raises(InvalidSeries) as refused:
        bad.label_pairs()
    assert refused.value.series_reason == BAD_REFERENCE


def test_a_wanted_name_behind_broken_references_is_not_read_short() -> None:
    """A later pair out of range refuses the series; it does not lose a label."""
    series = one(v2([b"", b"__name__", b"up"], [1, 2, 1]), Message.V2)

    with pytest.raises(InvalidSeries, match="odd length, 3"):
        series.label_pairs()


def test_labels_are_text_without_the_empty_ones() -> None:
    """As 1.0 has it: "The empty label value is equivalent to a label that does not exist"."""
    pairs = (b"__name__", b"up", b"a", b"", "größe".encode(), "日本 🎉\n".encode())

    assert read_labels(pairs) == {"__name__": "up", "größe": "日本 🎉\n"}


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ((), NO_NAME),
        ((b"job", b"x"), NO_NAME),
        ((b"__name__", b""), NO_NAME),
        ((b"__name__", b"a", b"__name__", b"b"), DUPLICATE_LABEL),
        ((b"__name__", b"a", b"x", b"1", b"x", b"1"), DUPLICATE_LABEL),
        ((b"__name__", b"a", b"x", b"", b"x", b"1"), DUPLICATE_LABEL),
        ((b"__name__", b"a", b"", b"1"), EMPTY_LABEL_NAME),
        ((b"__name__", b"\xff"), INVALID_UTF8),
        ((b"__name__", b"a", b"x", b"\xed\xa0\x80"), INVALID_UTF8),
        ((b"__name__", b"a", b"\xc3", b"1"), INVALID_UTF8),
        ((b"__name__", b"a", b"x", b"\xc0\x80"), INVALID_UTF8),
    ],
)
def test_labels_that_cannot_be_have_a_reason(pairs: Sequence[bytes], reason: str) -> None:
    """Each of the protocol's rules, one series at a time."""
    assert why_invalid(pairs) == reason


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_snappy_is_undone(size: int) -> None:
    """Blocks of any size, to the limit itself."""
    raw = bytes(number % 251 for number in range(size))
    body = bytes(snappy.compress(raw))

    assert declared_length(body) == size
    assert decompress(body, max(size, 1)) == raw


def test_the_declared_length_is_judged_before_anything_is_allocated() -> None:
    """46 bytes that declare 4 GiB are answered 413 at once."""
    bomb = b"\xff\xff\xff\xff\x0f" + b"\x00" * 41

    assert declared_length(bomb) == 2**32 - 1
    with pytest.raises(
        TooLarge, match="4294967295 bytes once decompressed; the limit is 1000"
    ) as refused:
        decompress(bomb, 1000)
    assert refused.value.status == 413


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b"\x80", "does not begin with a snappy length"),
        (b"\xff\xff\xff\xff\xff\x01", "does not begin with a snappy length"),
        (b"\xff\xff\xff\xff\x7f", "does not begin with a snappy length"),
        (b"\x05", "is not in snappy's block format"),
        (b"\x06\x10hello", "is not in snappy's block format"),
        (bytes(snappy.compress(b"hello")) + b"x", "is not in snappy's block format"),
        (b"\xff\x06\x00\x00sNaPpY" + b"x" * 20, "framed format"),
        (b"hello", "is not in snappy's block format"),
    ],
)
def test_what_is_not_snappy_is_refused(body: bytes, said: str) -> None:
    """With a sentence that leads to the mistake."""
    with pytest.raises(Undecodable) as refused:
        decompress(body, 1 << 20)

    assert said in str(refused.value)


def test_names_are_shown_short_and_printable() -> None:
    """Messages go to logs: no control signs, no megabytes."""
    assert show(b"job") == "'job'"
    assert show(b"a\n\x1b[31m\xff") == r"'a\n\x1b[31m\\xff'"
    assert show("ü".encode()) == r"'\xfc'"
    assert len(show(b"x" * 10_000)) < 80
