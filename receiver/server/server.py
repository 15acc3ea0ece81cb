"""The HTTP server of a receiver: its application, its listener, and what it counts.

In: settings, a write_handler, and the pages to show. Out: an address, the counts of what came
in, and an end in two steps: new requests are refused first, connections are closed then.
"""

import time

from aiohttp import web

from receiver.config.followed_file import FollowedFile
from receiver.config.settings import Settings
from receiver.errors import SettingsError
from receiver.events import Events
from receiver.server.admission import Admission
from receiver.server.aiohttp_log import Noise
from receiver.server.app import App, BodyLimits, Handler, Pages
from receiver.server.auth import Access, Rules
from receiver.server.connections import ConnectionCounts, ConnectionLimits, Listener
from receiver.server.counts import ServerCounts
from receiver.server.write_handler import WriteHandler


class Server:
    """Takes requests."""

    def __init__(self, settings: Settings, write_handler: WriteHandler, events: Events) -> None:
        """Prepare. Raises: SettingsError."""
        self._settings = settings
        self._reception = write_handler
        self._events = events
        self._admission = Admission(settings.requests_max, settings.in_flight_max_bytes)
        self._counts = ConnectionCounts()
        self._access = Access(settings.web_config_file, settings.bearer_token_file, time.time)
        self._web: App | None = None
        self._door: Listener | None = None
        self._runner: web.AppRunner | None = None

    @property
    def access_rules(self) -> FollowedFile[Rules]:
        """What is asked of requests, followed on disk."""
        return self._access.file

    async def open(self, pages: Pages | Handler) -> str:
        """Listen; returns the address. Raises: SettingsError."""
        settings = self._settings
        limits = BodyLimits(settings.body_max_bytes, settings.body_seconds)
        self._web = App(self._reception, pages, self._access, self._admission, limits, self._events)
        noise = Noise(self._events)
        runner = web.AppRunner(
            self._web.application,
            access_log=None,
            auto_decompress=False,
            shutdown_timeout=1.0,
            keepalive_timeout=settings.idle_seconds,
            logger=noise.logger,
        )
        await runner.setup()
        assert runner.server
        door_limits = ConnectionLimits(
            settings.connections_max, settings.headers_seconds, settings.idle_seconds
        )
        door = Listener(runner.server, self._access.tls, door_limits, self._counts, self._events)
        self._web.guard_of = door.guard
        try:
            address = door.listen(settings.listen)
        except SettingsError:
            await runner.cleanup()
            raise
        self._door, self._runner = door, runner
        return f"http{'s' if self._access.tls() else ''}://{address}"

    def arrivals(self) -> ServerCounts:
        """Read the counts."""
        return ServerCounts(
            self._reception.counts,
            self._counts,
            self._admission.statistics(),
            self._reception.pipeline.statistics(),
        )

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, and wait until those in flight are answered, at most so long."""
        if self._web:
            self._web.draining = True
            await self._web.drained(seconds)

    async def close(self) -> None:
        """Stop listening, and close all connections."""
        if self._door and self._runner:
            await self._door.close()
            await self._runner.cleanup()
        self._access.close()
