"""The receiver's own metrics: what Prometheus reads is what the status page says."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from receiver import __version__
from receiver.azure.policy import Action
from receiver.config.followed_file import ReloadState
from receiver.delivery.backoff import BackoffState
from receiver.delivery.picker import RefusedAlone
from receiver.delivery.sender import DeliveryCounts
from receiver.intake.pipeline import DROP_REASONS
from receiver.intake.recogniser import CacheStatistics
from receiver.intake.replicas import ClusterView, ReplicaView
from receiver.latency import Latency
from receiver.ledger import Ledger
from receiver.outbox.values import LaneStatistics, Statistics
from receiver.server.admission import AdmissionStatistics
from receiver.server.connections import ConnectionCounts
from receiver.server.write_handler import WriteCounts
from receiver.status.metrics import METRICS, SelfMetric, to_text
from receiver.status.routes import RouteView
from receiver.status.snapshot import Snapshot

NOW = 1_800_000_000.0
LEDGER = Ledger(
    100, 40, {"nan": 3, "stale": 2}, 5, 50, 5, 0, 30, {"other": 1, "too_long": 4}, 5, 0, 15
)
SNAPSHOT = Snapshot(
    ledger=LEDGER,
    outbox=Statistics(15, 2, 1234, 9999, round(NOW * 1000) - 90_500, 1),
    outbox_failing=True,
    write_handler=WriteCounts(
        replies=Counter({"204": 7, "503": 2}),
        refused_series=Counter({"no_name": 4}),
        repeated=2,
        lost_bytes=33,
        labels_cut=8,
        labels_left_out=9,
        last_request_at=NOW,
    ),
    delivery=DeliveryCounts(
        attempts=Counter({"200": 3, "unreachable": 4}),
        unconfirmed_items=6,
        seconds=2.5,
        sent_bytes=77,
    ),
    backoff=BackoffState(Action.RETRY, 50.0, 40.0, 3),
    backoff_seconds=12.5,
    cache=CacheStatistics(10, 2000, 4000, 11),
    admission=AdmissionStatistics(3, 4, 500),
    connections=ConnectionCounts(6, 12),
    metadata_families=21,
    metrics_json="metrics.json",
    metric_names=("a",),
    endpoint="https://host/v2.1/track",
    started_at=NOW - 60,
    now=NOW,
    reload=ReloadState(successful=False, succeeded_at=NOW - 30),
    refused={"outbox_full": 2},
    closed={"idle": 2},
    refused_alone=RefusedAlone(5, 50),
    replicas=(
        ClusterView(
            "east",
            "a",
            NOW - 60,
            2.0,
            3,
            0,
            (
                ReplicaView("a", leads=True, seen_seconds_ago=2.0, kept=7, dropped=0),
                ReplicaView("b", leads=False, seen_seconds_ago=4.0, kept=0, dropped=8),
            ),
        ),
    ),
    routes=(
        RouteView("default", ledger=Ledger(rendered=30, accepted=30)),
        RouteView(
            "team-a",
            is_served=False,
            ledger=Ledger(
                rendered=20,
                flushed=5,
                accepted=4,
                rejected={"other": 1, "route_full": 4},
                expired=5,
                pending=11,
                dropped={"route_full": 2},
            ),
            outbox=LaneStatistics(2, 500, 400, round(NOW * 1000) - 60_000),
            backoff=BackoffState(Action.BLOCKED, 50.0, 40.0, 3),
            backoff_seconds=7.5,
        ),
    ),
)


def samples(**changes: Any) -> dict[tuple[str, str], float]:
    """Spell a snapshot, and read it as Prometheus does: values by name and label value."""
    text = to_text(replace(SNAPSHOT, **changes)).decode()
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, ",".join(sample.labels.values())
            assert key not in found
            found[key] = sample.value
    return found


def exposed(metric: SelfMetric) -> list[str]:
    """Name the samples of a metric."""
    if metric.kind == "histogram":
        return [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
    return [metric.name]


def test_a_histogram_counts_what_took_at_most_so_long() -> None:
    """Each bucket holds those below it, the last holds all; the sum is theirs."""
    latency = Latency()
    for seconds in (0.005, 0.006, 400.0):
        latency.observe(seconds)
    found = samples(write_handler=WriteCounts(latency=latency))

    name = "receiver_request_duration_seconds"
    assert found[f"{name}_bucket", "0.005"] == 1
    assert found[f"{name}_bucket", "30.0"] == 2
    assert found[f"{name}_bucket", "+Inf"] == found[f"{name}_count", ""] == 3
    assert found[f"{name}_sum", ""] == 400.011


def test_each_route_has_its_own() -> None:
    """Under its name, the receiver's own as default; none where there are no routes."""
    found = samples()
    names = [metric.name for metric in METRICS if metric.name.startswith("receiver_route_")]
    assert len(names) == 15
    values = {name.removeprefix("receiver_route_"): found[name, "team-a"] for name in names}
    assert values == {
        "samples_rendered_total": 20, "samples_dropped_total": 2, "items_flushed_total": 5,
        "items_accepted_total": 4, "items_rejected_total": 5, "items_expired_total": 5,
        "items_pending": 11, "adds_up": 1, "outbox_bytes": 500, "outbox_max_bytes": 400, "full": 1,
        "oldest_seconds": 60, "delivery_failures": 3, "delivery_wait_seconds": 7.5, "held": 1,
    }  # fmt: skip
    assert all((name, "default") in found for name in names)
    assert not any(name.startswith("receiver_route_") for name, _ in samples(routes=()))


