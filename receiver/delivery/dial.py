"""The opening of connections: name, socket, proxy, TLS.

In: an address, and its proxy, if any. Out: an `HttpConnection`. `Stage` is the progress of an
attempt, for the message at a timeout: a silent name server, a firewall and a slow service
need different remedies.

Rules: RFC 8305, 4 and 5: address families alternate, and each address has a head start.
RFC 9110, 9.3.6: a proxy gets a CONNECT; after its 2xx the bytes are the host's.
"""

import asyncio
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Any, TypeVar

from receiver.delivery.http_connection import HEAD_LIMIT_BYTES, BrokenOff, HttpConnection
from receiver.delivery.proxy import Proxy

AHEAD_SECONDS = 0.25
"""Head start of an address before the next one is tried in parallel. RFC 8305, 5."""
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2}) ?([^\r\n]*)")

AnyProtocol = TypeVar("AnyProtocol", bound=asyncio.Protocol)


class CannotConnect(OSError):
    """The host cannot be connected to."""


class ProxyUnreachable(CannotConnect):
    """The proxy cannot be connected to."""


class ProxyRefused(OSError):
    """The proxy refuses the connection; `status` is 0 if its answer is not HTTP."""

    def __init__(self, status: int, words: str) -> None:
        """Keep the status and the proxy's message."""
        super().__init__(words)
        self.status = status


@dataclass(slots=True)
class Stage:
    """The current step of an attempt: "resolving HOST", "connecting to HOST:PORT"."""

    now: str = ""


class Dialer:
    """Opens connections."""

    def __init__(self, make_context: Callable[[], ssl.SSLContext]) -> None:
        """Delay the TLS context until it is needed, since it reads a file of CAs."""
        self._make_context = make_context
        self._context: ssl.SSLContext | None = None

    async def connect(
        self, scheme: str, host: str, port: int, proxy: Proxy | None, stage: Stage
    ) -> HttpConnection:
        """Open a connection to a host, through a proxy if there is one.

        Raises: CannotConnect, ProxyRefused, socket.gaierror, ssl.SSLError, TimeoutError, OSError.
        """
        context = self._tls() if scheme == "https" else None
        if proxy is None:
            return (await self._direct(host, port, HttpConnection, context, stage))[1]
        to_proxy = self._tls() if proxy.scheme == "https" else None
        try:
            if context is None:  # the request itself goes to the proxy
                opened = await self._direct(proxy.host, proxy.port, HttpConnection, to_proxy, stage)
                return opened[1]
            transport, tunnel = await self._direct(proxy.host, proxy.port, _Tunnel, to_proxy, stage)
        except socket.gaierror as error:
            raise ProxyUnreachable(f"{proxy.address}: {error.strerror}") from error
        except (CannotConnect, ssl.SSLError) as error:
            raise ProxyUnreachable(f"{proxy.address}: {error}") from error
        try:
            stage.now = f"asking the proxy {proxy.address} for {host}:{port}"
            await tunnel.ask(host, port, proxy)
            stage.now = f"negotiating TLS with {host} through the proxy {proxy.address}"
            return await self._over(transport, host, context)
        except BaseException:
            transport.abort()
            raise

    async def _over(
        self, transport: asyncio.Transport, host: str, context: ssl.SSLContext
    ) -> HttpConnection:
        """Start TLS on a tunnel."""
        connection = HttpConnection()
        loop = asyncio.get_running_loop()
        inner = await loop.start_tls(transport, connection, context, server_hostname=host)
        if inner is None:  # start_tls is typed to return None too
            raise BrokenOff("closed by the other side")
        connection.connection_made(inner)
        return connection

    async def _direct(
        self,
        host: str,
        port: int,
        protocol: Callable[[], AnyProtocol],
        context: ssl.SSLContext | None,
        stage: Stage,
    ) -> tuple[asyncio.Transport, AnyProtocol]:
        stage.now = f"resolving the name {host}"
        addresses = await _resolve(host, port)
        stage.now = f"connecting to {host}:{port}"
        try:
            sock = await _first_of(addresses)
        except (TimeoutError, asyncio.CancelledError):
            raise
        except OSError as error:
            raise CannotConnect(f"{host}:{port}: {error}") from error
        stage.now = f"negotiating TLS with {host}"
        try:
            server_hostname = host if context else None
            return await asyncio.get_running_loop().create_connection(
                protocol, sock=sock, ssl=context, server_hostname=server_hostname
            )
        except BaseException:
            sock.close()
            raise

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = self._make_context()
        return self._context


@dataclass(frozen=True, slots=True)
class _Address:
    family: int
    address: tuple[Any, ...]


async def _resolve(host: str, port: int) -> list[_Address]:
    """Return a host's addresses with alternating families. Raises: socket.gaierror."""
    with suppress(ValueError):
        is_6 = ip_address(host).version == 6
        return [_Address(socket.AF_INET6 if is_6 else socket.AF_INET, (host, port))]
    loop = asyncio.get_running_loop()
    candidates = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [_Address(family, address) for family, _, _, _, address in candidates]
    first = [address for address in addresses if address.family == addresses[0].family]
    others = [address for address in addresses if address.family != addresses[0].family]
    return [address for address in chain(*zip_longest(first, others)) if address]


async def _first_of(addresses: Iterable[_Address]) -> socket.socket:
    """Connect to the address that answers first. Raises: the first OSError if none does."""
    waiting = deque(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    errors: list[BaseException] = []
    won: socket.socket | None = None
    try:
        while won is None and (waiting or running):
            if waiting:
                running.add(asyncio.create_task(_connect(waiting.popleft())))
            timeout = AHEAD_SECONDS if waiting else None
            done, running = await asyncio.wait(
                running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if error := task.exception():
                    errors.append(error)
                elif won is None:
                    won = task.result()
                else:
                    task.result().close()
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_late)
    if won is None:
        raise errors[0] if errors else OSError("the host has no address")
    return won


def _close_late(task: "asyncio.Task[socket.socket]") -> None:
    if not task.cancelled() and not task.exception():
        task.result().close()


async def _connect(to: _Address) -> socket.socket:
    sock = socket.socket(to.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        await asyncio.get_running_loop().sock_connect(sock, to.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


class _Tunnel(asyncio.Protocol):
    """Requests a tunnel from a proxy, and reads the head of the answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._read = b""
        self._answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask(self, host: str, port: int, proxy: Proxy) -> None:
        """Request a connection to a host. Raises: ProxyRefused."""
        assert self._transport
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {address} HTTP/1.1", f"Host: {address}"]
        if proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        self._transport.write("\r\n".join((*lines, "", "")).encode("latin-1"))
        await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answer.done():  # in TLS the host does not send first
            return
        self._read += data
        head, end, rest = self._read.partition(b"\r\n\r\n")
        if not end:
            if len(self._read) > HEAD_LIMIT_BYTES:
                self._refuse(0, "the proxy's answer is too long")
            return
        line = _STATUS_LINE.match(head)
        status = int(line[1]) if line else 0
        if status < 200 and status:  # an interim answer
            self._read = rest
            self.data_received(b"")
        elif 200 <= status < 300 and not rest:
            self._answer.set_result(None)
        else:
            words = line[2].decode("latin-1").strip() if line else "something that is not HTTP"
            self._refuse(status, f"the proxy answered {status or ''} {words}".replace("  ", " "))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._answer.done():
            self._refuse(0, f"the proxy closed the connection: {exc or 'without an answer'}")

    def _refuse(self, status: int, words: str) -> None:
        self._answer.set_exception(ProxyRefused(status, words))
