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
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from receiver import memory
from receiver.allowlist import Allowlist
from receiver.commit import Committer
from receiver.compiled import IS_COMPILED
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

DEFECT = "A defect of the receiver: please report it. It ends, and loses nothing: start it again."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver that runs. `url` is where it listens.

    `broken` has the error of a part that ended and should not have: a defect, after which
    the process had better end and be started again than go on without that part.
    """

    url: str
    broken: "asyncio.Future[BaseException]"
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
        broken: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        looking = _watched(instrument.run(), "instrument", broken)
        sending = _watched(delivery.run(), "delivery", broken)
        watching = _watched(watch.run(), "watch", broken)
        try:
            yield Receiver(url, broken, delivery, observer, watch, instrument)
        finally:
            looking.cancel()
            watching.cancel()
            await _stop(desk, delivery, sending, settings.shutdown_seconds)


def _watched(
    work: Coroutine[Any, Any, None], name: str, broken: "asyncio.Future[BaseException]"
) -> "asyncio.Task[None]":
    """Start a part that runs until it is stopped; its error, if it has one, is that of all."""

    def look(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) and not broken.done():
            log.error("a part has failed", part=name, hint=DEFECT, exc_info=error)
            broken.set_result(error)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(look)
    return task


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
    loop_time = asyncio.get_running_loop().time
    deadline = loop_time() + seconds
    delivery.stop()
    await desk.drain(seconds)
    await asyncio.wait({sending}, timeout=max(0.0, deadline - loop_time()))
    if not sending.done():
        log.info("stopped while batches were under way", hint="They stay in the outbox.")
        sending.cancel()
        await asyncio.wait({sending})


async def serve(settings: Settings, connection: Connection, allowlist: Allowlist) -> int:
    """Run until SIGTERM or SIGINT (0), or a part fails (1).

    A second signal ends the process at once, and loses nothing.
    """
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
            loops="compiled" if IS_COMPILED else "python",
            delivers_to=connection.endpoint,
            metrics=[entry.name for entry in allowlist.entries],
            outbox=str(settings.outbox_dir),
        )
        stopping = asyncio.create_task(stop.wait(), name="stop")
        ends: set[asyncio.Future[Any]] = {stopping, receiver.broken}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        failed = receiver.broken.done()
        log.info("receiver stops")
    log.info("receiver stopped")
    return 1 if failed else 0


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
