"""Which connection is given up when there are too many, and how long each may take."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import wraps
from typing import Any

import pytest
import trustme

from receiver.config.settings import Address
from receiver.events import Events
from receiver.server.connection_guard import (
    CLOSED,
    ConnectionGuard,
    ConnectionLimits,
    ConnectionState,
    Guards,
)
from receiver.server.connections import (
    NOT_ACCEPTED,
    SEND_BUFFER_BYTES,
    ConnectionCounts,
    Listener,
)
from tests.integration.waiting import until


class Transport(asyncio.Transport):
    """A connection that knows whether it was aborted."""

    def __init__(self, name: str, aborted: list[str]) -> None:
        super().__init__()
        self._name, self._aborted = name, aborted

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take any."""

    def abort(self) -> None:
        self._aborted.append(self._name)


class House:
    """A listener and its connections, by name; `aborted` are those given up, in order."""

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self.events = Events()
        self.listener = Listener(
            asyncio.Protocol, lambda: None, self.limits, ConnectionCounts(), {}, self.events
        )
        self.aborted: list[str] = []

    def connect(self, name: str) -> ConnectionGuard:
        """Let a connection in."""
        loop = asyncio.get_running_loop()
        guard = ConnectionGuard(self.listener, asyncio.Protocol(), loop, self.limits)
        guard.connection_made(Transport(name, self.aborted))
        return guard

    def give_up(self) -> str:
        """Give one up; returns which."""
        return self.aborted[-1] if self.listener._give_up_one() else "none"


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in a loop of its own."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 20))

    return run


@in_loop
async def test_who_waits_longest_for_the_least_is_given_up_first() -> None:
    """Headers, idle, an unread answer, a body: each the oldest first; one at work never."""
    house = House()
    at_work = house.connect("work")
    at_work.begin_body()
    at_work.begin_work()
    for name in ("body 1", "body 2"):
        house.connect(name).begin_body()
    for name in ("answer 1", "answer 2"):
        guard = house.connect(name)
        guard.begin_body()
        guard.begin_answer()
    for name in ("idle 1", "idle 2"):
        house.connect(name).done()
    for name in ("headers 1", "headers 2"):
        house.connect(name)
    order = [f"{state} {n}" for state in ("headers", "idle", "answer", "body") for n in (1, 2)]
    assert [house.give_up() for _ in order] == order
    assert house.give_up() == "none"
    assert house.events.counts(CLOSED) == {"crowded_out": len(order)}


@in_loop
async def test_a_handshake_goes_after_headers_and_before_the_idle() -> None:
    """It has shown less than one that has spoken HTTP."""
    house = House()
    house.connect("idle").done()
    handshake = asyncio.create_task(asyncio.Event().wait())
    house.listener._handshakes[handshake] = handshake  # type: ignore[index, assignment]
    house.connect("headers")
    assert house.give_up() == "headers"
    assert house.listener._give_up_one(), "there is a place now"
    await asyncio.sleep(0)
    assert handshake.cancelled()
    assert house.give_up() == "idle"
    assert house.events.counts(CLOSED) == {"crowded_out": 3}


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        (lambda _: None, "headers_late"),
        (lambda guard: guard.done(), "idle"),
        (lambda guard: guard.begin_answer(), "answer_late"),
        (lambda guard: (guard.done(), guard.data_received(b"G")), "headers_late"),
    ],
)
@in_loop
async def test_each_state_has_its_clock(
    begin: Callable[[ConnectionGuard], object], reason: str
) -> None:
    """The connection is closed when it is over, and counted by its reason."""
    house = House(ConnectionLimits(10, 0.01, 0.01, 0.01))
    guard = house.connect("it")
    begin(guard)
    while not house.aborted:
        await asyncio.sleep(0.001)
    assert house.events.counts(CLOSED) == {reason: 1}


@in_loop
async def test_a_request_at_work_has_no_clock() -> None:
    """Its body is here: what it takes from now on is ours."""
    house = House(ConnectionLimits(10, 0.0, 0.0, 0.0))
    guard = house.connect("it")
    guard.begin_work()
    await asyncio.sleep(0.01)
    assert house.aborted == []
    assert set(ConnectionState) == {
        ConnectionState.HEADERS,
        ConnectionState.IDLE,
        ConnectionState.ANSWER,
        ConnectionState.BODY,
        ConnectionState.WORK,
    }


