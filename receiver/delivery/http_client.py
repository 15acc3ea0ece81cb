"""POSTs over HTTP/1.1, as few instructions each as there can be: what a batch costs to send.

In: an address, headers and a body. Out: the service's `Answer`. Connections are kept
alive and carry one request at a time; answers are parsed by httptools. Speaks to the
service itself: with a proxy in the environment, aiohttp's client takes its place
(`receiver.delivery.setup`). Follows nothing, retries nothing, judges nothing; whoever calls
cancels what takes too long, and then the connection is given up.

Rules: RFC 9112: 6.3 how long a body is, 9.3 which connections may go on, 9.8 closing.
"""

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httptools
from multidict import CIMultiDict

ANSWER_LIMIT_BYTES = 8 << 20
"""What is read of an answer: 64,000 items' errors fit."""
HEAD_LIMIT_BYTES = 64 << 10
_SAFE = "%/?:@!$&'()*+,;=~-._[]"
"""What stays as it is in a path and a query. RFC 3986, 3.3 and 3.4, and what is quoted already."""
IDLE_SECONDS = 30.0
"""How long a connection may wait for its next request: servers close those that wait longer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered; headers are looked up in any case, as they may come in any."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class CannotConnect(OSError):
    """There is no connection to the host."""


class BrokenOff(OSError):
    """The connection ended, or what came over it was no HTTP, before an answer was there."""


class Client:
    """POSTs to any host, over connections of its own."""

    def __init__(self, user_agent: str) -> None:
        """Connect to nothing yet."""
        self._user_agent = user_agent
        self._tls: ssl.SSLContext | None = None
        self._idle: dict[tuple[str, str, int], list[_Connection]] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request and read its answer.

        Raises: CannotConnect, BrokenOff, ssl.SSLError; socket.gaierror for a name without address.
        """
        parts = urlsplit(url)
        host = parts.hostname or ""
        place = parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80)
        connection = self._take(place) or await self._connect(place)
        path = quote(f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", safe=_SAFE)
        lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
        lines += [f"User-Agent: {self._user_agent}", "Accept: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", ""))
        try:
            answer = await connection.ask(head.encode("latin-1") + body)
        except BaseException:
            connection.abort()
            raise
        if connection.may_go_on:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.setdefault(place, []).append(connection)
        else:
            connection.abort()
        return answer

    def _take(self, place: tuple[str, str, int]) -> "_Connection | None":
        """Take the connection that waited least, if it may still be there."""
        waiting = self._idle.get(place, [])
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while waiting:
            connection = waiting.pop()
            if connection.may_go_on and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, place: tuple[str, str, int]) -> "_Connection":
        scheme, host, port = place
        if scheme == "https" and not self._tls:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        context = self._tls if scheme == "https" else None
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                _Connection, host, port, ssl=context, happy_eyeballs_delay=0.25
            )
        except (ssl.SSLError, TimeoutError, socket.gaierror):
            raise
        except OSError as error:
            raise CannotConnect(f"{host}:{port}: {error}") from error
        return connection

    def close(self) -> None:
        """Give up all connections."""
        for waiting in self._idle.values():
            for connection in waiting:
                connection.abort()
        self._idle.clear()


class _Connection(asyncio.Protocol):
    """One connection; the `on_…` methods are what httptools calls."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.may_go_on = True
        self._transport: asyncio.Transport | None = None
        self._future: asyncio.Future[Answer] | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._expect_answer()

    def _expect_answer(self) -> None:
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._body: list[bytes] = []
        self._size = 0
        self._head_is_complete = False

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its answer. Raises: BrokenOff."""
        assert self._transport
        if not self.may_go_on:  # it ended as soon as it was there: nobody would ever answer
            raise BrokenOff("closed by the other side")
        self._expect_answer()
        self._future = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._future

    def abort(self) -> None:
        """Give the connection up."""
        self.may_go_on = False
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what requests go to."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse; what nobody asked for, and what has no end, ends the connection."""
        if self._future is None or self._future.done():
            self.abort()
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(BrokenOff(f"the answer is no HTTP: {error}"))
        if not self._head_is_complete and self._size > HEAD_LIMIT_BYTES:
            self._fail(BrokenOff("the answer's headers have no end"))

    def eof_received(self) -> None:
        """Let the connection end."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Answer with what there is: the status line says what became of the items.

        A body whose length was told and that broke off is no body.
        """
        self.may_go_on = False
        if self._head_is_complete:
            told = "Content-Length" in self._headers or "Transfer-Encoding" in self._headers
            self._finish(b"" if told else b"".join(self._body))
        else:
            self._fail(BrokenOff(str(exc or "closed by the other side")))

    def on_message_begin(self) -> None:
        """Begin with nothing; an answer that nobody waits for would be mistaken for another's."""
        self._headers = CIMultiDict()
        if self._future is None or self._future.done():
            self.may_go_on = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers.add(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Take note; "100 Continue" and its like are not the answer yet."""
        self._head_is_complete = self._parser.get_status_code() >= 200
        if not self._head_is_complete:
            self._headers.clear()

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body, as far as there is room."""
        if self._size <= ANSWER_LIMIT_BYTES:
            self._body.append(part)
        else:  # an answer that large says nothing
            self.may_go_on = False
            self._finish(b"")

    def on_message_complete(self) -> None:
        """Hand the answer over; who answers before all is sent may never read the rest."""
        if self._head_is_complete:
            is_sent = self._transport and not self._transport.get_write_buffer_size()
            self.may_go_on = bool(self.may_go_on and is_sent and self._parser.should_keep_alive())
            self._finish(b"".join(self._body))

    def _finish(self, body: bytes) -> None:
        if self._future and not self._future.done():
            status = self._parser.get_status_code()
            self._future.set_result(Answer(status, self._headers, body))

    def _fail(self, error: OSError) -> None:
        self.abort()
        if self._future and not self._future.done():
            self._future.set_exception(error)
