"""SIGTERM: newcomers are sent away, what is in flight is finished, what waits is sent or stays on disk."""

import asyncio
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
import structlog

from receiver.config.settings import find_connection, resolve
from receiver.sandbox import Sandbox, Server, serve
from receiver.service import running
from tests.integration.receivers import (
    ReceiverProcess,
    delivered,
    metrics_json,
    read_status,
    script,
)
from tests.integration.remote_write import Point, encode, half_sent, numbered, post
from tests.integration.waiting import in_loop, until


def points(first: int, count: int) -> list[Point]:
    return numbered(0, first, count, int(time.time() * 1000))


async def under_way(server: Server, count: int) -> None:
    """Wait until the sandbox holds so many items, and owes the answer."""
    await until(lambda: len(delivered(server.sandbox)) == count, "a batch under way")


@in_loop()
async def test_a_stop_finishes_what_is_in_flight_and_keeps_the_rest(tmp_path: Path) -> None:
    """The batch under way gets its end, newcomers 503, the other batches wait for the restart."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(
            server, {"kind": "delay", "delay_seconds": 5}
        )  # time for all below, on a busy machine
        sent = points(0, 200)
        flags = ("--senders", "1", "--shutdown-timeout", "20", "--drain-timeout", "0")
        async with ReceiverProcess(tmp_path, server.connection_string, *flags) as receiver:
            assert (await post(session, receiver.url, encode(sent[:100]))).status == 204
            await under_way(server, 100)
            assert (await post(session, receiver.url, encode(sent[100:]))).status == 204
            receiver.signal(signal.SIGTERM)
            await receiver.event("receiver stops")
            for _ in range(2):  # on a connection that was open, and on a new one
                reply = await post(session, receiver.url, encode(points(1000, 10)))
                assert reply.status == 503
                assert int(reply.headers["Retry-After"]) >= 1
                async with session.get(
                    f"{receiver.url}/-/ready", headers={"Connection": "close"}
                ) as response:
                    assert response.status == 503
            assert await receiver.ended() == 0
            assert delivered(server.sandbox) == sent[:100], "no further batch was begun"
            await receiver.start()
            await under_way(server, 200)
            assert sorted(delivered(server.sandbox)) == sorted(sent), "each once"
            await until(lambda: _pending_is(session, receiver, 0), "the end of it")


@in_loop()
async def test_a_stop_sends_what_waits(tmp_path: Path) -> None:
    """One batch is under way when the signal comes, the others wait: all have gone before the end."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, {"kind": "delay", "delay_seconds": 3})
        sent = points(0, 500)
        flags = ("--senders", "1", "--drain-timeout", "60")
        async with ReceiverProcess(tmp_path, server.connection_string, *flags) as receiver:
            assert (await post(session, receiver.url, encode(sent[:100]))).status == 204
            await under_way(server, 100)
            for first in range(100, 500, 100):
                body = encode(sent[first : first + 100])
                assert (await post(session, receiver.url, body)).status == 204
            receiver.signal(signal.SIGTERM)
            await receiver.event("receiver stops")
            assert (await post(session, receiver.url, encode(points(1000, 10)))).status == 503
            assert await receiver.ended() == 0
            assert sorted(delivered(server.sandbox)) == sorted(sent), "each once"
            left = await receiver.event("the outbox is empty")
            assert left["outbox"] == str(receiver.outbox)


@in_loop()
async def test_a_stop_says_what_it_leaves(tmp_path: Path) -> None:
    """How much, how old, and where: what a person needs who takes the machine away."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, {"kind": "status", "status": 403, "times": None})
        flags = ("--drain-timeout", "30", "--retry-max", "120")
        async with ReceiverProcess(tmp_path, server.connection_string, *flags) as receiver:
            assert (await post(session, receiver.url, encode(points(0, 100)))).status == 204
            await until(lambda: _is_blocked(session, receiver), "a second refusal", 30)
            receiver.signal(signal.SIGTERM)
            begun_at = time.monotonic()
            assert await receiver.ended() == 0
            assert time.monotonic() - begun_at < 15.0, (
                "the time to drain is 30 s, the next try comes after 45 or more"
            )
            left = await receiver.event("items are left in the outbox")
            assert (left["items"], left["batches"]) == (100, 1)
            assert left["outbox"] == str(receiver.outbox)
            assert "outbox export" in left["hint"]


async def _is_blocked(session: aiohttp.ClientSession, receiver: ReceiverProcess) -> bool:
    status = await read_status(session, receiver.url)
    return bool(status["delivery"]["wait_seconds"] > 10)


@in_loop()
async def test_a_stop_for_good_flushes_windows_that_are_open(tmp_path: Path) -> None:
    """RECEIVER_DRAIN_FOLD: the last minute of a pod's counters is delivered with it, not left behind."""
    (tmp_path / "metrics.json").write_text('{"customMetrics": [{"name": "nv_*", "as": "delta"}]}')
    now_ms = int(time.time() * 1000)
    async with (
        serve(Sandbox()) as server,
        aiohttp.ClientSession() as session,
        ReceiverProcess(tmp_path, server.connection_string, "--drain-fold", "yes") as receiver,
    ):
        for number, value in enumerate((5.0, 12.0)):
            sample = Point("nv_c", (("job", "t"),), now_ms - 20_000 + number * 10_000, value)
            assert (await post(session, receiver.url, encode([sample]))).status == 204
        receiver.signal(signal.SIGTERM)
        assert await receiver.ended() == 0
        assert sum(point.value for point in delivered(server.sandbox)) == 7.0
        assert (await receiver.event("the outbox is empty"))["windows_open"] == 0
        sample = Point("nv_c", (("job", "t"),), now_ms, 15.0)
        await receiver.start()
        assert (await post(session, receiver.url, encode([sample]))).status == 204
        receiver.signal(signal.SIGTERM)
        assert await receiver.ended() == 0
        assert sum(point.value for point in delivered(server.sandbox)) == 10.0, "it goes on"


