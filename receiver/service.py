"""The receiver as a whole: wires the stages, starts them and stops them.

Data flows down: web, reception, outbox, delivery. They are started from the bottom
up, so that nothing arrives before it can be kept, and stopped from the top down, so
that nothing is lost: newcomers get 503, what is in flight is finished, what has no
outcome yet stays in the outbox.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import structlog
from aiohttp import web

from receiver import __version__, entra, memory
from receiver.allowlist import Allowlist
from receiver.commit import Committer
from receiver.connection import Connection
from receiver.delivery import Delivery
from receiver.envelope import Identity
from receiver.errors import NotCommitted, OutboxFull, SettingsError
from receiver.gate import Gate
from receiver.intake import Selection
from receiver.limits import Limits
from receiver.outbox import Outbox
from receiver.pace import Pace
from receiver.reception import Reception
from receiver.redirect import Route
from receiver.selfmetrics import to_text
from receiver.settings import Address, Settings
from receiver.status import Observer, to_json
from receiver.transport import Token, Transport
from receiver.web import Pages, Web

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver that runs. `url` is where it listens."""

    url: str
    web: Web
    delivery: Delivery
    observer: Observer


@asynccontextmanager
async def running(
    settings: Settings,
    connection: Connection,
    allowlist: Allowlist,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Receiver]:
    """Run a receiver for as long as the context lasts. `clock` is in seconds since the epoch.

    Raises: OutboxError, SettingsError where it cannot start.
    """
    key = connection.instrumentation_key
    outbox = Outbox(settings.outbox_dir, settings.outbox_max_bytes, key, clock)
    committer = Committer(outbox)
    committer.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(committer.stop)
        session = await stack.enter_async_context(_client_session(settings))
        tokens = await _tokens(settings, connection, stack, clock)
        delivery = _delivery(settings, connection, committer, session, tokens, clock)
        committer.on_batches = delivery.wake
        identity = Identity(key, settings.host, settings.cloud_role, settings.cloud_role_instance)
        selection = Selection(allowlist, identity, settings.series_cache_bytes, _limits(settings))
        reception = Reception(selection, committer)
        loop = asyncio.get_running_loop()
        observer = Observer(
            committer,
            reception,
            delivery,
            settings.metrics_json or "default_metrics.json",
            connection.track_url,
            clock(),
            clock,
            loop.time,
        )
        front = Web(reception, _pages(observer), settings.body_max_bytes)
        sending = asyncio.create_task(delivery.run(), name="delivery")
        runner = await _listen(front, settings.listen)
        url = f"http://{Address(*runner.addresses[0][:2])}"
        try:
            yield Receiver(url, front, delivery, observer)
        finally:
            await _stop(front, delivery, sending, runner, settings.shutdown_seconds)


def _limits(settings: Settings) -> Limits:
    return Limits(
        decoded_bytes=settings.decoded_max_bytes,
        parsed_bytes=settings.parsed_max_bytes,
        rendered_bytes=settings.rendered_max_bytes,
        series=settings.series_max,
        labels=settings.labels_max,
        label_bytes=settings.label_max_bytes,
    )


def _client_session(settings: Settings) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(limit=settings.senders, keepalive_timeout=30)
    headers = {"User-Agent": f"appinsights-receiver/{__version__}"}
    return aiohttp.ClientSession(connector=connector, headers=headers, trust_env=True)


async def _tokens(
    settings: Settings, connection: Connection, stack: AsyncExitStack, clock: Callable[[], float]
) -> Token | None:
    """Set up signing in with Microsoft Entra ID, where that is asked for. Raises: SettingsError."""
    authentication = entra.parse(settings.authentication_string)
    if authentication is None:
        return None
    make = entra.credential_maker(authentication, connection)
    tokens = entra.Tokens(make, entra.scope_of(connection), clock)
    stack.push_async_callback(tokens.close)
    return tokens.get


def _delivery(
    settings: Settings,
    connection: Connection,
    committer: Committer,
    session: aiohttp.ClientSession,
    tokens: Token | None,
    clock: Callable[[], float],
) -> Delivery:
    loop = asyncio.get_running_loop()
    return Delivery(
        committer,
        Transport(
            session,
            Route(connection.track_url, loop.time),
            settings.send_timeout_seconds,
            tokens,
        ),
        Gate(random.random, settings.retry_max_seconds),
        Pace(settings.items_per_second, loop.time),
        connection.instrumentation_key,
        settings.senders,
        clock,
    )


def _pages(observer: Observer) -> Pages:
    async def status() -> bytes:
        return to_json(await observer.snapshot())

    async def metrics() -> bytes:
        return to_text(await observer.snapshot())

    async def ready() -> str:
        """Say why no request can be taken now; nothing when one can. Azure's state is no reason."""
        try:
            found = await observer.snapshot()
        except NotCommitted as error:
            return str(error)
        if found.outbox.size_bytes >= found.outbox.max_bytes:
            return f"the outbox is full. {OutboxFull.hint}"
        return f"the outbox cannot be written. {NotCommitted.hint}" if found.outbox_failing else ""

    return Pages(status, metrics, ready)


async def _listen(front: Web, address: Address) -> web.AppRunner:
    runner = web.AppRunner(
        front.application, access_log=None, auto_decompress=False, shutdown_timeout=1.0
    )
    await runner.setup()
    site = web.TCPSite(runner, address.host, address.port, reuse_address=True)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        message = f"cannot listen on {address}: {error.strerror}; name another with RECEIVER_LISTEN or --listen"
        raise SettingsError(message) from error
    return runner


async def _stop(
    front: Web,
    delivery: Delivery,
    sending: "asyncio.Task[None]",
    runner: web.AppRunner,
    seconds: float,
) -> None:
    """Stop from the top down, within `seconds`; what is not delivered by then stays in the outbox."""
    front.draining = True
    deadline = asyncio.get_running_loop().time() + seconds
    delivery.stop()
    await front.drained(seconds)
    try:
        async with asyncio.timeout_at(deadline):
            await sending
    except TimeoutError:
        log.info("stopped while batches were under way", hint="They stay in the outbox.")
    await runner.cleanup()


async def serve(settings: Settings, connection: Connection, allowlist: Allowlist) -> None:
    """Run until SIGTERM or SIGINT; a second one ends the process at once, and loses nothing."""
    stop = stop_on_signals()
    memory.settle()
    async with running(settings, connection, allowlist) as receiver:
        memory.settle_garbage()
        log.info(
            "receiver listens",
            address=receiver.url,
            write=f"{receiver.url}/api/v1/write",
            delivers_to=connection.endpoint,
            metrics=[entry.name for entry in allowlist.entries],
            outbox=str(settings.outbox_dir),
        )
        await stop.wait()
        log.info("receiver stops")
    log.info("receiver stopped")


def stop_on_signals() -> asyncio.Event:
    """Make an event that SIGTERM and SIGINT set; the second of them ends the process at once."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)  # what was acknowledged is on disk
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop
