"""The recogniser and the full parser give the same, whatever is sent and whatever came before."""

import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.azure.envelope import Identity
from receiver.errors import Undecodable
from receiver.intake.decode import Message
from receiver.intake.metrics_json import Allowlist, Entry, Use
from receiver.intake.pipeline import Outcome, Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.wire import remote_write_v1_pb2 as v1
from receiver.intake.wire import remote_write_v2_pb2 as v2
from tests.conformance.messages import varint
from tests.property.examples import examples

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
ENDS_IN_07 = struct.unpack("<d", b"\x10\x12\x07\x10\x12\x07\x10\x07")[0]
USUAL_MS = 1_790_000_000_000

NAMES = (b"wanted", b"wanted_glob_1", b"other", b"", b"bad\xff", b"w" * 130)
VALUES = (0.0, -0.0, 1.0, 0.1, 1e300, float("inf"), float("nan"), STALE, ENDS_IN_07)
TIMES = (USUAL_MS, USUAL_MS + 1, 0, -1, 1, 2**35 - 1, 2**35, 2**42 - 1, 2**42, 2**63 - 1)
TEXTS = (b"a", b"b", b"", b"\xff", b"\x12\x10\x09", b"\x12\x07\x10", b"\xc3\xa9", b"x" * 130)

names = st.sampled_from(NAMES)
label = st.tuples(st.sampled_from((b"l", b"m", b"__name__", b"", b"\xff")), st.sampled_from(TEXTS))
usual_label = st.tuples(st.sampled_from((b"l", b"m", b"n")), st.sampled_from(TEXTS[:2]))
samples = st.lists(st.tuples(st.sampled_from(VALUES), st.sampled_from(TIMES)), max_size=3)
usual_samples = st.tuples(st.sampled_from(VALUES), st.sampled_from(TIMES[:2])).map(lambda x: [x])
extras = st.fixed_dictionaries(
    {
        "histograms": st.integers(0, 1),
        "exemplars": st.integers(0, 1),
        "metadata": st.sampled_from((None, 0, 1, 300)),
        "start": st.sampled_from((0, 5, USUAL_MS - 7)),
        "created": st.sampled_from((0, 0, 5, USUAL_MS - 9)),
        "damaged": st.booleans(),
    }
)
NO_EXTRAS = {
    "histograms": 0,
    "exemplars": 0,
    "metadata": 0,
    "start": 0,
    "created": 0,
    "damaged": False,
}
usual_labels = st.tuples(
    names, st.lists(usual_label, unique_by=lambda pair: pair[0], max_size=3)
).map(lambda parts: [(b"__name__", parts[0]), *parts[1]])
started = st.builds(
    lambda start, created: NO_EXTRAS | {"start": start, "created": created},
    *[st.sampled_from((0, USUAL_MS - 7, USUAL_MS))] * 2,
)
usual = st.tuples(usual_labels, usual_samples, started)
unusual = st.tuples(usual_labels, samples, extras)
odd = st.tuples(st.lists(label, max_size=4), samples, extras)
requests = st.lists(st.one_of(usual, unusual, odd), max_size=6)
Spec = list[tuple[list[tuple[bytes, bytes]], list[tuple[float, int]], dict[str, Any]]]


def spell_v1(spec: Spec) -> bytes:
    request = v1.WriteRequest()
    for pairs, values, extra in spec:
        series = request.timeseries.add()
        for name, value in pairs:
            series.labels.add(name=name, value=value)
        for number, timestamp in values:
            series.samples.add(value=number, timestamp=timestamp)
        for _ in range(extra["histograms"]):
            series.histograms.add(count_int=1)
        for _ in range(extra["exemplars"]):
            series.exemplars.add(value=1)
    if any(extra["metadata"] for _, _, extra in spec):
        request.metadata.add(help=b"help")
    return request.SerializeToString()


