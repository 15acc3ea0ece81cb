"""Where one process takes requests: its web, its door, and what it counts there.

In: settings, a reception, and what is to be shown. Out: an address, the counts of what
came in, and an end in two steps: newcomers are sent away, then everybody is.
"""

import asyncio
import os
from collections.abc import Callable

from receiver.access import Access
from receiver.admission import Admission
from receiver.arrivals import Arrivals, WorkerSeen
from receiver.door import DoorCounts
from receiver.entrance import Entrance, open_entrance
from receiver.reception import Reception
from receiver.settings import Settings
from receiver.web import BodyLimits, Handler, Pages, Web


class Desk:
    """Takes requests in this process."""

    def __init__(self, settings: Settings, reception: Reception) -> None:
        """Prepare. Raises: SettingsError."""
        loop_clock = asyncio.get_running_loop().time
        self._settings = settings
        self._reception = reception
        self._admission = Admission(settings.requests_max, settings.in_flight_max_bytes)
        self._door = DoorCounts()
        self._access = Access(settings.web_config_file, settings.bearer_token_file, loop_clock)
        self._web: Web | None = None
        self._entrance: Entrance | None = None

    async def open(
        self,
        pages: Pages | Handler,
        on_trouble: Callable[[str, str, str], None],
        *,
        shared: bool = False,
    ) -> str:
        """Listen, on a port `shared` with other processes or not; returns the address.

        Raises: SettingsError.
        """
        settings = self._settings
        limits = BodyLimits(settings.body_max_bytes, settings.body_seconds)
        self._web = Web(self._reception, pages, self._access, self._admission, limits)
        self._web.on_trouble = on_trouble
        self._entrance = await open_entrance(
            self._web, settings, self._access, self._door, shared=shared
        )
        return self._entrance.url

    async def arrivals(self) -> Arrivals:
        """Give what was counted here."""
        return Arrivals(
            self._reception.counts,
            self._door,
            self._admission.statistics(),
            self._reception.selection.statistics(),
        )

    def seen(self) -> tuple[WorkerSeen, ...]:
        """Say who takes requests: this process."""
        return (WorkerSeen(1, os.getpid(), self._reception.counts.replies.total()),)

    async def drain(self, seconds: float) -> None:
        """Send newcomers away, and wait until what is in flight is answered, at most so long."""
        if self._web:
            self._web.draining = True
            await self._web.drained(seconds)

    async def close(self) -> None:
        """Let nobody in, and send those away who are here."""
        if self._entrance:
            await self._entrance.close()
        self._access.close()
