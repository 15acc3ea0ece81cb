"""The last hour, in points ten seconds apart, and what went on between two of them.

In: snapshots. Out: a `Flow`, whose numbers add up, and columns for plots.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from receiver.ledger import Ledger, more
from receiver.status.snapshot import Snapshot

POINTS = 361
"""An hour of them."""


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
    arrived_at: float = 0.0
    delivery_seconds: float = 0.0
    posts: int = 0
    unconfirmed: int = 0
    routes: Mapping[str, tuple[Ledger, int]] = field(default_factory=dict)
    """Each route's ledger, and its bytes in the outbox."""


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
        arrived_at=snapshot.write_handler.last_request_at,
        delivery_seconds=snapshot.delivery.seconds,
        posts=sum(snapshot.delivery.attempts.values()),
        unconfirmed=snapshot.delivery.unconfirmed_items,
        routes={each.name: (each.ledger, each.outbox.size_bytes) for each in snapshot.routes},
    )


@dataclass(frozen=True, slots=True)
class Flow:
    """What went on in `seconds`: the ledger's difference, and requests.

    `ledger.pending` is what more waits, below 0 while more is delivered than arrives;
    `outbox_bytes` likewise. `lost_bytes` are those of requests refused for good.
    `pace_seconds` is the time between the last request and the one before the window: what
    comes by scrapes comes in whole ones, so that a pace by any other time goes up and down.
    """

    seconds: float
    ledger: Ledger
    requests: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    lost_bytes: int = 0
    outbox_bytes: int = 0
    delivery_seconds: float = 0.0
    posts: int = 0
    unconfirmed: int = 0
    pace_seconds: float = 0.0
    routes: Mapping[str, "Flow"] = field(default_factory=dict)
    """Of each route; it has the items, and the samples that were rendered or dropped as route_full."""

    def a_minute(self, count: float) -> float:
        """Turn a count into a pace; 0 where no time has gone by."""
        seconds = self.pace_seconds or self.seconds
        return 60 * count / seconds if seconds else 0.0


def flow_between(before: Point, after: Point) -> Flow:
    """Say what went on between two moments."""
    seconds = max(0.0, after.at - before.at)
    routes = {
        name: Flow(
            seconds, ledger - before.routes[name][0], outbox_bytes=size - before.routes[name][1]
        )
        for name, (ledger, size) in after.routes.items()
        if name in before.routes
    }
    between = after.arrived_at - before.arrived_at if before.arrived_at else 0.0
    return Flow(
        seconds=seconds,
        pace_seconds=between if abs(between - seconds) < 0.25 * seconds else 0.0,
        ledger=after.ledger - before.ledger,
        requests=sum(more(before.replies, after.replies).values()),
        refused=more(before.refused, after.refused),
        lost_bytes=after.lost_bytes - before.lost_bytes,
        outbox_bytes=after.outbox_bytes - before.outbox_bytes,
        delivery_seconds=after.delivery_seconds - before.delivery_seconds,
        posts=after.posts - before.posts,
        unconfirmed=after.unconfirmed - before.unconfirmed,
        routes=routes,
    )


class History:
    """The points of the last hour."""

    def __init__(self) -> None:
        """Start without any."""
        self._points: deque[Point] = deque(maxlen=POINTS)
        self._received_before: int | None = None
        self.first_received_at = 0.0

    def begin_with(self, points: Iterable[Point]) -> None:
        """Take points of an earlier process, whose ledger goes on in this one."""
        self._points.extend(points)

    def points(self) -> list[Point]:
        """Give all points, the oldest first."""
        return list(self._points)

    def add(self, point: Point) -> None:
        """Take the next point."""
        received = point.ledger.received
        if self._received_before is None:
            self._received_before = received
        elif not self.first_received_at and received > self._received_before:
            self.first_received_at = point.at
        if self._points and received < self._points[-1].ledger.received:
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

    def interval(self, *, selected: bool) -> float:
        """Observe how far apart samples come, all or the selected alone; 0 while it is not known.

        It is the median of the times between two points at which the count had grown.
        """
        times: list[float] = []
        last = None
        for point in self._points:
            count = point.ledger.received - (point.ledger.unselected if selected else 0)
            if last is not None and count > last:
                times.append(point.at)
            last = count
        gaps = [after - before for before, after in pairwise(times)]
        return median(gaps) if gaps else 0.0

    def columns(self, after: float) -> dict[str, list[float]]:
        """Give the points later than `after`, a time that was given as `at`; column by column."""
        points = [point for point in self._points if round(point.at, 1) > after]
        words = [point.ledger.columns() for point in points]
        return {
            "at": [round(point.at, 1) for point in points],
            **{word: [counts[word] for counts in words] for word in Ledger().columns()},
            "outbox_bytes": [point.outbox_bytes for point in points],
            "oldest_seconds": [round(point.oldest_seconds, 1) for point in points],
        }
