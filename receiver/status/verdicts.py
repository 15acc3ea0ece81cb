"""The verdicts, with their severity and meaning.

The page, the log, `doctor` and docs/runbook.md use these words. Pure values.
"""

from enum import StrEnum


class State(StrEnum):
    """The verdicts: the first word of a line."""

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
    SHARED = "SHARED"
    INCOMPLETE = "INCOMPLETE"
    WAITING = "WAITING"
    OK = "OK"


class Severity(StrEnum):
    """Bad: data is lost or held back. Warn: something is not as configured. Good: all is well."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"


MEANINGS = {
    State.DISK: (Severity.BAD, "The outbox cannot be written; Prometheus is answered 503 and keeps its data."),
    State.CLOCK: (Severity.BAD, "A clock is wrong: the service refuses samples older than 48 hours or more than 2 hours ahead."),
    State.BLOCKED: (Severity.BAD, "Application Insights refuses until an operator corrects something; everything is kept."),
    State.QUOTA: (Severity.BAD, "The resource's quota is used up; everything is kept, and one batch probes now and then."),
    State.THROTTLED: (Severity.WARN, "The service asked to wait; everything is kept."),
    State.UNREACHABLE: (Severity.BAD, "The service cannot be reached; everything is kept."),
    State.FAILING: (Severity.WARN, "The service answers with a server error; everything is kept."),
    State.FULL: (Severity.BAD, "The outbox is full; Prometheus is answered 503 and keeps its data."),
    State.ROUTE_FULL: (Severity.BAD, "A route's share of the outbox is full: its samples are dropped; other routes are not affected."),
    State.REFUSING: (Severity.BAD, "Requests arrive, but all of them are refused."),
    State.REFUSING_PART: (Severity.BAD, "Some requests are refused permanently: their samples are lost."),
    State.NOT_RECEIVING: (Severity.BAD, "No write request arrives."),
    State.FILTERED_OUT: (Severity.BAD, "Samples arrive, but metrics.json selects none of them."),
    State.REJECTED: (Severity.BAD, "Application Insights rejects items permanently."),
    State.DROPPING: (Severity.BAD, "Selected samples cannot be sent."),
    State.UNCONFIRMED: (Severity.WARN, "Items count as accepted by the status 200 alone, since the service's body is missing."),
    State.ROUTE_HELD: (Severity.WARN, "Items wait for a route that is no longer in routes.json; they are kept until they are 48 hours old."),
    State.SET_BACK: (Severity.WARN, "Some batches are refused while others are accepted; they are kept and retried now and then."),
    State.BEHIND: (Severity.WARN, "Delivery works, but lags behind."),
    State.CONFIG: (Severity.WARN, "A changed metrics.json, routes.json, web.config.file, token or certificate cannot be used; the previous version stays in force."),
    State.OVER_BUDGET: (Severity.WARN, "At the last hour's rate a month would exceed RECEIVER_BUDGET_GB; nothing is dropped."),
    State.REPLICAS: (Severity.WARN, "Replicas of one Prometheus are all counted, as if they were different; or their leader keeps changing."),
    State.SHARED: (Severity.WARN, "Another receiver gets samples of the same folded series: the sums are too large."),
    State.INCOMPLETE: (Severity.WARN, "Some metrics of metrics.json have never been seen."),
    State.WAITING: (Severity.GOOD, "Just started; no verdict yet."),
    State.OK: (Severity.GOOD, "Samples arrive, are selected, and are delivered."),
}  # fmt: skip
"""The severity and meaning of every verdict."""


def anchor(state: State) -> str:
    """Return the anchor of a state's heading in docs/runbook.md."""
    return state.value.lower().replace(" ", "-")
