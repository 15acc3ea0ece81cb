"""Large answers are counted while somebody reads them, and shared by the readers of one moment."""

from contextlib import suppress

import pytest
from aiohttp import web

from receiver.errors import AnswersUnread
from receiver.server.answers import FRESH_SECONDS, SMALL_BYTES, Answers, is_large


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def large(text: str = "x", size: int = 100_000) -> web.Response:
    """A page's response."""
    return web.Response(body=text.encode() * size, headers={"Content-Type": "text/plain"})


def test_an_answer_counts_while_it_is_read_and_no_longer() -> None:
    """Once, however many read it; also when a reader goes away amid it."""
    answers = Answers(1_000_000, Clock())
    answer = answers.make(large())
    with answers.reading("/a", answer):
        with suppress(ConnectionError), answers.reading("/a", answer):
            assert answers.size_bytes == 100_000
            raise ConnectionError
        assert answers.size_bytes == 100_000
    assert answers.size_bytes == 0
    assert answers.current("/a") is None


def test_readers_of_one_moment_share_a_body() -> None:
    """For a second, while it is being read: who reads quickly gets what is true now."""
    clock = Clock()
    answers = Answers(1_000_000, clock)
    answer = answers.make(large())
    assert answers.current("/a") is None
    with answers.reading("/a", answer):
        assert answers.current("/a") is answer
        assert answers.current("/b") is None
        clock.now = FRESH_SECONDS
        assert answers.current("/a") is None
        newer = answers.make(large())
        with answers.reading("/a", newer):
            assert answers.current("/a") is newer
    assert answers.size_bytes == 0


def test_past_the_budget_answers_are_refused() -> None:
    """Before one is made where there is no room at all, else when its size is known."""
    answers = Answers(150_000, Clock())
    with answers.reading("/a", answers.make(large())):
        answers.refuse_when_full()
        with pytest.raises(AnswersUnread), answers.reading("/b", answers.make(large())):
            pass
        with answers.reading("/c", answers.make(large(size=50_000))), pytest.raises(AnswersUnread):
            answers.refuse_when_full()
    answers.refuse_when_full()
    assert answers.size_bytes == 0


def test_small_answers_are_not_counted() -> None:
    """They fit into what a connection may hold."""
    assert not is_large(large(size=SMALL_BYTES))
    assert is_large(large(size=SMALL_BYTES + 1))
    assert not is_large(web.Response(status=204))
