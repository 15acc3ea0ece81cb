"""The check of a request's memory cost before it is parsed.

In: a decompressed body. Out: nothing, or a refusal. Never parses: it counts the bytes that
can start a message inside the body, at the speed of a byte search. Two bytes on the wire make
an empty series of some 60 bytes in memory, so parsing a body of such series would cost thirty
times its size.

Rules: sizes of upb's messages and of their places in arrays, measured on 64 bits.
"""

from collections.abc import Callable

from google.protobuf.message import DecodeError

from receiver.errors import TooManyParts
from receiver.intake.decode import Limits, Message
from receiver.intake.wire.remote_write_lean_pb2 import OpaqueRequest

HARMLESS_BYTES = 1 << 20
"""Bodies up to this size are parsed unchecked: they cannot cost more than about 40 MiB."""

REFERENCE_COST = 8
"""Memory of a one-byte reference, with the spare capacity of its array."""

_COSTS = {
    Message.V1: {
        0x0A: 64,  # a series, or a label
        0x12: 48,  # a sample, or a label's value
        0x1A: 32,  # an exemplar, or metadata
        0x22: 32,  # a histogram
    },
    Message.V2: {
        0x2A: 80,  # a series, or metadata
        0x12: 48,  # a sample
        0x1A: 32,  # a histogram
        0x22: 32,  # a symbol, or an exemplar
    },
}
"""For each message, the bytes that start its parts, and the memory of one part."""


def check_parts(raw: bytes, message: Message, limits: Limits) -> None:
    """Refuse a body whose parsed parts might exceed `limits.parsed_bytes`.

    Text and numbers contain the same bytes by chance, so this is an overestimate: by a factor
    of three for labels, exact for a hostile body.

    Raises: TooManyParts.
    """
    _check(raw, message, limits, _series_bytes)


def check_series_parts(raw: bytes, message: Message, limits: Limits) -> None:
    """Check a single series as `check_parts` does. Raises: TooManyParts."""
    _check(raw, message, limits, len)


def _check(
    raw: bytes, message: Message, limits: Limits, series_bytes: Callable[[bytes], int]
) -> None:
    if len(raw) <= HARMLESS_BYTES:
        return
    cost = len(raw) + sum(
        _count(raw, tag) * cost_bytes for tag, cost_bytes in _COSTS[message].items()
    )
    if message is Message.V2 and cost <= limits.parsed_bytes:
        cost += REFERENCE_COST * series_bytes(raw)
    if cost > limits.parsed_bytes:
        text = f"the body would take up to {cost} bytes once parsed; the limit is {limits.parsed_bytes}"
        raise TooManyParts(text)


def _series_bytes(raw: bytes) -> int:
    """Count the bytes of 2.0's series; each byte may be a reference."""
    try:
        return sum(map(len, OpaqueRequest.FromString(raw).timeseries))
    except DecodeError:
        return 0  # decode refuses it


def _count(raw: bytes, tag: int) -> int:
    return raw.count(tag) + raw.count(tag | 0x80)  # a varint may be longer than it needs to be
