"""One connection's clock: it is closed when a peer is slower than it may be.

In: a connection, and what aiohttp's protocol and the application do with it. Out: its state,
which the listener keeps, and its end when the time of that state is over.

Theory of operation: HEADERS until the headers of a request are here, BODY while its body comes
(the application's own clock runs), WORK while it is decoded and committed, ANSWER while a large
answer is read, IDLE between requests. Only WORK has no clock and is never given up for others.
The first byte after IDLE begins HEADERS again.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

WRITE_BUFFER_BYTES = 64 << 10
"""Of an answer in this process' memory beside its body; TLS would keep half a MiB."""


class State(Enum):
    """What a connection is doing, in the order in which it is given up for others."""

    HEADERS = "headers"
    IDLE = "idle"
    ANSWER = "answer"
    BODY = "body"
    WORK = "work"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections, and how long each may take. Times in seconds."""

    connections: int = 512
    headers_seconds: float = 10.0
    idle_seconds: float = 120.0
    answer_seconds: float = 30.0

    def of(self, state: State) -> tuple[float, str] | None:
        """Give how long a state may last, and the reason to close a connection after it."""
        if state is State.HEADERS:
            return self.headers_seconds, "headers_late"
        if state is State.IDLE:
            return self.idle_seconds, "idle"
        if state is State.ANSWER:
            return self.answer_seconds, "answer_late"
        return None


class Register(Protocol):
    """Who keeps the guards: the listener."""

    def note(self, reason: str, error: Exception | None = None) -> None:
        """Take note of a connection that was closed."""

    def entered(self, guard: "ConnectionGuard", transport: asyncio.BaseTransport) -> None:
        """Take up a connection that is ready."""

    def moved(self, guard: "ConnectionGuard", old: State | None, new: State | None) -> None:
        """Keep the guards by state, longest there first."""

    def left(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection."""


class ConnectionGuard(asyncio.Protocol):
    """Stands between a connection and aiohttp's protocol, and watches the time."""

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
        self._state: State | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the headers shall come soon."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._transport = transport
        self._register.entered(self, transport)
        self._enter(State.HEADERS)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Hand on what came; the first bytes of a request set its clock."""
        if self._state is State.IDLE:
            self._enter(State.HEADERS)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Hand on."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """Hand on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Hand on."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._leave()
        if self._transport:
            self._register.left(self._transport)
        self._inner.connection_lost(exc)

    def begin_body(self) -> None:
        """The headers are here."""
        self._enter(State.BODY)

    def begin_work(self) -> None:
        """The body is here; from now on the connection is not given up."""
        self._enter(State.WORK)

    def begin_answer(self) -> None:
        """A large answer is made; its reader has so long to read it."""
        self._enter(State.ANSWER)

    def done(self) -> None:
        """The request is answered; the next may come."""
        if self._state:
            self._enter(State.IDLE)

    def abort(self, reason: str) -> None:
        """Close at once."""
        self._register.note(reason)
        self._leave()
        if self._transport:
            self._transport.abort()

    def _enter(self, state: State) -> None:
        self._register.moved(self, self._state, state)
        self._state = state
        self._stop_timer()
        if limit := self._limits.of(state):
            seconds, reason = limit
            self._timer = self._loop.call_later(seconds, self.abort, reason)

    def _leave(self) -> None:
        self._stop_timer()
        self._register.moved(self, self._state, None)
        self._state = None

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
