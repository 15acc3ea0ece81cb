"""The outbox's file: made once, locked for one, set aside when it is broken."""

import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.errors import OutboxError
from receiver.outbox import schema
from receiver.outbox.schema import (
    FILE_NAME,
    LOCK_NAME,
    MIGRATIONS,
    Damaged,
    is_broken,
    open_database,
    set_aside,
    take_directory,
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
    assert pragma(database, "user_version") == len(MIGRATIONS)
    database.close()


def test_a_file_is_brought_to_the_newest_version_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in it stays; each step runs once, and one that fails leaves the file as it was."""
    database = open_database(tmp_path)
    database.execute("INSERT INTO totals VALUES ('received', '', 5)")
    database.close()

    step = "CREATE TABLE later (x); INSERT INTO later VALUES (1);"
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE later (x); NONSENSE;"))
    with pytest.raises(sqlite3.OperationalError):
        open_database(tmp_path)
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, step))
    for _ in range(2):
        database = open_database(tmp_path)
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


def test_the_lock_says_who_has_it(tmp_path: Path) -> None:
    """So that the operator knows which process to stop."""
    lock = take_directory(tmp_path)

    with pytest.raises(OutboxError, match=rf"another receiver \(process {os.getpid()}\)"):
        take_directory(tmp_path)
    lock.close()
    take_directory(tmp_path).close()


def test_the_lock_goes_with_the_process_however_it_ends(tmp_path: Path) -> None:
    """A file left by one that was killed does not lock anybody out."""
    code = f"import os; from pathlib import Path; from receiver.outbox.schema import take_directory; lock = take_directory(Path({str(tmp_path)!r})); os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert (tmp_path / LOCK_NAME).read_text().strip().isdecimal()

    lock = take_directory(tmp_path)
    assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    lock.close()


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


def test_what_the_check_finds_is_damage() -> None:
    """SQLite's quick_check tells it in a row, not in an error."""
    assert is_broken(Damaged("row 3 missing from index"))


def test_a_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    """The system's own words, and the setting."""
    (tmp_path / "file").write_text("")

    with pytest.raises(OutboxError, match=os.strerror(errno.ENOTDIR)) as refused:
        take_directory(tmp_path / "file" / "below")
    assert "RECEIVER_OUTBOX_DIR" in str(refused.value)