class Inner(asyncio.Protocol):
    """What aiohttp would be."""

    transport: asyncio.BaseTransport | None = None
    is_lost = False
    connections_then = 0

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.connections_then = self._listener.connections

    def connection_lost(self, _: Exception | None) -> None:
        self.is_lost = True


class Server:
    """A listener on loopback, and what it has accepted, in order."""

    def __init__(self, limits: ConnectionLimits, context: ssl.SSLContext | None = None) -> None:
        self.accepted: list[Inner] = []
        self.events = Events()
        self.counts = ConnectionCounts()
        self.guards: Guards = {}
        self.listener = Listener(
            self.serve, lambda: context, limits, self.counts, self.guards, self.events
        )
        self.address = self.listener.listen(Address("127.0.0.1", 0))
        self.clients: list[socket.socket] = []
        self.writers: list[asyncio.StreamWriter] = []

    def serve(self) -> Inner:
        self.accepted.append(Inner(self.listener))
        return self.accepted[-1]

    async def connect(self) -> socket.socket:
        """Connect, without waiting to be accepted."""
        client = socket.socket()
        self.clients.append(client)
        client.setblocking(False)  # noqa: FBT003 - the socket's signature
        place = self.address.host, self.address.port
        await asyncio.get_running_loop().sock_connect(client, place)
        return client

    async def admitted(self, count: int) -> list[Inner]:
        """Wait until so many are connected; returns those that ever were."""
        await until(lambda: self.counts.connections == count, f"{count} connections")
        return self.accepted

    def guard(self, inner: Inner) -> ConnectionGuard:
        """Give the guard of a connection."""
        return self.guards[inner.transport]


async def closed(client: socket.socket) -> bool:
    """Wait until the other side has closed a connection, whatever it sent before."""
    with suppress(ConnectionResetError):
        while await asyncio.get_running_loop().sock_recv(client, 100):
            pass
    return True


@asynccontextmanager
async def server(
    limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - frozen
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[Server]:
    """Accept on loopback, and close all of it in the end."""
    made = Server(limits, context)
    try:
        yield made
    finally:
        await made.listener.close()
        for client in made.clients:
            client.close()
        for writer in made.writers:
            writer.close()
        await made.admitted(0)


@in_loop
async def test_who_connects_is_served_and_counted() -> None:
    """With a guard, as long as the connection is there, and a buffer that does not grow."""
    async with server() as it:
        assert it.address.port
        clients = [await it.connect() for _ in range(2)]
        first, second = await it.admitted(2)
        assert it.listener.connections == it.counts.accepted == 2
        assert it.guard(first) is not it.guard(second)
        assert len(it.guards) == 2
        assert first.transport
        own: socket.socket = first.transport.get_extra_info("socket")
        assert own.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * SEND_BUFFER_BYTES

        port = clients[0].getsockname()[1]
        left, stays = (first, second) if own.getpeername()[1] == port else (second, first)
        clients[0].close()
        await it.admitted(1)
        assert (left.is_lost, stays.is_lost) == (True, False)
        assert left.transport not in it.guards
        assert it.listener.connections == 1
        assert it.counts.accepted == 2
        assert not it.events.counts(CLOSED), "they went by themselves"


@pytest.mark.parametrize("with_tls", [False, True])
@in_loop
async def test_a_connection_that_is_being_admitted_counts_once(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext],
    with_tls: bool,  # noqa: FBT001
) -> None:
    """Not as a handshake too: it would crowd another one out below the limit."""
    ours, theirs = certificate
    async with server(context=ours if with_tls else None) as it:
        place = it.address.host, it.address.port
        for number in (1, 2):
            _, writer = await asyncio.open_connection(
                *place,
                ssl=theirs if with_tls else None,
                server_hostname="localhost" if with_tls else None,
            )
            await it.admitted(number)
            assert it.accepted[-1].connections_then == number
            assert not it.listener._handshakes
            it.writers.append(writer)


@pytest.fixture(scope="module")
def certificate() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Give a server's context, and one of a client that trusts it."""
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    return ours, theirs


