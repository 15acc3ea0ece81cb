"""The answers that a sender of remote-write gets, and what they promise."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import Running, delivered, receiving, script
from tests.integration.remote_write import HEADERS, Point, Reply, encode, numbered, post
from tests.integration.waiting import in_loop, until

VERSION = "X-Prometheus-Remote-Write-Version"
WRITTEN = "X-Prometheus-Remote-Write-{}-Written"


def now_ms() -> int:
    return int(time.time() * 1000)


def written(reply: Reply) -> list[str | None]:
    """Read the three Written headers of an answer."""
    return [
        reply.headers.get(WRITTEN.format(what)) for what in ("Samples", "Histograms", "Exemplars")
    ]


def mixed() -> list[Point]:
    """Make five points: two to be sent, one not selected, one NaN, one without a name."""
    now = now_ms()
    return [
        Point("nv_a", (("model", "m"),), now, 1.0),
        Point("other", (), now, 2.0),
        Point("nv_a", (("model", "n"),), now, float("nan")),
        Point("nv_b", (), now, 3.0),
        Point("", (("model", "o"),), now, 4.0),
    ]


@in_loop()
async def test_a_good_request_is_answered_204(tmp_path: Path) -> None:
    """1.0: no body, no Written headers. 2.0: Written counts all samples, filtered ones too."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        for version, told in ((1, [None] * 3), (2, ["4", "0", "0"])):
            body = encode(mixed()[:4], version)
            reply = await post(receiver.session, receiver.url, body, version)
            assert (reply.status, reply.text) == (204, "")
            assert written(reply) == told
            again = await post(receiver.session, receiver.url, body, version)
            assert (again.status, written(again)) == (204, told)
        status = await receiver.idle()
        assert len(delivered(server.sandbox)) == 4
        assert status["requests"]["repeated"] == 2
        assert status["received"] == 8
        assert status["unselected"] == 2
        assert status["dropped"] == {"nan": 2}


@in_loop()
async def test_nothing_selected_is_answered_204_and_costs_no_commit(tmp_path: Path) -> None:
    """Requests without a selected sample are counted and leave no trace on the disk."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        body = encode([Point("other", (), now_ms(), 1.0)], 2)
        reply = await post(receiver.session, receiver.url, body, 2)
        assert (reply.status, written(reply)) == (204, ["1", "0", "0"])
        status = await receiver.status()
        assert status["unselected"] == status["received"] == 1
        assert server.sandbox.ledger.counters()["requests"] == 0


@pytest.mark.parametrize("version", [1, 2])
@in_loop()
async def test_the_valid_part_of_a_request_answered_400_is_delivered(
    tmp_path: Path, version: int
) -> None:
    """A sender drops what is answered 400, so the good part is committed, and said to be."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        reply = await post(receiver.session, receiver.url, encode(mixed(), version), version)
        assert reply.status == 400
        assert "1 series refused (no_name: 1)" in reply.text
        assert written(reply) == (["4", "0", "0"] if version == 2 else [None] * 3)
        status = await receiver.idle()
        assert sorted(point.value for point in delivered(server.sandbox)) == [1.0, 3.0]
        assert status["dropped"] == {"invalid_series": 1, "nan": 1}


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({"Content-Type": "application/json"}, 415, "Content-Type"),
        ({"Content-Type": "application/x-protobuf;proto=some.Other"}, 415, "proto"),
        ({"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        ({"Content-Encoding": "zstd"}, 415, "Content-Encoding"),
        ({"Content-Type": HEADERS[2]["Content-Type"]}, 400, "Content-Type right"),
    ],
)
@in_loop()
async def test_what_is_declared_wrongly_is_refused_with_a_reason(
    tmp_path: Path, headers: dict[str, str], status: int, said: str
) -> None:
    """415 for types and encodings that are not remote-write's; nothing is kept."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        body = encode(mixed()[:1])
        reply = await post(receiver.session, receiver.url, body, headers=headers)
        assert reply.status == status
        assert said in reply.text
        assert "\n" not in reply.text.strip()
        assert (await receiver.status())["received"] == 0


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /api/v1/write HTTP/1.1\r\nContent-Type: \xff", 415),
        (b"POST /api/v1/write HTTP/1.1\r\nContent-Type: application/x-protobuf;proto=\xff", 415),
        (b"POST /api/v1/write HTTP/1.1\r\nContent-Encoding: \xff", 415),
        (b"POST /api/v1/write HTTP/1.1\r\nContent-Encoding: snappy\r\nContent-Encoding: gzip", 415),
        (b"POST /api/v1/write HTTP/1.1\r\nUser-Agent: \xff\r\nRetry-Attempt: \xff", 400),
        (b"POST /api/v1/%FF HTTP/1.1\r\nContent-Encoding: snappy\r\nX: \xff", 404),
    ],
)
@in_loop()
async def test_headers_of_any_bytes_are_refused_and_shown(
    tmp_path: Path, head: bytes, status: int
) -> None:
    """Bytes that are not UTF-8 get a sentence, and the status page can still tell of them."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        host, port = receiver.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head + b"\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
        assert answer.split()[1] == str(status)
        (trouble,) = (await receiver.status())["errors"]
        assert trouble["words"].startswith(str(status))


