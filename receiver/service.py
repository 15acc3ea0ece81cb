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
from receiver.access import Access
from receiver.admission import Admission
from receiver.allowlist import Allowlist
from receiver.commit import Committer
from receiver.connection import Connection
from receiver.delivery import Delivery
from receiver.door import DoorCounts
from receiver.entrance import Entrance, open_entrance
from receiver.envelope import Identity
from receiver.errors import SettingsError
from receiver.instrument import Instrument
from receiver.intake import Selection
from receiver.limits import Limits
from receiver.metadata import MetadataBook
from receiver.observation import Observation
from receiver.outbox import Outbox
from receiver.outlet import open_outlet
from receiver.pages import make_pages
from receiver.reception import Reception
from receiver.reload import Watch
from receiver.settings import Settings, load_allowlist
from receiver.status import Observer
from receiver.troubles import Troubles
from receiver.web import BodyLimits, Web

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
        delivery = open_outlet(settings, connection, committer, stack, clock)
        committer.on_batches = delivery.wake
        identity = Identity(key, settings.host, settings.cloud_role, settings.cloud_role_instance)
        limits = _limits(settings)
        metadata = MetadataBook()  # types and units come once in a while: a new list knows them too

        def select(wanted: Allowlist) -> Selection:
            return Selection(wanted, identity, settings.series_cache_bytes, limits, metadata)

        reception = Reception(select(allowlist), committer)

        def use(wanted: Allowlist) -> None:
            reception.selection = select(wanted)

        observation, troubles = Observation(clock), Troubles(clock)

        def load() -> Allowlist:
            try:
                return load_allowlist(settings)
            except SettingsError as error:
                troubles.note("metrics.json", str(error), "The list before is kept: mend the file.")
                raise

        watch = Watch(settings.metrics_json, load, use, clock)
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
        front = Web(reception, make_pages(instrument, watch), access, admission, body_limits)
        for part in (committer, delivery, front):
            part.on_trouble = troubles.note
        await instrument.begin()
        entrance = await open_entrance(front, settings, access, door_counts)
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


async def _stop(
    front: Web,
    delivery: Delivery,
    sending: "asyncio.Task[None]",
    entrance: Entrance,
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
