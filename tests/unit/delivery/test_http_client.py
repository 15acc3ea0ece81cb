"""The client against a server that answers what each test says, byte by byte."""

import asyncio
import gc
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from receiver.azure.answer import ANSWER_LIMIT_BYTES
from receiver.delivery.dial import CannotConnect
from receiver.delivery.http_client import Client, TimedOut
from receiver.delivery.http_connection import (
    HEAD_LIMIT_BYTES,
    Answer,
    BrokenOff,
    HttpConnection,
)
from tests.integration.waiting import in_loop, until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Scripted:
    """A server: answers the n-th request with the n-th of `answers`, and closes where it ends in b"EOF"."""

    def __init__(self, answers: list[bytes]) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = ""
        self._answers = iter(answers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(size))
                answer = next(self._answers)
                writer.write(answer.removesuffix(b"EOF"))
                await writer.drain()
                if answer.endswith(b"EOF"):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


@asynccontextmanager
async def talking(
    *answers: bytes,
) -> AsyncIterator[tuple[Scripted, Callable[[], Awaitable[Answer]]]]:
    """Give a server and what POSTs to it."""
    scripted = Scripted(list(answers))
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    scripted.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2.1/track?x=1"
    client = Client("tester/1")
    async with server:
        try:
            yield scripted, lambda: client.post(scripted.url, {"X-One": "1"}, b"body")
        finally:
            client.close()


@in_loop()
async def test_a_request_is_as_it_should_be_and_the_connection_is_kept() -> None:
    """Path with query, host with port, our headers, the body's length; the next one goes the same way."""
    async with talking(OK, OK) as (server, post):
        answer = await post()
        assert (answer.status, answer.headers["content-LENGTH"], answer.body) == (200, "2", b"ok")
        await post()
    assert server.connections == 1
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    host = server.url.split("/")[2]
    assert lines[0] == "POST /v2.1/track?x=1 HTTP/1.1"
    assert {f"Host: {host}", "User-Agent: tester/1", "X-One: 1", "Content-Length: 4"} <= set(lines)
    assert body == b"body"
    assert server.requests[0] == server.requests[1]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\n!!!\r\n0\r\n\r\n", b"ok!!!"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the endEOF", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the endEOF", b"until the end"),
        (b"HTTP/1.1 206 Partial\r\nContent-Length: 50\r\n\r\ntoo littleEOF", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nokEOF", b""),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    ],
)  # fmt: skip
@in_loop()
async def test_a_body_ends_where_its_head_says(answer: bytes, body: bytes) -> None:
    """One that breaks off is none; the status has come, and it counts. Then the next request goes well."""
    async with talking(answer, OK) as (_, post):
        found = await post()
        assert found.body == body
        assert found.status in (200, 204, 206)
        assert (await post()).body == b"ok"


@pytest.mark.parametrize(
    "answer",
    [b"EOF", b"HTTP/1.1 20EOF", b"HTTP/1.1 200 OK\r\nX: EOF", b"\x16\x03\x01 nonsense\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\nEOF"],
)  # fmt: skip
@in_loop()
async def test_what_is_no_answer_has_a_reason(answer: bytes) -> None:
    """The connection is given up, and the next request gets a new one."""
    async with talking(answer, OK) as (server, post):
        with pytest.raises(BrokenOff):
            await post()
        assert (await post()).status == 200
        assert server.connections == 2


@in_loop()
async def test_an_address_of_any_signs_makes_one_request() -> None:
    """A redirect may hold spaces and line ends: they are quoted, and begin no header."""
    async with talking(OK) as (server, _):
        url = server.url.replace("/v2.1/track?x=1", "/v2.1/tr%20ack é\r\nX-Two: 2?y=[1]&z= ")
        client = Client("tester")
        assert (await client.post(url, {}, b"")).status == 200
        client.close()
    head = server.requests[0].split(b"\r\n")
    assert head[0].startswith(b"POST /v2.1/tr%20ack%20%C3%A9")
    assert head[0].endswith(b"?y=[1]&z=%20 HTTP/1.1")
    assert not [line for line in head[1:] if line.startswith(b"X-Two")]


@in_loop()
async def test_headers_without_end_are_not_kept() -> None:
    """Whatever answers there, it does not fill our memory."""
    async with talking(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * HEAD_LIMIT_BYTES, OK) as (_, post):
        with pytest.raises(BrokenOff, match="headers are too long"):
            await post()


@in_loop()
async def test_a_body_without_end_is_none() -> None:
    """The status counts; what is too much is not read."""
    size = ANSWER_LIMIT_BYTES + (1 << 20)
    async with talking(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size), OK
    ) as (server, post):
        assert await post() == Answer(200, {"Content-Length": str(size)}, b"")
        assert (await post()).body == b"ok"
        assert server.connections == 2


@in_loop()
async def test_an_answer_without_a_request_is_dropped() -> None:
    """Two answers to one request: the second is not taken for the next one's."""
    stray = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
    async with talking(OK + stray, OK) as (server, post):
        assert (await post()).status == 200
        assert (await post()).status == 200
        assert server.connections == 2


@in_loop()
async def test_headers_of_a_stray_answer_are_not_the_first_ones() -> None:
    """What comes behind an answer changes nothing of it."""
    stray = b"HTTP/1.1 429 No\r\nRetry-After: 9999\r\nContent-Length: 0\r\n\r\n"
    async with talking(OK + stray) as (_, post):
        answer = await post()
        assert (answer.status, dict(answer.headers)) == (200, {"Content-Length": "2"})


