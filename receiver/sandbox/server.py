"""The sandbox as an HTTP server on this machine.

`serve` picks a free port when asked for port 0 and says in `connection_string`
how to send to it. Request bodies reach the contract as they came: aiohttp must
not decompress them, so whoever runs `create_app` by other means sets
`auto_decompress=False`.
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
        """The base address, with no slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def connection_string(self) -> str:
        """What a sender is configured with."""
        return f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={self.url}/"


def create_app(sandbox: Sandbox, own_names: Collection[str] | None = None) -> web.Application:
    """Make the aiohttp application for a sandbox.

    `own_names` are this machine's where the sandbox listens on loopback alone; requests that name
    another machine are refused then, and those of other sites' pages always.
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
        # The service takes a doubled slash as well, as the Python exporter has sent it.
        app.router.add_post(rf"/{{slashes:/*}}{version}/track", track)
    return app


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    """Add what each answer of ours bears; how long a redirect holds is for the fault to say."""
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
    """Serve until the block ends; port 0 is any free one.

    Raises: OSError, when the address cannot be had.
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
