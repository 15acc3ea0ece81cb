"""One HTTP/1.1 connection: sends a request and reads its answer, with limits on every part.

In: a request's bytes. Out: the `Answer`, or BrokenOff. Carries one request at a time. Head,
body and trailers are limited, whatever the server sends, and nothing is kept after an abort;
the caller limits the time.

Rules: RFC 9112: 6.3 length of a body, 7.1 chunks and trailers, 9.3 persistence, 9.8 closing.
httptools parses the answers.
"""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httptools
from multidict import CIMultiDict

from receiver.azure.answer import ANSWER_LIMIT_BYTES

HEAD_LIMIT_BYTES = 64 << 10
UNHEARD_MS = 5000
"""Longest time that data on a kept connection may stay unacknowledged (TCP_USER_TIMEOUT).

A connection that died silently, as behind a firewall that dropped its state, is noticed within
seconds. A new connection has no such limit: a slow service has the whole timeout of a POST.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; its headers are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BrokenOff(OSError):
    """The connection ended, or the data was not HTTP, before the answer was complete."""


class HttpConnection(asyncio.Protocol):
    """One connection; httptools calls the `on_…` methods."""

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
        """Whether a byte of the answer came: if not, the request may never have arrived."""
        return self._size > 0

    async def ask(self, request: bytes) -> Answer:
        """Send a request and wait for its answer. Raises: BrokenOff."""
        self._expect_answer()
        if not self.may_go_on or not self._transport:  # it was closed right after it was opened
            raise BrokenOff("closed by the other side")
        self._future = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._future

    def keep(self, now: float) -> None:
        """Keep the connection for another request, with a short limit for unacknowledged data."""
        if self.idle_since is None and self._transport:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS)
        self.idle_since = now

    def abort(self) -> None:
        """Close the connection, and drop the data that was read.

        Parser and connection refer to each other: otherwise both would keep the data,
        which may be megabytes, until the next search for cycles.
        """
        self.may_go_on = False
        if self._transport:
            self._transport.abort()
        self._parser = None
        self._body = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Parse the answer; unrequested or oversized data closes the connection."""
        parser = self._parser
        if parser is None or self._future is None or self._future.done():
            self.abort()
            return
        self._size += len(data)
        if (
            self._status and self._size > ANSWER_LIMIT_BYTES
        ):  # an oversized answer counts as one without a body
            self._finish(b"")
            self.abort()
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(BrokenOff(f"the answer is not HTTP: {error}"))
        if not self._status and self._size > HEAD_LIMIT_BYTES:
            self._fail(BrokenOff("the answer's headers are too long"))

    def eof_received(self) -> None:
        """Close the connection."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Finish with the data so far, since the status already decides about the items.

        An incomplete body of known length counts as no body.
        """
        if self._status:
            has_length = "Content-Length" in self._headers or "Transfer-Encoding" in self._headers
            self._finish(b"" if has_length else b"".join(self._body))
        else:
            self._fail(BrokenOff(str(exc or "closed by the other side")))
        self.abort()

    def on_message_begin(self) -> None:
        """Start an answer; an unrequested one must not count as the answer to another request."""
        if self._future is None or self._future.done():
            self.may_go_on = False
        else:
            self._headers = CIMultiDict()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are ignored."""
        if not self._status:
            self._headers.add(name.decode("latin-1"), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Keep the status; "100 Continue" and other 1xx are not the answer, which starts afresh."""
        status = self._parser.get_status_code()
        if status >= 200:
            self._status = status

    def on_body(self, part: bytes) -> None:
        """Keep a part of the body, whose size `data_received` has checked."""
        self._body.append(part)

    def on_message_complete(self) -> None:
        """Finish; a server that answers before the request is sent may never read the rest."""
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
