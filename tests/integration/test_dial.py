"""Ways to a host: its addresses, proxies of both kinds, TLS; each that fails is named."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
import trustme

from receiver.delivery import dial
from receiver.delivery.dial import CannotConnect, ProxyRefused, ProxyUnreachable
from receiver.delivery.http_client import Client, TimedOut
from tests.integration.waiting import in_loop

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n"
CA = trustme.CA()


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    return context


def server_context(*names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert(*names).configure_cert(context)
    return context


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    context: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[int]:
    """Serve each connection, and leave nothing behind; gives the port."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(one, host, 0, ssl=context)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each POST."""
    while await reader.readuntil(b"\r\n\r\nbody"):
        writer.write(OK)


async def be_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Read, and say nothing."""
    while await reader.read(1 << 16):
        pass


@dataclass
class Proxy:
    """Answers CONNECT with `answer`, and passes on where that is a 2xx."""

    answer: bytes = ESTABLISHED
    heads: list[str] = field(default_factory=list)
    port: int = 0

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext | None = None) -> AsyncIterator["Proxy"]:
        async with listening(self._serve, context) as self.port:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if not head.startswith("CONNECT"):
            await reader.readexactly(4)
            writer.write(OK)
            await reader.read()
            return
        writer.write(self.answer)
        await writer.drain()
        if self.answer == ESTABLISHED:
            host, _, port = head.split()[1].rpartition(":")
            reader2, writer2 = await asyncio.open_connection(host.strip("[]"), int(port))
            try:
                await asyncio.gather(_copy(reader, writer2), _copy(reader2, writer))
            finally:
                writer2.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(1 << 16):
        writer.write(part)
    writer.transport.abort()


@asynccontextmanager
async def client(seconds: float = 20.0, **environ: str) -> AsyncIterator[Client]:
    made = Client("tester/1", seconds, environ, client_context)
    yield made
    made.close()
    await asyncio.sleep(0.01)  # so that the other sides see it


@pytest.mark.parametrize("kind", ["http", "https"])
@in_loop()
async def test_a_proxy_is_asked_for_a_tunnel(kind: str) -> None:
    """Over TLS where the proxy is an https one, with its credentials; then TLS with the host."""
    proxy = Proxy()
    async with (
        proxy.running(server_context("localhost") if kind == "https" else None),
        listening(answer, server_context("127.0.0.1")) as port,
        client(HTTPS_PROXY=f"{kind}://u:p@localhost:{proxy.port}") as us,
    ):
        for _ in range(2):
            assert (await us.post(f"https://127.0.0.1:{port}/x", {}, b"body")).body == b"ok"
    [head] = proxy.heads
    assert head.startswith(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n")
    assert "Proxy-Authorization: Basic dTpw" in head


@pytest.mark.parametrize("kind", ["http", "https"])
@in_loop()
async def test_a_proxy_is_sent_a_plain_request_itself(kind: str) -> None:
    """With the whole address, as RFC 9112 3.2.2 has it; over TLS where the proxy is an https one."""
    context = server_context("127.0.0.1") if kind == "https" else None
    async with (
        Proxy().running(context) as proxy,
        client(HTTP_PROXY=f"{kind}://u:p@127.0.0.1:{proxy.port}") as us,
    ):
        assert (await us.post("http://example.test:8/x?y=1", {}, b"body")).body == b"ok"
    [head] = proxy.heads
    assert head.startswith("POST http://example.test:8/x?y=1 HTTP/1.1\r\nHost: example.test:8\r\n")
    assert "Proxy-Authorization: Basic dTpw" in head


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", 407, "407 Proxy Authentication"),
        (b"HTTP/1.0 503 \r\n\r\n", 503, "the proxy answered 503"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\n\r\n", 403, "403 No"),
        (b"\x05\x00 nonsense\r\n\r\n", 0, "something that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore than the head", 200, "200 OK"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, 0, "too long"),
        (b"", 0, "closed the connection"),
    ],
    ids=["407", "503", "100", "no HTTP", "too much", "no end", "closed"],
)
@in_loop()
async def test_a_proxy_that_refuses_is_quoted(answer: bytes, status: int, said: str) -> None:
    """Nothing is sent to the host then, and nothing past the proxy."""
    async with (
        Proxy(answer).running() as proxy,
        client(HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}") as us,
    ):
        with pytest.raises(ProxyRefused, match=said) as refused:
            await us.post("https://example.test/", {}, b"body")
    assert refused.value.status == status


@in_loop()
async def test_a_proxy_that_cannot_be_reached_is_named() -> None:
    """Its address without its password; its certificate too."""
    async with Proxy().running() as proxy:
        pass
    gone = f"http://u:hunter2@127.0.0.1:{proxy.port}"
    async with client(HTTPS_PROXY=gone) as us:
        with pytest.raises(ProxyUnreachable, match=f"http://127.0.0.1:{proxy.port}") as failed:
            await us.post("https://example.test/", {}, b"body")
    assert "hunter2" not in str(failed.value)
    async with (
        Proxy().running(server_context("other.test")) as proxy,
        client(HTTPS_PROXY=f"https://127.0.0.1:{proxy.port}") as us,
    ):
        with pytest.raises(ProxyUnreachable, match="certificate"):
            await us.post("https://example.test/", {}, b"body")


@in_loop()
async def test_a_host_s_certificate_is_checked_through_a_proxy() -> None:
    """A proxy that re-signs without our trust is found out, and nothing is sent."""
    async with (
        Proxy().running() as proxy,
        listening(answer, server_context("other.test")) as port,
        client(HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}") as us,
    ):
        with pytest.raises(ssl.SSLCertVerificationError):
            await us.post(f"https://127.0.0.1:{port}/", {}, b"body")


def _has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
@in_loop()
async def test_both_address_families_are_spoken() -> None:
    """An address of version 6 in brackets, over TLS."""
    async with listening(answer, server_context("::1"), "::1") as port, client() as us:
        assert (await us.post(f"https://[::1]:{port}/", {}, b"body")).body == b"ok"


def _addresses(*hosts: str, port: int) -> Iterable[dial._Address]:
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        yield dial._Address(family, (host, port))


@pytest.mark.parametrize("dead", ["refuses", "is silent"])
@in_loop()
async def test_a_dead_address_gives_way_to_the_next(dead: str) -> None:
    """One that refuses at once, one that is silent after a quarter of a second. RFC 8305."""
    full = socket.create_server(("127.0.0.2", 0), backlog=0)
    async with listening(answer) as port:
        hosts = [f"127.0.0.{number}" for number in (2, 3)]
        extra = []
        if dead == "is silent":  # a listener whose queue is full drops what comes
            full.close()
            full = socket.create_server(("127.0.0.2", port), backlog=0)
            for _ in range(2):
                sock = socket.socket()
                sock.settimeout(0)
                with suppress(BlockingIOError):
                    sock.connect(("127.0.0.2", port))
                extra.append(sock)
            hosts = hosts[:1]
        sock = await asyncio.wait_for(dial._first_of(_addresses(*hosts, "127.0.0.1", port=port)), 5)
        assert sock.getpeername() == ("127.0.0.1", port)
        for each in (sock, full, *extra):
            each.close()


@in_loop()
async def test_an_address_that_refuses_is_said_with_its_port() -> None:
    """The first one's error is told when none answers."""
    async with listening(answer) as port:
        pass
    async with client() as us:
        with pytest.raises(CannotConnect, match=f"127.0.0.1:{port}"):
            await us.post(f"http://127.0.0.1:{port}/", {}, b"body")


@in_loop()
async def test_a_time_limit_names_the_stage() -> None:
    """A name server, a firewall, a handshake and a slow service have different cures."""
    async with listening(be_silent) as port:
        address = f"127.0.0.1:{port}"
        async with client(1.0, HTTPS_PROXY=address) as us:
            with pytest.raises(TimedOut, match=f"asking the proxy http://{address} for host.test"):
                await us.post("https://host.test/", {}, b"body")
        async with client(1.0) as us:
            with pytest.raises(TimedOut, match=r"negotiating TLS with 127\.0\.0\.1"):
                await us.post(f"https://{address}/", {}, b"body")