@in_loop()
async def test_an_answer_before_the_body_is_sent_ends_the_connection() -> None:
    """Whoever answers without reading may never read on: the next request goes elsewhere."""
    seen = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        with suppress(ConnectionError):
            await writer.drain()
            await gone.wait()
        writer.close()

    gone = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = Client("tester/1")
    async with server, asyncio.timeout(5):
        for _ in range(2):
            assert (await client.post(url, {}, bytes(32 << 20))).body == b"ok"
        assert seen == 2
        gone.set()
        client.close()


@in_loop()
async def test_who_gives_up_gives_the_connection_up() -> None:
    """After a time-out the late answer meets nobody."""
    async with talking(b"", OK) as (server, post):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await post()
        assert (await post()).body == b"ok"
        assert server.connections == 2


@in_loop()
async def test_a_host_that_is_not_there_is_named() -> None:
    """With its port, since that may be the mistake."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(CannotConnect, match=f"127.0.0.1:{port}"):
        await Client("x").post(f"http://127.0.0.1:{port}/", {}, b"")


@in_loop()
async def test_a_connection_that_has_ended_is_not_waited_for() -> None:
    """One that was closed as soon as it was there, with TLS in the same breath as the handshake."""
    other, ours = socket.socketpair()
    _, connection = await asyncio.get_running_loop().create_connection(HttpConnection, sock=ours)
    other.close()
    await until(lambda: not connection.may_go_on, "its end")
    with pytest.raises(BrokenOff, match="closed"):
        async with asyncio.timeout(10):
            await connection.ask(b"POST / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize("dead", ["closed", "reset", "silent"])
@in_loop()
async def test_connections_that_died_unseen_cost_one_new_one(dead: str) -> None:
    """Four kept ones, all dead: the next request is answered over a fifth, and no failure is seen.

    A firewall that forgot them, a load balancer that was exchanged: tried one after the other,
    each as the endpoint's failure, they stopped delivery for 44 seconds.
    """
    gate, over = asyncio.Event(), asyncio.Event()
    connections: list[asyncio.StreamWriter] = []
    died = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal died
        connections.append(writer)
        number = len(connections)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\nbody")
            if number <= 4:
                if number == 4:
                    gate.set()
                await gate.wait()
            writer.write(OK)
            await reader.readuntil(b"\r\n\r\nbody")
            if number <= 4 and dead == "silent":
                died += 1
                await over.wait()
            if number <= 4 and dead == "reset":
                died += 1
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = Client("tester/1", 0.3 if dead == "silent" else 20.0)
    async with asyncio.timeout(15):
        await asyncio.gather(*(client.post(url, {}, b"body") for _ in range(4)))
        if dead == "closed":
            for writer in connections:
                writer.transport.abort()  # and the loop has not read of it yet
        assert (await client.post(url, {}, b"body")).body == b"ok"
    assert len(connections) == 5
    assert died == {"closed": 0, "reset": 1, "silent": 1}[dead]
    over.set()
    client.close()
    server.close()
    for writer in connections:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@in_loop()
async def test_a_kept_connection_that_fails_amid_its_answer_is_a_failure() -> None:
    """The service has spoken: sending again would be a second time, not a first."""
    async with talking(OK, b"HTTP/1.1 20EOF", OK) as (server, post):
        await post()
        with pytest.raises(BrokenOff):
            await post()
        assert (len(server.requests), server.connections) == (2, 1)


@in_loop()
async def test_a_new_connection_that_fails_is_a_failure() -> None:
    """There is no reason to think that another would do better."""
    async with talking(b"EOF", OK) as (server, post):
        with pytest.raises(BrokenOff):
            await post()
        assert server.connections == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (CHUNKED + b"0\r\n", b"X-Trailer: " + b"y" * 8000 + b"\r\n"),
        (CHUNKED + b"0\r\nX: ", b"y" * 8000),
        (CHUNKED, b"1\r\ny\r\n" * 1000),
        (CHUNKED + b"1;x=", b"y" * 8000),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", bytes(8000)),
        (b"HTTP/1.1 200 OK\r\n\r\n", bytes(8000)),
        (b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 100),
        (b"HTTP/1.1 200 ", b"y" * 8000),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 8000),
    ],
    ids=["trailers", "a trailer", "chunks", "an extension", "length", "until closed", "100s", "reason", "a header"],
)  # fmt: skip
@in_loop()
async def test_an_answer_without_end_is_given_up(begin: bytes, part: bytes) -> None:
    """Whatever has no end in it: little is read, the connection is closed, and nothing is kept."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"body")
        writer.write(begin)
        with suppress(ConnectionError):
            while True:
                writer.write(part)
                await writer.drain()
                sent += len(part)
        writer.transport.abort()
        closed.set()

    closed = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = Client("tester/1")
    gc.collect()
    gc.disable()
    try:
        async with asyncio.timeout(20):
            with suppress(BrokenOff):
                assert (await client.post(url, {}, b"body")).body == b""
            await closed.wait()
        left = [each for each in gc.get_objects() if isinstance(each, HttpConnection)]
        assert not any(each._body or each._parser for each in left)
    finally:
        gc.enable()
    assert sent < ANSWER_LIMIT_BYTES + (8 << 20), "what sockets' buffers hold comes on top"
    client.close()
    server.close()


@in_loop()
async def test_trailers_are_no_headers() -> None:
    """What comes behind the body was not there when the answer began."""
    answer = CHUNKED + b"2\r\nok\r\n0\r\nRetry-After: 9999\r\n\r\n"
    async with talking(answer, OK) as (_, post):
        found = await post()
        assert (found.body, "Retry-After" in found.headers) == (b"ok", False)


@in_loop()
async def test_a_time_limit_says_what_took_the_time() -> None:
    """A service that is slow is not a firewall that drops packets."""
    async with talking(b"") as (server, _):
        client = Client("tester/1", 0.05)
        with pytest.raises(TimedOut, match="while waiting for the answer"):
            await client.post(server.url, {}, b"body")
        client.close()
