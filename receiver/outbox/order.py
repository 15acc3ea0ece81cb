"""The order of delivery: which waiting batches are next.

In: the outbox's database. Out: batches. Batches of the last minute go before older ones, so
that a backlog does not delay the present; in each part the oldest goes first. Each lane has
its own order.
"""

import sqlite3
from collections.abc import Collection

from receiver.outbox.values import Batch

_ID_LIMIT = 2**63 - 1
_SELECT = "SELECT id, body, items, oldest_ms, newest_ms, destination, lane FROM batches"


def next_batches(
    database: sqlite3.Connection, busy: Collection[int], fresh_from_id: int, most: int, lane: str
) -> list[Batch]:
    """Fetch up to `most` batches of a lane, none of `busy`, first from `fresh_from_id` on."""
    skip = ",".join(map(str, busy))
    batches: list[Batch] = []
    for first, last in ((fresh_from_id, _ID_LIMIT), (0, fresh_from_id - 1)):
        rows = database.execute(
            f"{_SELECT} WHERE lane = ? AND id BETWEEN ? AND ? AND id NOT IN ({skip})"
            " ORDER BY id LIMIT ?",
            (lane, first, last, most - len(batches)),
        )
        batches += (Batch(*row) for row in rows)
        if len(batches) == most:
            break
    return batches


def batch(database: sqlite3.Connection, number: int) -> Batch | None:
    """Fetch one batch, if it still exists."""
    row = database.execute(f"{_SELECT} WHERE id = ?", (number,)).fetchone()
    return Batch(*row) if row else None


def smallest_batch(database: sqlite3.Connection, lane: str) -> list[Batch]:
    """Fetch a lane's batch with the fewest bytes, if any."""
    index = "batches INDEXED BY batches_by_newest"
    smallest = f"SELECT id FROM {index} WHERE lane = ? ORDER BY size_bytes LIMIT 1"
    query = f"{_SELECT} WHERE id = ({smallest})"  # reads one body
    return [Batch(*row) for row in database.execute(query, (lane,))]


def newest_id(database: sqlite3.Connection) -> int:
    """Return the highest batch number so far; 0 before the first."""
    row = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'batches'")
    return int((row.fetchone() or (0,))[0])
