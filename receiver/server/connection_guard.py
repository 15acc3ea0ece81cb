"""The timeouts of one connection.

In: a connection, and the progress of its request. Out: its state, by which the listener
indexes it, and the closing of the connection when that state lasts too long.

Theory of operation: HEADERS until a request's headers are complete, BODY while its body is
read (with the application's own timeout), WORK while it is decoded and committed, ANSWER while
a large answer is read, IDLE between requests. Only WORK has no timeout and is never closed to
make place for others. The first byte after IDLE starts HEADERS again.
"""

import asyncio
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from receiver.events import Kind

WRITE_BUFFER_BYTES = 64 << 10
"""Write buffer of a connection, beside the answer's body; TLS would buffer half a MiB."""


CLOSED = Kind("connection", "connection closed")
CLOSE_REASONS = {
    "crowded_out": ("The limit of connections was reached, and a newer connection took its place.", "If senders have to reconnect because of it, raise RECEIVER_CONNECTIONS_MAX."),
    "no_place": ("The limit of connections was reached, all with requests being processed, so it was not accepted.", "The sender retries; if it persists, raise RECEIVER_CONNECTIONS_MAX."),
    "headers_late": ("The request's headers did not arrive in time.", "Find the client that connects and sends nothing, or raise RECEIVER_HEADERS_TIMEOUT."),
    "answer_late": ("A large answer was not read in time.", "Find the client that requests pages and does not read them, or raise RECEIVER_BODY_TIMEOUT."),
    "idle": ("It was idle for too long.", "Nothing to do: the sender reconnects when it has data."),
    "not_http": ("It did not carry HTTP.", "Find the client: https while TLS is off, http while it is on, or a scanner."),
    "handshake_failed": ("The TLS handshake failed or took too long.", "Check that the sender uses TLS, trusts the certificate, and sends its own where required."),
}  # fmt: skip
"""The reasons of `receiver_connections_closed_total`: meaning, and hint."""


class ConnectionState(IntEnum):
    """A connection's state, in the order in which connections are closed for newer ones."""

    HEADERS = 1
    IDLE = 2
    ANSWER = 3
    BODY = 4
    WORK = 5


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits on the number of connections and on the time in each state, in seconds."""

    connections: int = 512
    headers_seconds: float = 10.0
    idle_seconds: float = 120.0
    answer_seconds: float = 30.0

    def of(self, state: ConnectionState) -> tuple[float, str] | None:
        """Return a state's timeout, and the reason for closing after it."""
        if state is ConnectionState.HEADERS:
            return self.headers_seconds, "headers_late"
        if state is ConnectionState.IDLE:
            return self.idle_seconds, "idle"
        if state is ConnectionState.ANSWER:
            return self.answer_seconds, "answer_late"
        return None


class Register(Protocol):
    """The listener's index of guards."""

    def note(self, reason: str, error: Exception | None = None) -> None:
        """Record a closed connection."""

    def entered(self, guard: "ConnectionGuard", transport: asyncio.BaseTransport) -> None:
        """Add a connection that is ready."""

    def moved(
        self, guard: "ConnectionGuard", old: ConnectionState | None, new: ConnectionState | None
    ) -> None:
        """Move a guard to another state; in each state the oldest is first."""

    def left(self, transport: asyncio.BaseTransport) -> None:
        """Remove a connection."""


class ConnectionGuard(asyncio.Protocol):
    """A protocol between a connection and aiohttp's protocol, which enforces the timeouts."""

    def __init__(
        self,
        register: Register,
        inner: asyncio.Protocol,
        loop: asyncio.AbstractEventLoop,
        limits: ConnectionLimits,
    ) -> None:
        """Guard `inner`."""
        self._register = register
        self._inner = inner
        self._loop = loop
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._state: ConnectionState | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due, self._reason = math.inf, ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start waiting for the headers."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._transport = transport
        self._register.entered(self, transport)
        self._enter(ConnectionState.HEADERS)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass data on; the first bytes of a request start its timeout."""
        if self._state is ConnectionState.IDLE:
            self._enter(ConnectionState.HEADERS)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass on."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Pass on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection, and pass on."""
        self._leave()
        if self._transport:
            self._register.left(self._transport)
        self._inner.connection_lost(exc)

    def begin_body(self) -> None:
        """The headers are complete."""
        self._enter(ConnectionState.BODY)

    def begin_work(self) -> None:
        """The body is complete; from now on the connection is not closed for others."""
        self._enter(ConnectionState.WORK)

    def begin_answer(self) -> None:
        """A large answer is ready; the timeout for reading it starts."""
        self._enter(ConnectionState.ANSWER)

    def done(self) -> None:
        """The request is answered; wait for the next."""
        if self._state:
            self._enter(ConnectionState.IDLE)

    def abort(self, reason: str) -> None:
        """Close the connection at once."""
        self._register.note(reason)
        self._leave()
        if self._transport:
            self._transport.abort()

    def _enter(self, state: ConnectionState) -> None:
        self._register.moved(self, self._state, state)
        self._state = state
        limit = self._limits.of(state)
        if limit is None:
            self._due = math.inf
            return
        seconds, self._reason = limit
        self._due = self._loop.time() + seconds
        if self._timer is None or self._due < self._timer.when():
            self._stop_timer()
            self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        """Close a connection whose state is over its time; look again when that will be.

        A request passes four states: a timer stays as it is while it is due early enough.
        """
        self._timer = None
        if self._due <= self._loop.time():
            self.abort(self._reason)
        elif self._due < math.inf:
            self._timer = self._loop.call_at(self._due, self._look)

    def _leave(self) -> None:
        self._stop_timer()
        self._due = math.inf
        self._register.moved(self, self._state, None)
        self._state = None

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None


Guards = dict[asyncio.BaseTransport | None, ConnectionGuard]
"""The guards of open connections, by their transports; a closed connection's transport is None."""
