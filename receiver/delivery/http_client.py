"""POSTs over HTTP/1.1, as few instructions each as there can be: what a batch costs to send.

In: an address, headers and a body. Out: the service's `Answer`. Connections are kept alive;
they go through the proxy that the environment names, and over TLS with the CAs of SSL_CERT_FILE.
Follows nothing and judges nothing. Repeats a request in one case alone: a connection that was
kept may have died unseen, so one that fails before a byte of its answer costs a new one.

Rules: RFC 9112: 3.2.2 what a proxy is sent, 9.3 which connections may go on.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit

from receiver.delivery.dial import CannotConnect, Dialer, Stage
from receiver.delivery.http_connection import Answer, BrokenOff, Connection
from receiver.delivery.proxy import Proxy, proxy_of
from receiver.errors import SettingsError

_SAFE = "%/?:@!$&'()*+,;=~-._[]"
"""What stays as it is in a path and a query. RFC 3986, 3.3 and 3.4, and what is quoted already."""
IDLE_SECONDS = 30.0
"""How long a connection may wait for its next request: servers close those that wait longer."""

Place = tuple[str, str, int]


class TimedOut(OSError):
    """There was no answer in time; the message says what took it."""


def make_context() -> ssl.SSLContext:
    """Trust what the system trusts, or the CAs of SSL_CERT_FILE, and speak HTTP/1.1."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Client:
    """POSTs to any host, over connections of its own."""

    def __init__(
        self,
        user_agent: str,
        timeout_seconds: float | None = None,
        environ: Mapping[str, str] = os.environ,
        tls: Callable[[], ssl.SSLContext] = make_context,
    ) -> None:
        """Connect to nothing yet. A request may take `timeout_seconds`, one that is repeated again."""
        self._user_agent = user_agent
        self._timeout_seconds = timeout_seconds
        self._environ = environ
        self._dialer = Dialer(tls)
        self._idle: dict[Place, list[Connection]] = {}
        self._proxies: dict[Place, Proxy | None] = {}

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request and read its answer.

        Raises: TimedOut, CannotConnect, ProxyRefused, BrokenOff, ssl.SSLError; socket.gaierror
        for a name without address.
        """
        parts = urlsplit(url)
        default = 443 if parts.scheme == "https" else 80
        place = parts.scheme, parts.hostname or "", parts.port or default
        proxy = self._proxy(place, url)
        request = self._request(url, headers, body, proxy)
        if connection := self._take(place):
            try:
                return await self._exchange(place, connection, proxy, request)
            except (BrokenOff, TimedOut):
                if connection.answer_has_begun:
                    raise
                self._drop(place)  # they have waited longer still
        return await self._exchange(place, None, proxy, request)

    def _proxy(self, place: Place, url: str) -> Proxy | None:
        if place not in self._proxies:
            try:
                self._proxies[place] = proxy_of(url, self._environ)
            except SettingsError as error:  # of a host that we were redirected to
                raise CannotConnect(str(error)) from error
        return self._proxies[place]

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
        self, place: Place, connection: Connection | None, proxy: Proxy | None, request: bytes
    ) -> Answer:
        """Send a request over a connection, a new one if there is none, and take the answer."""
        stage = Stage("waiting for the answer")
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if connection is None:
                    connection = await self._dialer.connect(*place, proxy, stage)
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
            self._idle.setdefault(place, []).append(connection)
        else:
            connection.abort()
        return answer

    def _take(self, place: Place) -> Connection | None:
        """Take the connection that waited least, if it may still be there."""
        waiting = self._idle.get(place, [])
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while waiting:
            connection = waiting.pop()
            if connection.may_go_on and (connection.idle_since or 0.0) > oldest:
                return connection
            connection.abort()
        return None

    def _drop(self, place: Place) -> None:
        for connection in self._idle.pop(place, []):
            connection.abort()

    def close(self) -> None:
        """Give up all connections."""
        for place in list(self._idle):
            self._drop(place)
