"""Distinct errors, counted and bounded."""

from receiver.errors import Unreachable
from receiver.status.recent_errors import LIMIT, RecentErrors


def test_alike_are_one_and_the_latest_come_first() -> None:
    """Errors that differ in digits are one, with the latest words; the latest one leads."""
    times = iter((10.0, 10.0, 20.0, 30.0))
    recent_errors = RecentErrors(lambda: next(times))
    recent_errors.note("delivery", "503 busy at 10:04", "wait")
    recent_errors.note("request", "400 no", "")
    recent_errors.note("delivery", "503 busy at 11:09", "wait")
    first, second = recent_errors.latest()
    assert (first.words, first.count, first.first_at, first.last_at) == ("503 busy at 11:09", 2, 10.0, 20.0)  # fmt: skip
    assert second.where == "request"


def test_kinds_are_bounded() -> None:
    """However many kinds there are, the latest few are kept."""
    recent_errors = RecentErrors(lambda: 0.0)
    for number in range(200):
        recent_errors.note("x", "a" * number, "")
    assert len(recent_errors.latest()) == LIMIT
    assert recent_errors.latest()[0].words == "a" * 199


def test_words_that_are_not_utf8_can_be_shown() -> None:
    """A header holds any bytes; the page's JSON and the log do not."""
    recent_errors = RecentErrors(lambda: 0.0)
    recent_errors.note("request", "no type \udcff", "")
    recent_errors.note("delivery", str(Unreachable("redirects to \udcfe", "")), "")
    assert [each.words for each in recent_errors.latest()] == [
        r"redirects to \udcfe",
        r"no type \udcff",
    ]
