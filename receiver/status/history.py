"""The last hour, in points ten seconds apart, and what went on between two of them.

In: snapshots. Out: a `Flow`, whose numbers add up, and columns for plots.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from receiver.ledger import Ledger, more
from receiver.status.snapshot import Snapshot

STEP_SECONDS = 10.0
POINTS = 361


@dataclass(frozen=True, slots=True)
class Point:
    """The counts at one moment; `at` in seconds since the epoch."""

    at: float
    ledger: Ledger
    outbox_bytes: int = 0
    oldest_seconds: float = 0.0
    replies: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    lost_bytes: int = 0


def point_of(snapshot: Snapshot) -> Point:
    """Take from a snapshot what the hour keeps."""
    return Point(
        at=snapshot.now,
        ledger=snapshot.ledger,
        outbox_bytes=snapshot.outbox.size_bytes,
        oldest_seconds=snapshot.oldest_seconds,
        replies=dict(snapshot.write_handler.replies),
        refused=dict(snapshot.refused),
        lost_bytes=snapshot.write_handler.lost_bytes,
    )


@dataclass(frozen=True, slots=True)
class Flow:
    """What went on in `seconds`: the ledger's difference, and requests.

    `ledger.pending` is what more waits, below 0 while more is delivered than arrives;
    `outbox_bytes` likewise. `lost_bytes` are those of requests refused for good.
    """

    seconds: float
    ledger: Ledger
    requests: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    lost_bytes: int = 0
    outbox_bytes: int = 0

    def a_minute(self, count: float) -> float:
        """Turn a count into a pace; 0 where no time has gone by."""
        return 60 * count / self.seconds if self.seconds else 0.0


def flow_between(before: Point, after: Point) -> Flow:
    """Say what went on between two moments."""
    return Flow(
        seconds=max(0.0, after.at - before.at),
        ledger=after.ledger - before.ledger,
        requests=sum(more(before.replies, after.replies).values()),
        refused=more(before.refused, after.refused),
        lost_bytes=after.lost_bytes - before.lost_bytes,
        outbox_bytes=after.outbox_bytes - before.outbox_bytes,
    )


class History:
    """The points of the last hour."""

    def __init__(self) -> None:
        """Start without any."""
        self._points: deque[Point] = deque(maxlen=POINTS)
        self.first_received_at = 0.0

    def add(self, point: Point) -> None:
        """Take the next point."""
        received = point.ledger.received
        if self._points and not self.first_received_at:
            if received > self._points[0].ledger.received:
                self.first_received_at = point.at
        elif self._points and received < self._points[-1].ledger.received:
            self._points.clear()  # the outbox was made anew, and its ledger with it
        self._points.append(point)

    def flow(self, now: Point, seconds: float) -> Flow:
        """Say what went on in the last `seconds`, or since the first point if that is later."""
        before = now
        for point in reversed(self._points):
            if point.ledger.received > now.ledger.received:
                break
            before = point
            if now.at - point.at >= seconds:
                break
        return flow_between(before, now)

    def columns(self, after: float) -> dict[str, list[float]]:
        """Give the points later than `after`, column by column."""
        points = [point for point in self._points if point.at > after]
        words = [point.ledger.columns() for point in points]
        return {
            "at": [round(point.at, 1) for point in points],
            **{word: [counts[word] for counts in words] for word in Ledger().columns()},
            "outbox_bytes": [point.outbox_bytes for point in points],
            "oldest_seconds": [round(point.oldest_seconds, 1) for point in points],
        }
