"""The lock on the outbox's directory, and the number of items that its last owner left.

A directory belongs to one receiver at a time: an exclusive lock on `outbox.lock`, which the
system releases when the process ends, however it ends. Removing that file must not let a
second receiver in. So the directory itself is locked too, where the file system can do that,
and before each transaction and each delivery the owner checks that the locked file is still
the one at that path.

The file holds the owner's process number and the number of waiting items. The next owner
compares that number with its database, and so notices a lost one.
"""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from receiver.errors import OutboxError

LOCK_NAME = "outbox.lock"
_NOTE_BYTES = 40
"""The fixed length of the file's text, so that one write is enough."""
_TAKEN = (errno.EWOULDBLOCK, errno.EACCES)
"""flock's errors for a lock that is held; any other means a file system without locks."""
_ANOTHER = "; make it writable, or name another with RECEIVER_OUTBOX_DIR"


class DirectoryLock:
    """The directory, locked for this receiver until `close`.

    `items_left` is the number of items left by its last owner; None if unknown.
    """

    def __init__(self, directory: Path) -> None:
        """Make the directory, and lock it. Raises: OutboxError, which says what to do."""
        self._directory = directory
        self._path = directory / LOCK_NAME
        self._lock_path = str(self._path)  # text for a system call before each transaction
        self._directory_fd = self._fd = -1
        self._noted = -1
        try:
            try:
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._lock_directory()
                self._fd = self._lock_file()
            except OSError as error:
                reason = f"cannot be written: {error.strerror}"
                raise OutboxError(f"the outbox directory {directory} {reason}{_ANOTHER}") from error
        except BaseException:
            self.close()
            raise
        lines = self._read(self._fd)
        self.items_left = int(lines[1]) if lines[1:] and lines[1].isdecimal() else None
        self._write("")

    def _lock_directory(self) -> None:
        self._directory_fd = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._directory_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                raise OutboxError(self._in_use()) from error
            # network file systems have no locks on directories: the file's lock has to do

    def _lock_file(self) -> int:
        """Open and lock the file at the lock's path, even if it is replaced meanwhile."""
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self._path, flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(fd)
                raise OutboxError(self._cannot_lock(error)) from error
            if self._is_in_place(fd):
                return fd
            os.close(fd)

    def _cannot_lock(self, error: OSError) -> str:
        if error.errno in _TAKEN:
            return self._in_use()
        return (
            f"the file system of the outbox directory {self._directory} cannot lock files: "
            f"{error.strerror}; name a directory on a local disk with RECEIVER_OUTBOX_DIR"
        )

    def _in_use(self) -> str:
        owner = "unknown"
        with suppress(OSError):
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            owner = (self._read(fd) or [owner])[0]
            os.close(fd)
        return (
            f"the outbox directory {self._directory} is in use by another receiver (process "
            f"{owner}); stop that one, or name another directory with RECEIVER_OUTBOX_DIR"
        )

    @staticmethod
    def _read(fd: int) -> list[str]:
        return os.pread(fd, 100, 0).decode("ascii", "replace").split()

    def _is_in_place(self, fd: int) -> bool:
        try:
            here, there = os.fstat(fd), os.lstat(self._lock_path)
        except FileNotFoundError:
            return False
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def check(self) -> None:
        """Check that this process still owns the directory; recreate a removed lock file.

        Raises: OutboxError if another receiver has locked the directory.
        """
        try:
            if self._fd >= 0 and self._is_in_place(self._fd):
                return
            fd = self._lock_file()
        except OSError as error:
            message = f"{self._path} was removed and cannot be made again: {error.strerror}"
            raise OutboxError(message) from error
        os.close(self._fd)
        self._fd, noted = fd, max(self._noted, 0)
        self._noted = -1
        self.note(noted)

    def note(self, items: int) -> None:
        """Write the number of waiting items, for the next owner."""
        if items != self._noted:
            self._noted = items
            self._write(f"{items}\n")

    def _write(self, text: str) -> None:
        with suppress(OSError):  # on a full disk the owner is unknown, but the lock holds
            os.pwrite(self._fd, f"{os.getpid()}\n{text}".ljust(_NOTE_BYTES).encode(), 0)

    def close(self) -> None:
        """Unlock the directory."""
        for fd in (self._fd, self._directory_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._directory_fd = -1
