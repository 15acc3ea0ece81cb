"""Export and import: an outbox moves to another machine in a file.

In: the directory of an outbox that no receiver uses, and a file's name. Out: counts. Rows
are opaque here, except the fold's state, which `merge` may combine.

Theory of operation: each item is in exactly one place that delivers. An export writes the
whole file and syncs it; then one transaction of the source deletes the exported rows and
notes the file's id; then the file is marked as complete. A process that dies before that
transaction has moved nothing, and the file cannot be imported; one that dies after it has
moved everything, and the next export completes the file. An import is one transaction, which
notes the id too, so a file is imported once. Both ledgers count it: `exported`, `imported`.
"""

import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receiver import __version__
from receiver.errors import OutboxError
from receiver.outbox import schema
from receiver.outbox.directory import DirectoryLock
from receiver.outbox.folding import LogRow, SeriesRow
from receiver.outbox.lanes import recount
from receiver.outbox.transfer_file import Header, Reader, Row, Writer, complete, partial_of
from receiver.text import moment

MOVED = ("batches", "fold_series", "fold_state", "fold_log")
"""Tables with rows in one outbox only."""
COPIED = ("requests", "notes")
"""Tables with rows in both outboxes: a repeated request is recognised by both."""
KEPT = ("dead_letters", "totals", "lane_totals", "waiting", "transfers")
"""Tables that stay: outcomes stay in the ledger of the outbox that delivered the items."""
_ON_BOTH = {
    "requests": "ON CONFLICT (digest) DO UPDATE SET committed_at = excluded.committed_at, "
    "answer = excluded.answer WHERE excluded.committed_at > committed_at",
    "notes": "ON CONFLICT (name) DO NOTHING",
}
"""The row that wins: the newer request; the note of the importing receiver."""
_ORDER = {"requests": "committed_at", "fold_series": "number", "notes": "name"}
TRANSFERS = """
CREATE TABLE IF NOT EXISTS transfers (
    id TEXT NOT NULL,
    direction TEXT NOT NULL,
    at REAL NOT NULL,
    file TEXT NOT NULL,
    items INTEGER NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (id, direction)
) WITHOUT ROWID
"""
"""Made by the first transfer; `direction` is export or import."""
BEGUN, MOVED_OUT, COMPLETE = "begun", "moved", "complete"
"""A transfer's state: `begun` has moved nothing, `moved` has its items in the file."""
ADD = "INSERT INTO totals VALUES (?, '', ?) ON CONFLICT DO UPDATE SET samples = samples + excluded.samples"
COUNT_WAITING = "UPDATE waiting SET (batches, size_bytes) = (SELECT COUNT(*), IFNULL(SUM(size_bytes), 0) FROM batches)"


@dataclass(frozen=True, slots=True)
class FoldParts:
    """The fold in an outbox or an export: its checkpoint, its series, its log."""

    state: bytes | None
    series: Sequence[SeriesRow]
    log: Sequence[LogRow]


@dataclass(frozen=True, slots=True)
class MergedFold:
    """The state of two merged folds, the series to add, and the numbers of removed series."""

    state: bytes
    added: Sequence[SeriesRow]
    removed: Sequence[int]


Merge = Callable[[FoldParts, FoldParts], MergedFold]
"""Merges the imported fold into the existing one. Raises: OutboxError if it cannot."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The content of an outbox or an export. Times in ms, 0 for none."""

    batches: int = 0
    items: int = 0
    size_bytes: int = 0
    oldest_ms: int = 0
    newest_ms: int = 0
    series: int = 0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Transferred:
    """The result of a transfer. `finished` is the file of an earlier export that was completed instead."""

    contents: Contents
    pending: int
    finished: Path | None = None
    lost: str = ""


