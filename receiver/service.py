"""The receiver as a whole: wires the stages, starts and stops them.

Data flows down: server, write_handler, outbox, delivery. The stages start from the bottom up, so
that nothing arrives before it can be stored, and stop from the top down, so that nothing is lost:
new requests get 503, requests and batches in flight are finished, and batches without an
outcome stay in the outbox.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from receiver import allocator
from receiver.azure.connection_string import Connection
from receiver.azure.envelope import Identity
from receiver.azure.limits import EXPIRY_MS
from receiver.config.followed_file import FollowedFile, Watch
from receiver.config.resources import Routes, load_routes
from receiver.config.selection import selector
from receiver.config.settings import Origin, Settings, load_allowlist, read_path
from receiver.daemon_threads import DaemonThreads
from receiver.delivery.lanes import Changed, Deliveries
from receiver.delivery.setup import check_resource, open_deliveries
from receiver.errors import WRITE_PATH, NotCommitted, ReceiverError
from receiver.events import Events, Kind
from receiver.fold.folder import Folder
from receiver.fold.registry import Registry
from receiver.intake.election import Change
from receiver.intake.metadata import MetadataBook
from receiver.intake.metrics_json import Allowlist
from receiver.intake.pipeline import Pipeline
from receiver.intake.recogniser import IS_COMPILED, WITHOUT_KERNEL
from receiver.intake.replicas import Replicas
from receiver.intake.routes import Routing
from receiver.outbox.committer import Committer
from receiver.outbox.flushed import Flushed
from receiver.outbox.store import Outbox
from receiver.server.handover import Handover
from receiver.server.server import Server
from receiver.server.write_handler import WriteHandler
from receiver.status.census import Census
from receiver.status.diagnosis import PATIENCE, Patience
from receiver.status.document import About
from receiver.status.monitor import Monitor
from receiver.status.pages import make_pages
from receiver.status.pairs import WATCHED_MAX, Pairs
from receiver.status.sampling import Sampling
from receiver.status.snapshot import Observer
from receiver.text import span

OPENING_SECONDS = 1.0
"""Longest wait for the outbox at the start; after it the receiver listens without one."""
PROGRESS_SECONDS = 10.0
DEFECT = "A defect of the receiver: please report it. It ends, and loses nothing: start it again."

LEFT = (
    "The next start with this directory delivers them; where there will be none, "
    "appinsights-receiver outbox export carries them to another machine."
)
LEFT_SECONDS = 2.0
"""Longest wait at a stop for the outbox's statistics."""

