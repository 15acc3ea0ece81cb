"""What a request is answered, before its body is decoded and without any room behind the server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from receiver import cross_origin
from receiver.errors import (
    ForeignPage,
    MemoryShort,
    NotCommitted,
    OutboxFull,
    RequestRefused,
    Unauthorized,
    Undecodable,
)
from receiver.events import Events
from receiver.intake.decode import Message
from receiver.server.admission import Admission
from receiver.server.answers import SMALL_BYTES, Answers
from receiver.server.app import (
    FAILED,
    PAGE_REFUSED,
    REFUSED,
    WRITE_PATH,
    App,
    BodyLimits,
    Pages,
    SharedLimits,
    _certificate,
    retry_after_seconds,
)
from receiver.server.memory_limit import Limit, MemoryLimit
from receiver.server.write_handler import Reply, WriteCounts
from tests.integration.waiting import in_loop, until

MIB = 1 << 20


def refuse(declared: bytes, limit_mib: int) -> None:
    """Look at a body that begins with its declared length, under a limit of which 50 MiB are used."""
    memory = MemoryLimit([Limit("a limit", limit_mib * MIB, lambda: 50 * MIB)], lambda: 0)
    app = SimpleNamespace(
        _write_handler=SimpleNamespace(
            pipeline=SimpleNamespace(limits=SimpleNamespace(decoded_bytes=32 * MIB))
        ),
        _shared=SimpleNamespace(memory=memory),
    )
    App._refuse_without_memory(app, declared)  # type: ignore[arg-type]


def test_a_body_for_which_memory_may_be_short_comes_again() -> None:
    """30 MiB take 120 at most, beside the reserve."""
    thirty = b"\x80\x80\x80\x0f"
    refuse(thirty, 200)
    with pytest.raises(MemoryShort):
        refuse(thirty, 160)


def test_a_body_that_is_too_large_does_not() -> None:
    """It is for the decoder to refuse for good: 503 would bring it back for ever."""
    refuse(b"\x80\x80\x80\x80\x0f", 160)


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
        self.counts = WriteCounts()
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
        shared = SharedLimits(
            Admission(2, in_flight_bytes), Answers(answers_bytes, lambda: 0.0), memory
        )
        pages = Pages(self.make, self.make, self.ready, [web.post("/-/reload", self.reload)])
        self.app = App(us, pages, us, shared, BodyLimits(100, body_seconds), self.events, own_names)
        self.app.guard_of = lambda transport: us if self.has_guard and transport else None

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


@in_loop()
async def test_a_write_is_handed_on_and_answered() -> None:
    """By its version: senders of 2.0 check what was written."""
    bench = Bench()
    async with serving(bench) as client:
        first = await client.post(WRITE_PATH, data=BODY, headers=WRITE)
        assert await text_of(first, 204) == ""
        assert not [name for name in first.headers if name.endswith("-Written")]
        v2 = WRITE | {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}
        second = await client.post(WRITE_PATH, data=BODY, headers=v2)
        written = {name.split("-")[-2]: int(value) for name, value in second.headers.items() if name.endswith("-Written")}  # fmt: skip
        assert written == {"Samples": 1, "Histograms": 2, "Exemplars": 3}
        bench.outcome = raising(Undecodable("no"))
        refused = await client.post(WRITE_PATH, data=BODY, headers=v2)
        assert {value for name, value in refused.headers.items() if name.endswith("-Written")} == {
            "0"
        }
        for headers in (WRITE | {"Content-Encoding": "gzip"}, WRITE | {"Content-Type": "text/x"}):
            response = await client.post(WRITE_PATH, data=b"", headers=headers)
            await text_of(response, 415)
        line = await first_line(client, f"POST {WRITE_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())  # fmt: skip
        assert line.startswith(b"HTTP/1.1 400"), "as it says nothing of its type"
    assert bench.bodies[:3] == [(BODY, Message.V1), (BODY, Message.V2), (BODY, Message.V2)]
    assert bench.counts.replies == {"204": 2, "400": 2, "415": 2}
    assert bench.counts.last_request_at > 1e9
    assert sum(bench.counts.latency.counts) == 6
    assert 0 < bench.counts.latency.total_seconds < 20
    assert bench.counts.lost_bytes == len(BODY)


@in_loop()
async def test_bytes_that_are_lost_add_up() -> None:
    """Of each request that is refused for good; one without a body has none."""
    bench = Bench()
    async with serving(bench) as client:
        bench.outcome = raising(Undecodable("no"))
        for body in (BODY, BODY, b""):
            await client.post(WRITE_PATH, data=body, headers=WRITE)
    assert bench.counts.lost_bytes == 2 * len(BODY)


@pytest.mark.parametrize(
    ("error", "status", "lost", "again"),
    [
        (Undecodable("no"), 400, 3, False),
        (NotCommitted("no"), 503, 0, True),
        (OutboxFull("no"), 503, 0, True),
        (MemoryError(), 503, 0, True),
    ],
)
@in_loop()
async def test_a_write_that_is_refused_says_why(
    error: Exception,
    status: int,
    lost: int,
    again: bool,  # noqa: FBT001
) -> None:
    """Once as an event, with what to do; samples that come again are not lost."""
    bench = Bench()
    bench.outcome = raising(error)
    async with serving(bench) as client:
        headers = WRITE | {"User-Agent": "vmagent", "Retry-Attempt": "3"}
        response = await client.post(WRITE_PATH, data=BODY, headers=headers)
        said = await text_of(response, status)
    [event] = bench.events.latest()
    assert said == f"{event.words.removeprefix(f'{status} ')}. {event.hint}\n"
    assert event.fields["sender"] == "vmagent"
    assert bench.events.counts(REFUSED) == {event.reason: 1}
    assert bench.counts.lost_bytes == lost
    assert bench.counts.replies == {str(status): 1}
    assert ("Retry-After" in response.headers) is again
    if again:
        assert 20 <= int(response.headers["Retry-After"]) <= 40


@in_loop()
async def test_a_defect_is_a_500_with_its_traceback() -> None:
    """Nothing of it but its kind is for the sender; the next request is served."""
    bench = Bench()
    bench.outcome = raising(RuntimeError("hunter2"))
    async with serving(bench) as client:
        with capture_logs() as logs:
            await client.post(WRITE_PATH, data=BODY, headers=WRITE)
        assert [str(line["exc_info"]) for line in logs] == ["hunter2"]
        said = await text_of(await client.post(WRITE_PATH, data=BODY, headers=WRITE), 500)
        assert said == "internal error: RuntimeError\n"
        bench.outcome = lambda: Reply(204, "")
        await text_of(await client.post(WRITE_PATH, data=BODY, headers=WRITE), 204)
    [event] = bench.events.latest()
    assert event.words == "500 RuntimeError: hunter2"
    assert "report it" in event.hint
    assert bench.events.counts(FAILED) == {"RuntimeError": 2}
    assert bench.counts.replies == {"500": 2, "204": 1}


@in_loop()
async def test_a_stop_refuses_what_comes_and_waits_for_what_is_there() -> None:
    """As long as it may."""
    bench = Bench()
    await bench.app.drained(60)
    async with serving(bench) as client:

        def write() -> "asyncio.Task[ClientResponse]":
            bench.go.clear()
            return asyncio.create_task(client.post(WRITE_PATH, data=BODY, headers=WRITE))

        assert await text_of(await client.get("/-/ready"), 200) == "OK\n"
        await client.post(WRITE_PATH, data=BODY, headers=WRITE)
        first = write()
        await until(lambda: len(bench.bodies) == 2, "the first")
        go_first, bench.go = bench.go, asyncio.Event()
        second = write()
        await until(lambda: len(bench.bodies) == 3, "the second")
        bench.app.draining = True
        await bench.app.drained(0.01)
        refused = await client.post(WRITE_PATH, data=BODY, headers=WRITE)
        assert "stopping" in await text_of(refused, 503)
        assert "stopping" in await text_of(await client.get("/-/ready"), 503)
        assert await text_of(await client.get("/-/healthy"), 200) == "OK\n"

        drained = asyncio.create_task(bench.app.drained(60))
        go_first.set()
        assert (await first).status == 204
        await asyncio.sleep(0.01)
        assert not drained.done()
        assert not second.done()
        bench.go.set()
        assert (await second).status == 204
        await drained
    assert len(bench.bodies) == 3


@in_loop()
async def test_requests_are_handled_two_at_once() -> None:
    """As the limit is here; one more comes again."""
    bench = Bench()
    async with serving(bench) as client:
        bench.go.clear()
        writes = [
            asyncio.create_task(client.post(WRITE_PATH, data=BODY, headers=WRITE)) for _ in range(2)
        ]
        await until(lambda: len(bench.bodies) == 2, "both")
        found = bench.app._shared.admission.statistics()
        assert (found.working, found.reading, found.size_bytes) == (2, 0, 10)
        more = await client.post(WRITE_PATH, data=BODY, headers=WRITE)
        assert "2 requests are in flight" in await text_of(more, 503)
        bench.go.set()
        assert [(await write).status for write in writes] == [204, 204]
    assert bench.app._shared.admission.statistics().working == 0


@in_loop()
async def test_of_bodies_that_are_too_much_together_the_largest_is_given_up() -> None:
    """At once, and not when its time is over: its sender comes again."""
    bench = Bench(in_flight_bytes=150)
    go = asyncio.Event()

    async def slowly(size: int) -> AsyncIterator[bytes]:
        yield BODY + bytes(size - len(BODY))
        await go.wait()
        yield b"x"

    async with serving(bench) as client:
        first = asyncio.create_task(client.post(WRITE_PATH, data=slowly(90), headers=WRITE))
        admission = bench.app._shared.admission
        await until(lambda: admission.statistics().size_bytes == 90, "the first")
        second = asyncio.create_task(client.post(WRITE_PATH, data=slowly(80), headers=WRITE))
        assert "abandoned for others" in await text_of(await first, 503)
        go.set()
        await text_of(await second, 204)
    assert [len(body) for body, _ in bench.bodies] == [81]


@in_loop()
async def test_a_write_is_refused_where_memory_is_short() -> None:
    """It may take four times what it declares."""
    bench = Bench()
    async with serving(bench) as client:
        bench.used_bytes = (100 - 16) * MIB
        response = await client.post(WRITE_PATH, data=BODY, headers=WRITE)
        assert "a limit allows" in await text_of(response, 503)

        async def endless() -> AsyncIterator[bytes]:
            yield BODY
            await asyncio.sleep(60)

        response = await client.post(WRITE_PATH, data=endless(), headers=WRITE)
        assert "a limit allows" in await text_of(response, 503), "before the body is complete"
        bench.used_bytes -= 1 << 10
        await text_of(await client.post(WRITE_PATH, data=BODY, headers=WRITE), 204)


def test_a_client_s_certificate_is_that_of_its_connection() -> None:
    """None without TLS, and where the connection has gone."""
    shown = {"subject": ()}
    for certificate in (shown, None):
        transport = SimpleNamespace(get_extra_info={"peercert": certificate}.get)
        assert _certificate(SimpleNamespace(transport=transport)) is certificate  # type: ignore[arg-type]
    assert _certificate(SimpleNamespace(transport=None)) is None  # type: ignore[arg-type]


async def first_line(client: TestClient[web.Request, web.Application], sent: bytes) -> bytes:
    """Send some bytes; returns the first line of what comes."""
    assert client.port
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(sent)
    line = await reader.readline()
    writer.close()
    return line


@pytest.mark.parametrize("why", ["credentials", "length", "none"])
@in_loop()
async def test_a_body_is_asked_for_when_it_is_wanted(why: str) -> None:
    """Who waits for "100 Continue" sends none that is refused."""
    bench = Bench()
    if why == "credentials":
        bench.refuses = Unauthorized("no")
    length = 101 if why == "length" else 100
    head = "".join(f"{name}: {value}\r\n" for name, value in WRITE.items())
    asked = f"POST {WRITE_PATH} HTTP/1.1\r\nHost: x\r\n{head}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    async with serving(bench) as client:
        line = await first_line(client, asked.encode())
    status = {"credentials": b"401", "length": b"413", "none": b"100"}[why]
    assert line.startswith(b"HTTP/1.1 " + status)


@in_loop()
async def test_a_body_that_comes_with_its_head_has_the_same_limit() -> None:
    """It declares no length."""
    bench = Bench()
    head = "".join(f"{name}: {value}\r\n" for name, value in WRITE.items())
    asked = f"POST {WRITE_PATH} HTTP/1.1\r\nHost: x\r\n{head}Transfer-Encoding: chunked\r\n\r\n"
    async with serving(bench) as client:
        for size, status in ((101, b"413"), (100, b"204")):
            body = f"{size:x}\r\n{'a' * size}\r\n0\r\n\r\n"
            line = await first_line(client, (asked + body).encode())
            assert line.startswith(b"HTTP/1.1 " + status)


@in_loop()
async def test_a_large_page_is_made_once_for_all_who_read_it_now() -> None:
    """Another page is another; at the limit none is made."""
    size = 16 << 20
    bench = Bench(answers_bytes=2 * size)
    made: list[int] = []

    def page() -> bytes:
        made.append(1)
        return bytes(size)

    bench.page = page
    async with serving(bench) as client:
        readers = [await client.get("/metrics") for _ in range(2)]
        assert len(made) == 1
        readers.append(await client.get("/metrics?other"))
        assert len(made) == 2
        refused = await client.get("/metrics?third")
        assert "answers that are being read" in await text_of(refused, 503)
        assert len(made) == 2
        assert {len(await reader.read()) for reader in readers} == {size}
        for reader in readers:
            assert reader.headers["Content-Type"].startswith("text/plain; version=")
            assert reader.headers.getall("Content-Length") == [str(size)]
            assert len(reader.headers.getall("Date")) == 1
        await until(lambda: not bench.app._shared.answers.size_bytes, "the end")
        await (await client.get("/metrics?third")).read()
        assert len(made) == 3


@in_loop()
async def test_credentials_are_asked_for_but_for_health() -> None:
    """A browser's first question is no event; a sender's is."""
    bench = Bench()
    bench.refuses = Unauthorized("no credentials")
    async with serving(bench) as client:
        for path in ("/-/healthy", "/-/ready"):
            await text_of(await client.get(path), 200)
        assert bench.asked == []
        for path in ("/metrics", "/api/v1/status"):
            response = await client.get(path)
            assert await text_of(response, 401) == "Unauthorized\n"
            assert response.headers["WWW-Authenticate"] == 'Basic realm="x"'
        assert bench.events.latest() == []
        await client.get("/metrics", headers={"Authorization": "Basic eA=="})
        assert bench.events.counts(PAGE_REFUSED) == {"unauthorized": 1}
        assert not bench.counts.replies
        await text_of(await client.post(WRITE_PATH, data=BODY, headers=WRITE), 401)
    assert bench.asked == ["", "", "Basic eA==", ""]
    assert bench.events.counts(REFUSED) == {"unauthorized": 1}
    assert bench.counts.replies == {"401": 1}
    assert bench.counts.last_request_at > 1e9
    assert not bench.bodies


@in_loop()
async def test_on_loopback_a_foreign_name_is_refused_where_nothing_else_is_asked() -> None:
    """Who has credentials may use any name."""
    bench = Bench(own_names=("ours",))
    async with serving(bench) as client:
        foreign = {"Host": "evil.example"}
        await text_of(await client.get("/metrics", headers=foreign), 403)
        await text_of(await client.get("/metrics", headers={"Host": "ours"}), 200)
        assert bench.events.counts(PAGE_REFUSED) == {ForeignPage.reason: 1}
        bench.rules.ask_nothing = False
        await text_of(await client.get("/metrics", headers=foreign), 200)
        await text_of(await client.post("/-/reload", headers={"Origin": "http://evil.example"}), 403)  # fmt: skip
        assert await text_of(await client.post("/-/reload"), 200) == "reloaded"
        await text_of(await client.get("/metrics", headers={"Origin": "http://evil.example"}), 200)


@in_loop()
async def test_a_sender_at_a_wrong_place_is_told_the_right_one() -> None:
    """Whatever tells that it is one; others get what any server says."""
    bench = Bench()
    async with serving(bench) as client:
        right = str(client.make_url(WRITE_PATH))
        for headers in (
            {"X-Prometheus-Remote-Write-Version": "2.0.0"},
            {"Content-Encoding": "SNAPPY"},
            {"Content-Type": "application/x-protobuf"},
            {"User-Agent": "Grafana Agent"},
        ):
            response = await client.post("/write?token=x", data=BODY, headers=headers)
            said = await text_of(response, 404)
            asked = client.make_url("/write")  # without the query, which may be secret
            assert said.startswith(f"POST {asked} takes no writes: the url is {right}. ")
        assert bench.events.counts(REFUSED) == {"wrong_address": 4}
        assert bench.counts.replies == {"404": 4}
        moved = await client.get(WRITE_PATH, headers={"Content-Encoding": "snappy"})
        assert f"remote-write is POST {right}" in await text_of(moved, 405)
        assert moved.headers["Allow"] == "POST"
        put = await client.put(WRITE_PATH, data=BODY, headers={"User-Agent": "vmagent"})
        assert f"PUT {right} cannot write: remote-write is POST {right}" in await text_of(put, 405)
        assert bench.events.counts(REFUSED) == {"wrong_address": 4, "wrong_method": 2}

        browser = await client.get(WRITE_PATH, headers={"User-Agent": "prometheus"})
        assert "prometheus.yml" in await text_of(browser, 405)
        assert browser.headers["Allow"] == "POST"
        assert (await client.head(WRITE_PATH)).status == 405
        for response in (await client.post("/write", data=BODY), await client.get("/other")):
            assert "api/v1/write" not in await text_of(response, 404)
        assert bench.events.counts(REFUSED).total() == 6
        assert not bench.events.counts(PAGE_REFUSED)
        assert bench.counts.replies.total() == 6


@in_loop()
async def test_a_body_over_its_limit_is_refused() -> None:
    """By what it declares, or as it comes; what fits is taken whole, however it comes."""
    bench = Bench()

    async def parts(count: int) -> AsyncIterator[bytes]:
        yield BODY
        for _ in range(count):
            await asyncio.sleep(0)
            yield b"x" * 10

    async with serving(bench) as client:
        await text_of(await client.post(WRITE_PATH, data=bytes(100), headers=WRITE), 204)
        for data in (bytes(101), parts(20)):
            response = await client.post(WRITE_PATH, data=data, headers=WRITE)
            assert "the limit is 100" in await text_of(response, 413)
        await text_of(await client.post(WRITE_PATH, data=parts(9), headers=WRITE), 204)
        expecting = await client.post(WRITE_PATH, data=BODY, headers=WRITE, expect100=True)
        await text_of(expecting, 204)
    assert [len(body) for body, _ in bench.bodies] == [100, 93, 3]
    assert bench.events.counts(REFUSED) == {"too_large": 2}
    assert bench.app._shared.admission.statistics().size_bytes == 0


@in_loop()
async def test_a_body_that_does_not_come_is_waited_for_so_long() -> None:
    """Its sender comes again."""
    bench = Bench(body_seconds=0.05)

    async def slowly() -> AsyncIterator[bytes]:
        yield BODY
        await asyncio.sleep(5)

    async with serving(bench) as client:
        response = await client.post(WRITE_PATH, data=slowly(), headers=WRITE)
        assert "not complete in time" in await text_of(response, 503)
    assert bench.events.counts(REFUSED) == {"too_slow": 1}


@in_loop()
async def test_the_pages() -> None:
    """With the type that each is of; 503 while the outbox cannot be read."""
    bench = Bench()
    async with serving(bench) as client:
        for path, kind in (("/metrics", "text/plain"), ("/api/v1/status", "application/json")):
            response = await client.get(path)
            assert await text_of(response, 200) == "a page"
            assert response.headers["Content-Type"].startswith(kind)
        bench.page = raising(NotCommitted("not now"))
        assert await text_of(await client.get("/metrics"), 503) == "not now\n"
        response = await client.get("/api/v1/status")
        assert (response.status, await response.json()) == (503, {"error": "not now"})
        bench.problem = "a disk"
        assert await text_of(await client.get("/-/ready"), 503) == "a disk\n"
        bench.page = raising(MemoryError())
        response = await client.get("/metrics")
        assert "memory ran out" in await text_of(response, 503)
        assert bench.events.counts(PAGE_REFUSED) == {"memory_short": 1}


@in_loop()
async def test_a_page_is_not_made_where_memory_is_short() -> None:
    """It takes eight MiB at most, beside the reserve."""
    bench = Bench()
    bench.page = lambda: pytest.fail("it is made")
    bench.used_bytes = (100 - 16 - 7) * MIB
    async with serving(bench) as client:
        assert "this request may need 8 MiB" in await text_of(await client.get("/metrics"), 503)
        bench.used_bytes -= MIB
        bench.page = lambda: b"a page"
        await text_of(await client.get("/metrics"), 200)


@in_loop()
async def test_the_connection_s_guard_hears_of_each_step() -> None:
    """Of a write, of a small page, of a large one, of a refusal."""
    bench = Bench()
    bench.has_guard = True
    async with serving(bench) as client:
        await client.post(WRITE_PATH, data=BODY, headers=WRITE)
        assert bench.told == ["body", "work", "done"]
        bench.told.clear()
        await client.get("/metrics")
        assert bench.told == ["body", "done"]
        bench.told.clear()
        bench.page = lambda: b"x" * (SMALL_BYTES + 1)
        assert len(await text_of(await client.get("/metrics"), 200)) == SMALL_BYTES + 1
        await until(lambda: len(bench.told) == 3, "the end of it")
        assert bench.told == ["body", "answer", "done"]
        bench.told.clear()
        bench.refuses = Unauthorized("no")
        await client.get("/metrics")
        assert bench.told == ["body", "done"]


@in_loop()
async def test_every_answer_has_the_headers() -> None:
    """Pages, refusals and errors; those of web.config.file come before ours."""
    bench = Bench()
    async with serving(bench) as client:
        for path in ("/-/healthy", "/metrics", "/none", WRITE_PATH):
            response = await client.get(path)
            assert cross_origin.HEADERS.items() <= dict(response.headers).items()
        bench.rules.web.headers = {"X-Frame-Options": "SAMEORIGIN"}
        response = await client.get("/metrics")
        assert response.headers.getall("X-Frame-Options") == ["SAMEORIGIN"]


@pytest.mark.parametrize(
    ("attempt", "most"),
    [("", 5), ("0", 5), ("1", 10), ("2", 20), ("4", 80), ("5", 80), ("999", 80), ("1000", 5), ("-1", 5), ("x", 5)],
)  # fmt: skip
def test_each_attempt_waits_longer(attempt: str, most: int) -> None:
    """Up to a bound, and not all alike: half of it at least."""
    waits = {retry_after_seconds(attempt) for _ in range(1000)}
    assert min(waits) >= most // 2
    assert max(waits) == most
    assert len(waits) > 2