async def said(receiver: Running, line: str) -> None:
    """Wait until this is the verdict."""

    async def is_said() -> bool:
        verdict = (await receiver.status())["verdict"]
        return bool(verdict["line"] == line)

    await until(is_said, line)


@in_loop()
async def test_a_wrong_address_is_reported_to_sender_and_operator(tmp_path: Path) -> None:
    """A remote_write whose url lacks the path: a hint in the answer, and the verdict names it."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        sender = {**HEADERS[1], "User-Agent": "Prometheus/3.5.0"}
        right = f"{receiver.url}/api/v1/write"
        for path in ("/metrics", "/api/v1/status", "/write", "/api/v1/write/", "/"):
            asked = f"{receiver.url}{path}"
            async with receiver.session.post(asked, data=b"x", headers=sender) as response:
                assert response.status == 404
                assert f"takes no writes: the url is {right}" in await response.text()
        await said(
            receiver, f"NOT RECEIVING: 404 POST {receiver.url}/ takes no writes: the url is {right}"
        )
        async with receiver.session.get(right, headers={"User-Agent": "Prometheus/3.5.0", VERSION: "0.1.0"}) as response:  # fmt: skip
            assert response.status == 405
            assert "a redirect may have turned post into get" in (await response.text()).lower()
        status = await receiver.status()
        assert status["requests"]["refused"] == {"wrong_address": 5, "wrong_method": 1}
        assert status["requests"]["replies"] == {"404": 5, "405": 1}
        assert status["errors"][0]["sender"] == "Prometheus/3.5.0"


@in_loop()
async def test_a_visitor_of_the_wrong_page_is_no_sender(tmp_path: Path) -> None:
    """A browser, a scanner: answered, and not counted among the writes."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        for path in ("/wp-login.php", "/"):
            async with receiver.session.post(f"{receiver.url}{path}", data=b"x") as response:
                assert response.status in (404, 405)
        async with receiver.session.get(f"{receiver.url}/api/v1/write") as response:
            assert response.status == 405
        status = await receiver.status()
        assert (status["requests"]["refused"], status["errors"]) == ({}, [])


@in_loop()
async def test_requests_refused_for_good_beside_good_ones(tmp_path: Path) -> None:
    """A share of 413 and 415 beside 204: the verdict says so, with the sender and the bytes."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, body_max_bytes="10kB") as receiver,
    ):
        for number in range(3):
            body = encode(numbered(0, number, 1, now_ms()))
            assert (await post(receiver.session, receiver.url, body)).status == 204
            assert (await post(receiver.session, receiver.url, b"x" * 20_000)).status == 413
        url = f"{receiver.url}/api/v1/write"
        async with receiver.session.post(url, data=b"{}", json=None) as response:
            assert response.status == 415
        verdict = (await receiver.status())["verdict"]
        assert verdict["state"] == "REFUSING PART"
        assert verdict["severity"] == "bad"
        assert "4 of 7 requests" in verdict["line"]
        assert "3 too_large, 1 unsupported_media" in verdict["line"]
        assert "60.0 kB of samples lost" in verdict["line"]
        assert "max_samples_per_send" in verdict["hint"]


@in_loop()
async def test_garbage_is_answered_400(tmp_path: Path) -> None:
    """Bodies that are not snappy, or not the message inside, are refused for good."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        for body in (b"", b"hello world", b"\x05\x10aaaaa", encode(mixed()[:1])[:-5]):
            for version in (1, 2):
                reply = await post(receiver.session, receiver.url, body, version)
                assert reply.status == 400, body
                assert reply.text.strip()
        assert (await receiver.status())["received"] == 0