async def _pending_is(
    session: aiohttp.ClientSession, receiver: ReceiverProcess, count: int
) -> bool:
    return bool((await read_status(session, receiver.url))["pending"] == count)


@in_loop()
async def test_a_request_in_flight_is_finished(tmp_path: Path) -> None:
    """Half of its body had come when the signal came: it is committed and acknowledged."""
    async with serve(Sandbox()) as server:
        script(server, {"kind": "status", "status": 503, "times": None})
        async with ReceiverProcess(tmp_path, server.connection_string) as receiver:
            sent = points(0, 300)
            body = encode(sent)
            reader, writer = await half_sent(receiver.url, body)
            receiver.signal(signal.SIGTERM)
            await receiver.event("receiver stops")
            writer.write(body[len(body) // 2 :])
            assert b" 204 " in await reader.readline()
            writer.close()
            assert await receiver.ended() == 0
            script(server)
            await receiver.start()
            await under_way(server, 300)
            assert sorted(delivered(server.sandbox)) == sorted(sent)


@in_loop()
async def test_a_sender_that_never_ends_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """The time that was set is the time that it takes."""
    async with (
        serve(Sandbox()) as server,
        ReceiverProcess(tmp_path, server.connection_string, "--shutdown-timeout", "1") as receiver,
    ):
        _, writer = await half_sent(receiver.url, encode(points(0, 300)))
        begun_at = time.monotonic()
        receiver.signal(signal.SIGTERM)
        assert await receiver.ended() == 0
        assert 1.0 <= time.monotonic() - begun_at < 20.0
        writer.close()


@in_loop()
async def test_a_batch_that_takes_too_long_stays(tmp_path: Path) -> None:
    """When the time to stop is over the batch stays in the outbox, and is sent after the restart."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, {"kind": "delay", "delay_seconds": 30})
        sent = points(0, 100)
        async with ReceiverProcess(
            tmp_path, server.connection_string, "--shutdown-timeout", "1"
        ) as receiver:
            assert (await post(session, receiver.url, encode(sent))).status == 204
            await under_way(server, 100)
            begun_at = time.monotonic()
            receiver.signal(signal.SIGTERM)
            assert await receiver.ended() == 0
            assert 1.0 <= time.monotonic() - begun_at < 20.0
            await receiver.start()
            await under_way(server, 200)
            assert Counter(delivered(server.sandbox)) == Counter(sent * 2)


@in_loop()
async def test_a_stop_while_the_service_refuses_is_quick(tmp_path: Path) -> None:
    """Waiting for the next attempt is nothing to finish."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, {"kind": "status", "status": 503, "retry_after": 3600, "times": None})
        async with ReceiverProcess(tmp_path, server.connection_string) as receiver:
            assert (await post(session, receiver.url, encode(points(0, 100)))).status == 204
            await receiver.event("delivery waits")
            begun_at = time.monotonic()
            receiver.signal(signal.SIGINT)
            assert await receiver.ended() == 0
            assert time.monotonic() - begun_at < 9.0, "the time to stop is 10 s"


@in_loop()
async def test_a_second_signal_ends_it_at_once_and_loses_nothing(tmp_path: Path) -> None:
    """The batch under way is sent again by the next start."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, {"kind": "delay", "delay_seconds": 30})
        sent = points(0, 100)
        async with ReceiverProcess(
            tmp_path, server.connection_string, "--shutdown-timeout", "30"
        ) as receiver:
            assert (await post(session, receiver.url, encode(sent))).status == 204
            await under_way(server, 100)
            receiver.signal(signal.SIGTERM)
            await receiver.event("receiver stops")
            begun_at = time.monotonic()
            receiver.signal(signal.SIGTERM)
            assert await receiver.ended() == 1
            assert time.monotonic() - begun_at < 15.0, "the time to stop is 30 s"
            await receiver.start()
            await under_way(server, 200)
            assert set(delivered(server.sandbox)) == set(sent)


@pytest.mark.parametrize("part", ["monitor", "outbox"])
@in_loop()
async def test_a_part_that_fails_is_logged_and_ends_the_receiver(tmp_path: Path, part: str) -> None:
    """A defect anywhere: whoever runs the receiver learns of it, and what is in the outbox stays."""
    broken = asyncio.Event()

    def clock() -> float:
        is_outbox = threading.current_thread().name == "outbox"
        if broken.is_set() and is_outbox == (part == "outbox"):
            raise RuntimeError("the clock broke")
        return time.time()

    async with serve(Sandbox()) as server:
        given = {
            "outbox_dir": str(tmp_path / "outbox"),
            "listen": "127.0.0.1:0",
            "metrics_json": str(metrics_json(tmp_path)),
        }
        settings, _ = resolve(given | {"connection_string": server.connection_string}, {})
        connection, _ = find_connection(settings)
        assert connection
        with structlog.testing.capture_logs() as log:
            async with running(settings, connection, clock) as receiver:
                broken.set()
                if part == "outbox":
                    async with aiohttp.ClientSession() as session:
                        answer = await post(session, receiver.url, encode(points(0, 1)))
                    assert answer.status == 503
                async with asyncio.timeout(20):
                    assert str(await receiver.broken) == "the clock broke"
                broken.clear()
        [entry] = [each for each in log if each["event"] == "a component has failed"]
        assert entry["part"] == part
        assert entry["log_level"] == "error"
