"""The state of one receiver at one moment, for the status page and the metrics.

In: the parts with counts. Out: a frozen `Snapshot`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from receiver.config.followed_file import ReloadState, Watch
from receiver.delivery.backoff import BackoffState
from receiver.delivery.lanes import Deliveries
from receiver.delivery.picker import RefusedAlone
from receiver.delivery.sender import DeliveryCounts
from receiver.events import Events
from receiver.fold.folder import FoldCounts
from receiver.intake.guard import Distinct, Explosion
from receiver.intake.recogniser import CacheStatistics
from receiver.intake.replicas import ClusterView
from receiver.ledger import Ledger, read_ledger
from receiver.outbox.committer import Committer
from receiver.outbox.store import Outbox
from receiver.outbox.values import Statistics
from receiver.server.admission import AdmissionStatistics
from receiver.server.connection_guard import CLOSED
from receiver.server.connections import ConnectionCounts
from receiver.server.refusals import REFUSED
from receiver.server.server import Server
from receiver.server.write_handler import WriteCounts, WriteHandler
from receiver.status.routes import RouteView, view_routes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state at one moment; `backoff_seconds` is the time until the next delivery attempt.

    Back-off and `refused_alone` are those of the receiver's own route; `routes` has all routes,
    or is empty without routes.json.
    """

    ledger: Ledger
    outbox: Statistics
    outbox_failing: bool
    write_handler: WriteCounts
    delivery: DeliveryCounts
    backoff: BackoffState
    backoff_seconds: float
    cache: CacheStatistics
    admission: AdmissionStatistics
    connections: ConnectionCounts
    metadata_families: int
    metrics_json: str
    metric_names: tuple[str, ...]
    endpoint: str
    started_at: float
    now: float
    reload: ReloadState = field(default_factory=ReloadState)
    refused_alone: RefusedAlone = field(default_factory=RefusedAlone)
    refused: Mapping[str, int] = field(default_factory=dict)
    closed: Mapping[str, int] = field(default_factory=dict)
    fold: FoldCounts = field(default_factory=FoldCounts)
    explosion: Explosion | None = None
    replicas: tuple[ClusterView, ...] = ()
    distinct: Distinct = field(default_factory=Distinct)
    routes: tuple[RouteView, ...] = ()

    @property
    def oldest_seconds(self) -> float:
        """The age of the oldest waiting sample; 0 without one."""
        return max(0.0, self.now - self.outbox.oldest_ms / 1000) if self.outbox.oldest_ms else 0.0


@dataclass(frozen=True, slots=True)
class Observer:
    """Reads the parts of a receiver. `clock` is in seconds since the epoch, `loop_clock` is the back-off's."""

    committer: Committer
    write_handler: WriteHandler
    delivery: Deliveries
    metrics_json: str
    endpoint: str
    started_at: float
    clock: Callable[[], float]
    loop_clock: Callable[[], float]
    server: Server
    watch: Watch
    events: Events
    fold: Callable[[], FoldCounts]

    async def snapshot(self) -> Snapshot:
        """Read everything. Raises: NotCommitted where the outbox cannot be read."""
        totals, outbox = await self.committer.read(Outbox.statistics)
        own = self.delivery.default
        backoff, pipeline = own.backoff, self.write_handler.pipeline
        return Snapshot(
            ledger=read_ledger(totals),
            outbox=outbox,
            outbox_failing=self.committer.failing,
            write_handler=self.write_handler.counts,
            delivery=self.delivery.counts,
            refused_alone=own.picker.refused_alone,
            backoff=backoff.state,
            backoff_seconds=backoff.wait_seconds(self.loop_clock()),
            cache=pipeline.statistics(),
            admission=self.server.admission.statistics(),
            connections=self.server.connections,
            refused=self.events.counts(REFUSED),
            closed=self.events.counts(CLOSED),
            metadata_families=len(pipeline.metadata),
            metrics_json=self.metrics_json,
            metric_names=tuple(e.name for e in pipeline.allowlist.entries),
            endpoint=self.endpoint,
            started_at=self.started_at,
            now=self.clock(),
            reload=self.watch.state,
            fold=self.fold(),
            explosion=pipeline.explosion(),
            replicas=pipeline.replicas.views() if pipeline.replicas else (),
            distinct=pipeline.distinct(),
            routes=view_routes(self.delivery, pipeline.routing, outbox.lanes, self.loop_clock()),
        )
