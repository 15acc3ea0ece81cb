"""Which of several replicas counts: each cluster has one leader. Pure: times are arguments.

In: which replicas a request is of, and when it came. Out: who leads, and from which time on its
samples count. The model is the HA tracker of Cortex and Mimir.

Rules:
* The first replica that comes leads, for as long as it comes. What counts is when its requests
  arrive, by a clock that never goes back: no sender's clock has a say in who leads.
* After the timeout without the leader, the next replica that comes leads.
* A new leader's samples count when they are newer than `floor_ms`: the newest sample that its
  predecessors brought, and the timeout on top. Of two replicas whose clocks are apart, the one
  that is ahead gives an earlier moment a later time. Let it send what it has kept for a while,
  and its counters are lower than the last that counted: a reset that never was (mimir#5198).
  With the timeout on top that cannot be, as long as the clocks are less than the timeout apart.
* A predecessor's clock may have been far ahead: no floor is further ahead of the receiver's own
  clock than the timeout.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

NEVER_MS = -(2**63)
"""Older than any sample."""
OFTEN = 3
"""So many changes within ten minutes are no failures of replicas."""


@dataclass(frozen=True, slots=True)
class Lead:
    """Who leads a cluster. `seen_at` in seconds of a clock that never goes back.

    `newest_ms` is the time of the newest sample that any leader brought; `since_at`, in seconds since
    the epoch, is when this one began; `changes` counts those before it, of which `last_changes` are
    the latest times, by the clock of `seen_at`.
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
    """A cluster has a new leader; `before` is empty for its first, who was silent for some time."""

    cluster: str
    before: str
    after: str
    silent_seconds: float = 0.0


class Election:
    """The leaders of all clusters."""

    def __init__(self, timeout_seconds: float) -> None:
        """Begin without any."""
        self.timeout_seconds = timeout_seconds
        self.leads: dict[str, Lead] = {}

    def arrive(
        self, cluster: str, replicas: Collection[str], now: float, epoch: float
    ) -> Change | None:
        """Take note that a request of these replicas came; `epoch` is `now` in seconds since the epoch."""
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
        """Take note of the newest sample of the leader that counted."""
        lead = self.leads[cluster]
        if newest_ms > lead.newest_ms:
            self.leads[cluster] = replace(lead, newest_ms=newest_ms)
