"""The state of each route: its ledger, waiting items, and back-off.

In: the deliveries by lane, the routes in force and the outbox's counts by lane. Out: a
`RouteView` for each route, the receiver's own first; none without routes.json.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from receiver.delivery.backoff import BackoffState
from receiver.delivery.lanes import Deliveries
from receiver.delivery.picker import RefusedAlone
from receiver.delivery.sender import DeliveryCounts
from receiver.intake.routes import OWN_ROUTE, Routing
from receiver.ledger import Ledger, read_ledger
from receiver.outbox.values import LaneStatistics


@dataclass(frozen=True, slots=True)
class RouteView:
    """A route at one moment. `is_served`: it has a delivery; `is_in_force`: it is in routes.json.

    `takes` describes its series. Its ledger has only the samples that were rendered or dropped
    as route_full: received ones are counted for all routes together.
    """

    name: str
    takes: str = ""
    endpoint: str = ""
    is_in_force: bool = True
    is_served: bool = True
    ledger: Ledger = field(default_factory=Ledger)
    outbox: LaneStatistics = field(default_factory=LaneStatistics)
    backoff: BackoffState = field(default_factory=BackoffState)
    backoff_seconds: float = 0.0
    refused_alone: RefusedAlone = field(default_factory=RefusedAlone)
    delivery: DeliveryCounts = field(default_factory=DeliveryCounts)
    items_per_second: int = 0

    @property
    def state(self) -> str:
        """The state in a word: open, full, held, or the reason of the back-off."""
        if not self.is_served:
            return "held"
        if self.backoff.action:
            return self.backoff.action.value
        return "full" if self.outbox.is_full else "open"

    def oldest_seconds(self, now: float) -> float:
        """Return the age of the oldest waiting sample; 0 without one."""
        return max(0.0, now - self.outbox.oldest_ms / 1000) if self.outbox.oldest_ms else 0.0


def view_routes(
    deliveries: Deliveries,
    routing: Routing,
    lanes: Mapping[str, LaneStatistics],
    ticks: float,
) -> tuple[RouteView, ...]:
    """Return the state of all routes; `ticks` is the time of their back-offs."""
    by_name = {route.name: route for route in routing.routes}
    names = list(dict.fromkeys(("", *by_name, *lanes, *deliveries.by_lane)))
    if names == [""]:
        return ()
    views = []
    for name in names:
        outbox, route = lanes.get(name, LaneStatistics()), by_name.get(name)
        takes = route.sentence().removeprefix(f"{name}: ") if route else ""
        if not name:
            takes = "nothing" if routing.drops_unmatched else "all others"
        view = RouteView(
            name or OWN_ROUTE,
            takes,
            is_in_force=not name or route is not None,
            is_served=name in deliveries.by_lane,
            ledger=read_ledger(outbox.totals),
            outbox=outbox,
        )
        if delivery := deliveries.by_lane.get(name):
            resource, backoff = deliveries.resources[name], delivery.backoff
            view = replace(
                view,
                endpoint=resource.connection.track_url,
                backoff=backoff.state,
                backoff_seconds=backoff.wait_seconds(ticks),
                refused_alone=delivery.picker.refused_alone,
                delivery=delivery.counts,
                items_per_second=resource.items_per_second,
            )
        views.append(view)
    return tuple(views)
