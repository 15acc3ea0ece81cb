"""The requests of `handover`: which series go together."""

from typing import Any

from receiver.cli.handover import REQUEST_BYTES, REQUEST_SERIES, requests_of


def series(number: int, label: str = "x") -> dict[str, Any]:
    """Return a series as a receiver lists it."""
    labels = {"__name__": "c", "label": label}
    return {"number": number, "labels": labels, "time_ms": 1_795_000_000_000, "value": 1.5}


def test_requests_are_limited_in_series() -> None:
    """All series are in one request each, in their order."""
    given = [series(number) for number in range(2 * REQUEST_SERIES + 1)]
    parts = list(requests_of(given))
    assert [len(part) for part in parts] == [REQUEST_SERIES, REQUEST_SERIES, 1]
    assert [one for part in parts for one in part] == given
    assert not list(requests_of([]))


def test_requests_are_limited_in_bytes() -> None:
    """Labels are measured as JSON, where a character may take six bytes; a long series goes alone."""
    long = "\u00e4" * (REQUEST_BYTES // 20)
    given = [series(number, long) for number in range(7)] + [series(7, long * 9), series(8)]
    assert [len(part) for part in requests_of(given)] == [3, 3, 1, 1, 1]
