"""The outbox's file: its tables, its versions, and what is done with a broken one.

A directory belongs to one service at a time: an exclusive lock on `outbox.lock`,
which the system lets go when the process ends, however it ends. A database that
SQLite cannot read is set aside under a name that says so, and a new one is begun.
"""

import fcntl
import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from receiver.errors import OutboxError

FILE_NAME = "outbox.db"
LOCK_NAME = "outbox.lock"

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
RESERVE_BYTES = 16 << 20
"""Space on the disk that new items must leave: to write down what became of the old ones,
which frees theirs, takes some first (SQLite's log, a few MiB)."""
MIGRATIONS = (_VERSION_1,)
"""Statements that lead from version N to N + 1; a file's version is its `user_version`."""


class Damaged(sqlite3.DatabaseError):
    """SQLite's own check has found the file damaged."""


def take_directory(directory: Path) -> TextIO:
    """Make the directory, and lock it for this service; closing the file lets it go.

    Raises: OutboxError, which says what to do.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (directory / LOCK_NAME).open("a+")
    except OSError as error:
        message = (
            f"the outbox directory {directory} cannot be written: {error.strerror}; "
            "make it writable, or name another with RECEIVER_OUTBOX_DIR"
        )
        raise OutboxError(message) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        message = (
            f"the outbox directory {directory} is in use by another receiver (process {owner}); "
            "stop that one, or name another directory with RECEIVER_OUTBOX_DIR"
        )
        raise OutboxError(message) from error
    lock.truncate(0)
    with suppress(OSError):  # on a full disk its name is not known, but the lock holds
        os.write(lock.fileno(), f"{os.getpid()}\n".encode())
    return lock


def identity(directory: Path) -> tuple[int, int] | None:
    """Tell the database's file from every other that may stand at its place; None for no file."""
    try:
        found = (directory / FILE_NAME).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_database(directory: Path) -> sqlite3.Connection:
    """Open the database in its durable mode, and bring it to the newest version.

    Raises: sqlite3.Error where the file is broken or the disk fails; OutboxError
    where it was made by a newer receiver.
    """
    connection = sqlite3.connect(
        directory / FILE_NAME, isolation_level=None, check_same_thread=False, timeout=10
    )
    try:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL").fetchone()
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(
            "PRAGMA secure_delete=OFF"
        )  # Debian's default writes zeros over what is sent
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise Damaged(verdict)
        _migrate(connection, directory)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, directory: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        message = (
            f"the outbox in {directory} has version {version}, made by a newer receiver; this one "
            f"knows {len(MIGRATIONS)}: run the newer one, or name another directory"
        )
        raise OutboxError(message)
    for number in range(version, len(MIGRATIONS)):
        statements = f"{MIGRATIONS[number]} PRAGMA user_version={number + 1};"
        connection.executescript(f"BEGIN IMMEDIATE; {statements} COMMIT;")


def short_of_space(directory: Path) -> str:
    """Say that the directory's disk has too little space left for more; empty while it has enough."""
    disk = os.statvfs(directory)
    free_bytes = disk.f_bavail * disk.f_frsize
    reserve_bytes = min(RESERVE_BYTES, disk.f_blocks * disk.f_frsize // 4)
    if free_bytes >= reserve_bytes:
        return ""
    return f"{directory} has {free_bytes} bytes left, less than the {reserve_bytes} that are kept for what is under way"


def is_broken(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is damaged, not that the disk is full or slow."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(directory: Path) -> Path:
    """Rename a broken database and its log, so that a new one can be begun; return its new name."""
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
