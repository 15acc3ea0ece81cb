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
from urllib.request import getproxies

import aiohttp
import orjson
import structlog
from aiohttp import web

from receiver import __version__, entra, memory
from receiver.access import Access
from receiver.admission import Admission
from receiver.allowlist import Allowlist
from receiver.commit import Committer
from receiver.connection import Connection
from receiver.delivery import Delivery
from receiver.door import Door, DoorCounts, DoorLimits
from receiver.envelope import Identity
from receiver.errors import NotCommitted, SettingsError
from receiver.gate import Gate
from receiver.instrument import Instrument, to_status
from receiver.intake import Selection
from receiver.limits import Limits
from receiver.observation import Observation
from receiver.outbox import Outbox
from receiver.pace import Pace
from receiver.pages import page_routes
from receiver.reception import Reception
from receiver.redirect import Route
from receiver.reload import Watch
from receiver.selfmetrics import to_text
from receiver.settings import Settings, load_allowlist
from receiver.status import Observer
from receiver.transport import Token, Transport
from receiver.troubles import Troubles
from receiver.web import BodyLimits, Noise, Pages, Web

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver that runs. `url` is where it listens."""

    url: str
    web: Web
    delivery: Delivery
    observer: Observer
    watch: Watch
    instrument: Instrument


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
        limits = _limits(settings)

        selection = Selection(allowlist, identity, settings.series_cache_bytes, limits)
        reception = Reception(selection, committer)

        def use(wanted: Allowlist) -> None:
            # Types and units are sent once in a while, so what was learnt of them goes on.
            reception.selection = Selection(
                wanted, identity, settings.series_cache_bytes, limits, reception.selection.metadata
            )

        watch = Watch(settings.metrics_json, lambda: load_allowlist(settings), use, clock)
        observation, troubles = Observation(clock), Troubles(clock)
        reception.on_request = observation.saw
        loop = asyncio.get_running_loop()
        admission = Admission(settings.requests_max, settings.in_flight_max_bytes)
        door_counts = DoorCounts()
        observer = Observer(
            committer,
            reception,
            delivery,
            settings.metrics_json or "default_metrics.json",
            connection.track_url,
            clock(),
            clock,
            loop.time,
            admission,
            door_counts,
            watch,
        )
        access = Access(settings.web_config_file, settings.bearer_token_file, loop.time)
        stack.callback(access.close)
        body_limits = BodyLimits(settings.body_max_bytes, settings.body_seconds)
        instrument = Instrument(observer, observation, troubles, settings.price_per_gb)
        front = Web(reception, _pages(instrument), access, admission, body_limits)
        for part in (committer, delivery, front):
            part.on_trouble = troubles.note
        entrance = await _listen(front, settings, access, door_counts)
        looking = asyncio.create_task(instrument.run(), name="instrument")
        sending = asyncio.create_task(delivery.run(), name="delivery")
        watching = asyncio.create_task(watch.run(), name="watch")
        try:
            yield Receiver(entrance.url, front, delivery, observer, watch, instrument)
        finally:
            looking.cancel()
            watching.cancel()
            await _stop(front, delivery, sending, entrance, settings.shutdown_seconds)


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
    # To trust the environment, aiohttp reads ~/.netrc in a thread for each POST: half its cost.
    proxied = bool(getproxies())
    return aiohttp.ClientSession(connector=connector, headers=headers, trust_env=proxied)


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


def _pages(instrument: Instrument) -> Pages:
    async def status() -> bytes:
        view = await instrument.view()
        document = to_status(view, instrument.troubles, instrument.cost(view))
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    async def metrics() -> bytes:
        return to_text((await instrument.view()).snapshot)

    async def ready() -> str:
        """Say why no request can be taken now; nothing when one can. Azure's state is no reason."""
        try:
            view = await instrument.view()
        except NotCommitted as error:
            return str(error)
        found = view.snapshot
        if found.outbox_failing or found.outbox.full:
            lines = (view.diagnosis.line, *view.diagnosis.also)
            return ". ".join((*lines, view.diagnosis.hint))
        return ""

    return Pages(status, metrics, ready, page_routes(instrument))


@dataclass(frozen=True, slots=True)
class _Entrance:
    """The door, what serves behind it, and where it is."""

    door: Door
    runner: web.AppRunner
    url: str

    async def close(self) -> None:
        """Let nobody in, and send those away who are here."""
        await self.door.close()
        await self.runner.cleanup()


async def _listen(front: Web, settings: Settings, access: Access, counts: DoorCounts) -> _Entrance:
    noise = Noise()
    runner = web.AppRunner(
        front.application,
        access_log=None,
        auto_decompress=False,
        shutdown_timeout=1.0,
        keepalive_timeout=settings.idle_seconds,
        logger=noise.logger,
    )
    await runner.setup()
    assert runner.server
    limits = DoorLimits(settings.connections_max, settings.headers_seconds, settings.idle_seconds)
    door = Door(runner.server, access.tls, limits, counts)
    front.guard_of = door.guard
    noise.on_no_http = lambda error: door.note("not_http", error)
    try:
        address = door.listen(settings.listen)
    except SettingsError:
        await runner.cleanup()
        raise
    return _Entrance(door, runner, f"http{'s' if access.tls() else ''}://{address}")


async def _stop(
    front: Web,
    delivery: Delivery,
    sending: "asyncio.Task[None]",
    entrance: _Entrance,
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
    await entrance.close()


async def serve(settings: Settings, connection: Connection, allowlist: Allowlist) -> None:
    """Run until SIGTERM or SIGINT; a second one ends the process at once, and loses nothing."""
    stop = stop_on_signals()
    memory.settle()
    async with running(settings, connection, allowlist) as receiver:
        memory.settle_garbage()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, receiver.watch.ask)
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
