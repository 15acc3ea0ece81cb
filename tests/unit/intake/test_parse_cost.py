"""Bodies that would explode in the parser are told by their bytes; honest ones pass."""

import pytest

from receiver.errors import TooManyParts
from receiver.intake.decode import Limits, Message
from receiver.intake.parse_cost import HARMLESS_BYTES, check_parts, check_series_parts
from tests.conformance.messages import one, v1, v2

MANY = 16 << 20
SERIES = [one("metric", n, instance=f"host-{n}:8002", job="triton", model="m") for n in range(8000)]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (b"\x0a\x00", Message.V1),
        (b"\x8a\x00\x00", Message.V1),
        (b"\x1a\x00", Message.V1),
        (b"\x0a\x02\x22\x00", Message.V1),
        (b"\x0a\x02\x12\x00", Message.V1),
        (b"\x2a\x00", Message.V2),
        (b"\x22\x00", Message.V2),
        (b"\xaa\x00\x00", Message.V2),
        (b"\x2a\x02\x1a\x00", Message.V2),
    ],
)
def test_empty_parts_in_masses_are_refused(part: bytes, message: Message) -> None:
    """However their tags are spelt."""
    with pytest.raises(TooManyParts):
        check_parts(part * (MANY // len(part)), message, Limits())


def test_references_in_masses_are_refused() -> None:
    """In 2.0 a byte is a reference, of which nothing tells but that it is in a series."""
    inner = b"\x0a\x80\x80\x80\x0a" + b"\0" * (20 << 20)
    body = b"\x2a\x85\x80\x80\x0a" + inner
    with pytest.raises(TooManyParts):
        check_parts(body, Message.V2, Limits())
    with pytest.raises(TooManyParts):
        check_series_parts(inner, Message.V2, Limits())


@pytest.mark.parametrize("message", Message)
def test_honest_requests_pass_at_many_times_their_usual_size(message: Message) -> None:
    """Eight thousand series with their labels, four times as many as Prometheus sends."""
    raw = v1(*SERIES) if message is Message.V1 else v2(*SERIES)
    assert message is Message.V2 or len(raw) > HARMLESS_BYTES / 2
    check_parts(raw * 3, message, Limits())


def test_small_bodies_are_not_looked_at() -> None:
    """They can do no harm, and the usual request shall not pay."""
    check_parts(b"\x0a\x00" * (HARMLESS_BYTES // 2), Message.V1, Limits(parsed_bytes=1))
