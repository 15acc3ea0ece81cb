"""A request becomes items and an account in which no sample is missing."""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from receiver.azure.envelope import Identity
from receiver.errors import Undecodable
from receiver.intake.decode import Limits, Message
from receiver.intake.metrics_json import FOLD_FULL, Allowlist, Entry, Use
from receiver.intake.pipeline import DROP_REASONS, Outcome, Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request

KEY = "11111111-2222-3333-4444-555555555555"
STALE: float = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


def selection(*names: str, cache_bytes: int = 1 << 20) -> Pipeline:
    """Want these names."""
    return Pipeline(Allowlist([Entry(name) for name in names]), Identity(KEY, "host"), cache_bytes)


def request(*series: tuple[dict[str | bytes, str | bytes], list[tuple[float, int]]]) -> bytes:
    """Spell a 1.0 request of labels and (value, time) pairs."""
    made = WriteRequest()
    for labels, samples in series:
        added = made.timeseries.add()
        for name, value in labels.items():
            added.labels.add(name=as_bytes(name), value=as_bytes(value))
        for number, time in samples:
            added.samples.add(value=number, timestamp=time)
    return made.SerializeToString()


def as_bytes(text: str | bytes) -> bytes:
    """Names and values are bytes on the wire."""
    return text.encode() if isinstance(text, str) else text


def take(chosen: Pipeline, raw: bytes, message: Message = Message.V1) -> Outcome:
    """Take a request, and hold its account to the ledger's sum."""
    intake = chosen.process(raw, message)
    assert intake.received == intake.unselected + sum(intake.dropped.values()) + len(intake.lines)
    assert set(intake.dropped) <= set(DROP_REASONS)
    return intake


def documents(intake: Outcome) -> list[Any]:
    """Read the lines back."""
    return [json.loads(line) for line in intake.lines]


def points(intake: Outcome) -> list[tuple[str, float, str]]:
    """List (name, value, time) of the lines."""
    return [
        (point["name"], point["value"], document["time"])
        for document in documents(intake)
        for point in document["data"]["baseData"]["metrics"]
    ]


def test_wanted_samples_become_items_in_the_order_sent() -> None:
    """One item a sample, with the sample's own time and value."""
    raw = request(
        ({"__name__": "a", "model": "m"}, [(1.0, 1000), (2.5, 2001)]),
        ({"__name__": "no"}, [(9.0, 1)]),
        ({"__name__": "b"}, [(-0.0, 999)]),
    )

    intake = take(selection("a", "b"), raw)

    assert points(intake) == [
        ("a", 1.0, "1970-01-01T00:00:01.000Z"),
        ("a", 2.5, "1970-01-01T00:00:02.001Z"),
        ("b", 0.0, "1970-01-01T00:00:00.999Z"),
    ]
    assert math.copysign(1.0, points(intake)[2][1]) == -1.0
    assert (intake.oldest_ms, intake.newest_ms) == (999, 2001)
    assert (intake.received, intake.unselected) == (4, 1)
    assert intake.written_samples == 4


def test_an_unselected_series_is_not_opened() -> None:
    """Its samples count, by its name alone, whatever else is wrong with it."""
    made = Request(symbols=[b"", b"__name__", b"no"])
    added = made.timeseries.add(labels_refs=[1, 2, 77, 78])
    for number in range(3):
        added.samples.add(value=1.0, timestamp=1_795_000_000_000 + number)

    intake = take(selection("a"), made.SerializeToString(), Message.V2)

    assert (intake.received, intake.unselected, intake.refused) == (3, 3, {})


@pytest.mark.parametrize("compiled", sorted({False, IS_COMPILED}))
def test_unselected_samples_are_counted_as_senders_count_them(*, compiled: bool) -> None:
    """Several of a series, none beside exemplars, native histograms; the first time and again."""
    made = WriteRequest()
    for samples, histograms, exemplars in ((1, 0, 0), (240, 0, 0), (0, 0, 40), (0, 3, 1)):
        added = made.timeseries.add()
        added.labels.add(name=b"__name__", value=b"no")
        added.labels.add(name=b"long", value=b"x" * 300)
        for number in range(samples):
            added.samples.add(value=number * 1.5, timestamp=1_795_000_000_000 + number)
        for number in range(histograms):
            added.histograms.add(count_int=number, timestamp=number)
        for number in range(exemplars):
            added.exemplars.add(value=1.0, timestamp=number)
    pipeline = Pipeline(Allowlist([Entry("a")]), Identity(KEY, "host"), 1 << 20, compiled=compiled)
    for _ in range(2):
        outcome = pipeline.process(made.SerializeToString(), Message.V1)
        assert (outcome.received, outcome.unselected, outcome.dropped) == (244, 244, {})


def test_what_json_does_not_have_is_dropped_one_by_one() -> None:
    """Staleness markers, NaN and infinities each have their count; their neighbours go on."""
    samples = [(STALE, 1), (math.nan, 2), (math.inf, 3), (-math.inf, 4), (5.0, 5), (STALE, 6)]

    intake = take(selection("a"), request(({"__name__": "a"}, samples)))

    assert intake.dropped == {"stale": 2, "nan": 1, "infinite": 2}
    assert [value for _, value, _ in points(intake)] == [5.0]
    assert (intake.oldest_ms, intake.newest_ms) == (5, 5)
    assert intake.written_samples == 6, "a policy of ours is no failure of the sender's"


@pytest.mark.parametrize(
    "bits", [0x7FF8000000000001, 0x7FF8000000000000, 0xFFF0000000000002, 0x7FF0000000000003]
)
def test_only_the_exact_bits_are_a_staleness_marker(bits: int) -> None:
    """Every other NaN is a NaN."""
    value = struct.unpack("<d", struct.pack("<Q", bits))[0]

    assert take(selection("a"), request(({"__name__": "a"}, [(value, 1)]))).dropped == {"nan": 1}


@pytest.mark.parametrize(
    "value", [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 2.0**53 + 2, -1e22, 123456789.125]
)
def test_values_arrive_to_the_last_bit(value: float) -> None:
    """What the service reads is what Prometheus holds."""
    intake = take(selection("a"), request(({"__name__": "a"}, [(value, 1)])))

    [(_, found, _)] = points(intake)
    assert struct.pack("<d", found) == struct.pack("<d", value)


def test_a_time_that_no_calendar_has_is_dropped() -> None:
    """And the sample beside it goes on."""
    intake = take(
        selection("a"), request(({"__name__": "a"}, [(1.0, 2**62), (2.0, 7), (3.0, -(2**62))]))
    )

    assert intake.dropped == {"bad_timestamp": 2}
    assert (intake.oldest_ms, intake.newest_ms) == (7, 7)


def test_a_name_over_the_limit_is_dropped() -> None:
    """All its samples; cut, it would be another metric."""
    intake = take(selection("n*"), request(({"__name__": "n" * 1025}, [(1.0, 1), (2.0, 2)])))

    assert intake.dropped == {"name_too_long": 2}
    assert intake.lines == []


def test_native_histograms_are_dropped_and_counted() -> None:
    """Application Insights has no shape for them; samples beside them go on."""
    made = WriteRequest()
    series = made.timeseries.add()
    series.labels.add(name=b"__name__", value=b"a")
    series.histograms.add(count_int=1, zero_count_int=1, timestamp=1)
    series.histograms.add(count_float=2.5, timestamp=2)
    series.samples.add(value=1.0, timestamp=3)

    intake = take(selection("a"), made.SerializeToString())

    assert (intake.received, intake.dropped, len(intake.lines)) == (3, {"native_histogram": 2}, 1)
    assert (intake.written_samples, intake.written_histograms) == (1, 2)


def test_exemplars_alone_are_written_and_nothing_else() -> None:
    """They are no samples: they are not received, and not refused either."""
    made = WriteRequest()
    series = made.timeseries.add()
    series.labels.add(name=b"__name__", value=b"a")
    series.exemplars.add(value=1.0, timestamp=1)

    intake = take(selection("a"), made.SerializeToString())

    assert (intake.received, intake.written_exemplars, intake.refused) == (0, 1, {})


def test_a_bad_series_is_refused_and_the_good_ones_are_accepted() -> None:
    """Counted by reason, its samples dropped as invalid, not written."""
    raw = request(
        ({"__name__": "a"}, [(1.0, 1)]),
        ({"job": "nameless"}, [(1.0, 1), (2.0, 2)]),
        ({"__name__": "a", "x": b"\xff"}, [(1.0, 1)]),
        ({"__name__": "a", "": "x"}, []),
        ({"__name__": "a"}, [(1.0, 2)]),
    )

    intake = take(selection("a"), raw)

    assert len(intake.lines) == 2
    assert intake.dropped == {"invalid_series": 3}
    assert intake.refused == {"no_name": 1, "invalid_utf8": 1, "empty_label_name": 1}
    assert len(intake.refused_examples) == 3
    assert intake.written_samples == 2


def test_a_bad_series_of_2_0_is_refused_alone() -> None:
    """References out of range, of a name that is wanted or of none at all."""
    made = Request(symbols=[b"", b"__name__", b"a"])
    for references in ([1, 2], [1, 2, 9, 9], [7, 8], [1]):
        made.timeseries.add(labels_refs=references).samples.add(value=1.0, timestamp=1)

    intake = take(selection("a"), made.SerializeToString(), Message.V2)

    assert len(intake.lines) == 1
    assert intake.refused == {"bad_reference": 3}
    assert intake.written_samples == 1


def test_few_examples_are_kept_of_many_refusals() -> None:
    """2,000 bad series do not make a reply of 250 KB."""
    nameless: dict[str | bytes, str | bytes] = {"x": "y"}
    intake = take(selection("a"), request(*[(nameless, [(1.0, 1)])] * 2000))

    assert intake.refused == {"no_name": 2000}
    assert len(intake.refused_examples) == 3


def test_a_series_seen_again_comes_from_the_cache_and_is_the_same() -> None:
    """The second scrape costs no template, and nothing is counted twice."""
    chosen = selection("a")
    labels: dict[str | bytes, str | bytes] = {"__name__": "a", "long": "x" * 9000}

    first = take(chosen, request((labels, [(1.0, 1)])))
    second = take(chosen, request((labels, [(1.0, 1)])))

    assert first.lines == second.lines
    assert (first.labels_cut, second.labels_cut) == (1, 0)
    assert chosen.statistics().misses == 1


def test_series_that_differ_in_any_label_are_not_mixed_up() -> None:
    """Nor by where one label ends and the next begins."""
    chosen = selection("a")
    series: list[dict[str | bytes, str | bytes]] = [
        {"__name__": "a", "x": "yz"},
        {"__name__": "a", "xy": "z"},
        {"__name__": "a", "x": "y", "z": ""},
        {"__name__": "a", "x": "Y"},
    ]
    for _ in range(2):
        found = documents(take(chosen, request(*((labels, [(1.0, 1)]) for labels in series))))
        assert [each["data"]["baseData"]["properties"] for each in found] == [
            {"x": "yz"},
            {"xy": "z"},
            {"x": "y"},
            {"x": "Y"},
        ]


class FullFold(Allowlist):
    """A selection whose fold has no room."""

    def __init__(self, *names: str) -> None:
        """Count the decisions."""
        super().__init__([Entry(name) for name in names])
        self.decisions = 0

    def use_of(self, labels: Mapping[str, str]) -> Use:
        """Refuse every series."""
        self.decisions += len(labels) > 0
        return Use(dropped=FOLD_FULL)


@pytest.mark.parametrize("compiled", sorted({False, IS_COMPILED}))
@pytest.mark.parametrize("value", [1.0, STALE])
def test_a_dropped_series_is_decided_once_a_request(value: float, *, compiled: bool) -> None:
    """Its sample has the reason of its series, whatever its value; the next request decides again."""
    full = FullFold("a")
    pipeline = Pipeline(full, Identity(KEY, "host"), 1 << 20, compiled=compiled)
    raw = request(({"__name__": "a"}, [(value, 1_795_000_000_000)]))
    for decisions in (1, 2):
        outcome = take(pipeline, raw)
        assert (outcome.received, outcome.dropped) == (1, {FOLD_FULL: 1})
        assert outcome.written_samples == 1
        assert full.decisions == decisions


def test_without_a_cache_it_works_as_well() -> None:
    """The bound may be as low as nothing."""
    chosen = selection("a", cache_bytes=0)
    raw = request(({"__name__": "a"}, [(1.0, 1)]))

    assert take(chosen, raw).lines == take(chosen, raw).lines
    assert chosen.statistics().entries == 0


def test_the_wrong_message_is_refused_as_a_whole() -> None:
    """Nothing of it is taken."""
    with pytest.raises(Undecodable):
        selection("*").process(request(({"__name__": "a"}, [(1.0, 1)])), Message.V2)


@pytest.mark.parametrize("over", [0, 1])
@pytest.mark.parametrize("long", ["name", "value", "both"])
@pytest.mark.parametrize("message", list(Message))
def test_a_series_labels_are_bounded_in_bytes(message: Message, long: str, over: int) -> None:
    """Names and values count, on the wire of either version, whichever reader takes them."""
    limit = 5_000
    spare = limit + over - len("__name__") - len("a") - len("k") - len("v")
    key, value = {
        "name": ("k" * (spare + 1), "v"),
        "value": ("k", "v" * (spare + 1)),
        "both": ("k" * (spare // 2 + 1), "v" * (spare - spare // 2 + 1)),
    }[long]
    labels: dict[str | bytes, str | bytes] = {"__name__": "a", key: value}
    if message is Message.V1:
        raw = request((labels, [(1.0, 1)]), ({"__name__": "a"}, [(2.0, 1)]))
    else:
        made = Request(symbols=[b"", b"__name__", b"a", key.encode(), value.encode()])
        made.timeseries.add(labels_refs=[1, 2, 3, 4]).samples.add(value=1.0, timestamp=1)
        made.timeseries.add(labels_refs=[1, 2]).samples.add(value=2.0, timestamp=1)
        raw = made.SerializeToString()
    pipeline = Pipeline(
        Allowlist([Entry("a")]), Identity(KEY, "host"), 1 << 20, Limits(label_bytes=limit)
    )
    for _ in range(2):  # the second time it is known
        intake = pipeline.process(raw, message)
        assert intake.refused == ({"labels_too_long": 1} if over else {})
        assert [value for _, value, _ in points(intake)] == ([2.0] if over else [1.0, 2.0])
