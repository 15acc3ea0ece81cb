"""The HTTP server of a receiver: its application, listener and counts.

In: settings, a write handler, and the status pages. Out: an address and counts. It stops in
two steps: first it refuses new requests, then it closes the connections.
"""

import asyncio
import time
from collections.abc import Callable

from aiohttp import web

from receiver.config.followed_file import FollowedFile
from receiver.config.settings import Settings
from receiver.errors import SettingsError
from receiver.events import Events
from receiver.server.admission import Admission
from receiver.server.answers import Answers
from receiver.server.app import App, Pages
from receiver.server.auth import Access, Rules, is_loopback
from receiver.server.connection_guard import ConnectionLimits, Guards
from receiver.server.connections import ConnectionCounts, Listener
from receiver.server.http_protocol import HttpProtocol, ServerLog
from receiver.server.memory_limit import memory_limit
from receiver.server.refusals import Refusals
from receiver.server.write_endpoint import WriteEndpoint
from receiver.server.write_handler import WriteHandler


class Server:
    """The HTTP server."""

    def __init__(self, settings: Settings, write_handler: WriteHandler, events: Events) -> None:
        """Prepare, without listening. Raises: SettingsError."""
        self._settings = settings
        self._write_handler = write_handler
        self._events = events
        self.admission = Admission(settings.requests_max, settings.in_flight_max_bytes)
        self.connections = ConnectionCounts()
        self._access = Access(settings.web_config_file, settings.bearer_token_file, time.time)
        self._writes: WriteEndpoint | None = None
        self._listener: Listener | None = None
        self._runner: web.AppRunner | None = None

    @property
    def access_rules(self) -> FollowedFile[Rules]:
        """The access rules, read again when their files change."""
        return self._access.file

    async def open(self, pages: Pages) -> str:
        """Listen; returns the address. Raises: SettingsError."""
        settings = self._settings
        guards: Guards = {}
        memory = memory_limit()
        refusals = Refusals(self._write_handler.counts, self._access, self._events)
        writes = WriteEndpoint(
            self._write_handler,
            refusals,
            self.admission,
            memory,
            guards,
            self._events,
            body_max_bytes=settings.body_max_bytes,
            body_seconds=settings.body_seconds,
        )
        app = App(
            writes,
            pages,
            self._access,
            refusals,
            Answers(settings.answers_max_bytes, time.monotonic),
            memory,
            guards,
            (settings.host.lower(),) if is_loopback(settings.listen.host) else None,
        )
        runner = web.AppRunner(app.application, auto_decompress=False, shutdown_timeout=1.0)
        await runner.setup()
        listener = Listener(
            self._protocols(runner),
            self._access.tls,
            ConnectionLimits(
                settings.connections_max,
                settings.headers_seconds,
                settings.idle_seconds,
                settings.body_seconds,
            ),
            self.connections,
            guards,
            self._events,
        )
        try:
            address = listener.listen(settings.listen)
        except SettingsError:
            await runner.cleanup()
            raise
        self._writes, self._listener, self._runner = writes, listener, runner
        return f"http{'s' if self._access.tls() else ''}://{address}"

    def _protocols(self, runner: web.AppRunner) -> Callable[[], HttpProtocol]:
        """Return the factory of a connection's HTTP protocol."""
        server, loop = runner.server, asyncio.get_running_loop()
        assert server
        server_log = ServerLog(self._events)
        return lambda: HttpProtocol(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # as AppRunner passes it on
            auto_decompress=False,
            keepalive_timeout=self._settings.idle_seconds,
            logger=server_log.logger,
        )

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, and wait at most these seconds for those in flight."""
        if self._writes:
            await self._writes.drain(seconds)

    async def close(self) -> None:
        """Stop listening, and close all connections."""
        if self._listener and self._runner:
            await self._listener.close()
            await self._runner.cleanup()
        self._access.close()
