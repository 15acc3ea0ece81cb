"""The receiver as a whole: wires the stages, starts them and stops them.

Data flows down: web, reception, outbox, delivery. They are started from the bottom
up, so that nothing arrives before it can be kept, and stopped from the top down, so
that nothing is lost: newcomers get 503, what is in flight is finished, what has no
outcome yet stays in the outbox.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from receiver import memory
from receiver.allowlist import Allowlist
from receiver.commit import Committer
from receiver.connection import Connection
from receiver.delivery import Delivery
from receiver.desk import Desk
from receiver.errors import SettingsError
from receiver.instrument import Instrument
from receiver.intake import Selection
from receiver.metadata import MetadataBook
from receiver.observation import Observation
from receiver.outbox import Outbox
from receiver.outlet import open_outlet
from receiver.pages import make_pages
from receiver.reception import Reception
from receiver.reload import Watch
from receiver.selecting import selector
from receiver.settings import Settings, load_allowlist
from receiver.status import Observer
from receiver.troubles import Troubles
from receiver.workers.crew import Crew
from receiver.workers.report import Hearing

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver that runs. `url` is where it listens."""

    url: str
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
        delivery = open_outlet(settings, connection, committer, stack, clock)
        committer.on_batches = delivery.wake
        metadata = MetadataBook()  # types and units come once in a while: a new list knows them too
        select = selector(settings, key, metadata)
        reception = Reception(select(allowlist), committer)
        observation, troubles = Observation(clock), Troubles(clock)
        reception.on_request = observation.saw
        watch = _watch(settings, reception, select, troubles, clock)
        desk: Desk | Crew
        if settings.workers == 1:
            desk = Desk(settings, reception)
        else:
            hearing = Hearing(observation, troubles, metadata)
            desk = Crew(settings, key, committer, reception, hearing)
            watch.in_force = desk.in_force
        stack.push_async_callback(desk.close)
        observer = Observer(
            committer,
            reception,
            delivery,
            settings.metrics_json or "default_metrics.json",
            connection.track_url,
            clock(),
            clock,
            asyncio.get_running_loop().time,
            desk.arrivals,
            desk.seen,
            watch,
        )
        instrument = Instrument(observer, observation, troubles, settings.price_per_gb)
        committer.on_trouble = delivery.on_trouble = troubles.note
        await instrument.begin()
        url = await desk.open(make_pages(instrument, watch), troubles.note)
        looking = asyncio.create_task(instrument.run(), name="instrument")
        sending = asyncio.create_task(delivery.run(), name="delivery")
        watching = asyncio.create_task(watch.run(), name="watch")
        try:
            yield Receiver(url, delivery, observer, watch, instrument)
        finally:
            looking.cancel()
            watching.cancel()
            await _stop(desk, delivery, sending, settings.shutdown_seconds)


def _watch(
    settings: Settings,
    reception: Reception,
    select: Callable[[Allowlist], Selection],
    troubles: Troubles,
    clock: Callable[[], float],
) -> Watch:
    """Make what follows metrics.json."""

    def use(wanted: Allowlist) -> None:
        reception.selection = select(wanted)

    def load() -> Allowlist:
        try:
            return load_allowlist(settings)
        except SettingsError as error:
            troubles.note("metrics.json", str(error), "The list before is kept: mend the file.")
            raise

    return Watch(settings.metrics_json, load, use, clock)


async def _stop(
    desk: Desk | Crew, delivery: Delivery, sending: "asyncio.Task[None]", seconds: float
) -> None:
    """Stop from the top down, within `seconds`; what is not delivered by then stays in the outbox.

    Until all is done newcomers are answered: the desk is closed after this.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    delivery.stop()
    await desk.drain(seconds)
    try:
        async with asyncio.timeout_at(deadline):
            await sending
    except TimeoutError:
        log.info("stopped while batches were under way", hint="They stay in the outbox.")


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
            workers=settings.workers,
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