SUSPICIONS_LOGGED = 10
REPLICA_CHANGED = Kind("replicas", "replica leads", 0.0)
REPLICA_HINT = "Does that Prometheus run, and reach the receiver? Where both do, RECEIVER_REPLICA_TIMEOUT is shorter than their scrape interval."

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running receiver, which listens at `url`.

    `broken` has the error of a part that ended unexpectedly: a defect, after which the process
    ends, to be restarted, since it would lack that part.
    """

    url: str
    broken: "asyncio.Future[BaseException]"
    delivery: Deliveries
    observer: Observer
    watch: Watch
    monitor: Monitor


@asynccontextmanager
async def running(
    settings: Settings,
    connection: Connection,
    clock: Callable[[], float] = time.time,
    patience: Patience = PATIENCE,
    origins: Sequence[Origin] = (),
) -> AsyncIterator[Receiver]:
    """Run a receiver within the context. `clock` is in seconds since the epoch.

    `patience` has the times after which a state becomes a verdict; `origins` are the settings
    in effect, for the status page.

    Raises: OutboxError, SettingsError.
    """
    loop, events, batches_changed = asyncio.get_running_loop(), Events(clock), Changed()
    identity = Identity(
        connection.instrumentation_key,
        settings.host,
        settings.cloud_role,
        settings.cloud_role_instance,
        settings.slim_items,
    )
    metrics_json = _followed_allowlist(settings, clock)
    routes_json = FollowedFile("routes.json", lambda: load_routes(settings), clock)
    allowlist, routes = metrics_json.value, routes_json.value
    registry = Registry(settings.fold_max_bytes)
    replicas = _replicas(settings, loop.time, clock, events)
    select = selector(settings, identity, MetadataBook(), registry, replicas)

    folder, flushed = Folder(allowlist, identity, registry, routes.routing), Flushed()
    outbox = Outbox(
        settings.outbox_dir,
        settings.outbox_max_bytes,
        identity.instrumentation_key,
        EXPIRY_MS,
        clock,
        folder,
        flushed,
        events,
    )
    outbox.share_out(routes.shares)
    async with AsyncExitStack() as stack:
        committer = await _open(outbox, events, batches_changed, stack)
        delivery = open_deliveries(settings, connection, committer, clock, events, batches_changed)
        delivery.use(routes.resources)
        sampling = _sampling(settings, flushed, folder, clock)
        pipeline = select(allowlist, routes.routing)
        write_handler = WriteHandler(pipeline, committer, sampling.observe)
        server = Server(settings, write_handler, events)
        stack.push_async_callback(server.close)

        watch = Watch([metrics_json, routes_json, server.access_rules], events)
        observer = Observer(
            committer=committer,
            write_handler=write_handler,
            delivery=delivery,
            metrics_json=settings.metrics_json or "default_metrics.json",
            endpoint=connection.track_url,
            started_at=clock(),
            clock=clock,
            loop_clock=loop.time,
            server=server,
            watch=watch,
            events=events,
            fold=folder.counts,
        )
        monitor = Monitor(observer, sampling, settings, patience)
        in_force = _InForce(
            select, allowlist, routes, write_handler, folder, committer, outbox, delivery, monitor
        )
        metrics_json.use, routes_json.use = in_force.use_allowlist, in_force.use_routes
        folder.on_forget = partial(loop.call_soon_threadsafe, in_force.forget_series)

        await monitor.begin()
        about = About(settings.host, settings.cloud_role, settings.cloud_role_instance, origins)
        handover = Handover(committer, folder, write_handler, clock)
        url = await server.open(make_pages(monitor, watch, about, handover.routes()))

        broken: asyncio.Future[BaseException] = loop.create_future()
        storing = _watched(_until_ended(committer, write_handler), "outbox", broken)
        monitoring = _watched(monitor.run(), "monitor", broken)
        sending = _watched(delivery.run(), "delivery", broken)
        watching = _watched(watch.run(), "watch", broken)
        try:
            yield Receiver(url, broken, delivery, observer, watch, monitor)
        finally:
            for task in (storing, monitoring, watching):
                task.cancel()
            await _stop(server, delivery, sending, committer, settings)
            await _log_remaining(committer, folder, settings, clock)
            monitor.keep()


async def _open(
    outbox: Outbox, events: Events, batches_changed: Changed, stack: AsyncExitStack
) -> Committer:
    """Start the outbox's thread, and wait a while until it is open; `stack` stops it.

    Raises: OutboxError.
    """
    committer = Committer(outbox, events, batches_changed)
    committer.start()
    stack.push_async_callback(committer.stop)
    await asyncio.wait({committer.opened}, timeout=OPENING_SECONDS)
    if committer.opened.done():
        committer.opened.result()
    return committer


def _sampling(
    settings: Settings, flushed: Flushed, folder: Folder, clock: Callable[[], float]
) -> Sampling:
    replica_labels = (settings.replica_label, settings.cluster_label)
    return Sampling(
        clock,
        flushed,
        Pairs(replica_labels if settings.replica_label else ()),
        Census(replica_label=settings.replica_label.encode()),
        fold_times=lambda: folder.latest_times(WATCHED_MAX // 2),
    )


@dataclass(slots=True)
class _InForce:
    """The metrics.json and routes in force, and the parts that follow their changes."""

    select: Callable[[Allowlist, Routing], Pipeline]
    allowlist: Allowlist
    routes: Routes
    write_handler: WriteHandler
    folder: Folder
    committer: Committer
    outbox: Outbox
    delivery: Deliveries
    monitor: Monitor

    def use_allowlist(self, allowlist: Allowlist) -> None:
        """Select by another metrics.json."""
        warn_of_suspicions(allowlist)
        self.allowlist = allowlist
        self._update()
        self.monitor.names.begin_allowlist()

    def use_routes(self, routes: Routes) -> None:
        """Use other routes, or other keys for them. Raises: SettingsError, without a change."""
        for resource in routes.resources:
            check_resource(resource)
        self.routes = routes
        self.delivery.use(routes.resources)
        self.outbox.share_out(routes.shares)
        self._update()

    def _update(self) -> None:
        routing = self.routes.routing
        self.write_handler.pipeline = self.select(self.allowlist, routing)
        self.folder.want(self.allowlist, routing)
        self.committer.flush_soon()

    def forget_series(self) -> None:
        """Have the pipeline learn all series again."""
        self.write_handler.pipeline.forget_series()


async def _until_ended(committer: Committer, write_handler: WriteHandler) -> None:
    """Log now and then that a slow disk is opening the outbox; then wait for the end of its thread.

    Raises: OutboxError; the defect that ended the thread.
    """
    loop_time = asyncio.get_running_loop().time
    began_at, was_slow = loop_time(), not committer.opened.done()
    while not committer.opened.done():
        log.warning(
            "outbox is being opened",
            seconds=round(loop_time() - began_at + OPENING_SECONDS, 1),
            hint="Requests are answered 503 until it is open; the disk of the outbox is slow.",
        )
        await asyncio.wait({committer.opened}, timeout=PROGRESS_SECONDS)
    committer.opened.result()
    if was_slow:
        log.info("outbox is open", seconds=round(loop_time() - began_at + OPENING_SECONDS, 1))
    with suppress(NotCommitted):  # the first request tries again
        await write_handler.begin()
    await asyncio.wait({committer.ended})
    committer.ended.result()


def _replicas(
    settings: Settings, ticks: Callable[[], float], clock: Callable[[], float], events: Events
) -> Replicas | None:
    """Return the replicas, if a setting names their label."""
    if not settings.replica_label:
        return None

    def report(change: Change) -> None:
        name = f"{change.cluster}: " if settings.cluster_label else ""
        if not change.before:
            log.info("replica leads", replica=change.after, cluster=change.cluster)
            return
        words = f"{name}{change.after} leads; the last request of {change.before} was {span(change.silent_seconds)} ago"
        events.happened(REPLICA_CHANGED, "took_over", words, REPLICA_HINT, replica=change.after, cluster=change.cluster)  # fmt: skip

    timeout = settings.replica_timeout_seconds
    return Replicas(
        settings.replica_label, settings.cluster_label, timeout, ticks, clock, on_change=report
    )


def _watched(
    work: Coroutine[Any, Any, None], name: str, broken: "asyncio.Future[BaseException]"
) -> "asyncio.Task[None]":
    """Start a part that runs until the stop; its error, if any, ends the receiver."""

    def report(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) and not broken.done():
            if isinstance(error, ReceiverError):  # an outbox that could not be opened in time
                hint = "It ends, and loses nothing: the error says what to do."
                log.error("the receiver cannot continue", part=name, error=str(error), hint=hint)
            else:
                log.error("a component has failed", part=name, hint=DEFECT, exc_info=error)
            broken.set_result(error)

    task = asyncio.create_task(work, name=name)
    task.add_done_callback(report)
    return task


def _followed_allowlist(settings: Settings, clock: Callable[[], float]) -> FollowedFile[Allowlist]:
    """Read metrics.json; its changes are followed if it is a file. Raises: SettingsError."""
    files = [read_path(settings.metrics_json)] if settings.metrics_json else []
    return FollowedFile("metrics.json", lambda: (load_allowlist(settings), files), clock)


def warn_of_suspicions(allowlist: Allowlist) -> None:
    """Warn of entries that look misspelt, the first few by name."""
    suspicions = list(allowlist.suspicions())
    for suspicion in suspicions[:SUSPICIONS_LOGGED]:
        log.warning("metrics.json looks misspelt", entry=suspicion, of=len(suspicions))


async def _stop(
    server: Server,
    delivery: Deliveries,
    sending: "asyncio.Task[None]",
    committer: Committer,
    settings: Settings,
) -> None:
    """Stop from the top down; undelivered batches stay in the outbox.

    Requests in flight are finished first, for at most `shutdown_seconds`. Waiting batches are sent
    for at most `drain_seconds` from now on, and batches in flight have `shutdown_seconds` more.
    Meanwhile new requests are answered 503: the server is closed afterwards.
    """
    loop_time = asyncio.get_running_loop().time
    drain_until = loop_time() + settings.drain_seconds
    deadline = drain_until + settings.shutdown_seconds
    if not settings.drain_seconds:
        delivery.stop()
    await server.drain(settings.shutdown_seconds)
    if settings.drain_fold:
        with suppress(NotCommitted, TimeoutError):  # the windows stay open, on disk
            async with asyncio.timeout(settings.shutdown_seconds):
                await committer.ask(lambda outbox: outbox.flush(is_last=True))
    delivery.finish(max(0.0, drain_until - loop_time()))
    await asyncio.wait({sending}, timeout=max(0.0, deadline - loop_time()))
    if not sending.done():
        log.info("stopped while batches were in flight", hint="They stay in the outbox.")
        sending.cancel()
        await asyncio.wait({sending})


async def _log_remaining(
    committer: Committer, folder: Folder, settings: Settings, clock: Callable[[], float]
) -> None:
    """Log the items that a stop leaves in the outbox, if the disk answers in time."""
    outbox = str(settings.outbox_dir)
    with suppress(NotCommitted, TimeoutError):
        async with asyncio.timeout(LEFT_SECONDS):
            left = await committer.ask(lambda store: store.statistics())
            if left.items:
                log.warning(
                    "items are left in the outbox",
                    items=left.items,
                    batches=left.batches,
                    size_bytes=left.size_bytes,
                    oldest_seconds=round(clock() - left.oldest_ms / 1000),
                    windows_open=folder.open_windows,
                    outbox=outbox,
                    hint=LEFT,
                )
            else:
                log.info("the outbox is empty", windows_open=folder.open_windows, outbox=outbox)


async def serve(
    settings: Settings,
    connection: Connection,
    patience: Patience = PATIENCE,
    origins: Sequence[Origin] = (),
) -> int:
    """Run until SIGTERM or SIGINT (returns 0), or until a part fails (1).

    A second signal ends the process at once, without loss.
    """
    stop = stop_on_signals()
    asyncio.get_running_loop().set_default_executor(DaemonThreads())
    allocator.tune_malloc()
    async with running(settings, connection, patience=patience, origins=origins) as receiver:
        allocator.freeze_gc()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, receiver.watch.ask)
        log.info(
            "receiver listens",
            address=receiver.url,
            write=f"{receiver.url}{WRITE_PATH}",
            loops="compiled" if IS_COMPILED else "python",
            delivers_to=connection.endpoint,
            entries=len(receiver.observer.write_handler.pipeline.allowlist.entries),
            outbox=str(settings.outbox_dir),
        )
        if not IS_COMPILED:
            log.warning("there is no compiled kernel", hint=WITHOUT_KERNEL)
        stopping = asyncio.create_task(stop.wait(), name="stop")
        ends: set[asyncio.Future[Any]] = {stopping, receiver.broken}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        failed = receiver.broken.done()
        log.info("receiver stops")
    log.info("receiver stopped")
    return 1 if failed else 0


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(1)  # acknowledged samples are on disk
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop
