"""The election of the leading replica of each cluster. Pure: times are arguments.

In: the replicas of a request, and its time of arrival. Out: the leader, and the time from which
its samples count. The model is the HA tracker of Cortex and Mimir.

Rules:
* The first replica leads for as long as its requests arrive, by the receiver's monotonic
  clock: no sender's clock decides.
* When the leader has been silent for the timeout, the next replica to arrive leads.
* A new leader's samples count if they are newer than `floor_ms`: its predecessors' newest
  sample plus the timeout. If the new leader's clock is ahead, its timestamps are too late by
  the difference: an old sample from its backlog would look new, and its lower counter value
  would look like a reset (mimir#5198). The timeout prevents that if the clocks differ by less.
* A predecessor's clock may have been far ahead: a floor is ahead of the receiver's own clock
  by the timeout at most.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

NEVER_MS = -(2**63)
"""Older than any sample."""
OFTEN = 3
"""Changes of the leader within ten minutes that are too many for failures of replicas."""


@dataclass(frozen=True, slots=True)
class Lead:
    """The leader of a cluster. `seen_at` is in seconds of a monotonic clock.

    `newest_ms` is the time of the newest sample of any leader; `since_at`, in seconds since the
    epoch, is the start of this one; `changes` counts the changes so far, `last_changes` are the
    latest times, by the clock of `seen_at`.
    """

    replica: str
    seen_at: float
    since_at: float
    floor_ms: int = NEVER_MS
    newest_ms: int = NEVER_MS
    changes: int = 0
    last_changes: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a cluster's leader; `before` is the silent leader, empty for the first election."""

    cluster: str
    before: str
    after: str
    silent_seconds: float = 0.0


class Election:
    """The leaders of all clusters."""

    def __init__(self, timeout_seconds: float) -> None:
        """Start without clusters."""
        self.timeout_seconds = timeout_seconds
        self.leads: dict[str, Lead] = {}

    def arrive(
        self, cluster: str, replicas: Collection[str], now: float, epoch: float
    ) -> Change | None:
        """Note a request of these replicas; `epoch` is `now` in seconds since the epoch."""
        lead = self.leads.get(cluster)
        if lead is not None and lead.replica in replicas:
            self.leads[cluster] = replace(lead, seen_at=now)
            return None
        if lead is not None and now - lead.seen_at < self.timeout_seconds:
            return None
        first = min(replicas)
        if lead is None:
            self.leads[cluster] = Lead(first, now, epoch)
            return Change(cluster, "", first)
        floor_ms = NEVER_MS
        if lead.newest_ms != NEVER_MS:
            margin_ms = round(self.timeout_seconds * 1000)
            floor_ms = min(lead.newest_ms, round(epoch * 1000)) + margin_ms
        last_changes = (*lead.last_changes, now)[-OFTEN:]
        self.leads[cluster] = Lead(first, now, epoch, floor_ms, lead.newest_ms, lead.changes + 1, last_changes)  # fmt: skip
        return Change(cluster, lead.replica, first, now - lead.seen_at)

    def brought(self, cluster: str, newest_ms: int) -> None:
        """Note the newest counted sample of the leader."""
        lead = self.leads[cluster]
        if newest_ms > lead.newest_ms:
            self.leads[cluster] = replace(lead, newest_ms=newest_ms)
