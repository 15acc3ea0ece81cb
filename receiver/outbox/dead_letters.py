"""What Application Insights rejected for good: kept for a while, for people to read.

In: rejected items, as their batch is settled. Out: the latest of them, the service's
words, and a hint where the message is known; also while a receiver uses the outbox.
"""

import sqlite3
from collections.abc import Sequence

from receiver.outbox.batch import DeadLetter

LATEST_BYTES = 1 << 20
"""Of the items that are read at once; the latest in any case."""
KEPT = 1000
"""How many of the latest rejected items are kept."""


def bury(database: sqlite3.Connection, letters: Sequence[DeadLetter], now: float) -> None:
    """Keep rejected items, in the caller's transaction; the oldest make room."""
    if letters:
        database.executemany(
            "INSERT INTO dead_letters (rejected_at, status, message, item) VALUES (?, ?, ?, ?)",
            [(now, letter.status, letter.message, letter.item) for letter in letters],
        )
        database.execute(
            "DELETE FROM dead_letters WHERE id <= (SELECT MAX(id) FROM dead_letters) - ?", (KEPT,)
        )


def latest(database: sqlite3.Connection, limit: int) -> list[tuple[float, int, str, str]]:
    """Read the latest rejected items, the newest first: when, status, the service's words, the item."""
    query = "SELECT rejected_at, status, message, item FROM dead_letters ORDER BY id DESC LIMIT ?"
    letters: list[tuple[float, int, str, str]] = []
    size = 0
    for letter in database.execute(query, (limit,)):
        size += len(letter[3])
        if letters and size > LATEST_BYTES:
            break
        letters.append(letter)
    return letters