@in_loop()
async def test_what_is_too_large_is_answered_413(tmp_path: Path) -> None:
    """By its length, by its length when sent in chunks, and by its declared length once decoded."""
    async with (
        serve(Sandbox()) as server,
        receiving(
            tmp_path, server.connection_string, body_max_bytes="10kB", decoded_max_bytes="20kB"
        ) as receiver,
    ):
        url = f"{receiver.url}/api/v1/write"
        reply = await post(receiver.session, receiver.url, b"x" * 10_001)
        assert reply.status == 413
        assert "10000" in reply.text

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield b"x" * 1000

        async with receiver.session.post(url, data=parts(), headers=HEADERS[1]) as response:
            assert response.status == 413
        reply = await post(receiver.session, receiver.url, encode(numbered(0, 0, 500, now_ms())))
        assert reply.status == 413
        assert "20000" in reply.text
        status = await receiver.status()
        assert status["received"] == 0
        assert status["requests"]["refused"] == {"too_large": 2, "decoded_too_large": 1}


@in_loop()
async def test_the_wrong_method_gets_a_hint(tmp_path: Path) -> None:
    """A person who opens the address in a browser is told what it is for."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        url = f"{receiver.url}/api/v1/write"
        async with receiver.session.get(url) as response:
            assert response.status == 405
            assert response.headers["Allow"] == "POST"
            assert "remote_write" in await response.text()
        async with receiver.session.head(url) as response:
            assert response.status == 405
        async with receiver.session.put(url, data=b"") as response:
            assert response.status == 405


async def ready(receiver: Running) -> int:
    """Ask whether the receiver is ready."""
    async with receiver.session.get(f"{receiver.url}/-/ready") as response:
        return response.status


@in_loop()
async def test_a_full_outbox_is_answered_503_until_there_is_room(tmp_path: Path) -> None:
    """Past the limit: 503, Retry-After, not ready; nothing kept. Then all of it, each once."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, outbox_max_bytes="4KiB") as receiver,
    ):
        script(server, {"kind": "status", "status": 503, "times": None})
        assert await ready(receiver) == 200
        bodies = [encode(numbered(0, 100 * n, 100, now_ms())) for n in range(12)]
        waiting: list[bytes] = []
        for body in bodies:
            reply = await post(receiver.session, receiver.url, body)
            assert reply.status in (204, 503)
            if reply.status == 503:
                assert 1 <= int(reply.headers["Retry-After"]) <= 80
                assert "full" in reply.text.lower() or "wait for delivery" in reply.text
                waiting.append(body)
        assert waiting
        assert len(waiting) < len(bodies)
        repeat = await post(receiver.session, receiver.url, bodies[0])
        assert repeat.status == 204, "what was committed before needs no room"
        assert await ready(receiver) == 503
        status = await receiver.status()
        assert status["pending"] == status["received"] == 100 * (len(bodies) - len(waiting))
        assert status["requests"]["refused"] == {"outbox_full": len(waiting)}

        script(server)
        while waiting:
            reply = await post(receiver.session, receiver.url, waiting[0])
            if reply.status == 204:
                waiting.pop(0)
            await until(lambda: _has_room(receiver), "room in the outbox")
        await receiver.idle()
        assert await ready(receiver) == 200
        assert sorted(point.value for point in delivered(server.sandbox)) == list(range(1200))


async def _has_room(receiver: Running) -> bool:
    outbox = (await receiver.status())["outbox"]
    return bool(outbox["bytes"] < outbox["max_bytes"])


@in_loop()
async def test_a_sender_that_goes_away_is_no_defect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A body that breaks off is refused and counted, without a traceback in the log."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        host, port = receiver.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        head = "POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode() + b"x" * 500)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

        async def counted() -> bool:
            return bool((await receiver.status())["requests"]["replies"])

        await until(counted, "the request's end")
        status = await receiver.status()
        assert status["requests"]["refused"] == {"broken_off": 1}
        assert "defect" not in capsys.readouterr().out


@in_loop()
async def test_the_same_request_at_the_same_moment_is_committed_once(tmp_path: Path) -> None:
    """A sender that timed out may come again while its first request is still under way."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
        aiohttp.ClientSession() as session,
    ):
        body = encode(numbered(0, 0, 200, now_ms()))
        replies = await asyncio.gather(*(post(session, receiver.url, body) for _ in range(20)))
        assert {reply.status for reply in replies} == {204}
        status = await receiver.idle()
        assert len(delivered(server.sandbox)) == status["received"] == 200
        assert status["requests"]["repeated"] == 19
