"""One connection, told what comes over it byte by byte: no socket, no server."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from receiver.azure.answer import ANSWER_LIMIT_BYTES
from receiver.delivery.http_connection import (
    HEAD_LIMIT_BYTES,
    UNHEARD_MS,
    Answer,
    BrokenOff,
    HttpConnection,
)
from tests.integration.waiting import in_loop

HEAD = b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 5\r\n\r\n"
OPEN_END = b"HTTP/1.1 503 Busy\r\n\r\n"


class Line(asyncio.Transport):
    """What a connection writes to; `unsent` bytes of it are still here."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent = 0
        self.aborts = 0
        self.socket = socket.socket()

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.written += data

    def abort(self) -> None:
        self.aborts += 1

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.socket if name == "socket" else default


class Talk:
    """A connection, its line, and a request that waits for its answer."""

    def __init__(self) -> None:
        self.line = Line()
        self.connection = HttpConnection()
        self.connection.connection_made(self.line)

    async def ask(self) -> "asyncio.Task[Answer]":
        """Send a request."""
        task = asyncio.create_task(self.connection.ask(b"POST"))
        await asyncio.sleep(0)
        return task

    def come(self, *parts: bytes) -> None:
        """Have these parts come, one after the other."""
        for part in parts:
            self.connection.data_received(part)

    def end(self, error: Exception | None = None) -> None:
        """Have the connection end."""
        self.connection.connection_lost(error)


def talk(test: Callable[[Talk], Awaitable[None]]) -> Callable[[], None]:
    """Run a test over a connection."""

    @in_loop(20)
    async def run() -> None:
        made = Talk()
        try:
            await test(made)
        finally:
            made.line.socket.close()

    run.__doc__ = test.__doc__
    return run


@talk
async def test_an_answer_comes_in_any_pieces(it: Talk) -> None:
    """Byte by byte, and again over the same connection."""
    for _ in range(2):
        task = await it.ask()
        it.come(*(bytes([byte]) for byte in HEAD + b"hello"))
        answer = await task
        assert (answer.status, answer.headers["a"], answer.body) == (200, "1", b"hello")
        assert answer.headers.getall("A") == ["1"]  # type: ignore[attr-defined]
        assert it.connection.may_go_on
    assert it.line.written == b"POST" * 2
    assert it.line.aborts == 0


@talk
async def test_a_body_may_be_as_large_as_the_limit(it: Talk) -> None:
    """With all that frames it; 64,000 items' errors fit."""
    assert ANSWER_LIMIT_BYTES == 8 << 20
    task = await it.ask()
    head = b"HTTP/1.1 206 X\r\nContent-Length: %d\r\n\r\n"
    size = ANSWER_LIMIT_BYTES - len(head % ANSWER_LIMIT_BYTES)
    it.come(head % size, b"x" * size)
    assert len((await task).body) == size
    assert it.connection.may_go_on


@talk
async def test_a_larger_one_says_its_status_alone(it: Talk) -> None:
    """And the connection is given up, for what follows would never end."""
    task = await it.ask()
    it.come(OPEN_END, *[b"x" * (1 << 20)] * 8)
    answer = await task
    assert (answer.status, answer.body) == (503, b"")
    assert not it.connection.may_go_on
    assert it.line.aborts


@talk
async def test_a_head_without_end_is_given_up(it: Talk) -> None:
    """After 64 KiB; one that long is still read."""
    assert HEAD_LIMIT_BYTES == 64 << 10
    task = await it.ask()
    it.come(b"HTTP/1.1 200 OK\r\nA: ", b"x" * (HEAD_LIMIT_BYTES - 20))
    assert not it.line.aborts
    it.come(b"x")
    with pytest.raises(BrokenOff, match="headers are too long"):
        await task
    assert it.line.aborts