def export(directory: Path, path: Path, *, copy: bool = False) -> Transferred:
    """Move the content of an outbox into a file, or with `copy` duplicate it.

    Raises: OutboxError, which says what to do; then the outbox is unchanged.
    """
    if not (directory / schema.FILE_NAME).exists():
        raise OutboxError(
            f"there is no outbox in {directory}; name its directory with --outbox-dir"
        )
    path = path.absolute()
    with _opened(directory) as (database, lock):
        lost = ""
        for identifier, file, items in _interrupted(database):
            if _complete_interrupted(database, identifier, file):
                contents = Contents(items=items)
                return Transferred(contents, _pending(database), finished=file)
            lost = f"{file}: an export of {items} items was interrupted, and the file is not there"
        if path.exists():
            raise OutboxError(f"{path} is there already; name another file")
        contents = contents_of(database)
        header = _header(database, contents, moves=not copy)
        partial = partial_of(path, header.id)
        with _disk_errors(f"nothing was exported to {path}"):
            _note(database, header.id, path, contents.items, BEGUN)
            with Writer(partial, header) as writer:
                for table in header.tables:
                    for row in _rows(database, table, header.tables[table]):
                        writer.row(table, row)
                writer.finish()
            if not copy:
                _take_out(database, header.id, contents.items)
                lock.note(0)
        with _disk_errors(f"the export has moved to {partial}, which could not be completed: run it again"):  # fmt: skip
            complete(partial, path)
            _note(database, header.id, path, contents.items, COMPLETE)
        _give_back(database)
        return Transferred(contents, _pending(database), lost=lost)


def import_(directory: Path, path: Path, merge: Merge) -> Transferred:
    """Add the content of a file to an outbox, which is created if necessary.

    Raises: OutboxError, which says what to do; then the outbox is unchanged.
    """
    reader = Reader(path)
    header = reader.header
    if not reader.is_complete:
        raise OutboxError(
            f"{path} is not complete: its export was interrupted, and the outbox on {header.host} may "
            "still have the items; run the export there again, which completes the file or begins anew"
        )
    if header.database_version > len(schema.MIGRATIONS):
        raise OutboxError(
            f"{path} was written by a newer receiver ({header.receiver}): import it with that version"
        )
    with _opened(directory) as (database, lock):
        _refuse_second(database, header, path)
        with _disk_errors(f"nothing was imported into {directory}"):
            database.execute("BEGIN IMMEDIATE")
            try:
                _take_in(database, reader, merge)
                database.execute("COMMIT")
            except BaseException:
                database.execute("ROLLBACK")
                raise
        pending = _pending(database)
        lock.note(pending)
    _give_to_owner(directory)
    counts = {name: header.counts.get(name, 0) for name in Contents.__slots__}
    return Transferred(Contents(**counts), pending)


def contents_of(database: sqlite3.Connection) -> Contents:
    """Count the content of an outbox."""
    query = (
        "SELECT COUNT(*), IFNULL(SUM(items), 0), IFNULL(SUM(size_bytes), 0), IFNULL(MIN(oldest_ms), 0),"
        " IFNULL(MAX(newest_ms), 0) FROM batches"
    )
    batches, items, size_bytes, oldest_ms, newest_ms = database.execute(query).fetchone()
    (series,) = database.execute("SELECT COUNT(*) FROM fold_series").fetchone()
    (requests,) = database.execute("SELECT COUNT(*) FROM requests").fetchone()
    return Contents(batches, items, size_bytes, oldest_ms, newest_ms, series, requests)


def transfers_of(database: sqlite3.Connection) -> list[tuple[str, str, float, str, int, str]]:
    """List the transfers of an outbox: id, direction, time, file, items, state."""
    try:
        return database.execute("SELECT * FROM transfers ORDER BY at").fetchall()
    except sqlite3.OperationalError:  # no transfer yet
        return []


@contextmanager
def _opened(directory: Path) -> Iterator[tuple[sqlite3.Connection, DirectoryLock]]:
    """Open an outbox for this process alone, its file in the newest version."""
    lock = DirectoryLock(directory)
    try:
        with _disk_errors(f"the outbox in {directory} cannot be used"):
            database = schema.open_database(directory)
        try:
            with _disk_errors(f"the outbox in {directory} cannot be used"):
                lock.note(_pending(database))
                database.execute(TRANSFERS)
            yield database, lock
        finally:
            database.close()
    finally:
        lock.close()


