"""The HTTP application: routes, and the checks of every request.

In: requests. Out: answers. A request is checked by its headers, and its errors become an HTTP
status; it never ends in a traceback. The HTTP API is in docs/http-api.md.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from receiver import cross_origin
from receiver.errors import WRITE_PATH, ForeignPage, MemoryShort, NotCommitted, RequestRefused
from receiver.server.answers import Answers, is_large, json_response
from receiver.server.auth import Access
from receiver.server.connection_guard import ConnectionGuard, Guards
from receiver.server.memory_limit import MemoryLimit
from receiver.server.refusals import Refusals, is_a_sender, misled
from receiver.server.write_endpoint import WriteEndpoint

OPEN_PATHS = ("/-/healthy", "/-/ready")
"""Paths without credentials, for health checks."""
PAGE_BYTES = 8 << 20
"""Largest memory for making a page: its rows, and their JSON."""

Page = Callable[[], Awaitable[bytes]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Pages:
    """The receiver's status pages; `ready` returns an empty text, or why it is not ready.

    `routes` are those of `receiver.status.pages`.
    """

    status: Page
    metrics: Page
    ready: Callable[[], Awaitable[str]]
    routes: Sequence[web.RouteDef] = ()


class App:
    """The HTTP side of one receiver."""

    def __init__(
        self,
        writes: WriteEndpoint,
        pages: Pages,
        access: Access,
        refusals: Refusals,
        answers: Answers,
        memory: MemoryLimit,
        guards: Guards,
        own_names: Collection[str] | None,
    ) -> None:
        """Make the application; `guards` are those of the open connections.

        `own_names` are this machine's names if the listener is on loopback, else None.
        """
        self._writes = writes
        self._pages = pages
        self._access = access
        self._refusals = refusals
        self._answers = answers
        self._memory = memory
        self._guards = guards
        self._own_names = own_names
        self.application = web.Application(middlewares=[self._admit])
        self.application.on_response_prepare.append(self._add_headers)
        self.application.add_routes(
            [
                *writes.routes(),
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
        guard = self._guards.get(request.transport)
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
            return self._refusals.early_response(error, request)
        except MemoryError:
            return self._refusals.early_response(MemoryShort("memory ran out"), request)
        except web.HTTPException as error:
            if error.status not in (404, 405) or not is_a_sender(request):
                raise
            return self._refusals.early_response(misled(request), request)
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
        self, request: web.Request, handler: Handler, guard: ConnectionGuard | None
    ) -> web.StreamResponse:
        """Make a page's answer, or share one; a large answer is counted while it is read."""
        answers, key = self._answers, request.path_qs
        answer = answers.current(key)
        if answer is None:
            answers.refuse_when_full()
            self._memory.refuse_without(PAGE_BYTES)
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

    async def _healthy(self, _: web.Request) -> web.Response:
        return web.Response(text="OK\n")

    async def _ready(self, _: web.Request) -> web.Response:
        problem = "the receiver is stopping" if self._writes.draining else await self._pages.ready()
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
            return json_response({"error": str(error)}, 503)


def _certificate(request: web.Request) -> Mapping[str, Any] | None:
    return request.transport.get_extra_info("peercert") if request.transport else None
