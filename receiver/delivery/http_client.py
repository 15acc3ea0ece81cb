"""A minimal HTTP/1.1 client for POSTs.

In: an address, headers and a body. Out: the service's `Answer`. Connections are kept alive;
they use the proxy of the environment, and TLS with the CAs of SSL_CERT_FILE. Follows no
redirect and judges no answer. Repeats a request only in one case: a kept connection may have
died unnoticed, so if it fails before the first byte of an answer, a new one is opened.

Rules: RFC 9112: 3.2.2 requests to a proxy, 9.3 persistent connections.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from receiver.delivery.dial import CannotConnect, Dialer, Stage
from receiver.delivery.http_connection import Answer, BrokenOff, HttpConnection
from receiver.delivery.proxy import Proxy, proxy_of
from receiver.errors import SettingsError

_SAFE = "%/?:@!$&'()*+,;=~-._[]"
"""Characters that are not quoted in a path and a query. RFC 3986, 3.3 and 3.4, and %."""
IDLE_SECONDS = 30.0
"""Longest idle time of a kept connection, below that after which servers close it."""

ServerAddress = tuple[str, str, int]


class TimedOut(OSError):
    """No answer in time; the message names the step that took too long."""


def make_context() -> ssl.SSLContext:
    """Return a context that trusts the system's CAs, or those of SSL_CERT_FILE, for HTTP/1.1."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Client:
    """A client for POSTs to any host, with its own connections."""

    def __init__(
        self,
        user_agent: str,
        timeout_seconds: float | None = None,
        environ: Mapping[str, str] = os.environ,
        tls: Callable[[], ssl.SSLContext] = make_context,
    ) -> None:
        """Prepare, without connecting. `timeout_seconds` limits a request, and its repetition again."""
        self._user_agent = user_agent
        self._timeout_seconds = timeout_seconds
        self._environ = environ
        self._dialer = Dialer(tls)
        self._idle: dict[ServerAddress, list[HttpConnection]] = {}
        self._proxies: dict[ServerAddress, Proxy | None] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request and read its answer.

        Raises: TimedOut, CannotConnect, ProxyRefused, BrokenOff, ssl.SSLError; socket.gaierror
        for a name without address.
        """
        parts = urlsplit(url)
        default = 443 if parts.scheme == "https" else 80
        server = parts.scheme, parts.hostname or "", parts.port or default
        proxy = self._proxy(server, url)
        request = self._request(url, headers, body, proxy)
        if connection := self._take(server):
            try:
                return await self._exchange(server, connection, proxy, request)
            except (BrokenOff, TimedOut):
                if connection.answer_has_begun:
                    raise
                self._drop(server)  # the other connections have been idle even longer
        return await self._exchange(server, None, proxy, request)

    def _proxy(self, server: ServerAddress, url: str) -> Proxy | None:
        if server not in self._proxies:
            try:
                self._proxies[server] = proxy_of(url, self._environ)
            except SettingsError as error:  # for a redirect's host
                raise CannotConnect(str(error)) from error
        return self._proxies[server]

    def _request(
        self, url: str, headers: Mapping[str, str], body: bytes, proxy: Proxy | None
    ) -> bytes:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        path = quote(f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", safe=_SAFE)
        through_proxy = proxy is not None and parts.scheme == "http"
        lines = [
            f"POST {f'http://{host}' if through_proxy else ''}{path} HTTP/1.1",
            f"Host: {host}",
        ]
        if through_proxy and proxy and proxy.authorization:
            lines.append(f"Proxy-Authorization: {proxy.authorization}")
        lines += [f"User-Agent: {self._user_agent}", "Accept: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", ""))
        return head.encode("latin-1") + body

    async def _exchange(
        self,
        server: ServerAddress,
        connection: HttpConnection | None,
        proxy: Proxy | None,
        request: bytes,
    ) -> Answer:
        """Send a request over a kept or a new connection, and return the answer."""
        stage = Stage("waiting for the answer")
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if connection is None:
                    connection = await self._dialer.connect(*server, proxy, stage)
                    stage.now = "waiting for the answer"
                answer = await connection.ask(request)
        except BaseException as error:
            if connection:
                connection.abort()
            if isinstance(error, TimeoutError):
                raise TimedOut(f"no answer in time, while {stage.now}") from error
            raise
        if connection.may_go_on:
            connection.keep(asyncio.get_running_loop().time())
            self._idle.setdefault(server, []).append(connection)
        else:
            connection.abort()
        return answer

    def _take(self, server: ServerAddress) -> HttpConnection | None:
        """Return the most recently used kept connection that is still usable, if any."""
        waiting = self._idle.get(server, [])
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while waiting:
            connection = waiting.pop()
            if connection.may_go_on and (connection.idle_since or 0.0) > oldest:
                return connection
            connection.abort()
        return None

    def _drop(self, server: ServerAddress) -> None:
        for connection in self._idle.pop(server, []):
            connection.abort()

    def close(self) -> None:
        """Close all connections."""
        for server in list(self._idle):
            self._drop(server)
