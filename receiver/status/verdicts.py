"""The verdicts that there are, how bad each is, and what it means.

The page, the log, `doctor` and docs/runbook.md all speak in these words. Pure values.
"""

from enum import StrEnum


class State(StrEnum):
    """The verdicts, the word that a line begins with."""

    DISK = "DISK"
    CLOCK = "CLOCK"
    BLOCKED = "BLOCKED"
    QUOTA = "QUOTA"
    THROTTLED = "THROTTLED"
    UNREACHABLE = "UNREACHABLE"
    FAILING = "FAILING"
    FULL = "FULL"
    ROUTE_FULL = "ROUTE FULL"
    REFUSING = "REFUSING"
    REFUSING_PART = "REFUSING PART"
    NOT_RECEIVING = "NOT RECEIVING"
    FILTERED_OUT = "FILTERED OUT"
    REJECTED = "REJECTED"
    DROPPING = "DROPPING"
    UNCONFIRMED = "UNCONFIRMED"
    ROUTE_HELD = "ROUTE HELD"
    SET_BACK = "SET BACK"
    BEHIND = "BEHIND"
    CONFIG = "CONFIG"
    OVER_BUDGET = "OVER BUDGET"
    REPLICAS = "REPLICAS"
    INCOMPLETE = "INCOMPLETE"
    WAITING = "WAITING"
    OK = "OK"


class Severity(StrEnum):
    """How bad: data are being lost or kept back, something is not as asked for, or all is well."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


MEANINGS = {
    State.DISK: (Severity.BAD, "The outbox cannot be written; Prometheus is answered 503 and keeps its data."),
    State.CLOCK: (Severity.BAD, "A clock is wrong: the service refuses samples older than 48 hours or more than 2 hours ahead."),
    State.BLOCKED: (Severity.BAD, "Application Insights refuses until a person sets something right; everything is kept."),
    State.QUOTA: (Severity.BAD, "The resource's volume is used up; everything is kept, and one batch is tried now and then."),
    State.THROTTLED: (Severity.WARN, "The service asked to wait; everything is kept."),
    State.UNREACHABLE: (Severity.BAD, "There is no way to the service; everything is kept."),
    State.FAILING: (Severity.WARN, "The service answers with an error of its own; everything is kept."),
    State.FULL: (Severity.BAD, "The outbox holds all that it may; Prometheus is answered 503 and keeps its data."),
    State.ROUTE_FULL: (Severity.BAD, "A route's share of the outbox is full: its samples are dropped, and the other routes go on."),
    State.REFUSING: (Severity.BAD, "Requests arrive, and each of them is refused."),
    State.REFUSING_PART: (Severity.BAD, "Some requests are refused for good: their samples are lost."),
    State.NOT_RECEIVING: (Severity.BAD, "No write request arrives."),
    State.FILTERED_OUT: (Severity.BAD, "Samples arrive, and metrics.json selects none of them."),
    State.REJECTED: (Severity.BAD, "Application Insights rejects items for good."),
    State.DROPPING: (Severity.BAD, "Selected samples cannot be sent."),
    State.UNCONFIRMED: (Severity.WARN, "Items count as accepted by a 200 alone: the service's body, which says so, did not come."),
    State.ROUTE_HELD: (Severity.WARN, "Items wait for a route that is not in routes.json any more; they are kept until they are too old."),
    State.SET_BACK: (Severity.WARN, "Some batches are refused while others are accepted; they are kept, and tried again now and then."),
    State.BEHIND: (Severity.WARN, "Delivery goes on, but is late."),
    State.CONFIG: (Severity.WARN, "A changed metrics.json, routes.json, web.config.file, token or certificate cannot be used; what was in force before stays."),
    State.OVER_BUDGET: (Severity.WARN, "A month at the last hour's pace would be above RECEIVER_BUDGET_GB; nothing is dropped for it."),
    State.REPLICAS: (Severity.WARN, "Replicas of one Prometheus write, and are not told apart; or the leader among them changes all the time."),
    State.INCOMPLETE: (Severity.WARN, "Some metrics of metrics.json have never been seen."),
    State.WAITING: (Severity.GOOD, "Started a moment ago; nothing to say yet."),
    State.OK: (Severity.GOOD, "Samples arrive, are selected, and are delivered."),
}  # fmt: skip
"""Each verdict: how bad it is, and what it means."""


def anchor(state: State) -> str:
    """Spell a state as its heading's anchor in docs/runbook.md."""
    return state.value.lower().replace(" ", "-")
