"""A worker's place: the worker that is there now, and what those before it did.

In: how to start a worker. Out: there is one again whenever it dies, at once the first
time, then more slowly; and what was counted here, which never goes down.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from receiver.arrivals import Arrivals, WorkerSeen
from receiver.errors import ReceiverError, SettingsError
from receiver.workers.link import Link, WorkerGone

if TYPE_CHECKING:
    from receiver.allowlist import Allowlist

QUICK_SECONDS = 60.0
"""A worker that died before this is not replaced as quickly the next time."""
BACKOFF_SECONDS = 0.5
BACKOFF_MAX_SECONDS = 30.0
STARTS_MAX = 3
"""Deaths of a worker that never got ready, before the front gives up its own start."""

log = structlog.get_logger()


class Post:
    """Keeps a worker at one place.

    `taken` is the list by which it selects, `last` what it has counted itself; `stopping`
    is set when it shall not be replaced any more.
    """

    def __init__(self, number: int, start: Callable[["Post"], Link]) -> None:
        """Prepare to start workers with `start`, which may raise OSError."""
        self.number = number
        self._start = start
        self._past = Arrivals()
        self._restarts = 0
        self.last = Arrivals()
        self.link: Link | None = None
        self.is_ready = False
        self.taken: Allowlist | None = None
        self.stopping = False
        self.first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def arrivals(self) -> Arrivals:
        """All that was counted here."""
        return self._past.plus(self.last)

    def seen(self) -> WorkerSeen:
        """Say who is here."""
        pid = self.link.pid if self.link and self.is_ready else 0
        requests = self.arrivals.reception.replies.total()
        return WorkerSeen(self.number, pid, requests, self._restarts)

    async def keep(self) -> None:
        """Keep a worker here until `stopping`; `first_ready` has what keeps the first from its work."""
        clock = asyncio.get_running_loop().time
        quick_deaths = 0
        while True:
            begun_at = clock()
            try:
                how = await self._live()
            except SettingsError as error:
                how = str(error)
                if self._give_up(error):
                    return
            except OSError as error:
                how = str(error)
            except Exception as error:
                how = type(error).__name__
                hint = "A defect of the receiver: please report it."
                log.exception("worker cannot be kept", worker=self.number, hint=hint)
            if self.stopping:
                return
            self._restarts += 1
            quick_deaths = quick_deaths + 1 if clock() - begun_at < QUICK_SECONDS else 0
            if quick_deaths >= STARTS_MAX and self._give_up(self._never_ready(how)):
                return
            wait_seconds = backoff_seconds(quick_deaths)
            log.error(
                "worker ended",
                worker=self.number,
                how=how,
                replaced_in_seconds=wait_seconds,
                hint="What it had acknowledged is on disk. By SIGKILL: was memory short? See the kernel's log.",
            )
            await asyncio.sleep(wait_seconds)

    def _never_ready(self, how: str) -> ReceiverError:
        return ReceiverError(
            f"worker {self.number} ended {how}, {STARTS_MAX} times before it took requests; see the log"
        )

    def _give_up(self, error: ReceiverError) -> bool:
        """Have the front end, if no worker was ever ready here."""
        if self.first_ready.done():
            return False
        self.first_ready.set_exception(error)
        self.first_ready.exception()  # also where another post's is looked at
        return True

    async def _live(self) -> str:
        """Start a worker and wait for its end; returns how it ended."""
        link = self.link = self._start(self)
        try:
            with suppress(WorkerGone):
                await link.ready()
                self.is_ready = True
                log.info("worker ready", worker=self.number, pid=link.pid)
                if not self.first_ready.done():
                    self.first_ready.set_result(None)
            return await link.ended()
        finally:
            await link.close()
            self.link, self.is_ready = None, False
            self._past, self.last = self._past.plus(self.last.ended()), Arrivals()


def backoff_seconds(quick_deaths: int) -> float:
    """Say how long to wait: not at all the first time, then longer each time."""
    if quick_deaths <= 1:
        return 0.0
    return min(BACKOFF_SECONDS * 2.0 ** min(quick_deaths - 2, 10), BACKOFF_MAX_SECONDS)
