"""Files that are followed while the receiver runs: metrics.json, web.config.file, token, keys.

In: how to make a value of files. Out: the newest value that could be made and may be used.
What cannot be used changes nothing: the value before stays in force, log and verdict say so,
and it is tried again at each look until it is mended.

Theory of operation: a file's signature is what stat(2) says of where its name leads to (a
ConfigMap is exchanged by a symbolic link beside it), and a digest of its bytes. It is taken
before the files are read and once more after; where the two differ the files are read again,
so that no change can hide between reading and looking. stat alone decides only where the last
change is old: two changes within one tick of the file system's clock look the same to it.
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
"""Between two looks, however often somebody asks."""
SETTLED_SECONDS = 2.0
"""From this age on a file's times tell it from its next version, on every file system in use."""
READINGS_MAX = 5

Value = TypeVar("Value")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReloadState:
    """How the last reading went; `succeeded_at` in seconds since the epoch.

    `error` says why what was read was not taken, empty where it was.
    """

    successful: bool = True
    succeeded_at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Signature:
    """Which version of its files a value was made of. Times in seconds since the epoch."""

    stats: tuple[tuple[int, ...], ...]
    digest: bytes
    newest: float


class FollowedFile(Generic[Value]):
    """A value made of files, made again when they change."""

    def __init__(
        self,
        name: str,
        make: Callable[[], tuple[Value, Iterable[Path]]],
        clock: Callable[[], float],
        use: Callable[[Value], None] = lambda _: None,
    ) -> None:
        """Make the value; `make` returns it with the files it read.

        `name` is the file's in the log. `use` takes each further value, or refuses it by raising
        SettingsError. `clock` is in seconds since the epoch.

        Raises: SettingsError.
        """
        self.name = name
        self._make = make
        self._use = use
        self._clock = clock
        self._files: tuple[Path, ...] = ()
        self._signature = _Signature((), b"", 0.0)
        self.value = self._read()
        self.state = ReloadState(succeeded_at=clock())

    def look_again(self) -> None:
        """Read the files if they have changed, or could not be used before."""
        if self.state.successful and not self._has_changed():
            return
        try:
            value = self._read()
            self._use(value)
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
        found = _sign(self._files)
        if found.digest != self._signature.digest:
            return True
        self._signature = found  # touched, or moved to and fro: the same bytes
        return False

    def _read(self) -> Value:
        """Make the value of files that stay the same meanwhile. Raises: SettingsError."""
        error: SettingsError | None = None
        for _ in range(READINGS_MAX):
            self._signature = _sign(self._files)
            try:
                value, files = self._make()
            except SettingsError as problem:
                error = problem
            else:
                error = None
                if tuple(files) != self._files:  # which were not signed before they were read
                    self._files = tuple(files)
                    continue
            if _sign(self._files).digest == self._signature.digest:
                break
        if error:
            raise error
        return value


class Watch:
    """Looks at all followed files of a receiver once a second, or when somebody asks for it."""

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
        self._asked = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def state(self) -> ReloadState:
        """How the files are, all together; `succeeded_at` is that of metrics.json."""
        errors = [file.state.error for file in self._files if not file.state.successful]
        return ReloadState(not errors, self._files[0].state.succeeded_at, "; ".join(errors))

    def ask(self) -> None:
        """Have the files looked at without waiting for the next second."""
        self._asked.set()

    async def asked(self) -> ReloadState:
        """Ask, and wait for the next look, which all who ask meanwhile share."""
        looked = asyncio.get_running_loop().create_future()
        self._waiting.append(looked)
        self.ask()
        await looked
        return self.state

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._asked.wait()
            self._asked.clear()
            self.look_again()
            for looked in self._waiting:
                if not looked.done():  # who asked may have gone
                    looked.set_result(None)
            self._waiting.clear()
            await asyncio.sleep(PAUSE_SECONDS)

    def look_again(self) -> None:
        """Read each file that has changed; say once what came of it."""
        for file in self._files:
            before = file.state
            file.look_again()
            if file.state != before:
                self._report(file.name, file.state)

    def _report(self, name: str, state: ReloadState) -> None:
        if state.successful:
            log.info("a changed file is in force", file=name)
            return
        line = f"{name} cannot be used, what was in force before is kept"
        kind = Kind(name, line, apart_seconds=0.0, level="error")
        hint = "Mend the file; it is read again as soon as it changes."
        self._events.happened(kind, SettingsError.reason, state.error, hint)


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


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
    newest = max((max(found[3:]) for found in stats if found), default=0) / 1e9
    return _Signature(stats, digest.digest(), newest)