@contextmanager
def _disk_errors(what: str) -> Iterator[None]:
    """Translate errors of the disk and SQLite; `what` names the failed step. Raises: OutboxError."""
    try:
        yield
    except sqlite3.Error as error:
        why = "the database is damaged" if schema.is_broken(error) else schema.why_not_opened(error)
        raise OutboxError(f"{what}: {error}; {why}") from error
    except OSError as error:
        raise OutboxError(f"{what}: {error.strerror}") from error


def _pending(database: sqlite3.Connection) -> int:
    (items,) = database.execute("SELECT IFNULL(SUM(items), 0) FROM batches").fetchone()
    return int(items)


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    """List a table's columns, without the row numbers that SQLite assigns."""
    rows = database.execute(f"PRAGMA table_info({table})")
    return [name for _, name, *_ in rows if (table, name) != ("batches", "id")]


def _header(database: sqlite3.Connection, contents: Contents, *, moves: bool) -> Header:
    return Header(
        id=uuid.uuid4().hex,
        made_at=time.time(),
        host=socket.gethostname(),
        receiver=__version__,
        database_version=len(schema.MIGRATIONS),
        moves=moves,
        tables={table: _columns(database, table) for table in (*MOVED, *COPIED)},
        counts={name: getattr(contents, name) for name in Contents.__slots__},
    )


def _rows(database: sqlite3.Connection, table: str, columns: Sequence[str]) -> Iterator[Row]:
    order = _ORDER.get(table, "id")
    return iter(database.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}"))


def _take_out(database: sqlite3.Connection, identifier: str, items: int) -> None:
    """Delete the rows of a synced file, in one transaction; the file then owns the items."""
    database.execute("BEGIN IMMEDIATE")
    try:
        for table in MOVED:
            database.execute(f"DELETE FROM {table}")
        database.execute(COUNT_WAITING)
        database.execute(ADD, ("exported", items))
        database.execute(ADD, ("pending", -items))
        recount(database, "exported", -1)
        database.execute("UPDATE transfers SET state = ? WHERE id = ?", (MOVED_OUT, identifier))
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _note(
    database: sqlite3.Connection, identifier: str, path: Path, items: int, state: str
) -> None:
    """Record the state of an export."""
    row = (identifier, "export", time.time(), str(path), items, state)
    database.execute("INSERT OR REPLACE INTO transfers VALUES (?, ?, ?, ?, ?, ?)", row)


def _interrupted(database: sqlite3.Connection) -> list[tuple[str, Path, int]]:
    """Return exports with items in a file that may be incomplete; clean up after others."""
    query = "SELECT id, file, items, state FROM transfers WHERE direction = 'export' AND state != ?"
    moved = []
    for identifier, file, items, state in database.execute(query, (COMPLETE,)).fetchall():
        if state == MOVED_OUT:
            moved.append((identifier, Path(file), items))
            continue
        with suppress(OSError):
            partial_of(Path(file), identifier).unlink()
        database.execute(
            "DELETE FROM transfers WHERE id = ? AND direction = 'export'", (identifier,)
        )
    return moved


def _complete_interrupted(database: sqlite3.Connection, identifier: str, file: Path) -> bool:
    """Complete the file of an interrupted export; False if it is missing. Raises: OutboxError."""
    partial = partial_of(file, identifier)
    is_partial = partial.exists()
    if is_partial:
        Reader(partial)
        if file.exists():
            raise OutboxError(f"{file} is there already, and {partial} is to have its name: move the first away, and run this again")  # fmt: skip
        with _disk_errors(f"{partial} cannot be completed"):
            complete(partial, file)
    is_there = is_partial or (file.exists() and Reader(file).header.id == identifier)
    database.execute("UPDATE transfers SET state = ? WHERE id = ?", (COMPLETE, identifier))
    return is_there


