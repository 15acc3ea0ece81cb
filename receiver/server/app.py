"""The HTTP application: routes, limits, and the status for each error.

In: requests. Out: answers. Errors that the stages raise become an HTTP status; a request
never ends in a traceback. Rules: Remote-Write 1.0 and 2.0, "Protocol"; the HTTP API is in
docs/http-api.md.
"""

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from receiver import cross_origin
from receiver.errors import (
    FINAL_REASONS,
    BrokenOff,
    ForeignPage,
    MemoryShort,
    NotCommitted,
    RequestRefused,
    ShuttingDown,
    TooLarge,
    TooSlow,
    Unauthorized,
    WrongAddress,
    WrongMethod,
)
from receiver.events import Events, Kind
from receiver.intake.decode import Message, declared_length
from receiver.server.admission import Admission, Lease
from receiver.server.answers import Answers, is_large
from receiver.server.auth import Access
from receiver.server.memory_limit import MemoryLimit
from receiver.server.negotiation import negotiate
from receiver.server.write_handler import TEXT_LIMIT, Reply, WriteHandler
from receiver.text import printable

if TYPE_CHECKING:
    from receiver.server.connection_guard import ConnectionGuard

WRITE_PATH = "/api/v1/write"
RETRY_AFTER_SECONDS = 5
RETRY_AFTER_LIMIT_SECONDS = 80
OPEN_PATHS = ("/-/healthy", "/-/ready")
"""Paths without credentials, for health checks."""
PAGE_BYTES = 8 << 20
"""Largest memory for making a page: its rows, and their JSON."""
DECODED_TIMES = 4
"""Largest memory of a request being processed, as a multiple of its decoded size; see tests/hostile."""
REFUSED = Kind("request", "request refused")
FAILED = Kind("request", "request failed")
PAGE_REFUSED = Kind("page", "page refused")
_SENDERS = re.compile("prometheus|vmagent|opentelemetry|alloy|grafana", re.IGNORECASE)

