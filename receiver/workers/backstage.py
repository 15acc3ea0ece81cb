"""The front's pages, for its workers alone.

In: the front's application. Out: a Unix socket in the abstract namespace (no file that
could be left behind), which lets in nobody but the front's own workers: these have
asked for credentials already. On the workers' side, a handler that passes requests on.
Rules: unix(7), SO_PEERCRED.
"""

import asyncio
import secrets
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

import aiohttp
from aiohttp import web
from yarl import URL

from receiver.door import ACCEPT_RETRY_SECONDS

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
ANSWER_SECONDS = 20.0
_OF_ONE_HOP = frozenset({
    "authorization", "connection", "content-encoding", "content-length", "date", "expect", "host", "keep-alive",
    "proxy-authenticate", "proxy-authorization", "server", "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
"""Headers that are each connection's own. Source: RFC 9110, section 7.6.1."""


class Backstage:
    """Serves an application to processes of ours."""

    def __init__(self, application: web.Application, is_ours: Callable[[int], bool]) -> None:
        """Prepare; `is_ours` says of a process whether it may connect."""
        self._runner = web.AppRunner(application, access_log=None)
        self._is_ours = is_ours
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._accepting: asyncio.Task[None] | None = None
        self.name = f"appinsights-receiver-{secrets.token_hex(16)}"

    async def open(self) -> None:
        """Listen."""
        await self._runner.setup()
        self._listener.bind(f"\0{self.name}")
        self._listener.listen()
        self._listener.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._accepting = asyncio.create_task(self._accept(), name="backstage")

    async def close(self) -> None:
        """Let nobody in, and end what is under way."""
        if self._accepting:
            self._accepting.cancel()
            with suppress(asyncio.CancelledError):
                await self._accepting
        self._listener.close()
        await self._runner.cleanup()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        assert self._runner.server
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError:  # no file descriptors mostly; the door's log tells of it
                await asyncio.sleep(ACCEPT_RETRY_SECONDS)
                continue
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            if self._is_ours(_CREDENTIALS.unpack(found)[0]):
                await loop.connect_accepted_socket(self._runner.server, connection)
            else:
                connection.close()


class PassOn:
    """Has the front answer requests: `answer` is the handler."""

    def __init__(self, name: str) -> None:
        """Speak to the `Backstage` of that name."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(f"\0{name}"),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Give the front's answer; none of its pages reads a body."""
        url = URL(f"http://front{request.rel_url.raw_path_qs}", encoded=True)
        headers = {name: value for name, value in request.headers.items() if _goes_on(name)}
        try:
            async with self._session.request(
                request.method, url, headers=headers, allow_redirects=False
            ) as found:
                body = await found.read()
        except (aiohttp.ClientError, OSError):  # a time-out is one
            return web.Response(status=504, text="the receiver's own process does not answer\n")
        headers = {name: value for name, value in found.headers.items() if _goes_on(name)}
        return web.Response(status=found.status, headers=headers, body=body)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def _goes_on(name: str) -> bool:
    return name.lower() not in _OF_ONE_HOP
