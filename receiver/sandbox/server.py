"""The sandbox as an HTTP server on this machine.

`serve` picks a free port for port 0; `connection_string` is the setting of a sender. Request
bodies must reach the contract unchanged: to run `create_app` by other means, set
`auto_decompress=False`, so that aiohttp does not decompress them.
"""

import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address

from aiohttp import web
from aiohttp.typedefs import Handler

from receiver import cross_origin
from receiver.sandbox.state import INSTRUMENTATION_KEY, Sandbox
from receiver.sandbox.track import SANDBOX, track
from receiver.sandbox.views import routes

_SHUTDOWN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Server:
    """A running sandbox."""

    sandbox: Sandbox
    host: str
    port: int

    @property
    def url(self) -> str:
        """The base address, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def connection_string(self) -> str:
        """The connection string for a sender."""
        return f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={self.url}/"


def create_app(sandbox: Sandbox, own_names: Collection[str] | None = None) -> web.Application:
    """Make the aiohttp application for a sandbox.

    `own_names` are this machine's names if the sandbox listens on loopback; requests for another
    host are refused then. Requests from other sites' pages are always refused.
    """

    @web.middleware
    async def refuse_foreign(request: web.Request, handler: Handler) -> web.StreamResponse:
        if why := cross_origin.refusal(request.method, request.headers, own_names):
            return web.Response(status=403, text=f"{why}\n")
        return await handler(request)

    app = web.Application(middlewares=[refuse_foreign])
    app.on_response_prepare.append(_add_headers)
    app[SANDBOX] = sandbox
    app.add_routes(routes)
    for version in ("v2.1", "v2"):
        # The service accepts a double slash too, which the Python exporter sends.
        app.router.add_post(rf"/{{slashes:/*}}{version}/track", track)
    return app


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every answer, except Cache-Control, which belongs to a redirect fault."""
    for name, value in cross_origin.HEADERS.items():
        if name != "Cache-Control":
            response.headers.setdefault(name, value)
    response.headers["Server"] = cross_origin.HEADERS["Server"]


def _own_names(host: str) -> Collection[str] | None:
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    return (socket.gethostname().lower(),) if is_loopback else None


@asynccontextmanager
async def serve(sandbox: Sandbox, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Server]:
    """Serve until the block ends; port 0 is any free port.

    Raises: OSError, when the address cannot be used.
    """
    runner = web.AppRunner(
        create_app(sandbox, _own_names(host)),
        access_log=None,
        auto_decompress=False,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield Server(sandbox, host, runner.addresses[0][1])
    finally:
        await runner.cleanup()
