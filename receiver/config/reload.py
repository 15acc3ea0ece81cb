"""metrics.json is followed while the receiver runs.

In: a file that changes, and SIGHUP. Out: each new list, once it was read whole and
found good. A list that cannot be used changes nothing: the one before stays in force,
the log says so, and `receiver_config_last_reload_successful` is 0 until it is mended.

The file is looked at once a second. What tells a new one is what stat(2) says of where
the name leads to: a ConfigMap is exchanged by a symbolic link beside it.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import structlog

from receiver.errors import SettingsError
from receiver.events import Events, Kind
from receiver.intake.metrics_json import Allowlist

POLL_SECONDS = 1.0
UNUSABLE = Kind(
    "metrics.json", "metrics.json cannot be used, the list before is kept", 0.0, "error"
)

log = structlog.get_logger()


@dataclass(slots=True)
class ReloadState:
    """How the last reading of metrics.json went; `succeeded_at` in seconds since the epoch.

    `error` says why a list was not taken, empty where it was.
    """

    successful: bool = True
    succeeded_at: float = 0.0
    error: str = ""


class Watch:
    """Reads metrics.json again whenever it has changed, or somebody asks for it."""

    def __init__(
        self,
        path: str,
        load: Callable[[], Allowlist],
        use: Callable[[Allowlist], None],
        clock: Callable[[], float],
        events: Events,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Watch `path`, an empty one for a list that has no file; `load` read it just now."""
        self._path = os.path.expanduser(path)  # noqa: PTH111 - as a text, it is only for stat
        self._load = load
        self._use = use
        self._clock = clock
        self._events = events
        self._poll_seconds = poll_seconds
        self._seen = self._look()
        self._asked = asyncio.Event()
        self.state = ReloadState(succeeded_at=clock())

    def ask(self) -> None:
        """Have it read at once, changed or not."""
        self._asked.set()

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await self._asked.wait()
            self.look_again()

    def look_again(self) -> None:
        """Read the file if it has changed or somebody asked for it."""
        found = self._look()
        if found == self._seen and not self._asked.is_set():
            return
        self._seen = found
        self._asked.clear()
        try:
            allowlist = self._load()
        except SettingsError as error:
            self.state.successful = False
            self.state.error = str(error)
            hint = "Mend the file; it is read again as soon as it changes."
            self._events.happened(UNUSABLE, error.reason, str(error), hint)
            return
        for suspicion in allowlist.suspicions():
            log.warning("metrics.json looks misspelt", entry=suspicion)
        self._use(allowlist)
        self.state = ReloadState(succeeded_at=self._clock())
        log.info("metrics.json was read again", metrics=[entry.name for entry in allowlist.entries])

    def _look(self) -> tuple[int, ...]:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - an empty path is none, not the folder
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
