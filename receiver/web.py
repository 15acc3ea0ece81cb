"""HTTP in: the only place that knows aiohttp's server.

In: requests. Out: answers. Routes, limits, and the translation of what the stages
raise to a status; a request never ends in a traceback. Rules: Remote-Write 1.0 and
2.0, "Protocol"; our HTTP API is docs/http-api.md.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from receiver.decode import Message
from receiver.errors import BrokenOff, NotCommitted, RequestRefused, ShuttingDown, TooLarge
from receiver.media import negotiate
from receiver.reception import TEXT_LIMIT, Reception, Reply

WRITE_PATH = "/api/v1/write"
RETRY_AFTER_SECONDS = 5
RETRY_AFTER_LIMIT_SECONDS = 80
LOG_INTERVAL_SECONDS = 60.0

log = structlog.get_logger()

Page = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Pages:
    """What the receiver shows of itself; `ready` gives an empty text, or why not."""

    status: Page
    metrics: Page
    ready: Callable[[], Awaitable[str]]


class Web:
    """The HTTP side of one receiver."""

    def __init__(
        self,
        reception: Reception,
        pages: Pages,
        body_max_bytes: int,
        routes: Sequence[web.RouteDef] = (),
    ) -> None:
        """Make the application; nothing listens yet. `routes` are those of `receiver.pages`."""
        self._reception = reception
        self._pages = pages
        self.body_max_bytes = body_max_bytes
        self.draining = False
        self._in_flight = 0
        self._drained = asyncio.Event()
        self._logged: dict[str, float] = {}
        self.on_trouble: Callable[[str, str, str], None] = lambda *_: None
        self.application = web.Application(client_max_size=body_max_bytes)
        self.application.add_routes(
            [
                web.post(WRITE_PATH, self._write),
                web.get(WRITE_PATH, self._explain_write, allow_head=True),
                web.get("/-/healthy", self._healthy),
                web.get("/-/ready", self._ready),
                web.get("/metrics", self._metrics),
                web.get("/api/v1/status", self._status),
                *routes,
            ]
        )

    async def _write(self, request: web.Request) -> web.Response:
        self._in_flight += 1
        message: Message | None = None
        try:
            if self.draining:
                raise ShuttingDown("the receiver is stopping")
            headers = request.headers
            message = negotiate(
                headers.get("Content-Type", ""), headers.get("Content-Encoding", "")
            )
            reply = await self._reception.take(await self._body(request), message)
            response = _response(reply, message)
        except RequestRefused as error:
            response = self._refuse(error, message, request)
        except Exception as error:
            log.exception("request failed", hint="A defect of the receiver: please report it.")
            text = f"internal error: {type(error).__name__}\n"
            response = web.Response(status=500, text=text)
        finally:
            self._in_flight -= 1
            if self.draining and not self._in_flight:
                self._drained.set()
        self._reception.counts.replies[str(response.status)] += 1
        self._reception.counts.last_request_at = time.time()
        return response

    async def drained(self, seconds: float) -> None:
        """Wait until the requests in flight are answered, at most so long."""
        if self._in_flight:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._drained.wait()

    async def _body(self, request: web.Request) -> bytes:
        length = request.content_length or 0
        if length <= self.body_max_bytes:
            try:
                return await request.read()
            except web.HTTPRequestEntityTooLarge:
                length = self.body_max_bytes + 1
            except (OSError, web.RequestPayloadError) as error:
                raise BrokenOff("the body broke off") from error
        message = f"the body has {length} bytes or more; the limit is {self.body_max_bytes}"
        raise TooLarge(message)

    def _refuse(
        self, error: RequestRefused, message: Message | None, request: web.Request
    ) -> web.Response:
        self._reception.counts.refused_requests[error.reason] += 1
        self.on_trouble("request", f"{error.status} {error}", error.hint)
        now = time.monotonic()
        if now - self._logged.get(error.reason, -LOG_INTERVAL_SECONDS) >= LOG_INTERVAL_SECONDS:
            self._logged[error.reason] = now
            log.warning(
                "request refused",
                status=error.status,
                reason=error.reason,
                error=str(error),
                hint=error.hint,
                sender=request.headers.get("User-Agent", "")[:100],
            )
        response = _response(Reply(error.status, f"{error}. {error.hint}"), message)
        if isinstance(error, NotCommitted):
            response.headers["Retry-After"] = str(
                retry_after_seconds(request.headers.get("Retry-Attempt", ""))
            )
        return response

    async def _explain_write(self, _: web.Request) -> web.Response:
        text = "Remote-write wants POST: name this address as the url of a remote_write in prometheus.yml.\n"
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


def _response(reply: Reply, message: Message | None) -> web.Response:
    """Put a reply into HTTP; the Written headers only for 2.0, where senders want them exact."""
    headers = {}
    if message is Message.V2:
        for name in ("samples", "histograms", "exemplars"):
            header = f"X-Prometheus-Remote-Write-{name.capitalize()}-Written"
            headers[header] = str(getattr(reply, f"written_{name}"))
    if not reply.text:
        return web.Response(status=reply.status, headers=headers)
    text = " ".join(reply.text[:TEXT_LIMIT].split())
    return web.Response(status=reply.status, text=f"{text}\n", headers=headers)


def retry_after_seconds(attempt: str) -> int:
    """Say when to come again: later with each attempt, and not all senders at once."""
    number = int(attempt) if attempt.isdecimal() and len(attempt) < 4 else 0
    longest = min(RETRY_AFTER_SECONDS << min(number, 10), RETRY_AFTER_LIMIT_SECONDS)
    return max(1, round(longest * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter, no secret
