"""The outbox's file: its tables, its versions, and the handling of a broken file.

Opening costs the same for any number of batches: only SQLite's log is read, after a crash,
and one row has the count of waiting batches. Damage shows when a damaged page is read. A
database that SQLite cannot read is renamed to a `.corrupt` name, and a new one is created.
"""

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from receiver.errors import OutboxError

FILE_NAME = "outbox.db"

_VERSION_1 = """
CREATE TABLE batches (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    items INTEGER NOT NULL,
    oldest_ms INTEGER NOT NULL,
    newest_ms INTEGER NOT NULL,
    instrumentation_key TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE requests (
    digest BLOB PRIMARY KEY,
    committed_at REAL NOT NULL,
    answer BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX requests_by_time ON requests (committed_at);
CREATE TABLE totals (
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    samples INTEGER NOT NULL,
    PRIMARY KEY (outcome, reason)
) WITHOUT ROWID;
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    rejected_at REAL NOT NULL,
    status INTEGER NOT NULL,
    message TEXT NOT NULL,
    item TEXT NOT NULL
);
"""
GONE = "outbox.db was removed or replaced while the receiver runs: restart the receiver"
_NO_SHARED_MEMORY = (
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_SHMLOCK,
    sqlite3.SQLITE_IOERR_SHMMAP,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_UNLOCK,
)
RESERVE_BYTES = 16 << 20
"""Disk space that new items must leave free: recording an outcome frees space, but first
needs some (SQLite's log, a few MiB)."""
_VERSION_2 = """
ALTER TABLE batches RENAME COLUMN instrumentation_key TO destination;
CREATE INDEX batches_by_newest ON batches (newest_ms, size_bytes);
CREATE TABLE waiting (batches INTEGER NOT NULL, size_bytes INTEGER NOT NULL);
INSERT INTO waiting SELECT COUNT(*), IFNULL(SUM(size_bytes), 0) FROM batches;
"""
"""Waiting batches are counted in one row, and indexed by size and age."""
_VERSION_3 = """
CREATE TABLE fold_series (number INTEGER PRIMARY KEY, labels BLOB NOT NULL);
CREATE TABLE fold_log (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    records BLOB NOT NULL
);
CREATE TABLE fold_state (id INTEGER PRIMARY KEY CHECK (id = 1), state BLOB NOT NULL);
INSERT OR IGNORE INTO totals SELECT 'rendered', '', SUM(samples) FROM totals
    WHERE outcome IN ('accepted', 'rejected', 'expired', 'pending') HAVING SUM(samples) > 0;
"""
"""The tables of `receiver.outbox.fold_log`; before the fold all items were rendered."""
_VERSION_4 = "CREATE TABLE notes (name TEXT PRIMARY KEY, note BLOB NOT NULL) WITHOUT ROWID;"
"""Small states that are committed with items: `Submission.notes`."""
_VERSION_5 = """
ALTER TABLE batches ADD COLUMN lane TEXT NOT NULL DEFAULT '';
CREATE INDEX batches_by_lane ON batches (lane);
DROP INDEX batches_by_newest;
CREATE INDEX batches_by_newest ON batches (newest_ms, size_bytes, lane);
ALTER TABLE dead_letters ADD COLUMN lane TEXT NOT NULL DEFAULT '';
CREATE TABLE lane_totals (
    lane TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (lane, outcome, reason)
) WITHOUT ROWID;
"""
"""The counts of `receiver.outbox.lanes`; earlier batches are in the default lane."""
MIGRATIONS = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5)
"""Statements that lead from version N to N + 1; a file's version is its `user_version`."""


def identity(path: str) -> tuple[int, int] | None:
    """Return the identity of the database's file; None if it is missing."""
    try:
        status = os.stat(path)  # noqa: PTH116 - called for every transaction
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _text(raw: bytes) -> str:
    """Decode a text from disk, replacing invalid UTF-8."""
    return raw.decode("utf-8", "replace")


def open_database(directory: Path, migrations: Sequence[str] = MIGRATIONS) -> sqlite3.Connection:
    """Open the database in its durable mode, and bring it to the newest version.

    Raises: sqlite3.Error for a broken file or a failing disk; OutboxError for a file of a
    newer receiver.
    """
    connection = sqlite3.connect(
        directory / FILE_NAME, isolation_level=None, check_same_thread=False, timeout=10
    )
    connection.text_factory = _text
    try:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL").fetchone()
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(
            "PRAGMA secure_delete=OFF"
        )  # Debian's default overwrites deleted rows with zeros
        connection.execute("PRAGMA cell_size_check=ON")  # each page is checked as it is read
        _migrate(connection, directory, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, directory: Path, migrations: Sequence[str]) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        message = (
            f"the outbox in {directory} has version {version}, made by a newer receiver; this one "
            f"knows {len(migrations)}: run the newer one, or name another directory"
        )
        raise OutboxError(message)
    for number in range(version, len(migrations)):
        statements = f"{migrations[number]} PRAGMA user_version={number + 1};"
        connection.executescript(f"BEGIN IMMEDIATE; {statements} COMMIT;")


def short_of_space(directory: Path) -> str:
    """Return why the directory's disk has too little space; empty while it has enough."""
    disk = os.statvfs(directory)
    free_bytes = disk.f_bavail * disk.f_frsize
    reserve_bytes = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 4)
    if free_bytes >= reserve_bytes:
        return ""
    return f"{directory} has {free_bytes} bytes left, less than the {reserve_bytes} reserved for recording outcomes"


def is_broken(error: sqlite3.Error) -> bool:
    """Whether an error means a damaged file, not a full or slow disk."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def why_not_opened(error: sqlite3.Error) -> str:
    """Return the hint for a database that cannot be opened and is not damaged."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _NO_SHARED_MEMORY or code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_PROTOCOL):
        return (
            "SQLite's locks or shared memory do not work there: network and FUSE file systems often "
            "have none; name a directory on a local disk with RECEIVER_OUTBOX_DIR"
        )
    return "is the disk full, or the directory not writable?"


def set_aside(directory: Path) -> Path:
    """Rename a broken database and its log, to start a new one; return the new name."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = directory / f"{FILE_NAME}.corrupt-{stamp}-{os.getpid()}"
    number = 0
    while kept.exists():
        number += 1
        kept = directory / f"{FILE_NAME}.corrupt-{stamp}-{os.getpid()}-{number}"
    for suffix in ("", "-wal", "-shm"):
        source = directory / f"{FILE_NAME}{suffix}"
        if source.exists():
            source.rename(f"{kept}{suffix}")
    return kept
