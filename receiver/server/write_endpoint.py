"""The endpoint of remote-write: POST /api/v1/write.

In: a request whose headers are checked. Out: the answer of the write handler, or a refusal. The
body is read within limits of time, size and memory. Rules: Remote-Write 1.0 and 2.0, "Protocol".
"""

import asyncio
import time
from contextlib import suppress

from aiohttp import web

from receiver.errors import (
    WRITE_PATH,
    IncompleteBody,
    MemoryShort,
    RequestRefused,
    ShuttingDown,
    TooLarge,
    TooSlow,
)
from receiver.events import Events, Kind
from receiver.intake.decode import Message, declared_length
from receiver.server.admission import Admission, Lease
from receiver.server.connection_guard import Guards
from receiver.server.memory_limit import MemoryLimit
from receiver.server.negotiation import negotiate
from receiver.server.refusals import Refusals, is_a_sender, misled, response_of
from receiver.server.write_handler import Reply, WriteHandler

DECODED_TIMES = 4
"""Largest memory of a request being processed, as a multiple of its decoded size; see tests/hostile."""
FAILED = Kind("request", "request failed")


class WriteEndpoint:
    """Reads and answers write requests."""

    def __init__(
        self,
        write_handler: WriteHandler,
        refusals: Refusals,
        admission: Admission,
        memory: MemoryLimit,
        guards: Guards,
        events: Events,
        *,
        body_max_bytes: int,
        body_seconds: float,
    ) -> None:
        """Wire the parts; the last two limit a body's compressed size, and the time to read it."""
        self._write_handler = write_handler
        self._refusals = refusals
        self._admission = admission
        self._memory = memory
        self._guards = guards
        self._events = events
        self._body_max_bytes = body_max_bytes
        self._body_seconds = body_seconds
        self.draining = False
        self._in_flight = 0
        self._drained = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the endpoint."""
        return [
            web.post(WRITE_PATH, self._answer, expect_handler=_expect),
            web.get(WRITE_PATH, self._explain, allow_head=True),
        ]

    async def _answer(self, request: web.Request) -> web.Response:
        """Answer a request; never raises."""
        self._in_flight += 1
        began = time.monotonic()
        message: Message | None = None
        try:
            if self.draining:
                raise ShuttingDown("the receiver is stopping")
            message = negotiate(
                *(_header(request, name) for name in ("Content-Type", "Content-Encoding"))
            )
            response = response_of(await self._handle(request, message), message)
        except RequestRefused as error:
            response = self._refusals.response(error, request, message)
        except MemoryError:
            response = self._refusals.response(MemoryShort("memory ran out"), request, message)
        except Exception as error:  # noqa: BLE001 - an event, with its traceback
            kind = type(error).__name__
            hint = "A defect of the receiver: please report it."
            self._events.happened(FAILED, kind, f"500 {kind}: {error}", hint, defect=error)
            response = web.Response(status=500, text=f"internal error: {kind}\n")
        finally:
            self._in_flight -= 1
            if self.draining and not self._in_flight:
                self._drained.set()
        self._write_handler.counts.answered(response.status, time.monotonic() - began)
        return response

    async def _handle(self, request: web.Request, message: Message) -> Reply:
        if (length := request.content_length or 0) > self._body_max_bytes:
            raise self._too_large(length)
        with self._admission.enter() as lease:
            body = await self._read_body(request, lease)
            self._refuse_without_memory(body)
            lease.work()
            if guard := self._guards.get(request.transport):
                guard.begin_work()
            return await self._write_handler.handle(body, message, lease.hold)

    async def _read_body(self, request: web.Request, lease: Lease) -> bytes:
        """Read the body within its limits of time, size and memory."""
        content = request.content
        if content.is_eof() and not content.exception():  # all of it came with the headers
            body = content.read_nowait()
            self._hold(lease, len(body))
            return body
        parts: list[bytes] = []
        now = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(self._body_seconds) as limit:
                lease.give_up = lambda: limit.reschedule(now())
                if request.headers.get("Expect", "").lower() == "100-continue":
                    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    request.writer.output_size = 0  # else aiohttp takes the answer as begun
                while part := await content.readany():
                    self._memory.refuse_without(lease.size_bytes + len(part))
                    parts.append(part)
                    self._hold(lease, len(part))
        except TimeoutError as error:
            raise TooSlow(
                "the body was not complete in time, or was abandoned for others"
            ) from error
        except (OSError, web.RequestPayloadError) as error:
            raise IncompleteBody("the connection broke off during the body") from error
        return b"".join(parts)

    def _hold(self, lease: Lease, size_bytes: int) -> None:
        lease.grow(size_bytes)
        if lease.size_bytes > self._body_max_bytes:
            raise self._too_large(lease.size_bytes)

    def _too_large(self, length: int) -> TooLarge:
        limit = self._body_max_bytes
        return TooLarge(f"the body has {length} bytes or more; the limit is {limit}")

    def _refuse_without_memory(self, body: bytes) -> None:
        """Refuse a body that may not fit into memory; one above the size limit is refused elsewhere."""
        length = declared_length(body)
        if length <= self._write_handler.pipeline.limits.decoded_bytes:
            self._memory.refuse_without(DECODED_TIMES * length)

    async def _explain(self, request: web.Request) -> web.Response:
        if is_a_sender(request):
            raise misled(request)
        text = "Remote-write uses POST: set this address as the url of a remote_write in prometheus.yml.\n"
        return web.Response(status=405, text=text, headers={"Allow": "POST"})

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, and wait at most these seconds for those in flight."""
        self.draining = True
        if self._in_flight:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._drained.wait()


async def _expect(_: web.Request) -> None:
    """Do not send "100 Continue" yet: it is sent when the body is read."""


def _header(request: web.Request, name: str) -> str:
    """Return a header's value; several lines are one list (RFC 9110, 5.3)."""
    return ", ".join(request.headers.getall(name, ()))
