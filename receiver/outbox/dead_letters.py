"""Dead letters: permanently rejected items, kept for people to read.

In: rejected items, as their batch is settled. Out: the latest, each with the service's
message; also while a receiver uses the outbox.
"""

import sqlite3
from collections.abc import Sequence

from receiver.outbox.values import DeadLetter

LATEST_BYTES = 1 << 20
"""Limit of items read at once; the latest is always read."""
LetterRow = tuple[float, int, str, str, str]
"""Time, status, the service's message, the item, its lane."""
KEPT = 1000
"""Limit of rejected items kept, the latest."""


def store_dead_letters(
    database: sqlite3.Connection, letters: Sequence[DeadLetter], now: float, lane: str
) -> None:
    """Store rejected items, in the caller's transaction; the oldest make room."""
    if letters:
        database.executemany(
            "INSERT INTO dead_letters (rejected_at, status, message, item, lane)"
            " VALUES (?, ?, ?, ?, ?)",
            [(now, letter.status, letter.message, letter.item, lane) for letter in letters],
        )
        database.execute(
            "DELETE FROM dead_letters WHERE id <= (SELECT MAX(id) FROM dead_letters) - ?", (KEPT,)
        )


def latest(database: sqlite3.Connection, limit: int) -> list[LetterRow]:
    """Read the latest rejected items, the newest first."""
    query = (
        "SELECT rejected_at, status, message, item, lane FROM dead_letters ORDER BY id DESC LIMIT ?"
    )
    letters: list[LetterRow] = []
    size = 0
    for letter in database.execute(query, (limit,)):
        size += len(letter[3])
        if letters and size > LATEST_BYTES:
            break
        letters.append(letter)
    return letters
