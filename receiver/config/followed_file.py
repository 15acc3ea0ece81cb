"""Files that are reloaded when they change: metrics.json, web.config.file, token, keys.

In: a function that makes a value from files. Out: the newest valid value. An invalid file
changes nothing: the previous value stays in force, log and verdict report it, and the file is
read again at every check until it is valid.

Theory of operation: a file's signature is the result of stat(2) on its target (a ConfigMap is
replaced by changing a symbolic link) and a digest of its bytes. It is taken before the files
are read and again after; if the two differ the files are read again, so that no change is
missed. stat alone decides only if the last change is old: two changes within one tick of the
file system's clock look the same to it.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import structlog

from receiver.config.plain_file import read_plain
from receiver.errors import SettingsError
from receiver.events import Events, Kind

POLL_SECONDS = 1.0
PAUSE_SECONDS = 0.1
"""Shortest time between two checks, however many are requested."""
SETTLED_SECONDS = 2.0
"""Age from which a file's times distinguish it from its next version, on all common file systems."""
READINGS_MAX = 5

Value = TypeVar("Value")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReloadState:
    """The result of the last reload; `succeeded_at` in seconds since the epoch.

    `error` says why the files were refused, empty where they were accepted.
    """

    successful: bool = True
    succeeded_at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Signature:
    """The version of the files of a value. Times in seconds since the epoch."""

    stats: tuple[tuple[int, ...], ...]
    digest: bytes
    newest: float


class FollowedFile(Generic[Value]):
    """A value made from files, and made again when they change."""

    def __init__(
        self,
        name: str,
        make: Callable[[], tuple[Value, Iterable[Path]]],
        clock: Callable[[], float],
        use: Callable[[Value], None] = lambda _: None,
    ) -> None:
        """Make the value; `make` returns it with the files it read.

        `name` is the file's name in the log. `use` receives every later value, and may refuse it by
        raising SettingsError. `clock` is in seconds since the epoch.

        Raises: SettingsError.
        """
        self.name = name
        self._make = make
        self.use = use
        self._clock = clock
        self._files: tuple[Path, ...] = ()
        self._signature = _Signature((), b"", 0.0)
        self.value = self._read()
        self.state = ReloadState(succeeded_at=clock())

    def look_again(self) -> None:
        """Read the files if they have changed, or were invalid before."""
        if self.state.successful and not self._has_changed():
            return
        try:
            value = self._read()
            self.use(value)
        except SettingsError as error:
            self.state = replace(self.state, successful=False, error=str(error))
        else:
            self.value = value
            self.state = ReloadState(succeeded_at=self._clock())

    def _has_changed(self) -> bool:
        stats = tuple(_stat(path) for path in self._files)
        age = self._clock() - self._signature.newest
        if stats == self._signature.stats and age > SETTLED_SECONDS:
            return False
        signature = _sign(self._files)
        if signature.digest != self._signature.digest:
            return True
        self._signature = signature  # touched, or moved and moved back: the same bytes
        return False

    def _read(self) -> Value:
        """Make the value from files that do not change meanwhile. Raises: SettingsError."""
        error: SettingsError | None = None
        for _ in range(READINGS_MAX):
            self._signature = _sign(self._files)
            try:
                value, files = self._make()
            except SettingsError as problem:
                error = problem
            else:
                error = None
                if tuple(files) != self._files:  # new files had no signature before they were read
                    self._files = tuple(files)
                    continue
            if _sign(self._files).digest == self._signature.digest:
                break
        if error:
            raise error
        return value


class Watch:
    """Checks all followed files of a receiver once a second, and on request."""

    def __init__(
        self,
        files: Sequence[FollowedFile[Any]],
        events: Events,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Follow `files`, the first of them metrics.json."""
        self._files = files
        self._events = events
        self._poll_seconds = poll_seconds
        self._requested = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def state(self) -> ReloadState:
        """The state of all files together; `succeeded_at` is that of metrics.json."""
        errors = [file.state.error for file in self._files if not file.state.successful]
        return ReloadState(not errors, self._files[0].state.succeeded_at, "; ".join(errors))

    def ask(self) -> None:
        """Request a check of the files without waiting for the next second."""
        self._requested.set()

    async def asked(self) -> ReloadState:
        """Request a check, and wait for it; simultaneous requests share one."""
        checked = asyncio.get_running_loop().create_future()
        self._waiting.append(checked)
        self.ask()
        await checked
        return self.state

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._requested.wait()
            self._requested.clear()
            self.look_again()
            for checked in self._waiting:
                if not checked.done():  # the caller may have been cancelled
                    checked.set_result(None)
            self._waiting.clear()
            await asyncio.sleep(PAUSE_SECONDS)

    def look_again(self) -> None:
        """Read the files that have changed, and log the result once."""
        for file in self._files:
            before = file.state
            file.look_again()
            if file.state != before:
                self._report(file.name, file.state)

    def _report(self, name: str, state: ReloadState) -> None:
        if state.successful:
            log.info("changed file in force", file=name)
            return
        line = f"{name} cannot be used; the previous version stays in force"
        kind = Kind(name, line, apart_seconds=0.0, level="error")
        hint = "Correct the file; it is read again as soon as it changes."
        self._events.happened(kind, SettingsError.reason, state.error, hint)


def _stat(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _sign(files: Sequence[Path]) -> _Signature:
    stats = tuple(_stat(path) for path in files)
    digest = hashlib.sha256()
    for path in files:
        try:
            content = read_plain(path)
        except OSError as error:
            digest.update(f"{error.errno} {error.strerror}".encode())
        else:
            digest.update(hashlib.sha256(content).digest())
    newest = max((max(status[3:]) for status in stats if status), default=0) / 1e9
    return _Signature(stats, digest.digest(), newest)
