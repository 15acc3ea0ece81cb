"""One event: counted, kept and logged by one call; distinct errors are bounded."""

from typing import Any

import structlog

from receiver.errors import Unreachable
from receiver.events import LIMIT, Events, Kind

A, B = Kind("request", "request refused", 60.0), Kind("delivery", "delivery waits", 60.0)


def lines(captured: list[Any]) -> list[tuple[str, str, int]]:
    """Say of each line its words, its reason and how many events it tells of."""
    return [(each["event"], each["reason"], each["times"]) for each in captured]


def test_count_entry_and_line_agree() -> None:
    """What was counted is what is shown and, once its line comes, what was logged."""
    now = [0.0]
    events = Events(lambda: 7.0, lambda: now[0])
    with structlog.testing.capture_logs() as captured:
        for _ in range(3):
            events.happened(A, "too_large", "413 no", "send less", sender="Prometheus")
        events.happened(A, "undecodable", "400 no", "send snappy")
        now[0] = 60.0
        events.happened(A, "too_large", "413 no", "send less", sender="Prometheus", times=2)
    assert lines(captured) == [
        ("request refused", "too_large", 1),
        ("request refused", "undecodable", 1),
        ("request refused", "too_large", 4),
    ]
    assert events.counts(A) == {"too_large": 5, "undecodable": 1}
    first, second = events.latest()
    assert (first.reason, first.count, first.fields) == ("too_large", 5, {"sender": "Prometheus"})
    assert (second.reason, second.count) == ("undecodable", 1)
    assert captured[-1]["hint"] == "send less"


def test_after_the_end_the_next_is_logged_at_once() -> None:
    """An outage that comes back is news, however soon."""
    events = Events(lambda: 0.0, lambda: 0.0)
    with structlog.testing.capture_logs() as captured:
        events.happened(B, "retry", "503", "wait")
        events.happened(B, "retry", "503", "wait")
        events.is_over(B, "delivery resumed")
        events.happened(B, "retry", "503", "wait")
    assert [each["event"] for each in captured] == [
        "delivery waits",
        "delivery resumed",
        "delivery waits",
    ]


def test_a_defect_is_an_error_with_its_traceback() -> None:
    """Whoever has to report it needs it."""
    error = ValueError("x")
    with structlog.testing.capture_logs() as captured:
        Events().happened(A, "ValueError", "x", "report it", defect=error)
    assert captured[0]["log_level"] == "error"
    assert captured[0]["exc_info"] is error


def test_what_is_no_error_is_counted_alone() -> None:
    """An idle connection that was closed is neither shown nor logged."""
    events = Events()
    with structlog.testing.capture_logs() as captured:
        events.count(A, "idle")
    assert (captured, events.latest(), events.counts(A)) == ([], [], {"idle": 1})


def test_alike_are_one_and_the_latest_come_first() -> None:
    """Errors that differ in digits are one, with the latest words; the latest one leads."""
    times = iter((10.0, 10.0, 20.0, 30.0))
    events = Events(lambda: next(times))
    events.happened(B, "retry", "503 busy at 10:04", "wait")
    events.happened(A, "undecodable", "400 no", "")
    events.happened(B, "retry", "503 busy at 11:09", "wait")
    first, second = events.latest()
    assert (first.words, first.count, first.first_at, first.last_at) == ("503 busy at 11:09", 2, 10.0, 20.0)  # fmt: skip
    assert second.where == "request"


def test_recent_errors_are_bounded() -> None:
    """However many kinds there are, the latest few are kept."""
    events = Events(lambda: 0.0)
    for number in range(200):
        events.happened(A, "x", "a" * number, "")
    assert len(events.latest()) == LIMIT
    assert events.latest()[0].words == "a" * 199


def test_words_that_are_not_utf8_can_be_shown() -> None:
    """A header holds any bytes; the page's JSON and the log do not."""
    events = Events(lambda: 0.0)
    events.happened(A, "x", "no type \udcff", "", sender="\udcff")
    events.happened(B, "x", str(Unreachable("redirects to \udcfe", "")), "")
    assert [each.words for each in events.latest()] == [
        r"redirects to \udcfe",
        r"no type \udcff",
    ]
    assert events.latest()[1].fields == {"sender": r"\udcff"}