@pytest.mark.parametrize("text", [b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_is_said(text: bytes) -> None:
    """In a sentence; the connection is given up."""

    @talk
    async def test(it: Talk) -> None:
        task = await it.ask()
        it.come(text)
        with pytest.raises(BrokenOff, match=r"the answer is not HTTP: ."):
            await task
        assert it.line.aborts

    test()


@talk
async def test_bytes_without_a_request_end_the_connection(it: Talk) -> None:
    """It would be taken for the answer to another request."""
    it.come(HEAD)
    assert it.line.aborts
    with pytest.raises(BrokenOff, match="closed by the other side"):
        await it.connection.ask(b"POST")
    assert it.line.written == b""


@talk
async def test_a_second_answer_ends_the_connection(it: Talk) -> None:
    """In the same piece as the first, or behind it; the first one counts."""
    task = await it.ask()
    it.come(HEAD + b"hello" + HEAD + b"again")
    assert (await task).body == b"hello"
    assert not it.connection.may_go_on
    other = Talk()
    task = await other.ask()
    other.come(HEAD + b"hello")
    assert (await task).body == b"hello"
    other.come(HEAD)
    assert not other.connection.may_go_on
    assert other.line.aborts
    other.line.socket.close()


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (OPEN_END + b"all of it", b"all of it"),
        (HEAD + b"hel", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", b""),
    ],
)
def test_an_end_amid_an_answer_leaves_its_status(text: bytes, body: bytes) -> None:
    """A body whose length was told and that is not all there is none."""

    @talk
    async def test(it: Talk) -> None:
        task = await it.ask()
        it.come(*(bytes([byte]) for byte in text))
        it.end()
        answer = await task
        assert answer.status in {200, 503}
        assert answer.body == body
        assert not it.connection.may_go_on
        assert it.line.aborts

    test()


@talk
async def test_an_end_before_an_answer_says_why(it: Talk) -> None:
    """The system's own words, where there are any."""
    task = await it.ask()
    it.end(ConnectionResetError("reset by peer"))
    with pytest.raises(BrokenOff, match="reset by peer"):
        await task
    other = Talk()
    task = await other.ask()
    other.end()
    with pytest.raises(BrokenOff, match="closed by the other side"):
        await task
    other.line.socket.close()


@talk
async def test_a_request_on_an_ended_connection_fails(it: Talk) -> None:
    """With the reason of the end."""
    it.end()
    with pytest.raises(BrokenOff, match="closed by the other side"):
        await it.connection.ask(b"POST")


@talk
async def test_one_byte_is_an_answer_that_has_begun(it: Talk) -> None:
    """Whoever sent it has the request: it is not sent again."""
    task = await it.ask()
    begun = [it.connection.answer_has_begun]
    it.come(b"H")
    begun.append(it.connection.answer_has_begun)
    assert begun == [False, True]
    it.end()
    with pytest.raises(BrokenOff):
        await task


@talk
async def test_what_comes_before_the_answer_is_not_it(it: Talk) -> None:
    """Its headers are not the answer's either."""
    task = await it.ask()
    it.come(b"HTTP/1.1 100 Continue\r\nB: 2\r\n\r\n", b"HTTP/1.1 103 Early\r\nC: 3\r\n\r\n", HEAD, b"hello")  # fmt: skip
    answer = await task
    assert (answer.status, dict(answer.headers)) == (200, {"A": "1", "Content-Length": "5"})


@talk
async def test_a_trailer_is_no_header(it: Talk) -> None:
    """Whatever it calls itself."""
    task = await it.ask()
    it.come(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nRetry-After: 9\r\n\r\n")  # fmt: skip
    answer = await task
    assert answer.body == b"ok"
    assert list(answer.headers) == ["Transfer-Encoding"]
    assert it.connection.may_go_on


@pytest.mark.parametrize(
    ("head", "unsent", "goes_on"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 0, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 0, False),
        (b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n", 1, False),
    ],
)
def test_which_connections_may_be_kept(head: bytes, unsent: int, *, goes_on: bool) -> None:
    """None that the other side closes, and none of which a request is still being sent."""

    @talk
    async def test(it: Talk) -> None:
        task = await it.ask()
        it.line.unsent = unsent
        it.come(head)
        await task
        assert it.connection.may_go_on is goes_on

    test()


@talk
async def test_a_kept_connection_notices_that_its_path_is_dead(it: Talk) -> None:
    """Within seconds; a new one has the whole time of a POST."""

    def unheard_ms() -> int:
        return it.line.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    assert unheard_ms() == 0
    it.connection.keep(7.5)
    assert unheard_ms() == UNHEARD_MS == 5000
    assert it.connection.idle_since == 7.5
    it.line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1)
    it.connection.keep(9.0)
    assert unheard_ms() == 1, "set once"
    assert it.connection.idle_since == 9.0
