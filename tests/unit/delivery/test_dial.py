"""Which address a host is reached at, and what is left of the others: no network, on jumping time."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from receiver.delivery.dial import (
    AHEAD_SECONDS,
    ProxyRefused,
    _Address,
    _first_of,
    _resolve,
    _Tunnel,
)
from receiver.delivery.http_connection import HEAD_LIMIT_BYTES
from receiver.delivery.proxy import Proxy
from tests.unit.delivery.jumping import JumpingLoop

V4, V6 = socket.AF_INET, socket.AF_INET6
FOR_EVER = 1e6


class Net(JumpingLoop):
    """A loop whose names and addresses are what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[tuple[socket.AddressFamily, Any]] = []
        self.asked: list[tuple[Any, ...]] = []
        self.took: dict[Any, float | OSError] = {}
        self.tried: list[tuple[float, Any]] = []
        self.sockets: dict[Any, socket.socket] = {}
        self.stubborn = False
        """A cancelled attempt succeeds all the same."""

    async def getaddrinfo(self, host: Any, port: Any, **how: Any) -> Any:
        self.asked.append((host, port, how))
        return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in self.names]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        assert sock.gettimeout() == 0
        self.tried.append((round(self.now - 1000, 3), address))
        self.sockets[address] = sock
        took = self.took[address]
        try:
            await asyncio.sleep(0.1 if isinstance(took, OSError) else took)
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
        if isinstance(took, OSError):
            raise took


def on_net(test: Callable[[Net], Awaitable[None]]) -> Callable[[], None]:
    """Run a test on a net of its own; no socket is left open."""

    def run() -> None:
        net = Net()

        async def main() -> None:
            await test(net)
            await asyncio.sleep(1)

        with asyncio.Runner(loop_factory=lambda: net) as runner:
            runner.run(main())
        assert all(sock.fileno() == -1 for sock in net.sockets.values())

    run.__doc__ = test.__doc__
    return run


def addresses(count: int) -> list[_Address]:
    """Make addresses, by their numbers."""
    return [_Address(V4, (number,)) for number in range(count)]


@on_net
async def test_the_families_take_turns(net: Net) -> None:
    """The first one's first; what one has more of comes last. RFC 8305, 4."""
    net.names = [(V6, (1,)), (V6, (2,)), (V6, (3,)), (V4, (4,)), (V4, (5,))]
    found = await _resolve("host.example", 443)
    assert [each.address for each in found] == [(1,), (4,), (2,), (5,), (3,)]
    assert [each.family for each in found] == [V6, V4, V6, V4, V6]
    assert net.asked == [("host.example", 443, {"type": socket.SOCK_STREAM})]
    net.names = [(V4, (4,))]
    assert await _resolve("host.example", 443) == [_Address(V4, (4,))]
    net.names = []
    assert await _resolve("host.example", 443) == []


@on_net
async def test_an_address_is_not_asked_for(net: Net) -> None:
    """It is one already."""
    assert await _resolve("10.0.0.1", 5) == [_Address(V4, ("10.0.0.1", 5))]
    assert await _resolve("::1", 5) == [_Address(V6, ("::1", 5))]
    assert net.asked == []


@on_net
async def test_the_next_address_is_tried_beside_a_silent_one(net: Net) -> None:
    """After a quarter of a second; who answers first has won, and the others are closed."""
    assert AHEAD_SECONDS == 0.25
    net.took = {(0,): FOR_EVER, (1,): FOR_EVER, (2,): 0.1, (3,): 0.0}
    won = await _first_of(addresses(4))
    assert net.tried == [(0.0, (0,)), (0.25, (1,)), (0.5, (2,))]
    assert won is net.sockets[2,]
    assert won.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await asyncio.sleep(0)
    assert [net.sockets[number,].fileno() == -1 for number in (0, 1, 2)] == [True, True, False]
    won.close()


@on_net
async def test_the_first_that_answers_needs_no_other(net: Net) -> None:
    """None of them is tried."""
    net.took = {(0,): 0.2, (1,): 0.0}
    (await _first_of(addresses(2))).close()
    assert net.tried == [(0.0, (0,))]


@on_net
async def test_after_a_refusal_the_next_is_tried_at_once(net: Net) -> None:
    """And those that are silent go on meanwhile."""
    net.took = {(0,): OSError("refused"), (1,): OSError("refused too"), (2,): 0.5}
    (await _first_of(addresses(3))).close()
    assert net.tried == [(0.0, (0,)), (0.1, (1,)), (0.2, (2,))]


