"""The last hour in points ten seconds apart, and the flow between two points.

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
"""Points of an hour."""
HOUR_SECONDS = 3600.0


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
    """Return the point of a snapshot."""
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
        routes={route.name: (route.ledger, route.outbox.size_bytes) for route in snapshot.routes},
    )


@dataclass(frozen=True, slots=True)
class Flow:
    """The flow in `seconds`: the ledger's difference, and requests.

    `ledger.pending` and `outbox_bytes` are changes, negative while more is delivered than
    arrives. `lost_bytes` are those of permanently refused requests. `pace_seconds` is the time
    between the last request and the last one before the window: samples arrive in whole
    scrapes, so a rate over any other time would fluctuate.
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
    """The flow of each route: its items, and its samples rendered or dropped as route_full."""

    def a_minute(self, count: float) -> float:
        """Return a count's rate a minute; 0 where no time has passed."""
        seconds = self.pace_seconds or self.seconds
        return 60 * count / seconds if seconds else 0.0


def flow_between(before: Point, after: Point) -> Flow:
    """Return the flow between two points."""
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
        """Start empty."""
        self._points: deque[Point] = deque(maxlen=POINTS)
        self._received_before: int | None = None
        self.first_received_at = 0.0

    def begin_with(self, points: Iterable[Point]) -> None:
        """Add points of an earlier process with the same ledger."""
        self._points.extend(points)

    def points(self) -> list[Point]:
        """Return all points, the oldest first."""
        return list(self._points)

    def add(self, point: Point) -> None:
        """Add the next point."""
        received = point.ledger.received
        if self._received_before is None:
            self._received_before = received
        elif not self.first_received_at and received > self._received_before:
            self.first_received_at = point.at
        if self._points and received < self._points[-1].ledger.received:
            self._points.clear()  # the outbox was created again, with a new ledger
        self._points.append(point)

    def flow(self, now: Point, seconds: float) -> Flow:
        """Return the flow of the last `seconds`, or since the first point if that is later."""
        before = now
        for point in reversed(self._points):
            if point.ledger.received > now.ledger.received:
                break
            before = point
            if now.at - point.at >= seconds:
                break
        return flow_between(before, now)

    def interval(self, *, selected: bool) -> float:
        """Return the observed interval of all or of the selected samples; 0 while unknown.

        It is the median time between points at which the count had increased.
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
        """Return the points later than `after`, in columns."""
        points = [point for point in self._points if round(point.at, 1) > after]
        rows = [point.ledger.columns() for point in points]
        return {
            "at": [round(point.at, 1) for point in points],
            **{word: [row[word] for row in rows] for word in Ledger().columns()},
            "outbox_bytes": [point.outbox_bytes for point in points],
            "oldest_seconds": [round(point.oldest_seconds, 1) for point in points],
        }
