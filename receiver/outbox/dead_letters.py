"""What Application Insights rejected for good: kept for a while, for people to read.

In: rejected items, as their batch is settled. Out: the latest of them, the service's
words, and a hint where the message is known; also while a receiver uses the outbox.
"""

import sqlite3
from collections.abc import Sequence

from receiver.outbox.batch import DeadLetter

LATEST_BYTES = 1 << 20
"""Of the items that are read at once; the latest in any case."""
LetterRow = tuple[float, int, str, str, str]
"""When, status, the service's words, the item, its lane."""
KEPT = 1000
"""How many of the latest rejected items are kept."""


def bury(
    database: sqlite3.Connection, letters: Sequence[DeadLetter], now: float, lane: str
) -> None:
    """Keep rejected items, in the caller's transaction; the oldest make room."""
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
