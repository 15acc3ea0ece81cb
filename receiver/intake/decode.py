"""The parser of a request's body: series with their samples.

In: the body as received, and the message that its Content-Type declares. Out: the series;
names are read at once, labels on demand. Never touches a socket, a clock or a file.

Rules: Prometheus Remote-Write 1.0, sections "Protocol" and "Labels"; 2.0-rc.4,
sections "Protobuf Message" and "Symbols". Two leniencies that real senders need:
labels may come in any order, and a series may hold exemplars alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any, Protocol

import cramjam
from google.protobuf.message import DecodeError

from receiver.errors import DecodedTooLarge, InvalidSeries, TooManySeries, Undecodable
from receiver.intake import histogram, metadata
from receiver.intake.metadata import Metadata
from receiver.intake.wire.remote_write_lean_pb2 import (
    ReferencingTimeSeries,
    Request,
    TimeSeries,
    WriteRequest,
)

NAME_LABEL = b"__name__"

Raw = bytes | bytearray
"""A decompressed request."""

NO_NAME = "no_name"
BAD_REFERENCE = "bad_reference"
DUPLICATE_LABEL = "duplicate_label"
EMPTY_LABEL_NAME = "empty_label_name"
INVALID_UTF8 = "invalid_utf8"
TOO_MANY_LABELS = "too_many_labels"
LABELS_TOO_LONG = "labels_too_long"
BAD_HISTOGRAM = "bad_histogram"
INVALID_REASONS = (
    NO_NAME,
    BAD_REFERENCE,
    DUPLICATE_LABEL,
    EMPTY_LABEL_NAME,
    INVALID_UTF8,
    TOO_MANY_LABELS,
    LABELS_TOO_LONG,
    BAD_HISTOGRAM,
)
"""Reasons for refusing a series while the rest of its request is accepted."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one request. Every limit is a setting, named by a refusal."""

    decoded_bytes: int = 32 << 20
    parsed_bytes: int = 128 << 20
    rendered_bytes: int = 64 << 20
    series: int = 20_000
    labels: int = 100
    label_bytes: int = 64 << 10


DEFAULT_LIMITS = Limits()


class Message(Enum):
    """The two messages of the protocol, by their full protobuf names."""

    V1 = "prometheus.WriteRequest"
    V2 = "io.prometheus.write.v2.Request"


class WireSample(Protocol):
    """A value and its time, as both messages have them."""

    value: float
    timestamp: int


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a request.

    `name` is empty if none is among the allowed number of labels. All else is read on demand.
    Times are in milliseconds.
    """

    name: bytes
    samples: Sequence[WireSample]
    histograms: int
    exemplars: int
    _message: Any
    _symbols: Sequence[bytes] | None
    _limits: Limits

    def label_pairs(self) -> tuple[bytes, ...]:
        """Read the labels, `__name__` included, as name, value, name, value, ….

        Raises: InvalidSeries for too many or too long labels, and for references beyond the
        request's symbols.
        """
        if self._symbols is None:
            labels = self._message.labels
            _check_count(len(labels), self._limits.labels)
            pairs = tuple([part for label in labels for part in (label.name, label.value)])
        else:
            references = self._message.labels_refs
            _check_count(len(references) // 2, self._limits.labels)
            pairs = _resolve(references, self._symbols)
        if sum(map(len, pairs)) > self._limits.label_bytes:
            message = f"the labels have more than {self._limits.label_bytes} bytes"
            raise InvalidSeries(LABELS_TOO_LONG, message)
        return pairs

    def start_of(self, sample: WireSample) -> int:
        """Return a sample's start timestamp, of remote-write 2.0; 0 or less for none.

        Until 2.0-rc.3 (Prometheus 3.7) a series had one for all its samples.
        """
        if self._symbols is None:
            return 0
        own: int = getattr(sample, "start_timestamp", 0)
        created: int = self._message.created_timestamp
        return own or created

    def check_histograms(self) -> None:
        """Check the native histograms. Raises: InvalidSeries for an invalid one."""
        for raw in self._message.histograms:
            if problem := histogram.problem(raw, bounds_travel=self._symbols is not None):
                raise InvalidSeries(BAD_HISTOGRAM, f"{show(self.name)}: a histogram {problem}")

    def metadata(self) -> Metadata | None:
        """Read the metadata in a series of 2.0, if it has any.

        Raises: InvalidSeries for references beyond the request's symbols.
        """
        if self._symbols is None or not self._message.metadata:
            return None
        try:
            return metadata.read_v2(self._message.metadata[-1], self.name, self._symbols)
        except IndexError as error:
            message = f"metadata of {show(self.name)} names symbols that are not there"
            raise InvalidSeries(BAD_REFERENCE, message) from error


def decompress(body: bytes, limit_bytes: int) -> bytearray:
    """Decompress snappy's block format, up to `limit_bytes`.

    The declared length is checked before memory is allocated: a short body that declares
    gigabytes costs nothing. It is decompressed in place, by the library beneath python-snappy:
    python-snappy's own function copies the result, which took 5 % of a request's time.

    Raises: Undecodable, DecodedTooLarge.
    """
    length = declared_length(body)
    if length > limit_bytes:
        message = f"the body declares {length} bytes once decompressed; the limit is {limit_bytes}"
        raise DecodedTooLarge(message)
    raw = bytearray(length)
    try:
        cramjam.snappy.decompress_raw_into(body, raw)
    except cramjam.DecompressionError as error:
        message = "the body is not in snappy's block format"
        if body.startswith(b"\xff\x06\x00\x00sNaPpY"):
            message += ": it is in the framed format, which remote-write does not use"
        raise Undecodable(message) from error
    return raw


def declared_length(body: bytes) -> int:
    """Read the decompressed length at the start of a snappy block: a varint of 32 bits.

    Raises: Undecodable for a body without one.
    """
    length = 0
    for index, byte in enumerate(body[:5]):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if length > 0xFFFFFFFF:
                break
            return length
    message = "the body is empty" if not body else "the body does not begin with a snappy length"
    raise Undecodable(message)


def decode(
    raw: bytes,
    message: Message,
    limits: Limits = DEFAULT_LIMITS,
    on_metadata: Callable[[Metadata], object] = lambda _: None,
) -> Iterator[Series]:
    """Read the series of a decompressed message, in the order sent.

    The whole message is parsed before this returns, and `on_metadata` has been called with the
    metadata of 1.0; the iterator reads only the series' names.

    Raises: Undecodable for bytes that are not that message or hold none of its fields, like
    the other message under the wrong type; TooManySeries.
    """
    try:
        if message is Message.V1:
            write_request = WriteRequest.FromString(raw)
            empty = not write_request.timeseries and not write_request.metadata
        else:
            request = Request.FromString(raw)
            empty = not request.timeseries and not request.symbols
    except DecodeError as error:
        text = f"the decompressed body is not a {message.value}"
        raise Undecodable(text) from error
    if empty and raw:
        text = f"the body holds none of the fields of {message.value}: is its Content-Type right?"
        raise Undecodable(text)
    if message is Message.V1:
        check_series(len(write_request.timeseries), limits.series)
        check_series(len(write_request.metadata), limits.series, "entries of metadata")
        for entry in metadata.read_v1(write_request.metadata):
            on_metadata(entry)
        return (_series_v1(fields, limits) for fields in write_request.timeseries)
    check_series(len(request.timeseries), limits.series)
    symbols = list(request.symbols)
    return (_series_v2(fields, symbols, limits) for fields in request.timeseries)


def decode_series(
    text: bytes, message: Message, symbols: Sequence[bytes], limits: Limits = DEFAULT_LIMITS
) -> Series:
    """Parse one series from its bytes; `symbols` are its request's, in 2.0.

    Raises: Undecodable.
    """
    try:
        if message is Message.V1:
            return _series_v1(TimeSeries.FromString(text), limits)
        return _series_v2(ReferencingTimeSeries.FromString(text), symbols, limits)
    except DecodeError as error:
        raise Undecodable(f"the decompressed body is not a {message.value}") from error


def check_series(count: int, limit: int, what: str = "series") -> None:
    """Refuse a request with more series than allowed. Raises: TooManySeries."""
    if count > limit:
        raise TooManySeries(f"the request has {count} {what}; the limit is {limit}")


def _check_count(count: int, limit: int) -> None:
    if count > limit:
        raise InvalidSeries(TOO_MANY_LABELS, f"a series has {count} labels; the limit is {limit}")


def _series_v1(fields: Any, limits: Limits) -> Series:
    labels = fields.labels
    name = b""
    for label in islice(labels, limits.labels):  # senders sort, so the name is nearly always first
        if label.name == NAME_LABEL:
            name = label.value
            break
    counts = len(fields.histograms), len(fields.exemplars)
    return Series(name, fields.samples, *counts, fields, None, limits)


def _series_v2(fields: Any, symbols: Sequence[bytes], limits: Limits) -> Series:
    references = fields.labels_refs
    name = b""
    for index in range(0, min(len(references) - 1, 2 * limits.labels), 2):
        label, value = references[index], references[index + 1]
        if label < len(symbols) and symbols[label] == NAME_LABEL:
            name = symbols[value] if value < len(symbols) else b""
            break
    counts = len(fields.histograms), len(fields.exemplars)
    return Series(name, fields.samples, *counts, fields, symbols, limits)


def _resolve(references: Sequence[int], symbols: Sequence[bytes]) -> tuple[bytes, ...]:
    if len(references) % 2:
        message = f"labels_refs has an odd length, {len(references)}"
        raise InvalidSeries(BAD_REFERENCE, message)
    if references and max(references) >= len(symbols):
        message = f"labels_refs names symbol {max(references)} of {len(symbols)}"
        raise InvalidSeries(BAD_REFERENCE, message)
    return tuple([symbols[reference] for reference in references])


def read_labels(pairs: Sequence[bytes]) -> dict[str, str]:
    """Decode and check a series' label pairs; labels with an empty value are omitted.

    "The empty label value is equivalent to a label that does not exist."

    Raises: InvalidSeries.
    """
    labels: dict[str, str] = {}
    seen: set[bytes] = set()
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        if not name:
            raise InvalidSeries(EMPTY_LABEL_NAME, "a label has an empty name")
        if name in seen:
            raise InvalidSeries(DUPLICATE_LABEL, f"label {show(name)} occurs twice")
        seen.add(name)
        try:
            if value:
                labels[name.decode()] = value.decode()
        except UnicodeDecodeError as error:
            raise InvalidSeries(INVALID_UTF8, f"label {show(name)} is not UTF-8") from error
    if not labels.get("__name__"):
        raise InvalidSeries(NO_NAME, "a series has no __name__")
    return labels


def show(text: bytes, limit: int = 64) -> str:
    """Quote a name for a message: printable, at most `limit` bytes of it."""
    quoted = ascii(text[:limit].decode("utf-8", "backslashreplace"))
    return quoted + "…" if len(text) > limit else quoted
