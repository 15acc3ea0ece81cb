"""GET /api/v1/status says all of a snapshot."""

from dataclasses import replace
from typing import Any

import pytest

from receiver.azure.policy import Action
from receiver.delivery.backoff import BackoffState
from receiver.delivery.sender import DeliveryCounts
from receiver.intake.guard import Explosion
from receiver.intake.recogniser import CacheStatistics
from receiver.ledger import Ledger
from receiver.outbox.values import Statistics
from receiver.server.admission import AdmissionStatistics
from receiver.server.connections import ConnectionCounts
from receiver.server.write_handler import WriteCounts
from receiver.status import document as api
from receiver.status.cost import Budget
from receiver.status.diagnosis import Diagnosis, Finding, View
from receiver.status.document import About
from receiver.status.history import Flow
from receiver.status.snapshot import Snapshot
from receiver.status.verdicts import State as Verdict

NOW = 1_800_000_000.0
LEDGER = Ledger(
    received=100,
    unselected=40,
    dropped={"nan": 3, "stale": 2},
    rendered=55,
    accepted=30,
    rejected={"other": 1, "too_long": 4},
    expired=5,
    pending=15,
)


def snapshot(**changes: Any) -> Snapshot:
    """Make a snapshot of a receiver that is half through an outage."""
    write_handler = WriteCounts(repeated=2, last_request_at=NOW - 3)
    write_handler.replies.update({"204": 7, "400": 1})
    delivery = DeliveryCounts(unconfirmed_items=1, seconds=2.5, sent_bytes=999)
    delivery.attempts.update({"200": 3, "unreachable": 4})
    made = Snapshot(
        ledger=LEDGER,
        outbox=Statistics(15, 2, 1234, 1 << 30, round(NOW * 1000) - 90_000, 1),
        outbox_failing=False,
        write_handler=write_handler,
        delivery=delivery,
        backoff=BackoffState(Action.THROTTLE, 50.0, 40.0, 3, "429 slow down", "wait"),
        backoff_seconds=12.34,
        cache=CacheStatistics(10, 2000, 4000, 11),
        admission=AdmissionStatistics(3, 4, 500),
        connections=ConnectionCounts(6, 12),
        metadata_families=21,
        metrics_json="metrics.json",
        metric_names=("a", "b*"),
        endpoint="https://host/v2.1/track",
        started_at=NOW - 60,
        now=NOW,
        refused={"undecodable": 1},
        closed={"idle": 2},
    )
    return replace(made, **changes)


def document(found: Snapshot, flow: Ledger = LEDGER) -> Any:
    """Spell a snapshot and read it back."""
    return api.status(
        View(found, Flow(60.0, flow), Diagnosis((Finding(Verdict.OK, "fine"),))),
        [],
        [],
        Budget(0.0, None, None),
        About("h", "", ""),
        {},
    )


def test_the_status_page_says_all_of_it() -> None:
    """The whole document, as docs/http-api.md describes it."""
    found = document(snapshot())

    assert {
        name: found[name]
        for name in ("received", "unselected", "rendered", "accepted", "expired", "pending")
    } == {
        "received": 100,
        "unselected": 40,
        "rendered": 55,
        "accepted": 30,
        "expired": 5,
        "pending": 15,
    }
    assert found["dropped"] == {"nan": 3, "stale": 2}
    assert found["rejected"] == {"other": 1, "too_long": 4}
    assert found["adds_up"] is True
    assert found["uptime_seconds"] == 60.0
    assert found["outbox"] == {
        "items": 15,
        "batches": 2,
        "bytes": 1234,
        "max_bytes": 1 << 30,
        "oldest_seconds": 90.0,
        "set_aside": 1,
        "failing": False,
    }
    assert found["delivery"]["state"] == "throttle"
    assert found["delivery"]["wait_seconds"] == 12.3
    assert found["delivery"]["reason"] == "429 slow down"
    assert found["delivery"]["attempts"] == {"200": 3, "unreachable": 4}
    assert found["requests"] == {
        "replies": {"204": 7, "400": 1},
        "refused": {"undecodable": 1},
        "repeated": 2,
        "last_at": NOW - 3,
        "metadata_families": 21,
        "in_flight": 7,
        "in_flight_bytes": 500,
    }
    assert found["connections"] == {"open": 6, "accepted": 12, "closed": {"idle": 2}}
    assert found["metrics_json"] == {"file": "metrics.json", "names": ("a", "b*")}


def test_a_label_that_explodes_is_named() -> None:
    """With the metric, the limit and the words of it; null while none does."""
    assert document(snapshot())["cardinality"] is None
    explosion = Explosion("nv_a", 20, 20, is_total=False, label="id", values=5, refused=7)
    assert document(snapshot(explosion=explosion))["cardinality"] is None, "it is over"
    dropping = replace(LEDGER, dropped={"cardinality": 7})
    found = document(snapshot(explosion=explosion), dropping)["cardinality"]
    assert (found["metric"], found["label"], found["words"]) == ("nv_a", "id", explosion.words)


@pytest.mark.parametrize(("dropped", "lost"), [({"nan": 3, "stale": 2, "replica": 4, "unrouted": 1}, 0), ({"nan": 3, "cardinality": 7, "route_full": 2}, 9)])  # fmt: skip
def test_dropped_samples_are_lost_unless_the_reason_is_harmless(
    dropped: dict[str, int], lost: int
) -> None:
    """The page marks the loss, by the same list as the verdict."""
    assert document(snapshot(), replace(LEDGER, dropped=dropped))["flow"]["lost"] == lost


def test_an_open_gate_is_open() -> None:
    """No state of trouble without trouble."""
    assert document(snapshot(backoff=BackoffState()))["delivery"]["state"] == "open"


@pytest.mark.parametrize("oldest_ms", [0, round(NOW * 1000) + 60_000])
def test_an_age_is_never_below_nothing(oldest_ms: int) -> None:
    """With nothing waiting, or with samples from the future."""
    outbox = Statistics(0, 0, 0, 1, oldest_ms, 0)

    assert document(snapshot(outbox=outbox))["outbox"]["oldest_seconds"] == 0.0
