"""Deduplication of replicas of one Prometheus: the replica label is removed, and one replica counts.

In: the labels of unknown series, once; the sources of a request; the stored state of the
leaders. Out: a number for each source (a cluster and a replica), the time up to which samples of
a source do not count, and the state to store. `receiver.intake.election` elects the leader. The
clocks are arguments.

Theory of operation: a known series has its source's number, so its look-up costs the same with
and without replicas. The loop that makes rows of samples compares a sample's time with its
source's floor, which is above all times for a replica that does not lead. The leader may change
at any request, and no series has to be learnt again. A request with series of several replicas,
as through a proxy, is no special case. A series without the replica label has source 0, which
always counts.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from receiver.intake.election import NEVER_MS, OFTEN, Change, Election, Lead

if TYPE_CHECKING:
    from receiver.rows import Sample

REPLICA = "replica"
REPLICA_LIMIT = "replica_limit"
UNLABELLED = 0
"""The source of series without the replica's label."""
ALWAYS_MS = 2**63 - 1
"""The floor of a replica that does not lead: as late as any sample."""
SOURCES_MAX = 1_000
"""Limit of replicas of all clusters, since a sender can invent names."""
NAME_MAX = 1_024
"""Limit of characters in a replica's name, and in a cluster's."""
GONE_SECONDS = 3_600.0
"""Silence after which a replica is not shown, and is forgotten to make room."""
OFTEN_SECONDS = 600.0
NOTE = "replicas/"
"""Prefix of a cluster's note; the cluster's name follows."""

SeriesSamples = tuple[bytes, int, int, "list[Sample]", int]
"""A series of a request: its template, its fold number, its lane, its samples and its source."""
Account = tuple[int, int, int, int]
"""A source, its counted samples, its dropped samples, and the latest time of the counted ones."""