def test_every_metric_is_there() -> None:
    """Each of the list, under the very name of the list, with its help."""
    found = samples()
    text = to_text(SNAPSHOT).decode()

    assert {name for metric in METRICS for name in exposed(metric)} == {name for name, _ in found}
    for metric in METRICS:
        assert metric.meaning in text
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.name.startswith("receiver_")
        assert metric.meaning.endswith(".")


@pytest.mark.parametrize(
    ("name", "label", "value"),
    [
        ("receiver_build_info", __version__, 1),
        ("receiver_start_time_seconds", "", NOW - 60),
        ("receiver_config_last_reload_successful", "", 0),
        ("receiver_config_last_reload_success_timestamp_seconds", "", NOW - 30),
        ("receiver_requests_total", "204", 7),
        ("receiver_replica_leader", "east,a", 1),
        ("receiver_replica_leader", "east,b", 0),
        ("receiver_replica_seen_seconds", "east,b", 4),
        ("receiver_replica_samples_total", "east,a", 7),
        ("receiver_replica_samples_dropped_total", "east,b", 8),
        ("receiver_replica_changes_total", "east", 3),
        ("receiver_requests_total", "503", 2),
        ("receiver_requests_refused_total", "outbox_full", 2),
        ("receiver_requests_repeated_total", "", 2),
        ("receiver_series_refused_total", "no_name", 4),
        ("receiver_labels_cut_total", "", 8),
        ("receiver_labels_left_out_total", "", 9),
        ("receiver_samples_received_total", "", 100),
        ("receiver_samples_unselected_total", "", 40),
        ("receiver_samples_dropped_total", "nan", 3),
        ("receiver_samples_dropped_total", "infinite", 0),
        ("receiver_items_accepted_total", "", 30),
        ("receiver_items_rejected_total", "too_long", 4),
        ("receiver_items_expired_total", "", 5),
        ("receiver_items_unconfirmed_total", "", 6),
        ("receiver_delivery_state", "retry", 1),
        ("receiver_delivery_state", "blocked", 0),
        ("receiver_batches_set_back", "", 5),
        ("receiver_items_pending", "", 15),
        ("receiver_ledger_adds_up", "", 1),
        ("receiver_outbox_bytes", "", 1234),
        ("receiver_outbox_max_bytes", "", 9999),
        ("receiver_outbox_batches", "", 2),
        ("receiver_outbox_full", "", 0),
        ("receiver_requests_lost_bytes_total", "", 33),
        ("receiver_outbox_oldest_seconds", "", 90.5),
        ("receiver_outbox_failing", "", 1),
        ("receiver_outbox_set_aside_total", "", 1),
        ("receiver_delivery_attempts_total", "unreachable", 4),
        ("receiver_delivery_seconds_total", "", 2.5),
        ("receiver_delivery_bytes_total", "", 77),
        ("receiver_delivery_failures", "", 3),
        ("receiver_delivery_wait_seconds", "", 12.5),
        ("receiver_metadata_families", "", 21),
        ("receiver_series_cache_entries", "", 10),
        ("receiver_series_cache_bytes", "", 2000),
        ("receiver_series_cache_max_bytes", "", 4000),
        ("receiver_series_cache_misses_total", "", 11),
    ],
)
def test_each_value_is_the_snapshot_s(name: str, label: str, value: float) -> None:
    """No two are mixed up: every number of the snapshot is another one."""
    assert samples()[name, label] == value


def test_the_ledger_can_be_summed_from_the_metrics() -> None:
    """What an operator can check with a query."""
    found = samples()

    def total(name: str) -> float:
        return sum(value for (each, _), value in found.items() if each == name)

    assert total("receiver_samples_received_total") == sum(
        total(f"receiver_samples_{word}_total")
        for word in ("unselected", "dropped", "folded", "rendered")
    )
    assert total("receiver_samples_rendered_total") + total("receiver_items_flushed_total") == (
        sum(total(f"receiver_items_{word}_total") for word in ("accepted", "rejected", "expired"))
        + total("receiver_items_pending")
    )


def test_a_ledger_that_does_not_add_up_is_shown() -> None:
    """So that an alert can be set on it."""
    assert samples(ledger=replace(LEDGER, accepted=29))["receiver_ledger_adds_up", ""] == 0


def test_every_drop_reason_is_there_from_the_start() -> None:
    """A rate needs the nought before the one."""
    found = samples(ledger=Ledger())

    assert {label for name, label in found if name == "receiver_samples_dropped_total"} == set(
        DROP_REASONS
    )


@pytest.mark.parametrize("oldest_ms", [0, round(NOW * 1000) + 5000])
def test_an_age_is_never_below_nothing(oldest_ms: int) -> None:
    """With nothing waiting, or with samples from the future."""
    found = samples(outbox=Statistics(0, 0, 0, 1, oldest_ms, 0))

    assert found["receiver_outbox_oldest_seconds", ""] == 0