@in_loop
async def test_at_the_limit_a_newcomer_takes_a_place_or_none() -> None:
    """The place of one that waits; where all are at work it is closed, and both are counted."""
    async with server(ConnectionLimits(2)) as it:
        first = await it.connect()
        await it.admitted(1)
        await it.connect()
        await it.admitted(2)
        it.guard(it.accepted[1]).begin_work()

        await it.connect()
        assert await closed(first)
        await until(lambda: len(it.accepted) == 3, "the third")
        assert it.accepted[0].is_lost
        assert it.events.counts(CLOSED) == {"crowded_out": 1}
        it.guard(it.accepted[2]).begin_work()

        refused = await it.connect()
        assert await closed(refused)
        assert it.events.counts(CLOSED) == {"crowded_out": 1, "no_place": 1}
        assert [inner.is_lost for inner in it.accepted] == [True, False, False]
        assert it.counts.accepted == 4
        [event, _] = it.events.latest()
        assert event.reason == "no_place"
        assert "all with requests being processed" in event.words

        it.guard(it.accepted[1]).done()
        await it.connect()
        await until(lambda: len(it.accepted) == 4, "the next one")
        assert it.events.counts(CLOSED) == {"crowded_out": 2, "no_place": 1}


@in_loop
async def test_a_closed_listener_accepts_no_connection_and_closes_none() -> None:
    """Requests under way are answered; a handshake is no request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with server() as it, server(context=context) as with_tls:
        await it.connect()
        handshake = await with_tls.connect()
        [served] = await it.admitted(1)
        await until(lambda: with_tls.listener.connections == 1, "the handshake")
        for each in (it, with_tls):
            await each.listener.close()
            with pytest.raises(ConnectionRefusedError):
                await each.connect()
        assert it.counts.connections == 1
        assert not served.is_lost
        assert await closed(handshake)
        await until(lambda: with_tls.listener.connections == 0, "its end")
        assert [inner.transport for inner in with_tls.accepted] == [None], "it got no further"


@in_loop
async def test_a_handshake_that_fails_is_said_with_its_cause() -> None:
    """A client without TLS, where there is some: it is closed, and nobody else is disturbed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with server(context=context) as it:
        for times in (1, 2):
            client = await it.connect()
            await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\n\r\n")
            assert await asyncio.wait_for(closed(client), 10)
            assert it.events.counts(CLOSED) == {"handshake_failed": times}
        await until(lambda: it.listener.connections == 0, "its end")
        assert it.counts.accepted == 2
        assert [inner.transport for inner in it.accepted] == [None, None]
        assert not it.listener._handshakes, "nothing of them is kept"
        assert "http request" in str(it.events.latest()[0]).lower()


@in_loop
async def test_a_handshake_has_the_time_of_headers() -> None:
    """Who connects and says nothing is closed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    async with server(ConnectionLimits(headers_seconds=0.05), context) as it:
        client = await it.connect()
        assert await asyncio.wait_for(closed(client), 10)
        assert it.events.counts(CLOSED) == {"handshake_failed": 1}


class ScarceLoop(asyncio.SelectorEventLoop):
    """A loop on which the first connection cannot be accepted."""

    failures = 0

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        if not self.failures:
            self.failures += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return await super().sock_accept(sock)


def test_who_cannot_be_accepted_yet_is_accepted_later() -> None:
    """For lack of descriptors: it is said, and tried again."""

    async def main() -> None:
        async with server() as it:
            await it.connect()
            await it.admitted(1)
            assert it.events.counts(NOT_ACCEPTED) == {"OSError": 1}
            [event] = it.events.latest()
            assert "Too many open files" in event.words
            assert "ulimit" in event.hint

    with asyncio.Runner(loop_factory=ScarceLoop) as runner:
        runner.run(asyncio.wait_for(main(), 20))


@in_loop
async def test_an_idle_connection_that_is_closed_is_counted_alone() -> None:
    """That is no error; any other reason is one, with its meaning."""
    house = House()
    house.listener.note("idle")
    assert (house.events.counts(CLOSED), house.events.latest()) == ({"idle": 1}, [])
    house.listener.note("handshake_failed", OSError("no shared cipher"))
    [event] = house.events.latest()
    assert event.reason == "handshake_failed"
    assert "TLS handshake failed" in event.words
    assert event.hint
