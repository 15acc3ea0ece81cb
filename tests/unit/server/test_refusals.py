"""A refused request is told when to come again."""

import pytest

from receiver.server.refusals import (
    retry_after_seconds,
)


@pytest.mark.parametrize(
    ("attempt", "most"),
    [("", 5), ("0", 5), ("1", 10), ("2", 20), ("4", 80), ("5", 80), ("999", 80), ("1000", 5), ("-1", 5), ("x", 5)],
)  # fmt: skip
def test_each_attempt_waits_longer(attempt: str, most: int) -> None:
    """Up to a bound, and not all alike: half of it at least."""
    waits = {retry_after_seconds(attempt) for _ in range(1000)}
    assert min(waits) >= most // 2
    assert max(waits) == most
    assert len(waits) > 2


def test_a_retry_is_asked_for_later_with_each_attempt() -> None:
    """5, 10, 20, 40, 80 seconds at most, and half of it at least: not all senders at once."""
    for attempt, longest in (
        ("0", 5),
        ("1", 10),
        ("2", 20),
        ("3", 40),
        ("9", 80),
        ("x", 5),
        ("", 5),
    ):
        waits = {retry_after_seconds(attempt) for _ in range(99)}
        assert min(waits) >= longest // 2
        assert max(waits) <= longest
        assert len(waits) > 1