@dataclass(slots=True)
class Source:
    """A replica of a cluster: its last arrival, and its samples by outcome since the start."""

    cluster: str
    replica: str
    seen_at: float
    kept: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """A replica, for display."""

    replica: str
    leads: bool
    seen_seconds_ago: float
    kept: int
    dropped: int


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster, for display: `since_at` in seconds since the epoch, `silent_seconds` of its leader.

    `floor_ms` is the time up to which the leader's samples do not count; `NEVER_MS` if all do.
    """

    cluster: str
    leader: str
    since_at: float
    silent_seconds: float
    changes: int
    floor_ms: int
    replicas: tuple[ReplicaView, ...]
    changes_often: bool = False


class Replicas:
    """The replicas of all clusters. `ticks` is monotonic, `clock` is in seconds since the epoch."""

    def __init__(
        self,
        replica_label: str,
        cluster_label: str,
        timeout_seconds: float,
        ticks: Callable[[], float],
        clock: Callable[[], float],
        on_change: Callable[[Change], object] = lambda _: None,
    ) -> None:
        """Start empty; call `load`. Without `cluster_label` all replicas are of one cluster."""
        self.replica_label = replica_label
        self.cluster_label = cluster_label
        self._ticks = ticks
        self._clock = clock
        self._on_change = on_change
        self._election = Election(timeout_seconds)
        self._numbers: dict[tuple[str, str], int] = {}
        self._sources: list[Source] = [Source("", "", 0.0)]
        self._floors = array("q", [NEVER_MS])
        self._gone: list[str] = []
        self.refused = 0
        self.is_loaded = False

    # Stored state

    def load(self, notes: Mapping[str, bytes]) -> list[str]:
        """Load the stored state; returns the names of unreadable notes, which are ignored.

        A leader's silence continues while the receiver is stopped, by the clock since the epoch
        unless that has been set back.
        """
        unreadable = []
        for name, note in notes.items():
            if not name.startswith(NOTE):
                continue
            try:
                cluster, lead = name.removeprefix(NOTE), self._read(note)
            except (ValueError, KeyError, TypeError):
                unreadable.append(name)
            else:
                self._election.leads[cluster] = lead
        self.is_loaded = True
        return unreadable

    def _read(self, note: bytes) -> Lead:
        fields = orjson.loads(note)
        away_seconds = max(0.0, self._clock() - float(fields["seen_at"]))
        return Lead(
            str(fields["leader"]),
            self._ticks() - away_seconds,
            float(fields["since_at"]),
            int(fields["floor_ms"]),
            int(fields["newest_ms"]),
            int(fields["changes"]),
        )

    def _note(self, lead: Lead) -> bytes:
        return orjson.dumps(
            {
                "leader": lead.replica,
                "seen_at": self._clock() - (self._ticks() - lead.seen_at),
                "since_at": lead.since_at,
                "floor_ms": lead.floor_ms,
                "newest_ms": lead.newest_ms,
                "changes": lead.changes,
            }
        )

    # A series

    def source_of(self, labels: dict[str, str]) -> int | None:
        """Remove the replica label from a series' labels; return the number of its source.

        None if there is no room for another source.
        """
        replica = labels.pop(self.replica_label, "")
        if not replica:
            return UNLABELLED
        cluster = labels.get(self.cluster_label, "") if self.cluster_label else ""
        number = self._numbers.get((cluster, replica))
        if number is None:
            if len(self._numbers) >= SOURCES_MAX or max(len(cluster), len(replica)) > NAME_MAX:
                self.refused += 1
                return None
            number = self._numbers[cluster, replica] = len(self._sources)
            self._sources.append(Source(cluster, replica, self._ticks()))
            lead = self._election.leads.get(cluster)
            self._floors.append(self._floor_of(lead, replica))
        return number

    @staticmethod
    def _floor_of(lead: Lead | None, replica: str) -> int:
        return lead.floor_ms if lead and lead.replica == replica else ALWAYS_MS

    # A request

    def arrived(self, numbers: Iterable[int]) -> "array[int]":
        """Note the sources of a request; returns the floor of every source, in ms."""
        now, epoch = self._ticks(), self._clock()
        by_cluster: dict[str, list[str]] = {}
        for number in numbers:
            if number != UNLABELLED:
                source = self._sources[number]
                source.seen_at = now
                by_cluster.setdefault(source.cluster, []).append(source.replica)
        for cluster, replicas in by_cluster.items():
            change = self._election.arrive(cluster, replicas, now, epoch)
            if change is not None:
                self._lower_floors(cluster)
                self._on_change(change)
        return self._floors

    def _lower_floors(self, cluster: str) -> None:
        lead = self._election.leads[cluster]
        for number, source in enumerate(self._sources):
            if number != UNLABELLED and source.cluster == cluster:
                self._floors[number] = self._floor_of(lead, source.replica)

    def filter_counted(
        self, used: Sequence[SeriesSamples]
    ) -> tuple[list[SeriesSamples], list[Account]]:
        """Remove a request's samples that do not count, and account for each source: in Python."""
        floors = self.arrived(sorted({source for *_, source in used}))
        accounts: dict[int, list[int]] = {}
        rest: list[SeriesSamples] = []
        for template, fold_number, lane, samples, source in used:
            kept = [sample for sample in samples if sample[0] > floors[source]]
            rest.append((template, fold_number, lane, kept, source))
            if samples:
                account = accounts.setdefault(source, [0, 0, NEVER_MS])
                account[0] += len(kept)
                account[1] += len(samples) - len(kept)
                times = [time for time, value, _ in kept if value - value == 0]  # finite numbers
                account[2] = max([account[2], *times])
        return rest, [(source, *accounts[source]) for source in sorted(accounts)]  # type: ignore[misc]

    def account(self, accounts: Iterable[Account]) -> tuple[int, dict[str, bytes]]:
        """Note the samples of a request; returns the number that do not count, and the notes to store."""
        dropped_in_all = 0
        led: set[str] = set()
        for number, kept, dropped, newest_ms in accounts:
            if number == UNLABELLED:
                continue
            source = self._sources[number]
            source.kept += kept
            source.dropped += dropped
            dropped_in_all += dropped
            if kept:
                self._election.brought(source.cluster, newest_ms)
                led.add(source.cluster)
        notes = {NOTE + cluster: self._note(self._election.leads[cluster]) for cluster in led}
        if notes and self._gone:
            notes |= dict.fromkeys(self._gone, b"")
            self._gone = []
        return dropped_in_all, notes

    # Between requests

    def make_room(self) -> bool:
        """Forget silent replicas if there is no room; True if all series have to be decided again.

        The remaining replicas get new numbers. A cluster without replicas is forgotten too.
        """
        if len(self._numbers) < SOURCES_MAX:
            return False
        gone_at = self._ticks() - GONE_SECONDS
        stay = [source for source in self._sources[1:] if source.seen_at >= gone_at]
        if len(stay) == len(self._numbers):
            return False
        leads = self._election.leads
        clusters = {source.cluster for source in stay}
        for cluster in [name for name in leads if name not in clusters and leads[name].seen_at < gone_at]:  # fmt: skip
            del leads[cluster]
            self._gone.append(NOTE + cluster)
        self._sources = [self._sources[0], *stay]
        self._numbers = {(s.cluster, s.replica): n for n, s in enumerate(self._sources) if n}
        floors = [self._floor_of(leads.get(s.cluster), s.replica) for s in stay]
        self._floors = array("q", [NEVER_MS, *floors])
        return True

    def views(self) -> tuple[ClusterView, ...]:
        """Return the clusters, by name, with their live replicas."""
        now = self._ticks()
        return tuple(
            ClusterView(
                cluster,
                lead.replica,
                lead.since_at,
                max(0.0, now - lead.seen_at),
                lead.changes,
                lead.floor_ms,
                tuple(self._replicas_of(cluster, lead, now)),
                len(lead.last_changes) == OFTEN and now - lead.last_changes[0] < OFTEN_SECONDS,
            )
            for cluster, lead in sorted(self._election.leads.items())
        )

    def _replicas_of(self, cluster: str, lead: Lead, now: float) -> Iterator[ReplicaView]:
        sources = [source for source in self._sources[1:] if source.cluster == cluster]
        if lead.replica not in {source.replica for source in sources}:
            yield ReplicaView(lead.replica, True, max(0.0, now - lead.seen_at), 0, 0)  # noqa: FBT003 - its fields have names
        for source in sorted(sources, key=lambda source: source.replica):
            leads, silent_seconds = source.replica == lead.replica, now - source.seen_at
            if leads or silent_seconds < GONE_SECONDS:
                yield ReplicaView(source.replica, leads, silent_seconds, source.kept, source.dropped)  # fmt: skip
