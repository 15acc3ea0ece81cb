"""A value made of files, made again when they change.

In: how to make it, and from which files. Out: the newest value that could be made. A
file that has become unusable is logged, and the value before it stays: an operator's
slip must not lock out every sender.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from receiver.errors import SettingsError

CHECK_SECONDS = 1.0

Value = TypeVar("Value")
_Signature = tuple[tuple[int, int, int] | None, ...]

log = structlog.get_logger()


class Reread(Generic[Value]):
    """Holds a value; looks at its files at most once a second, and only when asked."""

    def __init__(
        self,
        make: Callable[[], tuple[Value, Iterable[Path]]],
        clock: Callable[[], float],
        check_seconds: float = CHECK_SECONDS,
    ) -> None:
        """Make the value; `make` returns it with the files it read. Raises: SettingsError."""
        self._make = make
        self._clock = clock
        self._check_seconds = check_seconds
        value, files = make()
        self._value = value
        self._files = tuple(files)
        self._signature = _signature(self._files)
        self._checked_at = clock()

    def get(self) -> Value:
        """Return the value, of the files as they are now."""
        now = self._clock()
        if now - self._checked_at >= self._check_seconds:
            self._checked_at = now
            signature = _signature(self._files)
            if signature != self._signature:
                self._signature = signature
                self._renew()
        return self._value

    def _renew(self) -> None:
        names = ", ".join(str(path) for path in self._files)
        try:
            value, files = self._make()
        except SettingsError as error:
            log.error(  # noqa: TRY400 - the message says it all
                "changed file cannot be used, what was read before is kept",
                error=str(error),
                hint="Mend the file; it is read again when it changes.",
            )
            return
        self._value = value
        self._files = tuple(files)
        self._signature = _signature(self._files)
        log.info("file read again", files=names)


def _signature(files: Iterable[Path]) -> _Signature:
    return tuple(_of(path) for path in files)


def _of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