@on_net
async def test_where_none_answers_the_first_says_why(net: Net) -> None:
    """It is the one that the system would have taken."""
    net.took = {(number,): OSError(f"refused {number}") for number in range(3)}
    with pytest.raises(OSError, match="refused 0"):
        await _first_of(addresses(3))
    with pytest.raises(OSError, match="the host has no address"):
        await _first_of([])


@on_net
async def test_of_two_that_answer_at_once_one_is_closed(net: Net) -> None:
    """And so is one that answers while it is being cancelled."""
    net.took = {(0,): 0.5, (1,): 0.25}
    won = await _first_of(addresses(2))
    assert sorted(sock.fileno() == -1 for sock in net.sockets.values()) == [False, True]
    won.close()
    net.stubborn = True
    net.took = {(0,): FOR_EVER, (1,): 0.0}
    won = await _first_of(addresses(2))
    await asyncio.sleep(0.1)
    assert won is net.sockets[1,]
    assert net.sockets[0,].fileno() == -1
    won.close()


@on_net
async def test_one_that_is_cancelled_leaves_nothing(net: Net) -> None:
    """Whatever it had begun."""
    net.took = {(0,): FOR_EVER, (1,): FOR_EVER}
    task = asyncio.create_task(_first_of(addresses(2)))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(net.sockets) == 2


class Line(asyncio.Transport):
    """A connection to a proxy, which notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)


PROXY = Proxy("https_proxy", "http", "proxy", 3128)


async def asked(answer: bytes, size: int, proxy: Proxy = PROXY, host: str = "h") -> bytes:
    """Ask for a tunnel, and be answered so many bytes at a time, and closed; returns what was asked."""
    tunnel, transport = _Tunnel(), Line()
    tunnel.connection_made(transport)
    asking = asyncio.create_task(tunnel.ask(host, 443, proxy))
    await asyncio.sleep(0)
    for first in range(0, len(answer), size):
        tunnel.data_received(answer[first : first + size])
    tunnel.connection_lost(None)
    await asking
    return transport.written


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 299\r\nX: y\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 \r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_a_proxy_s_2xx_opens_a_tunnel(answer: bytes, size: int) -> None:
    """However its answer is cut, and after interim answers; a close later is not its refusal."""
    assert asyncio.run(asked(answer, size)) == b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"


def test_a_tunnel_is_asked_for_with_credentials_and_brackets() -> None:
    """Where the proxy has a password; an IPv6 address is in brackets."""
    proxy = Proxy("https_proxy", "http", "proxy", 3128, "Basic dTpw")
    head = asyncio.run(asked(b"HTTP/1.1 200 OK\r\n\r\n", 9, proxy, "::1"))
    assert head == (
        b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
    )


@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b"HTTP/1.1 300 No\r\n\r\n", 300, "the proxy answered 300 No"),
        (b"HTTP/1.1 407 Who are you\r\nX: y\r\n\r\n", 407, "the proxy answered 407 Who are you"),
        (b"HTTP/1.1 100 A\r\n\r\nHTTP/1.1 502 \r\n\r\n", 502, "the proxy answered 502 "),
        (b"HTTP/2 200 OK\r\n\r\n", 0, "the proxy answered something that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n", 0, "the proxy closed the connection: without an answer"),
        (b"HTTP/1.1 099 OK\r\n\r\n", 0, "the proxy answered something that is not HTTP"),
    ],
)
def test_any_other_answer_is_a_refusal_that_is_quoted(
    answer: bytes, status: int, said: str, size: int
) -> None:
    """With its status; 0 where it is not HTTP."""
    with pytest.raises(ProxyRefused) as refused:
        asyncio.run(asked(answer, size))
    assert (refused.value.status, str(refused.value).strip()) == (status, said.strip())


def test_a_proxy_that_sends_more_than_its_head_is_refused() -> None:
    """In TLS the host does not speak first: it is the proxy's."""
    with pytest.raises(ProxyRefused, match="200 OK"):
        asyncio.run(asked(b"HTTP/1.1 200 OK\r\n\r\nx", 100))


@pytest.mark.parametrize(("length", "is_long"), [(HEAD_LIMIT_BYTES, False), (HEAD_LIMIT_BYTES + 1, True)])  # fmt: skip
def test_an_answer_without_end_is_refused_at_its_limit(length: int, *, is_long: bool) -> None:
    """In bytes, however they come."""
    answer = b"HTTP/1.1 200 OK\r\nX: ".ljust(length, b"y")
    with pytest.raises(ProxyRefused) as refused:
        asyncio.run(asked(answer, 1000))
    assert ("too long" in str(refused.value)) is is_long
