"""Deduplication: a request seen twice counts once.

In: the digests of requests, as they are committed. Out: the earlier answer to a repeated
request: a sender that missed an answer sends the same body again. Digests are written to
the outbox's database in the transaction that commits the request, so they outlast a restart.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from receiver.outbox.values import Submission

REMEMBER_SECONDS = 600
"""Time for which a request is remembered."""


AT_ONCE = 100
"""Requests in one statement, which costs nearly as much for one."""
Value = TypeVar("Value")


class Repeats:
    """The requests of the last ten minutes. `clock` is in seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take a clock; the digests are in the database."""
        self._clock = clock
        self._forgot_at = float("-inf")

    def answers(
        self, database: sqlite3.Connection, submissions: Sequence[Submission]
    ) -> dict[bytes, bytes]:
        """Return the earlier answers to repeated requests, by their digests."""
        digests = [submission.digest for submission in submissions if submission.digest]
        answers: dict[bytes, bytes] = {}
        for some in _parts(digests):
            query = f"SELECT digest, answer FROM requests WHERE digest IN ({_marks('?', some)}) AND committed_at BETWEEN ? AND ?"  # noqa: S608 - question marks
            answers.update(database.execute(query, (*some, *self._span())).fetchall())
        return answers

    def remember(self, database: sqlite3.Connection, submissions: Sequence[Submission]) -> None:
        """Store the answers to requests; a request without a digest is not remembered."""
        now = self._clock()
        for some in _parts([submission for submission in submissions if submission.digest]):
            values = [
                value
                for submission in some
                for value in (submission.digest, now, submission.answer)
            ]
            insert = f"INSERT OR REPLACE INTO requests VALUES {_marks('(?, ?, ?)', some)}"  # noqa: S608 - question marks
            database.execute(insert, values)

    def forget(self, database: sqlite3.Connection) -> None:
        """Delete older requests, once a minute."""
        now = self._clock()
        if abs(now - self._forgot_at) < REMEMBER_SECONDS / 10:
            return
        self._forgot_at = now
        query = "DELETE FROM requests WHERE committed_at NOT BETWEEN ? AND ?"
        database.execute(query, self._span())

    def _span(self) -> tuple[float, float]:
        """The valid times; future ones too, as after the clock has been set back."""
        now = self._clock()
        return now - REMEMBER_SECONDS, now + REMEMBER_SECONDS


def _parts(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    return (values[first : first + AT_ONCE] for first in range(0, len(values), AT_ONCE))


def _marks(mark: str, values: Sequence[object]) -> str:
    return ", ".join([mark] * len(values))
