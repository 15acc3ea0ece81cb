"""What a write is answered, before its body is decoded and after."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from receiver.errors import (
    WRITE_PATH,
    MemoryShort,
    NotCommitted,
    OutboxFull,
    Unauthorized,
    Undecodable,
)
from receiver.intake.decode import Message
from receiver.server.memory_limit import Limit, MemoryLimit
from receiver.server.refusals import REFUSED
from receiver.server.write_endpoint import FAILED, WriteEndpoint
from receiver.server.write_handler import Reply
from tests.integration.waiting import in_loop, until
from tests.unit.server.bench import (
    BODY,
    MIB,
    NOW,
    WRITE,
    Bench,
    first_line,
    raising,
    serving,
    text_of,
)

if TYPE_CHECKING:
    from aiohttp import ClientResponse


def refuse(declared: bytes, limit_mib: int) -> None:
    """Look at a body that begins with its declared length, under a limit of which 50 MiB are used."""
    memory = MemoryLimit([Limit("a limit", limit_mib * MIB, lambda: 50 * MIB)], lambda: 0)
    endpoint: Any = SimpleNamespace(
        _write_handler=SimpleNamespace(
            pipeline=SimpleNamespace(limits=SimpleNamespace(decoded_bytes=32 * MIB))
        ),
        _memory=memory,
    )
    WriteEndpoint._refuse_without_memory(endpoint, declared)


def test_a_body_for_which_memory_may_be_short_comes_again() -> None:
    """30 MiB take 120 at most, beside the reserve."""
    thirty = b"\x80\x80\x80\x0f"
    refuse(thirty, 200)
    with pytest.raises(MemoryShort):
        refuse(thirty, 160)


def test_a_body_that_is_too_large_does_not() -> None:
    """It is for the decoder to refuse for good: 503 would bring it back for ever."""
    refuse(b"\x80\x80\x80\x80\x0f", 160)


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
    assert bench.counts.last_request_at == NOW
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
        await bench.writes.drain(0.01)
        refused = await client.post(WRITE_PATH, data=BODY, headers=WRITE)
        assert "stopping" in await text_of(refused, 503)
        assert "stopping" in await text_of(await client.get("/-/ready"), 503)
        assert await text_of(await client.get("/-/healthy"), 200) == "OK\n"

        drained = asyncio.create_task(bench.writes.drain(60))
        go_first.set()
        assert (await first).status == 204
        await asyncio.sleep(0.01)
        assert not drained.done()
        assert not second.done()
        bench.go.set()
        assert (await second).status == 204
        await drained
        await bench.writes.drain(60)
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
        found = bench.writes._admission.statistics()
        assert (found.working, found.reading, found.size_bytes) == (2, 0, 10)
        more = await client.post(WRITE_PATH, data=BODY, headers=WRITE)
        assert "2 requests are in flight" in await text_of(more, 503)
        bench.go.set()
        assert [(await write).status for write in writes] == [204, 204]
    assert bench.writes._admission.statistics().working == 0


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
        admission = bench.writes._admission
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
    assert bench.writes._admission.statistics().size_bytes == 0


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
