"""The listener: accepts connections, and closes the oldest waiting one at the limit.

In: sockets. Out: an aiohttp protocol for each, behind a guard with its timeouts. At the limit
a new connection replaces the one that has waited longest for headers, else in its TLS
handshake, else idle, else with an unread answer, else for its body: waiting connections
cannot lock out those that write.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from receiver.config.settings import Address
from receiver.events import Events, Kind
from receiver.server.connection_guard import (
    CLOSE_REASONS,
    CLOSED,
    ConnectionGuard,
    ConnectionLimits,
    ConnectionState,
    Guards,
)
from receiver.server.listening import address_of, allow, listen, room_for

ACCEPT_RETRY_SECONDS = 0.1  # after a failed accept, mostly for lack of file descriptors

SEND_BUFFER_BYTES = 64 << 10
"""Send buffer of a socket in the kernel, which could grow to megabytes by default."""
NOT_ACCEPTED = Kind("connection", "connections cannot be accepted")


@dataclass(slots=True)
class ConnectionCounts:
    """Open connections, and those accepted since the process started."""

    connections: int = 0
    accepted: int = 0


class Listener:
    """Accepts connections at one address."""

    def __init__(
        self,
        serve: Callable[[], asyncio.Protocol],
        tls: Callable[[], ssl.SSLContext | None],
        limits: ConnectionLimits,
        counts: ConnectionCounts,
        guards: Guards,
        events: Events,
    ) -> None:
        """Prepare: `serve` makes the protocol of a connection, `tls` returns its context.

        `guards` has the guard of each open connection.
        """
        self._serve = serve
        self._tls = tls
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: dict[ConnectionGuard, asyncio.Task[None]] = {}
        self._guards: dict[ConnectionState, dict[ConnectionGuard, None]] = {
            state: {} for state in ConnectionState
        }
        self._by_transport = guards
        self._events = events
        self.counts = counts

    @property
    def connections(self) -> int:
        """The number of connections, including those in their TLS handshake."""
        return sum(map(len, self._guards.values())) + len(self._handshakes)

    def listen(self, address: Address) -> Address:
        """Start to accept at `address`; returns the bound address.

        Raises: SettingsError.
        """
        self._socket = listen(address)
        # Accepted sockets inherit it; setting it there fails if the peer has already gone.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        allow(self._limits.connections)
        self._socket.setblocking(False)  # noqa: FBT003 - the socket's signature
        self._accepting = self._loop.create_task(self._accept(self._socket), name="accept")
        return address_of(self._socket)

    async def close(self) -> None:
        """Stop accepting; open connections stay."""
        if self._accepting:
            self._accepting.cancel()
            with suppress(asyncio.CancelledError):
                await self._accepting
        if self._socket:
            self._socket.close()
        for task in list(self._handshakes.values()):
            task.cancel()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = await self._loop.sock_accept(listener)
            except OSError as error:
                hint = "Raise the limit on open files (ulimit -n); waiting connections are accepted then."
                self._events.happened(NOT_ACCEPTED, type(error).__name__, str(error), hint)
                await asyncio.sleep(ACCEPT_RETRY_SECONDS)
                continue
            self.counts.accepted += 1
            if self.connections >= room_for(self._limits.connections) and not self._give_up_one():
                self.note("no_place")
                connection.close()
                continue
            guard = ConnectionGuard(self, self._serve(), self._loop, self._limits)
            task = self._loop.create_task(self._admit(connection, guard))
            self._handshakes[guard] = task
            task.add_done_callback(partial(self._handshake_ended, guard))
            await asyncio.sleep(0)  # an accept that returns at once never yields to other tasks

    async def _admit(self, connection: socket.socket, guard: ConnectionGuard) -> None:
        context = self._tls()
        timeout = self._limits.headers_seconds if context else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: guard,
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

    def _handshake_ended(self, guard: ConnectionGuard, _: object) -> None:
        self._handshakes.pop(guard, None)

    def _give_up_one(self) -> bool:
        # The order is that of the loss: without headers nothing was sent yet; an idle sender
        # reconnects; an answer is only a page; a body is sent again, as a retry.
        if not self._guards[ConnectionState.HEADERS] and self._handshakes:
            self._cancel_handshake(next(iter(self._handshakes)))
            return True
        for state in (
            ConnectionState.HEADERS,
            ConnectionState.IDLE,
            ConnectionState.ANSWER,
            ConnectionState.BODY,
        ):
            if oldest := next(iter(self._guards[state]), None):
                oldest.abort("crowded_out")
                return True
        return False

    def _cancel_handshake(self, guard: ConnectionGuard) -> None:
        """Close a connection that is still in its handshake; its task closes the socket."""
        task = self._handshakes.pop(guard)
        self.note("crowded_out")
        task.cancel()

    def note(self, reason: str, error: Exception | None = None) -> None:
        """Record a closed connection; an idle one is only counted."""
        if reason == "idle":
            self._events.count(CLOSED, reason)
            return
        meaning, hint = CLOSE_REASONS[reason]
        cause = str(error or "")
        self._events.happened(
            CLOSED, reason, meaning, hint, connections=self.connections, cause=cause
        )

    def entered(self, guard: ConnectionGuard, transport: asyncio.BaseTransport) -> None:
        """Add a connection that is ready: its handshake is over, though its task is not yet."""
        self._handshakes.pop(guard, None)
        self._by_transport[transport] = guard
        self.counts.connections = len(self._by_transport)

    def moved(
        self, guard: ConnectionGuard, old: ConnectionState | None, new: ConnectionState | None
    ) -> None:
        """Move a guard to another state; in each state the oldest is first."""
        if old:
            self._guards[old].pop(guard, None)
        if new:
            self._guards[new][guard] = None

    def left(self, transport: asyncio.BaseTransport) -> None:
        """Remove a connection."""
        self._by_transport.pop(transport, None)
        self.counts.connections = len(self._by_transport)
