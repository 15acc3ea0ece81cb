"""One HTTP/1.1 connection: a request goes out, its answer comes back, bounded in every part.

In: a request's bytes. Out: the `Answer`, or BrokenOff. Carries one request at a time. What the
other side may cost us is bounded in head, body and trailers, whatever it sends, and nothing of
it is kept once it is given up; the time is the caller's to bound.

Rules: RFC 9112: 6.3 how long a body is, 7.1 chunks and trailers, 9.3 which connections may go
on, 9.8 closing. Answers are parsed by httptools.
"""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httptools
from multidict import CIMultiDict

ANSWER_LIMIT_BYTES = 8 << 20
"""What is read of an answer, with all that frames it: 64,000 items' errors fit."""
HEAD_LIMIT_BYTES = 64 << 10
UNHEARD_MS = 5000
"""How long what is sent over a kept connection may stay unacknowledged (TCP_USER_TIMEOUT).

A path that died in silence, as behind a firewall that has forgotten it, shows in seconds. A new
connection has no such limit: a service that is slow to read has the whole time of a POST.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered; headers are looked up in any case, as they may come in any."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BrokenOff(OSError):
    """The connection ended, or what came over it was no HTTP, before an answer was there."""


class Connection(asyncio.Protocol):
    """One connection; the `on_…` methods are what httptools calls."""

    def __init__(self) -> None:
        """Wait for the transport."""
        self.idle_since: float | None = None
        self.may_go_on = True
        self._transport: asyncio.Transport | None = None
        self._future: asyncio.Future[Answer] | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._expect_answer()

    def _expect_answer(self) -> None:
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._body: list[bytes] = []
        self._size = 0
        self._status = 0

    @property
    def answer_has_begun(self) -> bool:
        """Whether a byte came for the last request: else it may never have arrived."""
        return self._size > 0

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its answer. Raises: BrokenOff."""
        self._expect_answer()
        if not self.may_go_on or not self._transport:  # it ended as soon as it was there
            raise BrokenOff("closed by the other side")
        self._future = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._future

    def keep(self, now: float) -> None:
        """Let it wait for its next request; whether it lives is then seen sooner."""
        if self.idle_since is None and self._transport:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)
        self.idle_since = now

    def abort(self) -> None:
        """Give the connection up, and all that was read of it.

        The parser knows us and we know the parser: left alone, both would keep what
        was read until Python looks for cycles, megabytes at a time.
        """
        self.may_go_on = False
        if self._transport:
            self._transport.abort()
        self._parser = None
        self._body = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what requests go to."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse; what was not asked for, and what has no end, ends the connection."""
        parser = self._parser
        if parser is None or self._future is None or self._future.done():
            self.abort()
            return
        self._size += len(data)
        if self._status and self._size > ANSWER_LIMIT_BYTES:  # an answer that large says nothing
            self.may_go_on = False
            self._finish(b"")
            self.abort()
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(BrokenOff(f"the answer is no HTTP: {error}"))
        if not self._status and self._size > HEAD_LIMIT_BYTES:
            self._fail(BrokenOff("the answer's headers have no end"))

    def eof_received(self) -> None:
        """Let the connection end."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer with what there is: the status line says what became of the items.

        A body whose length was told and that broke off is no body.
        """
        if self._status:
            told = "Content-Length" in self._headers or "Transfer-Encoding" in self._headers
            self._finish(b"" if told else b"".join(self._body))
        else:
            self._fail(BrokenOff(str(exc or "closed by the other side")))
        self.abort()

    def on_message_begin(self) -> None:
        """Begin with nothing; an answer that was not asked for would be mistaken for another's."""
        if self._future is None or self._future.done():
            self.may_go_on = False
        else:
            self._headers = CIMultiDict()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer says nothing that we want to know."""
        if not self._status:
            self._headers.add(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Take note; "100 Continue" and its like are not the answer yet."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = status
        else:
            self._headers.clear()

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body; `data_received` has looked that there is room."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """Hand the answer over; who answers before all is sent may never read the rest."""
        if self._status and self._transport:
            is_sent = not self._transport.get_write_buffer_size()
            self.may_go_on = self.may_go_on and is_sent and self._parser.should_keep_alive()
            self._finish(b"".join(self._body))

    def _finish(self, body: bytes) -> None:
        if self._future and not self._future.done():
            self._future.set_result(Answer(self._status, self._headers, body))

    def _fail(self, error: BrokenOff) -> None:
        self.abort()
        if self._future and not self._future.done():
            self._future.set_exception(error)
