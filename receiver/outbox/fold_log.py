"""The fold's data on disk: a log of records, a checkpoint, and the series.

In: the records of committed requests, as bytes. Out: the same, after a restart, and the
items that a flush makes of them. The bytes are opaque here: `Folding` reads them.

Theory of operation: a transaction that commits requests adds one row with all their
records. When it is committed, and not before, the fold in memory takes them. A flush
closes windows in memory; one transaction writes their items and the new checkpoint, and
clears the log. If it fails, memory is ahead of the disk, is discarded and read again: first
the checkpoint, then the log, row by row with each row's own clock.
"""

import sqlite3
from collections.abc import Iterator, Sequence

from receiver.outbox.folding import Flush, Folding, LogRow, SeriesRow

LONG_BYTES = 16 << 20
"""Length of the log that forces a checkpoint."""


class FoldLog:
    """The fold's tables."""

    def __init__(self, folding: Folding) -> None:
        """Start unread; call `read`."""
        self.folding = folding
        self._is_read = False
        self._unread: tuple[Sequence[SeriesRow], bytes, int] | None = None
        self._upto = 0  # the highest number in fold_series; 0: not known
        self.size_bytes = 0

    @property
    def is_long(self) -> bool:
        """Whether the log is due for a checkpoint."""
        return self.size_bytes >= LONG_BYTES

    def read(self, database: sqlite3.Connection, now_ms: int) -> str:
        """Load the fold from disk, if it is not loaded; returns as `Folding.restore`."""
        if self._is_read:
            return ""
        row = database.execute("SELECT state FROM fold_state").fetchone()
        log = [
            LogRow(*row)
            for row in database.execute("SELECT at_ms, upto, records FROM fold_log ORDER BY id")
        ]
        problem = self.folding.restore(row and bytes(row[0]), all_series(database), log, now_ms)
        self.size_bytes = sum(len(row.records) for row in log)
        self._is_read = True
        return problem

    def forget(self) -> None:
        """Mark the fold to be read again, since memory and disk differ."""
        self._is_read = False
        self._unread = None
        self._upto = 0

    def write(self, database: sqlite3.Connection, records: bytes, now_ms: int) -> None:
        """Write records, after their series; part of a transaction."""
        series = self.folding.unsaved()
        if series or not self._upto:
            database.executemany("INSERT OR REPLACE INTO fold_series VALUES (?, ?)", series)
            query = "SELECT IFNULL(MAX(number), 0) FROM fold_series"
            (self._upto,) = database.execute(query).fetchone()
        insert = "INSERT INTO fold_log (at_ms, upto, records) VALUES (?, ?, ?)"
        database.execute(insert, (now_ms, self._upto, records))
        self._unread = series, records, now_ms

    def rolled_back(self) -> None:
        """Discard the writes of a failed transaction, which memory never had."""
        self._unread = None
        self._upto = 0

    def committed(self) -> None:
        """Fold the records of the last transaction."""
        if self._unread is None:
            return
        series, records, now_ms = self._unread
        self._unread = None
        self.folding.saved(series)
        self.folding.take(records, now_ms)
        self.size_bytes += len(records)

    @staticmethod
    def write_flush(database: sqlite3.Connection, flush: Flush) -> None:
        """Write the state of a flush, and clear the log; part of the transaction with its items."""
        database.execute("INSERT OR REPLACE INTO fold_state VALUES (1, ?)", (flush.state,))
        database.execute("DELETE FROM fold_log")
        delete = "DELETE FROM fold_series WHERE number = ?"
        database.executemany(delete, ((number,) for number in flush.removed))

    def flushed(self) -> None:
        """Note that a flush is committed."""
        self.size_bytes = 0
        self.folding.flushed()


def all_series(database: sqlite3.Connection) -> Iterator[SeriesRow]:
    """Read the series, in the order of their numbers."""
    query = "SELECT number, labels FROM fold_series ORDER BY number"
    return ((number, bytes(labels)) for number, labels in database.execute(query))


def series_after(database: sqlite3.Connection, after: int, limit: int) -> list[SeriesRow]:
    """Read up to `limit` series with numbers above `after`, in their order."""
    query = "SELECT number, labels FROM fold_series WHERE number > ? ORDER BY number LIMIT ?"
    rows = database.execute(query, (after, limit))
    return [(number, bytes(labels)) for number, labels in rows]