Page = Callable[[], Awaitable[bytes]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """The limits on a request's body: its compressed size, and the time to read it."""

    body_bytes: int
    body_seconds: float


@dataclass(frozen=True, slots=True)
class Pages:
    """The receiver's status pages; `ready` returns an empty text, or why it is not ready.

    `routes` are those of `receiver.status.pages`.
    """

    status: Page
    metrics: Page
    ready: Callable[[], Awaitable[str]]
    routes: Sequence[web.RouteDef] = ()


@dataclass(frozen=True, slots=True)
class SharedLimits:
    """The limits on all requests and answers together."""

    admission: Admission
    answers: Answers
    memory: MemoryLimit


class App:
    """The HTTP side of one receiver."""

    def __init__(
        self,
        write_handler: WriteHandler,
        pages: Pages,
        access: Access,
        shared: SharedLimits,
        limits: BodyLimits,
        events: Events,
        own_names: Collection[str] | None,
    ) -> None:
        """Make the application; the listener sets `guard_of` later.

        `own_names` are this machine's names if the listener is on loopback, else None.
        """
        self._write_handler = write_handler
        self._pages = pages
        self._access = access
        self._shared = shared
        self._limits = limits
        self._events = events
        self._own_names = own_names
        self.guard_of: Callable[[asyncio.BaseTransport | None], ConnectionGuard | None] = lambda _: (
            None
        )
        self.draining = False
        self._in_flight = 0
        self._drained = asyncio.Event()
        self.application = web.Application(middlewares=[self._admit])
        self.application.on_response_prepare.append(self._add_headers)
        self.application.add_routes(
            [
                web.post(WRITE_PATH, self._write, expect_handler=_expect),
                web.get(WRITE_PATH, self._explain_write, allow_head=True),
                web.get("/-/healthy", self._healthy),
                web.get("/-/ready", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/api/v1/status", self._status),
                *pages.routes,
            ]
        )

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check a request by its headers, before its body is read, and answer it."""
        guard = self.guard_of(request.transport)
        if guard:
            guard.begin_body()
        try:
            if request.path in OPEN_PATHS:
                return await handler(request)
            await self._check(request)
            if request.path == WRITE_PATH or request.method != "GET":
                return await handler(request)
            return await self._answer(request, handler, guard)
        except RequestRefused as error:
            return self._refuse_early(error, request)
        except MemoryError:
            return self._refuse_early(MemoryShort("memory ran out"), request)
        except web.HTTPException as error:
            if error.status not in (404, 405) or not _is_a_sender(request):
                raise
            return self._refuse_early(_misled(request), request)
        finally:
            if guard:
                guard.done()

    async def _check(self, request: web.Request) -> None:
        """Check origin and credentials. Raises: ForeignPage, Unauthorized, Forbidden, Overloaded."""
        own_names = self._own_names if self._access.rules.ask_nothing else None
        if why := cross_origin.refusal(request.method, request.headers, own_names):
            raise ForeignPage(why)
        await self._access.check(request.headers.get("Authorization", ""), _certificate(request))

    async def _answer(
        self, request: web.Request, handler: Handler, guard: "ConnectionGuard | None"
    ) -> web.StreamResponse:
        """Make a page's answer, or share one; a large answer is counted while it is read."""
        answers, key = self._shared.answers, request.path_qs
        answer = answers.current(key)
        if answer is None:
            answers.refuse_when_full()
            self._shared.memory.refuse_without(PAGE_BYTES)
            response = await handler(request)
            if not is_large(response):
                return response
            answer = answers.make(response)
        with answers.reading(key, answer):
            if guard:
                guard.begin_answer()
            return await answer.send(request)

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        """Add the headers of every answer; those of web.config.file override the others."""
        headers = response.headers
        for name, value in cross_origin.HEADERS.items():
            headers.setdefault(name, value)
        headers["Server"] = cross_origin.HEADERS["Server"]
        headers.update(self._access.rules.web.headers)

    async def _write(self, request: web.Request) -> web.Response:
        self._in_flight += 1
        began = time.monotonic()
        message: Message | None = None
        try:
            if self.draining:
                raise ShuttingDown("the receiver is stopping")
            message = negotiate(
                *(_header(request, name) for name in ("Content-Type", "Content-Encoding"))
            )
            response = _response(await self._handle(request, message), message)
        except RequestRefused as error:
            response = self._refuse(error, message, request)
        except MemoryError:
            response = self._refuse(MemoryShort("memory ran out"), message, request)
        except Exception as error:  # noqa: BLE001 - an event, with its traceback
            kind = type(error).__name__
            hint = "A defect of the receiver: please report it."
            self._events.happened(FAILED, kind, f"500 {kind}: {error}", hint, defect=error)
            response = web.Response(status=500, text=f"internal error: {kind}\n")
        finally:
            self._in_flight -= 1
            if self.draining and not self._in_flight:
                self._drained.set()
        self._write_handler.counts.replies[str(response.status)] += 1
        self._write_handler.counts.last_request_at = time.time()
        self._write_handler.counts.latency.observe(time.monotonic() - began)
        return response

    async def _handle(self, request: web.Request, message: Message) -> Reply:
        if (length := request.content_length or 0) > self._limits.body_bytes:
            raise self._too_large(length)
        content = request.content
        if content.is_eof() and not content.exception():  # all of it came with the headers
            with self._shared.admission.enter() as lease:
                body = content.read_nowait()
                self._hold(lease, len(body))
                return await self._work(request, message, body, lease)
        limit = asyncio.timeout(self._limits.body_seconds)
        now = asyncio.get_running_loop().time
        with self._shared.admission.enter(lambda: limit.reschedule(now())) as lease:
            body = await self._body(request, lease, limit)
            return await self._work(request, message, body, lease)

    async def _work(
        self, request: web.Request, message: Message, body: bytes, lease: Lease
    ) -> Reply:
        self._refuse_without_memory(body)
        lease.work()
        if guard := self.guard_of(request.transport):
            guard.begin_work()
        return await self._write_handler.handle(body, message, lease.hold)

    def _refuse_without_memory(self, body: bytes) -> None:
        """Refuse a body that may not fit into memory; one above the size limit is refused elsewhere."""
        length = declared_length(body)
        if length <= self._write_handler.pipeline.limits.decoded_bytes:
            self._shared.memory.refuse_without(DECODED_TIMES * length)

    async def _body(self, request: web.Request, lease: Lease, limit: asyncio.Timeout) -> bytes:
        """Read the body within its limits of time, size and memory."""
        parts: list[bytes] = []
        try:
            async with limit:
                if request.headers.get("Expect", "").lower() == "100-continue":
                    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    request.writer.output_size = 0
                while part := await request.content.readany():
                    self._shared.memory.refuse_without(lease.size_bytes + len(part))
                    parts.append(part)
                    self._hold(lease, len(part))
        except TimeoutError as error:
            raise TooSlow(
                "the body was not complete in time, or was abandoned for others"
            ) from error
        except (OSError, web.RequestPayloadError) as error:
            raise BrokenOff("the connection broke off during the body") from error
        return b"".join(parts)

    def _hold(self, lease: Lease, size_bytes: int) -> None:
        lease.grow(size_bytes)
        if lease.size_bytes > self._limits.body_bytes:
            raise self._too_large(lease.size_bytes)

    def _too_large(self, length: int) -> TooLarge:
        limit = self._limits.body_bytes
        return TooLarge(f"the body has {length} bytes or more; the limit is {limit}")

    async def drained(self, seconds: float) -> None:
        """Wait until the requests in flight are answered, for at most these seconds."""
        if self._in_flight:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._drained.wait()

    def _refuse(
        self, error: RequestRefused, message: Message | None, request: web.Request
    ) -> web.Response:
        is_a_sender = request.path == WRITE_PATH or _is_a_sender(request)
        if is_a_sender and error.reason in FINAL_REASONS:
            self._write_handler.counts.lost_bytes += request.content_length or 0
        is_first_question = (
            isinstance(error, Unauthorized) and "Authorization" not in request.headers
        )
        if (
            is_a_sender or not is_first_question
        ):  # a browser first asks without credentials, then with
            self._events.happened(
                REFUSED if is_a_sender else PAGE_REFUSED,
                error.reason,
                f"{error.status} {error}",
                error.hint,
                sender=request.headers.get("User-Agent", ""),
            )
        if isinstance(error, Unauthorized):
            challenge = {"WWW-Authenticate": self._access.rules.challenge}
            return web.Response(status=error.status, text="Unauthorized\n", headers=challenge)
        response = _response(Reply(error.status, f"{error}. {error.hint}"), message)
        if isinstance(error, WrongMethod):
            response.headers["Allow"] = "POST"
        if isinstance(error, NotCommitted):
            response.headers["Retry-After"] = str(
                retry_after_seconds(request.headers.get("Retry-Attempt", ""))
            )
        return response

    def _refuse_early(self, error: RequestRefused, request: web.Request) -> web.Response:
        """Refuse a request before it reaches `_write`; a sender's counts as a write attempt."""
        response = self._refuse(error, None, request)
        if request.path == WRITE_PATH or _is_a_sender(request):
            self._write_handler.counts.replies[str(response.status)] += 1
            self._write_handler.counts.last_request_at = time.time()
        return response

    async def _explain_write(self, request: web.Request) -> web.Response:
        if _is_a_sender(request):
            raise _misled(request)
        text = "Remote-write uses POST: set this address as the url of a remote_write in prometheus.yml.\n"
        return web.Response(status=405, text=text, headers={"Allow": "POST"})

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(text="OK\n")

    async def _ready(self, _: web.Request) -> web.Response:
        problem = "the receiver is stopping" if self.draining else await self._pages.ready()
        if problem:
            return web.Response(status=503, text=f"{problem}\n")
        return web.Response(text="OK\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        try:
            body = await self._pages.metrics()
        except NotCommitted as error:
            return web.Response(status=503, text=f"{error}\n")
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _status(self, _: web.Request) -> web.Response:
        try:
            return web.Response(body=await self._pages.status(), content_type="application/json")
        except NotCommitted as error:
            return web.json_response({"error": str(error)}, status=503)


def _is_a_sender(request: web.Request) -> bool:
    """Whether the headers are a remote-write sender's, whatever the path and method."""
    headers = request.headers
    return (
        "X-Prometheus-Remote-Write-Version" in headers
        or headers.get("Content-Encoding", "").lower() in {"snappy", "zstd"}
        or "protobuf" in headers.get("Content-Type", "")
        or (request.method != "GET" and bool(_SENDERS.search(headers.get("User-Agent", ""))))
    )


def _misled(request: web.Request) -> RequestRefused:
    """Return the refusal of a sender with a wrong path or method, with the right url."""
    right = request.url.with_path(WRITE_PATH).with_query(None)
    asked = request.url.with_query(None)
    if request.path == WRITE_PATH:
        return WrongMethod(
            f"{request.method} {str(asked)[:200]} cannot write: remote-write is POST {right}"
        )
    text = f"{request.method} {str(asked)[:200]} takes no writes: the url is {str(right)[:200]}"
    return WrongAddress(text)


async def _expect(_: web.Request) -> None:
    """Do not send "100 Continue" yet: it is sent when the body is read."""


def _header(request: web.Request, name: str) -> str:
    """Return a header's value; several lines are one list (RFC 9110, 5.3)."""
    return ", ".join(request.headers.getall(name, ()))


def _certificate(request: web.Request) -> Mapping[str, Any] | None:
    return request.transport.get_extra_info("peercert") if request.transport else None


def _response(reply: Reply, message: Message | None) -> web.Response:
    """Return the HTTP response; the Written headers only for 2.0, whose senders check them."""
    headers = {}
    if message is Message.V2:
        for name in ("samples", "histograms", "exemplars"):
            header = f"X-Prometheus-Remote-Write-{name.capitalize()}-Written"
            headers[header] = str(getattr(reply, f"written_{name}"))
    if not reply.text:
        return web.Response(status=reply.status, headers=headers)
    text = printable(" ".join(reply.text[:TEXT_LIMIT].split()))
    return web.Response(status=reply.status, text=f"{text}\n", headers=headers)


def retry_after_seconds(attempt: str) -> int:
    """Return the delay before a retry: longer with every attempt, with jitter."""
    number = int(attempt) if attempt.isdecimal() and len(attempt) < 4 else 0
    longest = min(RETRY_AFTER_SECONDS << min(number, 10), RETRY_AFTER_LIMIT_SECONDS)
    return max(1, round(longest * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter, not a secret