def _refuse_second(database: sqlite3.Connection, header: Header, path: Path) -> None:
    query = "SELECT direction, at FROM transfers WHERE id = ? AND (direction = 'import' OR ?)"
    row = database.execute(query, (header.id, not header.moves)).fetchone()
    if row:
        what = (
            "was imported into this outbox before"
            if row[0] == "import"
            else "is a copy of this outbox"
        )
        raise OutboxError(f"{path} {what}, {moment(row[1])}; it would be sent twice")


def _take_in(database: sqlite3.Connection, reader: Reader, merge: Merge) -> None:
    """Write the rows of a file; part of one transaction. Raises: OutboxError, sqlite3.Error."""
    header = reader.header
    here = contents_of(database)
    merges = bool(here.series and header.counts.get("series"))
    fold: dict[str, list[Row]] = {"fold_series": [], "fold_state": [], "fold_log": []}
    if not here.series and header.counts.get("series"):
        for table in fold:
            database.execute(f"DELETE FROM {table}")
    inserts = {table: _insert(database, table, names) for table, names in header.tables.items()}
    for table, row in reader.rows():
        if table in fold and (merges or not header.counts.get("series")):
            fold[table].append(row)
        else:
            database.execute(inserts[table], row)
    if merges:
        theirs = _parts(header, fold)
        one = merge(_fold_parts(database), theirs)
        database.execute("INSERT OR REPLACE INTO fold_state VALUES (1, ?)", (one.state,))
        database.execute("DELETE FROM fold_log")
        delete = "DELETE FROM fold_series WHERE number = ?"
        database.executemany(delete, [(number,) for number in one.removed])
        database.executemany("INSERT INTO fold_series VALUES (?, ?)", one.added)
    items = _pending(database) - here.items
    database.execute(COUNT_WAITING)
    database.execute(ADD, ("imported", items))
    database.execute(ADD, ("pending", items))
    recount(database, "imported", 1)
    row = (header.id, "import", time.time(), str(reader.path.absolute()), items, COMPLETE)
    database.execute("INSERT INTO transfers VALUES (?, ?, ?, ?, ?, ?)", row)


def _insert(database: sqlite3.Connection, table: str, names: Sequence[str]) -> str:
    """Return the statement that inserts a row, for tables and columns of this version only."""
    if table not in (*MOVED, *COPIED) or not {*names} <= {*_columns(database, table)}:
        raise OutboxError(f"the file has a table {table} that this receiver does not know: import it with the one that wrote it")  # fmt: skip
    on_both = _ON_BOTH.get(table, "")
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) {on_both}"  # fmt: skip


def _fold_parts(database: sqlite3.Connection) -> FoldParts:
    tables: Mapping[str, Sequence[str]] = {t: _columns(database, t) for t in MOVED[1:]}
    rows = {table: list(_rows(database, table, names)) for table, names in tables.items()}
    return _as_parts(tables, rows)


def _parts(header: Header, rows: Mapping[str, Sequence[Row]]) -> FoldParts:
    return _as_parts(header.tables, rows)


def _as_parts(tables: Mapping[str, Sequence[str]], rows: Mapping[str, Sequence[Row]]) -> FoldParts:
    def cells(table: str, *names: str) -> Iterator[list[Any]]:
        places = [tables[table].index(name) for name in names]
        return ([row[place] for place in places] for row in rows[table])

    state = next((state for (state,) in cells("fold_state", "state")), None)
    series = [(number, labels) for number, labels in cells("fold_series", "number", "labels")]
    log = [LogRow(*row) for row in cells("fold_log", "at_ms", "upto", "records")]
    return FoldParts(state, series, log)


def _give_back(database: sqlite3.Connection) -> None:
    """Free the disk space of the emptied outbox; a failure is harmless."""
    with suppress(sqlite3.Error):
        database.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")


def _give_to_owner(directory: Path) -> None:
    """After an import by root, give the files to the directory's owner, as which the receiver runs."""
    if os.geteuid() == 0:
        owner = directory.stat()
        for file in directory.glob("outbox.*"):
            os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)
