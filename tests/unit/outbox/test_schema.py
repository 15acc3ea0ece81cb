"""The outbox's file: made once, brought to its newest version, set aside when it is broken."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from receiver.errors import OutboxError
from receiver.outbox.schema import (
    FILE_NAME,
    MIGRATIONS,
    is_broken,
    open_database,
    set_aside,
    why_not_opened,
)


def pragma(database: sqlite3.Connection, name: str) -> object:
    """Read one of SQLite's settings."""
    return database.execute(f"PRAGMA {name}").fetchone()[0]


def test_the_database_is_durable(tmp_path: Path) -> None:
    """Each commit is synced: a 2xx is a promise."""
    database = open_database(tmp_path)

    assert pragma(database, "journal_mode") == "wal"
    assert pragma(database, "synchronous") == 2
    assert pragma(database, "auto_vacuum") == 2
    assert pragma(database, "secure_delete") == 0  # Debian's default is 1: the cost of a delete
    assert pragma(database, "cell_size_check") == 1
    assert pragma(database, "user_version") == len(MIGRATIONS)
    database.close()


def test_a_file_is_brought_to_the_newest_version_once(tmp_path: Path) -> None:
    """What is in it stays; each step runs once, and one that fails leaves the file as it was."""
    database = open_database(tmp_path)
    database.execute("INSERT INTO totals VALUES ('received', '', 5)")
    database.close()

    step = "CREATE TABLE later (x); INSERT INTO later VALUES (1);"
    with pytest.raises(sqlite3.OperationalError):
        open_database(tmp_path, (*MIGRATIONS, "CREATE TABLE later (x); NONSENSE;"))
    for _ in range(2):
        database = open_database(tmp_path, (*MIGRATIONS, step))
        assert database.execute("SELECT * FROM later").fetchall() == [(1,)]
        assert database.execute("SELECT samples FROM totals").fetchall() == [(5,)]
        assert pragma(database, "user_version") == len(MIGRATIONS) + 1
        database.close()


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """With both versions in the message, and unchanged."""
    database = open_database(tmp_path)
    database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(OutboxError, match=f"version 99.* knows {len(MIGRATIONS)}"):
        open_database(tmp_path)
    database = sqlite3.connect(tmp_path / FILE_NAME)
    assert pragma(database, "user_version") == 99
    database.close()


def test_files_set_aside_never_overwrite_each_other(tmp_path: Path) -> None:
    """Damage twice in a second leaves two files, each with its log beside it."""
    kept = []
    for number in range(3):
        (tmp_path / FILE_NAME).write_text(f"{number}")
        (tmp_path / f"{FILE_NAME}-wal").write_text(f"log {number}")
        kept.append(set_aside(tmp_path))

    assert [path.read_text() for path in kept] == ["0", "1", "2"]
    assert [path.with_name(path.name + "-wal").read_text() for path in kept] == [
        "log 0",
        "log 1",
        "log 2",
    ]
    assert all(path.name.startswith("outbox.db.corrupt-") for path in kept)
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("code", "broken"),
    [
        (sqlite3.SQLITE_CORRUPT, True),
        (sqlite3.SQLITE_NOTADB, True),
        (sqlite3.SQLITE_CORRUPT_INDEX, True),
        (sqlite3.SQLITE_FULL, False),
        (sqlite3.SQLITE_IOERR, False),
        (sqlite3.SQLITE_IOERR_FSYNC, False),
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_READONLY, False),
        (sqlite3.SQLITE_CANTOPEN, False),
        (None, False),
    ],
)
def test_only_damage_counts_as_broken(code: int | None, broken: bool) -> None:  # noqa: FBT001
    """A disk that is full today has good data on it."""
    error = sqlite3.OperationalError("x")
    if code is not None:
        error.sqlite_errorcode = code

    assert is_broken(error) is broken


def test_a_file_of_the_first_version_is_counted(tmp_path: Path) -> None:
    """What waited before the upgrade still waits, and what it is for is kept."""
    database = sqlite3.connect(tmp_path / FILE_NAME)
    database.executescript(f"{MIGRATIONS[0]} PRAGMA user_version=1;")
    for number in range(3):
        row = 2, 0, 0, f"key {number}", 100 + number, b"x"
        database.execute("INSERT INTO batches VALUES (NULL, ?, ?, ?, ?, ?, ?)", row)
    database.commit()
    database.close()

    database = open_database(tmp_path)

    assert database.execute("SELECT * FROM waiting").fetchall() == [(3, 303)]
    assert database.execute("SELECT destination FROM batches WHERE id = 2").fetchone() == ("key 1",)
    database.close()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (sqlite3.SQLITE_IOERR_SHMMAP, "local disk"),
        (sqlite3.SQLITE_IOERR_LOCK, "local disk"),
        (sqlite3.SQLITE_BUSY, "local disk"),
        (sqlite3.SQLITE_PROTOCOL, "local disk"),
        (sqlite3.SQLITE_IOERR, "disk full"),
        (sqlite3.SQLITE_CANTOPEN, "not writable"),
    ],
)
def test_a_file_system_without_locks_is_not_a_full_disk(code: int, said: str) -> None:
    """NFS, SMB and FUSE often have neither locks nor shared memory, which the log needs."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code

    assert said in why_not_opened(error)


def test_a_text_that_the_disk_has_changed_stops_nothing(tmp_path: Path) -> None:
    """It is read with a mark in the place of what is no UTF-8, as long as SQLite finds it."""
    with closing(open_database(tmp_path)) as database:
        (text,) = database.execute("SELECT CAST(x'61ff62' AS TEXT)").fetchone()
    assert text == "a\ufffdb"
