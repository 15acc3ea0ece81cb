"""A second, slow reading of remote-write, to hold the receiver's against.

It parses everything with protobuf and follows the rules of decode and intake one by
one, without templates, caches or short cuts. `check` holds the full parser and the
fast path to it, for one body.
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import DecodeError

from receiver.azure.envelope import Identity
from receiver.errors import RequestRefused, TooManySeries, TooMuchToRender, Undecodable
from receiver.intake import histogram
from receiver.intake.decode import Limits, Message
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import DROP_REASONS, Outcome, Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.wire.remote_write_lean_pb2 import (
    OpaqueRequest,
    OpaqueWriteRequest,
    ReferencingTimeSeries,
    Request,
    TimeSeries,
    WriteRequest,
)
from receiver.intake.wire.remote_write_v2_pb2 import Metadata

LIMITS = Limits(
    decoded_bytes=1 << 20, rendered_bytes=1 << 20, series=60, labels=12, label_bytes=2000
)
WANTED = ("nv_*", "a")
NAME_UNITS = 1024
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NotRead(Exception):
    """The body as a whole is refused, for this kind of reason."""


@dataclass
class Account:
    """What must come of a body: the points to send, in order, and the counts."""

    points: list[tuple[str, str, bytes]] = field(default_factory=list)
    received: int = 0
    unselected: int = 0
    refused: int = 0
    samples: int = 0
    histograms: int = 0
    exemplars: int = 0


def new_selections() -> list[Pipeline]:
    """Make the receiver's own readers, compiled and in Python, with the limits of this module."""
    return [_selection(compiled=compiled) for compiled in {False, IS_COMPILED}]


def _selection(*, compiled: bool) -> Pipeline:
    wanted = Allowlist([Entry(name) for name in WANTED])
    return Pipeline(wanted, Identity("11111111-2222-3333-4444-555555555555", "host"), 1 << 16, LIMITS, compiled=compiled)  # fmt: skip


def read(raw: bytes, message: Message) -> Account:
    """Read a decompressed body. Raises: NotRead."""
    try:
        parsed: Any = (WriteRequest if message is Message.V1 else Request).FromString(raw)
    except DecodeError as error:
        raise NotRead(Undecodable) from error
    others = parsed.metadata if message is Message.V1 else parsed.symbols
    if raw and not parsed.timeseries and not others:
        raise NotRead(Undecodable)
    count = len(parsed.timeseries) + (len(others) if message is Message.V1 else 0)
    if count > LIMITS.series:
        raise NotRead(TooManySeries)
    account = Account()
    for series in parsed.timeseries:
        _read_series(series, None if message is Message.V1 else list(parsed.symbols), account)
    return account


def _read_series(series: Any, symbols: Sequence[bytes] | None, account: Account) -> None:
    pairs, broken = _pairs(series, symbols)
    count = len(series.samples) + len(series.histograms)
    name = next((value for label, value in pairs if label == b"__name__"), b"")
    if name and not _wanted(name):
        account.received += count
        account.unselected += count
    else:
        account.received += count
        if broken or _invalid(series, pairs, symbols):
            account.refused += 1
            return
        account.points += _points(series, name.decode())
    account.samples += len(series.samples)
    account.histograms += len(series.histograms)
    account.exemplars += len(series.exemplars)


def _pairs(series: Any, symbols: Sequence[bytes] | None) -> tuple[list[tuple[bytes, bytes]], bool]:
    """List the labels that can be read, and say whether the list is broken or too long."""
    most = LIMITS.labels
    if symbols is None:
        pairs = [(label.name, label.value) for label in series.labels]
        return pairs[:most], len(pairs) > most
    refs = list(series.labels_refs)
    broken = len(refs) % 2 == 1 or any(ref >= len(symbols) for ref in refs)
    known = dict(enumerate(symbols))
    pairs = [
        (known.get(refs[i], b""), known.get(refs[i + 1], b"")) for i in range(0, len(refs) - 1, 2)
    ]
    return pairs[:most], broken or len(pairs) > most


def _wanted(name: bytes) -> bool:
    text = name.decode("utf-8", "replace")
    return text.startswith("nv_") or text == "a"


def _invalid(
    series: Any, pairs: Sequence[tuple[bytes, bytes]], symbols: Sequence[bytes] | None
) -> bool:
    names = [name for name, _ in pairs]
    if sum(len(name) + len(value) for name, value in pairs) > LIMITS.label_bytes:
        return True
    if b"" in names or len(set(names)) < len(names):
        return True
    if not dict(pairs).get(b"__name__"):
        return True
    for pair in pairs:
        try:
            pair[0].decode(), pair[1].decode()
        except UnicodeDecodeError:
            if pair[1]:  # a label without a value is no label
                return True
    if any(histogram.problem(raw) for raw in series.histograms):
        return True
    if symbols is not None and series.metadata:
        try:
            said = Metadata.FromString(series.metadata[-1])
        except DecodeError:
            return False
        return max(said.help_ref, said.unit_ref) >= len(symbols)
    return False


