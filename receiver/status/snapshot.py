"""The state of one receiver, read at one moment: what status page and metrics show.

In: the parts that count. Out: a frozen `Snapshot`, and its JSON. The ledger in it
adds up: received = unselected + dropped + accepted + rejected + expired + pending.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from receiver import __version__
from receiver.config.reload import ReloadState, Watch
from receiver.delivery.backoff import State
from receiver.delivery.sender import Delivery, DeliveryCounts
from receiver.events import Events
from receiver.intake.cache import CacheStatistics
from receiver.intake.recogniser import IS_COMPILED
from receiver.outbox.batch import Statistics
from receiver.outbox.committer import Committer
from receiver.outbox.store import Outbox
from receiver.server.admission import AdmissionStatistics
from receiver.server.app import REFUSED
from receiver.server.close_reasons import CLOSED
from receiver.server.connections import ConnectionCounts
from receiver.server.counts import ServerCounts
from receiver.server.write_handler import WriteCounts, WriteHandler


@dataclass(frozen=True, slots=True)
class Ledger:
    """What became of all samples, since the outbox was made."""

    received: int
    unselected: int
    dropped: Mapping[str, int]
    accepted: int
    rejected: Mapping[str, int]
    expired: int
    pending: int

    @property
    def adds_up(self) -> bool:
        """Whether each sample received has exactly one fate; false means a defect."""
        ends = sum(self.dropped.values()) + sum(self.rejected.values())
        return self.received == self.unselected + ends + self.accepted + self.expired + self.pending


def read_ledger(totals: Mapping[tuple[str, str], int]) -> Ledger:
    """Order the outbox's totals."""

    def by_reason(outcome: str) -> dict[str, int]:
        found = {reason: n for (name, reason), n in totals.items() if name == outcome and n}
        return dict(sorted(found.items()))

    def total(outcome: str) -> int:
        return totals.get((outcome, ""), 0)

    return Ledger(
        received=total("received"),
        unselected=total("unselected"),
        dropped=by_reason("dropped"),
        accepted=total("accepted"),
        rejected=by_reason("rejected"),
        expired=total("expired"),
        pending=total("pending"),
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything, at one moment; `gate_wait_seconds` is how long nothing will be sent."""

    ledger: Ledger
    outbox: Statistics
    outbox_failing: bool
    write_handler: WriteCounts
    delivery: DeliveryCounts
    gate: State
    gate_wait_seconds: float
    cache: CacheStatistics
    admission: AdmissionStatistics
    door: ConnectionCounts
    metadata_families: int
    metrics_json: str
    metric_names: tuple[str, ...]
    endpoint: str
    started_at: float
    now: float
    reload: ReloadState = field(default_factory=ReloadState)
    refused: Mapping[str, int] = field(default_factory=dict)
    closed: Mapping[str, int] = field(default_factory=dict)

    @property
    def oldest_seconds(self) -> float:
        """The age of the oldest sample that waits; 0 when none does."""
        return max(0.0, self.now - self.outbox.oldest_ms / 1000) if self.outbox.oldest_ms else 0.0


@dataclass(frozen=True, slots=True)
class Observer:
    """Reads the parts of a receiver. `clock` is in seconds since the epoch, `loop_clock` the gate's."""

    committer: Committer
    write_handler: WriteHandler
    delivery: Delivery
    metrics_json: str
    endpoint: str
    started_at: float
    clock: Callable[[], float]
    loop_clock: Callable[[], float]
    arrivals: Callable[[], ServerCounts]
    watch: Watch
    events: Events

    async def snapshot(self) -> Snapshot:
        """Read everything. Raises: NotCommitted where the outbox cannot be read."""
        arrivals = self.arrivals()
        totals, outbox = await self.committer.read(Outbox.statistics)
        gate = self.delivery.gate
        return Snapshot(
            ledger=read_ledger(totals),
            outbox=outbox,
            outbox_failing=self.committer.failing,
            write_handler=arrivals.write_handler,
            delivery=self.delivery.counts,
            gate=gate.state,
            gate_wait_seconds=gate.wait_seconds(self.loop_clock()),
            cache=arrivals.cache,
            admission=arrivals.admission,
            door=arrivals.door,
            refused=self.events.counts(REFUSED),
            closed=self.events.counts(CLOSED),
            metadata_families=len(self.write_handler.pipeline.metadata),
            metrics_json=self.metrics_json,
            metric_names=tuple(e.name for e in self.write_handler.pipeline.allowlist.entries),
            endpoint=self.endpoint,
            started_at=self.started_at,
            now=self.clock(),
            reload=replace(self.watch.state),
        )


def to_document(found: Snapshot) -> dict[str, Any]:
    """Spell a snapshot: the greater part of GET /api/v1/status, described in docs/http-api.md."""
    ledger, outbox = found.ledger, found.outbox
    return {
        "version": __version__,
        "loops": "compiled" if IS_COMPILED else "python",
        "uptime_seconds": round(found.now - found.started_at, 1),
        "received": ledger.received,
        "unselected": ledger.unselected,
        "dropped": ledger.dropped,
        "accepted": ledger.accepted,
        "rejected": ledger.rejected,
        "expired": ledger.expired,
        "pending": ledger.pending,
        "adds_up": ledger.adds_up,
        "outbox": {
            "items": outbox.items,
            "batches": outbox.batches,
            "bytes": outbox.size_bytes,
            "max_bytes": outbox.max_bytes,
            "oldest_seconds": round(found.oldest_seconds, 1),
            "set_aside": outbox.set_aside,
            "failing": found.outbox_failing,
        },
        "delivery": {
            "endpoint": found.endpoint,
            "state": found.gate.action.value if found.gate.action else "open",
            "wait_seconds": round(found.gate_wait_seconds, 1),
            "failures": found.gate.failures,
            "reason": found.gate.reason,
            "hint": found.gate.hint,
            "attempts": dict(found.delivery.attempts),
        },
        "requests": {
            "replies": dict(found.write_handler.replies),
            "refused": dict(found.refused),
            "repeated": found.write_handler.repeated,
            "last_at": found.write_handler.last_request_at,
            "metadata_families": found.metadata_families,
            "in_flight": found.admission.reading + found.admission.working,
            "in_flight_bytes": found.admission.size_bytes,
        },
        "connections": {
            "open": found.door.connections,
            "accepted": found.door.accepted,
            "closed": dict(found.closed),
        },
        "metrics_json": {"file": found.metrics_json, "names": found.metric_names},
    }