def spell_v2(spec: Spec) -> bytes:
    numbers = {b"": 0}
    request = v2.Request()
    for pairs, values, extra in spec:
        series = request.timeseries.add()
        for pair in pairs:
            series.labels_refs.extend(numbers.setdefault(text, len(numbers)) for text in pair)
        for value, timestamp in values:
            series.samples.add(value=value, timestamp=timestamp, start_timestamp=extra["start"])
        for _ in range(extra["histograms"]):
            series.histograms.add(count_int=1)
        for _ in range(extra["exemplars"]):
            series.exemplars.add(value=1)
        if extra["metadata"] is not None:
            series.metadata.help_ref = extra["metadata"]
        if extra["created"]:  # a field that the message has not any more
            series.MergeFromString(b"\x30" + varint(extra["created"]))
        if extra["damaged"]:
            series.labels_refs.append(999)
    request.symbols.extend(numbers)
    return request.SerializeToString()


class Folding(Allowlist):
    """Folds some series, renders others, and some both."""

    def use_of(self, labels: Mapping[str, str]) -> Use:
        folds = labels.get("l") == "a"
        return Use(None if folds and "m" in labels else labels, 1 + len(labels) if folds else 0)


def make_selection(*, compiled: bool) -> Pipeline:
    """Make a pipeline."""
    entries = [Entry("wanted"), Entry("wanted_glob_*"), Entry("w" * 130)]
    return Pipeline(Folding(entries), Identity("key", "host"), 1 << 20, compiled=compiled)


def make_selections() -> list[Pipeline]:
    """Make a pipeline that parses everything, and one that recognises where the kernel is built."""
    return [make_selection(compiled=compiled) for compiled in sorted({False, IS_COMPILED})]


def outcome(intake: Outcome, message: Message) -> dict[str, Any]:
    """Give all that counts; 1.0 has no Written headers, so nothing there counts for them."""
    result = {part.name: getattr(intake, part.name) for part in fields(intake)}
    del result["rows"]
    if message is Message.V1:
        for name in ("samples", "histograms", "exemplars"):
            del result[f"written_{name}"]
    return result


def parsed(raw: bytes, message: Message) -> dict[str, Any] | None:
    """Give what a full parser makes of a request that knows of none before; None: it is refused."""
    try:
        return outcome(make_selection(compiled=False).process_slowly(raw, message), message)
    except Undecodable:
        return None


def hold_together(
    selection: Pipeline, raw: bytes, message: Message, expected: dict[str, Any] | None
) -> None:
    if expected is None:  # the damage may be in a series that is dropped by its name
        with suppress(Undecodable):
            selection.process(raw, message)
    else:
        assert outcome(selection.process(raw, message), message) == expected


spellings = st.sampled_from(((Message.V1, spell_v1), (Message.V2, spell_v2)))


@given(spellings, st.lists(requests, min_size=1, max_size=4))
@settings(max_examples=examples(600), deadline=None)
def test_the_same_for_whatever_came_before(spelling: Any, specs: list[Spec]) -> None:
    """Each request twice, so that what the first time taught is used."""
    message, spell = spelling
    selections = make_selections()
    requests = [spell(spec) for spec in specs]
    expected = [parsed(raw, message) for raw in requests]
    for raw, end in [*zip(requests, expected, strict=True)] * 2:
        for selection in selections:
            hold_together(selection, raw, message, end)


@given(
    spellings,
    requests,
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3),
    st.sampled_from(("change", "insert", "remove")),
)
@settings(max_examples=examples(1000), deadline=None)
def test_the_same_for_damaged_bytes(
    spelling: Any, spec: Spec, damages: list[tuple[int, int]], how: str
) -> None:
    """Warm dictionaries do not make damaged bytes look like the ones they know."""
    message, spell = spelling
    raw = spell(spec)
    selections = make_selections()
    for selection in selections:
        if raw:
            selection.process(raw, message)
    damaged = bytearray(raw)
    for place, byte in damages:
        at = place % (len(damaged) + 1)
        damaged[at : at + (how != "insert")] = b"" if how == "remove" else bytes((byte,))
    expected = parsed(bytes(damaged), message)
    for selection in selections:
        hold_together(selection, bytes(damaged), message, expected)