def _points(series: Any, name: str) -> list[tuple[str, str, bytes]]:
    if len(name.encode("utf-16-le")) // 2 > NAME_UNITS:
        return []
    return [
        (name, text, struct.pack("<d", sample.value))
        for sample in series.samples
        if math.isfinite(sample.value) and (text := _time(sample.timestamp))
    ]


def _time(timestamp_ms: int) -> str:
    try:
        moment = EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return ""
    return moment.strftime("%m-%dT%H:%M:%S.") + f"{timestamp_ms % 1000:03}|{moment.year}"


def check(selection: Pipeline, raw: bytes, message: Message) -> None:
    """Have the receiver read a body, by the full parser and by the fast path, and compare.

    Raises: AssertionError where they differ, and whatever the receiver raises that is
    no RequestRefused.
    """
    why: object = None
    wanted = Account()
    try:
        wanted = read(raw, message)
    except NotRead as refused:
        why = refused.args[0]
    slow = _tried(lambda: selection.process_slowly(raw, message))
    if isinstance(slow, Outcome):
        assert why is None, f"taken, but to be refused: {why}"
        compare(slow, wanted, message)
    else:
        assert type(slow) is (why or TooMuchToRender), repr(slow)
    fast = _tried(lambda: selection.process(raw, message))
    if isinstance(fast, Outcome):
        if why is Undecodable:
            wanted = read_undamaged(raw, message)
        else:
            assert why is None or isinstance(slow, TooMuchToRender), why
        compare(fast, wanted, message)
    elif not isinstance(fast, TooMuchToRender):
        both = why is Undecodable and isinstance(fast, TooManySeries)  # it is damaged and too many
        assert both or type(fast) is type(slow), (fast, slow)


def _tried(take: Callable[[], Outcome]) -> Outcome | RequestRefused:
    try:
        return take()
    except RequestRefused as refused:
        return refused


def read_undamaged(raw: bytes, message: Message) -> Account:
    """Read a body of which series are damaged that nobody wants: the fast path does not open them."""
    opaque: Any = (OpaqueWriteRequest if message is Message.V1 else OpaqueRequest).FromString(raw)
    kind = TimeSeries if message is Message.V1 else ReferencingTimeSeries
    symbols = None if message is Message.V1 else list(opaque.symbols)
    account = Account()
    for each in opaque.timeseries:
        try:
            series = kind.FromString(each)
        except DecodeError:
            count = _count_up_to_the_damage(each, 4 if message is Message.V1 else 3)
            account.received += count
            account.unselected += count
            account.samples += count
        else:
            _read_series(series, symbols, account)
    return account


def _count_up_to_the_damage(series: bytes, histogram_field: int) -> int:
    """Count the samples and histograms of a series that ends in something else."""
    count = place = 0
    while place < len(series):
        tag, place = _varint(series, place, 5)
        if place < 0:
            break
        size = {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 in (0, 2):
            number, place = _varint(series, place, 10 if tag & 7 == 0 else 5)
            size = number if tag & 7 == 2 else 0
        elif tag & 7 > 5:
            break
        if place < 0 or place + size > len(series):
            break
        place += size
        count += tag in (0x12, histogram_field << 3 | 2)
    return count


def _varint(text: bytes, place: int, limit: int) -> tuple[int, int]:
    """Read a varint of at most so many bytes; gives its value and the place behind it, or -1."""
    value = 0
    for index, byte in enumerate(text[place : place + limit]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, place + index + 1
    return 0, -1


def compare(intake: Outcome, wanted: Account, message: Message) -> None:
    """Hold an intake to the account; what was written is told to senders of 2.0 alone."""
    assert [_point(line) for line in intake.lines] == wanted.points
    dropped = sum(intake.dropped.values())
    assert intake.received == intake.unselected + dropped + len(intake.lines)
    assert set(intake.dropped) <= set(DROP_REASONS)
    assert (intake.received, intake.unselected) == (wanted.received, wanted.unselected)
    assert sum(intake.refused.values()) == wanted.refused
    if message is Message.V2:
        written = intake.written_samples, intake.written_histograms, intake.written_exemplars
        assert written == (wanted.samples, wanted.histograms, wanted.exemplars)


def _point(line: bytes) -> tuple[str, str, bytes]:
    item = json.loads(line)
    [metric] = item["data"]["baseData"]["metrics"]
    moment = item["time"]
    year, rest = moment.split("-", 1)
    return metric["name"], f"{rest.rstrip('Z')}|{int(year)}", struct.pack("<d", metric["value"])
