"""An app and a write endpoint without the parts behind them, served on loopback."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from receiver.events import Events
from receiver.intake.decode import Message
from receiver.server.admission import Admission
from receiver.server.answers import Answers
from receiver.server.app import App, Pages
from receiver.server.memory_limit import Limit, MemoryLimit
from receiver.server.refusals import Refusals
from receiver.server.write_endpoint import WriteEndpoint
from receiver.server.write_handler import Reply, WriteCounts

if TYPE_CHECKING:
    from receiver.errors import (
        RequestRefused,
    )

MIB = 1 << 20
NOW = 1_800_000_000.0


WRITE = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
BODY = b"\x01\x00a"
"""Declares one byte."""


class Bench:
    """An app without rooms behind it: `handle` says what becomes of a write, `page` what a page is."""

    def __init__(
        self,
        own_names: tuple[str, ...] | None = None,
        body_seconds: float = 10,
        in_flight_bytes: int = 10_000,
        answers_bytes: int = 1 << 20,
    ) -> None:
        self.events = Events()
        self.counts = WriteCounts(clock=lambda: NOW)
        self.bodies: list[tuple[bytes, Message]] = []
        self.outcome: Callable[[], Reply] = lambda: Reply(204, "", 1, 2, 3)
        self.go = asyncio.Event()
        self.go.set()
        self.page: Callable[[], bytes] = lambda: b"a page"
        self.problem = ""
        self.told: list[str] = []
        self.has_guard = False
        self.used_bytes = 0
        self.refuses: RequestRefused | None = None
        self.asked: list[str] = []
        self.rules = SimpleNamespace(
            ask_nothing=True, challenge='Basic realm="x"', web=SimpleNamespace(headers={})
        )
        self.pipeline = SimpleNamespace(limits=SimpleNamespace(decoded_bytes=1000))
        us: Any = self
        memory = MemoryLimit([Limit("a limit", 100 * MIB, lambda: self.used_bytes)], lambda: 0)
        admission = Admission(2, in_flight_bytes)
        answers = Answers(answers_bytes, lambda: 0.0)
        refusals = Refusals(self.counts, us, self.events)
        self.writes = WriteEndpoint(us, refusals, admission, memory, us, self.events, body_max_bytes=100, body_seconds=body_seconds)  # fmt: skip
        pages = Pages(self.make, self.make, self.ready, [web.post("/-/reload", self.reload)])
        self.app = App(self.writes, pages, us, refusals, answers, memory, us, own_names)

    def get(self, transport: object) -> "Bench | None":
        """Be the guard of every open connection."""
        return self if self.has_guard and transport else None

    async def handle(self, body: bytes, message: Message, hold: Callable[[int], object]) -> Reply:
        self.bodies.append((body, message))
        hold(5)
        await self.go.wait()
        return self.outcome()

    async def make(self) -> bytes:
        return self.page()

    async def ready(self) -> str:
        return self.problem

    async def reload(self, _: web.Request) -> web.Response:
        return web.Response(text="reloaded")

    async def check(self, authorization: str, _: object) -> None:
        self.asked.append(authorization)
        if self.refuses:
            raise self.refuses

    def begin_body(self) -> None:
        self.told.append("body")

    def begin_work(self) -> None:
        self.told.append("work")

    def begin_answer(self) -> None:
        self.told.append("answer")

    def done(self) -> None:
        self.told.append("done")


def raising(error: BaseException) -> Callable[[], Any]:
    """Make what raises that."""

    def fail() -> Any:
        raise error

    return fail


@asynccontextmanager
async def serving(bench: Bench) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """Serve it on loopback."""
    async with TestClient(TestServer(bench.app.application)) as client:
        yield client


async def text_of(response: ClientResponse, status: int) -> str:
    """Read an answer of that status."""
    assert response.status == status
    return await response.text()


async def first_line(client: TestClient[web.Request, web.Application], sent: bytes) -> bytes:
    """Send some bytes; returns the first line of what comes."""
    assert client.port
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(sent)
    line = await reader.readline()
    writer.close()
    return line
