"""The metadata of metrics from senders: type, help and unit, by family.

In: the metadata of 1.0 requests, and of each series of 2.0. Out: the latest metadata of each
family. Metadata is never a reason for a refusal: senders contradict themselves and each other,
and 1.0 sends it apart from the samples, once a minute.

Rules: Remote-Write 2.0, "Metadata"; 1.0's MetricMetadata as senders have it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from receiver.intake.wire.remote_write_v1_pb2 import MetricMetadata
from receiver.intake.wire.remote_write_v2_pb2 import Metadata as SeriesMetadata

TYPES = (
    "unknown",
    "counter",
    "gauge",
    "histogram",
    "gaugehistogram",
    "summary",
    "info",
    "stateset",
)
TEXT_LIMIT = 1024
"""Limit of a family's name, help and unit, in bytes."""
FAMILIES = 10_000
"""Limit of families; above it the oldest is forgotten."""
_SUFFIXES = {
    "histogram": ("_bucket", "_sum", "_count"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "summary": ("_sum", "_count"),
}


@dataclass(frozen=True, slots=True)
class Metadata:
    """A family's metadata: `kind` is one of `TYPES`; help and unit may be empty."""

    family: str
    kind: str
    help: str
    unit: str


class MetadataBook:
    """The latest metadata by family, with limits on families and on the bytes of a family."""

    def __init__(self, families: int = FAMILIES) -> None:
        """Start empty."""
        self._limit = families
        self._known: dict[str, Metadata] = {}

    def put(self, metadata: Metadata) -> None:
        """Store a family's metadata."""
        if metadata.family not in self._known and len(self._known) >= self._limit:
            del self._known[next(iter(self._known))]
        self._known[metadata.family] = metadata

    def get(self, series_name: str) -> Metadata | None:
        """Return the metadata of a series' family: of the series' name, or of a part of it."""
        metadata = self._known.get(series_name)
        for suffix in ("_total", "_bucket", "_sum", "_count", "_gsum", "_gcount"):
            if metadata is None and series_name.endswith(suffix):
                metadata = self._known.get(series_name.removesuffix(suffix))
        return metadata

    def __len__(self) -> int:
        """Count the families."""
        return len(self._known)


def read_v1(entries: Iterable[bytes]) -> Iterator[Metadata]:
    """Read MetricMetadata messages; invalid ones, and those without a family, are ignored."""
    for raw in entries:
        try:
            entry = MetricMetadata.FromString(raw)
        except DecodeError:
            continue
        if entry.metric_family_name:
            yield Metadata(
                _text(entry.metric_family_name),
                _kind(entry.type),
                _text(entry.help),
                _text(entry.unit),
            )


def read_v2(raw: bytes, series_name: bytes, symbols: Sequence[bytes]) -> Metadata | None:
    """Read a series' metadata; None if it is missing or invalid.

    Raises: IndexError for references beyond the symbols.
    """
    try:
        entry = SeriesMetadata.FromString(raw)
    except DecodeError:
        return None
    # 0 is no text: "the symbols table MUST start with an empty string", and not all do
    help_text, unit = (
        symbols[index] if index else b"" for index in (entry.help_ref, entry.unit_ref)
    )
    if not (entry.type or help_text or unit):
        return None
    kind = _kind(entry.type)
    family = _text(series_name)
    for suffix in _SUFFIXES.get(kind, ()):
        if family.endswith(suffix):
            family = family.removesuffix(suffix)
            break
    return Metadata(family, kind, _text(help_text), _text(unit))


def _kind(number: int) -> str:
    return TYPES[number] if 0 <= number < len(TYPES) else TYPES[0]


def _text(raw: bytes) -> str:
    return raw[:TEXT_LIMIT].decode("utf-8", "replace")
