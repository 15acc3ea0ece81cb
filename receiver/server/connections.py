"""Connections in: how many, and which goes when there are too many.

In: sockets. Out: a protocol of aiohttp's for each, behind a guard that watches its time. When
all places are taken the newcomer gets the place of the connection that has waited longest for
headers, else in its TLS handshake, else idle, else with an unread answer, else for its body: a
crowd that waits cannot lock out those that write.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from receiver.config.settings import Address
from receiver.events import Events, Kind
from receiver.server.close_reasons import CLOSE_REASONS, CLOSED
from receiver.server.connection_guard import ConnectionGuard, ConnectionLimits, State
from receiver.server.file_descriptors import allow, room_for
from receiver.server.listen import address_of, listen

ACCEPT_RETRY_SECONDS = 0.1  # after an accept that failed, for want of file descriptors mostly

SEND_BUFFER_BYTES = 64 << 10
"""Of an answer in the system's memory, which would grow to megabytes."""
NOT_ACCEPTED = Kind("connection", "connections cannot be accepted")


@dataclass(slots=True)
class ConnectionCounts:
    """What has become of connections since this process began."""

    connections: int = 0
    accepted: int = 0


class Listener:
    """Listens, and lets connections in."""

    def __init__(
        self,
        serve: Callable[[], asyncio.Protocol],
        tls: Callable[[], ssl.SSLContext | None],
        limits: ConnectionLimits,
        counts: ConnectionCounts,
        events: Events,
    ) -> None:
        """Prepare to serve each connection with a protocol of `serve`; `tls` is asked for each."""
        self._serve = serve
        self._tls = tls
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._coming: dict[asyncio.Task[None], None] = {}
        self._guards: dict[State, dict[ConnectionGuard, None]] = {state: {} for state in State}
        self._by_transport: dict[asyncio.BaseTransport, ConnectionGuard] = {}
        self._events = events
        self.counts = counts

    @property
    def connections(self) -> int:
        """How many there are, those in their TLS handshake included."""
        return sum(map(len, self._guards.values())) + len(self._coming)

    def listen(self, address: Address) -> Address:
        """Begin to accept at `address`; returns where it really is.

        Raises: SettingsError.
        """
        self._socket = listen(address)
        # What is accepted inherits it; set there, a peer that has gone already could be an error.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        allow(self._limits.connections)
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._accepting = self._loop.create_task(self._accept(self._socket), name="accept")
        return address_of(self._socket)

    async def close(self) -> None:
        """Stop accepting; connections that are there stay."""
        if self._accepting:
            self._accepting.cancel()
            with suppress(asyncio.CancelledError):
                await self._accepting
        if self._socket:
            self._socket.close()
        for task in list(self._coming):
            task.cancel()

    def guard(self, transport: asyncio.BaseTransport | None) -> ConnectionGuard | None:
        """Find the guard of a request's connection; None when it is gone."""
        return self._by_transport.get(transport) if transport else None

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(listener)
            except OSError as error:
                hint = "Raise the limit on open files (ulimit -n); what waits is accepted then."
                self._events.happened(NOT_ACCEPTED, type(error).__name__, str(error), hint)
                await asyncio.sleep(ACCEPT_RETRY_SECONDS)
                continue
            self.counts.accepted += 1
            if self.connections >= room_for(self._limits.connections) and not self._give_up_one():
                self.note("no_place")
                connection.close()
                continue
            task = self._loop.create_task(self._admit(connection))
            self._coming[task] = None
            task.add_done_callback(lambda done: self._coming.pop(done, None))
            await asyncio.sleep(0)  # an accept that need not wait gives nobody else a turn

    async def _admit(self, connection: socket.socket) -> None:
        context = self._tls()
        timeout = self._limits.headers_seconds if context else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: ConnectionGuard(self, self._serve(), self._loop, self._limits),
                connection,
                ssl=context,
                ssl_handshake_timeout=timeout,
                ssl_shutdown_timeout=timeout,
            )
        except (OSError, TimeoutError) as error:
            self.note("handshake_failed", error)
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise

    def _give_up_one(self) -> bool:
        if not self._guards[State.HEADERS] and self._coming:
            self._coming_goes(next(iter(self._coming)))
            return True
        for state in (State.HEADERS, State.IDLE, State.ANSWER, State.BODY):
            if oldest := next(iter(self._guards[state]), None):
                oldest.abort("crowded_out")
                return True
        return False

    def _coming_goes(self, task: "asyncio.Task[None]") -> None:
        """Give up a connection that is still in its handshake; its task closes the socket."""
        self._coming.pop(task, None)
        self.note("crowded_out")
        task.cancel()

    def note(self, reason: str, error: Exception | None = None) -> None:
        """Take note of a connection that was closed; one that was idle is no error."""
        if reason == "idle":
            self._events.count(CLOSED, reason)
            return
        meaning, hint = CLOSE_REASONS[reason]
        cause = str(error or "")
        self._events.happened(
            CLOSED, reason, meaning, hint, connections=self.connections, cause=cause
        )

    def entered(self, guard: ConnectionGuard, transport: asyncio.BaseTransport) -> None:
        """Take up a connection that is ready."""
        self._by_transport[transport] = guard
        self.counts.connections = len(self._by_transport)

    def moved(self, guard: ConnectionGuard, old: State | None, new: State | None) -> None:
        """Keep the guards by state, longest there first."""
        if old:
            self._guards[old].pop(guard, None)
        if new:
            self._guards[new][guard] = None

    def left(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection."""
        self._by_transport.pop(transport, None)
        self.counts.connections = len(self._by_transport)
