"""The outbox's directory: for one receiver at a time, whatever is done to its lock."""

import errno
import fcntl
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.errors import OutboxError
from receiver.outbox.directory import LOCK_NAME, DirectoryLock


def test_the_lock_says_who_has_it(tmp_path: Path) -> None:
    """So that the operator knows which process to stop."""
    lock = DirectoryLock(tmp_path)

    with pytest.raises(OutboxError, match=rf"another receiver \(process {os.getpid()}\)"):
        DirectoryLock(tmp_path)
    lock.close()
    DirectoryLock(tmp_path).close()


def test_the_lock_goes_with_the_process_however_it_ends(tmp_path: Path) -> None:
    """A file left by one that was killed does not lock anybody out."""
    code = f"import os; from pathlib import Path; from receiver.outbox.directory import DirectoryLock; lock = DirectoryLock(Path({str(tmp_path)!r})); os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert (tmp_path / LOCK_NAME).read_text().strip().isdecimal()

    lock = DirectoryLock(tmp_path)
    assert (tmp_path / LOCK_NAME).read_text().split() == [str(os.getpid())]
    lock.close()


def test_a_directory_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    """The system's own words, and the setting."""
    (tmp_path / "file").write_text("")

    with pytest.raises(OutboxError, match=os.strerror(errno.ENOTDIR)) as refused:
        DirectoryLock(tmp_path / "file" / "below")
    assert "RECEIVER_OUTBOX_DIR" in str(refused.value)


@pytest.mark.parametrize("instead", ["nothing", "a file"])
def test_a_removed_lock_lets_no_second_receiver_in(tmp_path: Path, instead: str) -> None:
    """The directory itself is locked, and the one who has it makes the lock again."""
    lock = DirectoryLock(tmp_path)
    lock.note(3)
    (tmp_path / LOCK_NAME).unlink()
    if instead == "a file":
        (tmp_path / LOCK_NAME).touch()

    with pytest.raises(OutboxError, match="in use by another receiver"):
        DirectoryLock(tmp_path)
    lock.check()

    assert (tmp_path / LOCK_NAME).read_text().split() == [str(os.getpid()), "3"]
    with (tmp_path / LOCK_NAME).open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    lock.close()


def test_a_directory_that_another_has_taken_is_not_used(tmp_path: Path) -> None:
    """Where directories cannot be locked, the one whose lock was removed notices, and stops."""
    lock = DirectoryLock(tmp_path)
    (tmp_path / LOCK_NAME).unlink()
    with (tmp_path / LOCK_NAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for _ in range(2):
            with pytest.raises(OutboxError, match="in use by another receiver"):
                lock.check()
    lock.check()
    lock.close()


def test_what_waits_is_noted_for_the_next(tmp_path: Path) -> None:
    """A database that is gone does not say what was in it."""
    first = DirectoryLock(tmp_path)
    assert first.items_left is None
    first.note(1505)
    first.note(7)
    first.close()

    second = DirectoryLock(tmp_path)
    assert second.items_left == 7
    second.close()


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """Whoever can write to the directory must not have another file of ours cut."""
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / LOCK_NAME).symlink_to(target)

    with pytest.raises(OutboxError, match="cannot be written"):
        DirectoryLock(tmp_path / "outbox")
    assert target.read_text() == "precious"


def test_the_lock_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Whatever the umask is."""
    before = os.umask(0)
    try:
        DirectoryLock(tmp_path).close()
    finally:
        os.umask(before)
    assert (tmp_path / LOCK_NAME).stat().st_mode & 0o077 == 0


def test_each_owner_writes_over_the_last(tmp_path: Path) -> None:
    """A short number behind a long one leaves nothing of it."""
    lock = DirectoryLock(tmp_path)
    for items in (1_000_000, 7, 0):
        lock.note(items)
        assert (tmp_path / LOCK_NAME).read_text().split()[1:] == [str(items)]
    lock.close()


def test_a_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """With what leads there."""
    DirectoryLock(tmp_path / "a" / "b").close()
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_closed_directory_is_free_once(tmp_path: Path) -> None:
    """Closing again closes no file of somebody else."""
    lock = DirectoryLock(tmp_path)
    lock.close()
    other = os.open(tmp_path, os.O_RDONLY)
    lock.close()
    os.fstat(other)
    os.close(other)


def test_a_lock_in_place_is_not_made_again(tmp_path: Path) -> None:
    """The check before each transaction changes nothing."""
    lock = DirectoryLock(tmp_path)
    before = (tmp_path / LOCK_NAME).stat()
    lock.check()
    after = (tmp_path / LOCK_NAME).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    lock.close()


def open_files() -> int:
    """Count the files that this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the names are not of interest


def test_a_refusal_leaves_no_file_open(tmp_path: Path) -> None:
    """Whatever it was refused for: the next try finds the directory as free as it is."""
    holder = DirectoryLock(tmp_path / "held")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / LOCK_NAME).symlink_to(tmp_path / "target")
    (tmp_path / "locked").mkdir()
    with (tmp_path / "locked" / LOCK_NAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = open_files()
        for name in ("held", "linked", "locked"):
            with pytest.raises(OutboxError):
                DirectoryLock(tmp_path / name)
        assert open_files() == before
    (tmp_path / "linked" / LOCK_NAME).unlink()
    DirectoryLock(tmp_path / "linked").close()
    DirectoryLock(tmp_path / "locked").close()
    holder.close()
    assert open_files() == before - 3, "nor does one that was closed"


def test_an_owner_that_left_no_name_is_unknown(tmp_path: Path) -> None:
    """Its lock's file is empty, or gone."""
    (tmp_path / LOCK_NAME).touch()
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    for _ in range(2):
        with pytest.raises(OutboxError, match=r"another receiver \(process unknown\)"):
            DirectoryLock(tmp_path)
        (tmp_path / LOCK_NAME).unlink(missing_ok=True)
    os.close(holder)


@pytest.mark.parametrize("items", [0, 1])
def test_the_first_note_is_written(tmp_path: Path, items: int) -> None:
    """Nothing that waits is a note too."""
    lock = DirectoryLock(tmp_path)
    lock.note(items)
    lock.close()
    again = DirectoryLock(tmp_path)
    assert again.items_left == items
    again.close()


def test_a_lock_that_cannot_be_written_is_a_lock(tmp_path: Path) -> None:
    """As on a full disk: the owner has no name, and has the directory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        lock = DirectoryLock(tmp_path)
        lock.note(5)
        with pytest.raises(OutboxError, match=r"another receiver \(process unknown\)"):
            DirectoryLock(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    lock.note(6)
    lock.close()
    assert DirectoryLock(tmp_path).items_left == 6


def test_a_lock_that_is_made_again_takes_the_place_of_the_old(tmp_path: Path) -> None:
    """With the last note, and without a file more that is open."""
    lock = DirectoryLock(tmp_path)
    lock.note(7)
    before = open_files()
    for _ in range(3):
        (tmp_path / LOCK_NAME).unlink()
        lock.check()

    assert open_files() == before
    lock.close()
    assert DirectoryLock(tmp_path).items_left == 7
