"""A request seen twice counts once.

In: the digests of requests, as they are committed. Out: the answer that a request got
before, if it came before: a sender that missed our answer sends the same body again.
Kept in the outbox's database and written in the transaction that commits the request,
so it holds after a restart.
"""

import sqlite3
from collections.abc import Callable

from receiver.outbox.batch import Append

REMEMBER_SECONDS = 600
"""How long a request is remembered."""


class Repeats:
    """The requests of the last ten minutes. `clock` is in seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Know nothing; the database does."""
        self._clock = clock
        self._forgot_at = float("-inf")

    def answer(self, database: sqlite3.Connection, digest: bytes) -> bytes | None:
        """Return what the request was answered; None for one that is new, or has no digest."""
        if not digest:
            return None
        query = "SELECT answer FROM requests WHERE digest = ? AND committed_at BETWEEN ? AND ?"
        row = database.execute(query, (digest, *self._span())).fetchone()
        return bytes(row[0]) if row else None

    def remember(self, database: sqlite3.Connection, submission: Append) -> None:
        """Keep a request's answer; one without a digest is not to be told from others."""
        if submission.digest:
            database.execute(
                "INSERT OR REPLACE INTO requests VALUES (?, ?, ?)",
                (submission.digest, self._clock(), submission.answer),
            )

    def forget(self, database: sqlite3.Connection) -> None:
        """Let go of what is older than that, once a minute."""
        now = self._clock()
        if abs(now - self._forgot_at) < REMEMBER_SECONDS / 10:
            return
        self._forgot_at = now
        query = "DELETE FROM requests WHERE committed_at NOT BETWEEN ? AND ?"
        database.execute(query, self._span())

    def _span(self) -> tuple[float, float]:
        """The times that count: those from the future too, when the clock has been set back."""
        now = self._clock()
        return now - REMEMBER_SECONDS, now + REMEMBER_SECONDS
