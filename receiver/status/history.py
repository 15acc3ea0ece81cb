"""The last hour, in points ten seconds apart, and what went on between two of them.

In: snapshots. Out: a `Flow`, whose numbers add up, and columns for plots. Kept in
memory alone: a restart begins a new hour.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from receiver.status.snapshot import Snapshot

STEP_SECONDS = 10.0
POINTS = 361


@dataclass(frozen=True, slots=True)
class Point:
    """The counts at one moment; `at` in seconds since the epoch."""

    at: float
    received: int
    unselected: int
    dropped: Mapping[str, int]
    accepted: int
    rejected: Mapping[str, int]
    expired: int
    pending: int
    outbox_bytes: int
    oldest_seconds: float
    replies: Mapping[str, int]
    refused: Mapping[str, int]


def point_of(found: Snapshot) -> Point:
    """Take from a snapshot what the hour keeps."""
    ledger = found.ledger
    return Point(
        at=found.now,
        received=ledger.received,
        unselected=ledger.unselected,
        dropped=ledger.dropped,
        accepted=ledger.accepted,
        rejected=ledger.rejected,
        expired=ledger.expired,
        pending=ledger.pending,
        outbox_bytes=found.outbox.size_bytes,
        oldest_seconds=found.oldest_seconds,
        replies=dict(found.write_handler.replies),
        refused=dict(found.refused),
    )


@dataclass(frozen=True, slots=True)
class Flow:
    """What went on in `seconds`, in samples.

    received = unselected + dropped + committed, and
    committed = accepted + rejected + expired + waiting, which is negative while
    more is delivered than arrives.
    """

    seconds: float
    received: int
    unselected: int
    dropped: Mapping[str, int]
    committed: int
    accepted: int
    rejected: Mapping[str, int]
    expired: int
    waiting: int
    requests: int
    refused: Mapping[str, int]


def flow_between(before: Point, after: Point) -> Flow:
    """Say what went on between two moments."""
    dropped = _more(before.dropped, after.dropped)
    received = after.received - before.received
    unselected = after.unselected - before.unselected
    return Flow(
        seconds=max(0.0, after.at - before.at),
        received=received,
        unselected=unselected,
        dropped=dropped,
        committed=received - unselected - sum(dropped.values()),
        accepted=after.accepted - before.accepted,
        rejected=_more(before.rejected, after.rejected),
        expired=after.expired - before.expired,
        waiting=after.pending - before.pending,
        requests=sum(_more(before.replies, after.replies).values()),
        refused=_more(before.refused, after.refused),
    )


def _more(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    more = {reason: count - before.get(reason, 0) for reason, count in after.items()}
    return {reason: count for reason, count in more.items() if count}


class History:
    """The points of the last hour."""

    def __init__(self) -> None:
        """Start without any."""
        self._points: deque[Point] = deque(maxlen=POINTS)
        self.first_received_at = 0.0

    def add(self, point: Point) -> None:
        """Take the next point."""
        if self._points and not self.first_received_at:
            if point.received > self._points[0].received:
                self.first_received_at = point.at
        elif self._points and point.received < self._points[-1].received:
            self._points.clear()  # the outbox was made anew, and its ledger with it
        self._points.append(point)

    def flow(self, now: Point, seconds: float) -> Flow:
        """Say what went on in the last `seconds`, or since the first point if that is later."""
        before = now
        for point in reversed(self._points):
            if point.received > now.received:
                break
            before = point
            if now.at - point.at >= seconds:
                break
        return flow_between(before, now)

    def columns(self, after: float) -> dict[str, list[float]]:
        """Give the points later than `after`, column by column."""
        points = [point for point in self._points if point.at > after]
        return {
            "at": [round(point.at, 1) for point in points],
            "received": [point.received for point in points],
            "unselected": [point.unselected for point in points],
            "dropped": [sum(point.dropped.values()) for point in points],
            "accepted": [point.accepted for point in points],
            "rejected": [sum(point.rejected.values()) for point in points],
            "expired": [point.expired for point in points],
            "pending": [point.pending for point in points],
            "outbox_bytes": [point.outbox_bytes for point in points],
            "oldest_seconds": [round(point.oldest_seconds, 1) for point in points],
        }
