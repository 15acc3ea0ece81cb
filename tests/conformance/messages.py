"""Short ways to spell remote-write messages: what a conformance case is made of."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request

T = 1_795_300_000_000
STALE: float = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
NAN: float = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
INF = float("inf")

Labels = Mapping[str, str] | Sequence[tuple[str, str]]
Fields = Mapping[str, Any]

HISTOGRAM: Fields = {
    "count_int": 8,
    "sum": 18.4,
    "zero_count_int": 1,
    "positive_spans": [(0, 2), (1, 1)],
    "positive_deltas": [2, 1, -1],  # 2, 3, 2
}
CUSTOM: Fields = {
    "schema": -53,
    "count_int": 6,
    "sum": 12.0,
    "custom_values": [1.0, 2.0, 5.0],
    "positive_spans": [(0, 3)],
    "positive_deltas": [1, 1, 1],  # 1, 2, 3
}


@dataclass(frozen=True)
class S:
    """One series: labels, and what it holds. `metadata` is (type, help, unit)."""

    labels: Labels
    samples: Sequence[tuple[float, int]] = ()
    histograms: Sequence[Fields] = ()
    exemplars: Sequence[tuple[Labels, float, int]] = ()
    metadata: tuple[int, str, str] | None = None
    refs: Sequence[int] | None = None
    metadata_refs: tuple[int, int] | None = None
    created_ms: int = 0
    start_ms: int = 0

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The labels as pairs."""
        return pairs(self.labels)


def pairs(labels: Labels) -> list[tuple[str, str]]:
    """List labels as pairs."""
    return list(labels.items()) if isinstance(labels, Mapping) else list(labels)


def one(name: str = "test_metric", value: float = 1.0, **labels: str) -> S:
    """Make a series of one sample."""
    return S({"__name__": name, **labels}, [(value, T)])


def v1(*series: S, metadata: Sequence[tuple[int, str, str, str]] = ()) -> bytes:
    """Spell a 1.0 message; metadata is (type, family, help, unit)."""
    request = WriteRequest()
    for each in series:
        made = request.timeseries.add()
        for name, value in each.pairs:
            made.labels.add(name=name.encode(), value=value.encode())
        _fill(made, each)
        for labels, value2, time in each.exemplars:
            exemplar = made.exemplars.add(value=value2, timestamp=time)
            for name, text in pairs(labels):
                exemplar.labels.add(name=name.encode(), value=text.encode())
    for kind, family, text, unit in metadata:
        request.metadata.add(
            type=kind,
            metric_family_name=family.encode(),
            help=text.encode(),
            unit=unit.encode(),
        )
    return request.SerializeToString()


@dataclass
class _Symbols:
    places: dict[str, int] = field(default_factory=lambda: {"": 0})

    def ref(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


def v2(*series: S, symbols: Sequence[str] | None = None) -> bytes:
    """Spell a 2.0 message; with `symbols` given they are sent instead of those that are needed."""
    table = _Symbols()
    request = Request()
    for each in series:
        made = request.timeseries.add()
        refs = [table.ref(text) for pair in each.pairs for text in pair]
        made.labels_refs.extend(refs if each.refs is None else each.refs)
        _fill(made, each)
        for labels, value, time in each.exemplars:
            exemplar_refs = [table.ref(text) for pair in pairs(labels) for text in pair]
            made.exemplars.add(value=value, timestamp=time, labels_refs=exemplar_refs)
        for sample in made.samples:
            sample.start_timestamp = each.start_ms
        if each.metadata:
            kind, text, unit = each.metadata
            made.metadata.type = kind  # type: ignore[assignment]
            made.metadata.help_ref, made.metadata.unit_ref = table.ref(text), table.ref(unit)
        if each.metadata_refs:
            made.metadata.help_ref, made.metadata.unit_ref = each.metadata_refs
    known = list(table.places) if symbols is None else symbols
    request.symbols.extend(text.encode() for text in known)
    raw = request.SerializeToString()
    created = [each for each in series if each.created_ms]
    return _with_created(request, created) if created else raw


def _with_created(request: Request, series: Sequence[S]) -> bytes:
    """Add created_timestamp, field 6 of a series until 2.0-rc.3, to the one series there is."""
    assert len(series) == len(request.timeseries) == 1
    inner = request.timeseries[0].SerializeToString() + b"\x30" + varint(series[0].created_ms)
    del request.timeseries[:]
    return request.SerializeToString() + b"\x2a" + varint(len(inner)) + inner


def varint(number: int) -> bytes:
    """Spell a number as protobuf does."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _fill(made: Any, series: S) -> None:
    for value, time in series.samples:
        made.samples.add(value=value, timestamp=time)
    for fields in series.histograms:
        histogram = made.histograms.add(timestamp=T)
        for name, value in fields.items():
            if name.endswith("_spans"):
                for offset, length in value:
                    getattr(histogram, name).add(offset=offset, length=length)
            elif isinstance(value, list):
                getattr(histogram, name).extend(value)
            else:
                setattr(histogram, name, value)
