"""A metric is found in the form that can carry the question, and nowhere else."""

import json
from typing import Any

import pytest

from receiver.intake.metrics_json import parse
from receiver.pack.alerts import log_rules, metric_rules
from receiver.pack.keda import scaled_object
from receiver.pack.panels import DURATION, SUCCESS, panels
from receiver.pack.sources import Form, Sources


def sources(*entries: Any) -> Sources:
    """Read a metrics.json."""
    return Sources(parse(json.dumps({"customMetrics": list(entries)}), "x"))


MEAN = {"name": DURATION, "as": "mean", "per": SUCCESS}


def test_a_mean_counts_its_events() -> None:
    """So requests are there without an entry of their own."""
    (found,) = sources(MEAN).counter([SUCCESS], Form.TOTAL)
    assert (found.item, found.column) == (DURATION, "valueCount")
    (total,) = sources(MEAN).counter([DURATION], Form.TOTAL)
    assert (total.item, total.column) == (DURATION, "valueSum")


def test_a_delta_is_preferred_to_a_mean() -> None:
    """It counts what was done while nothing was finished, too."""
    found = sources(MEAN, {"name": DURATION, "as": "delta", "rename": "time"}).counter(
        [DURATION], Form.TOTAL
    )
    assert [each.item for each in found] == ["time"]


def test_forms_are_not_mixed() -> None:
    """A raw counter over a delta would be nonsense, so there is no such panel."""
    keys = {panel.key for panel in panels(sources(DURATION, {"name": SUCCESS, "as": "delta"}))}
    assert "latency" not in keys
    assert "requests" in keys


@pytest.mark.parametrize(
    ("entries", "labels"),
    [
        ([MEAN], ("model",)),
        ([MEAN | {"keep": ["version"]}], ()),
        ([MEAN | {"drop": ["model"]}], ()),
    ],
)
def test_a_panel_is_split_by_labels_that_are_there(
    entries: list[Any], labels: tuple[str, ...]
) -> None:
    """Else it is the sum of all."""
    (panel,) = [panel for panel in panels(sources(*entries)) if panel.key == "latency"]
    assert panel.labels == labels


def test_a_metric_alert_needs_what_azure_shows_right() -> None:
    """Raw counters have none; a folded mean has, by its own name."""
    assert metric_rules(sources(DURATION, SUCCESS)) == []
    (rule,) = metric_rules(sources(MEAN | {"rename": "latency_us"}))
    assert (rule.metric, rule.aggregation) == ("latency_us", "Average")


def test_nothing_of_tritons_leaves_delivery_and_cost() -> None:
    """Whatever else is sent."""
    assert [panel.key for panel in panels(sources("http_requests_total"))] == ["delivery", "cost"]
    assert [rule.key for rule in log_rules(sources("http_requests_total"))] == ["cost"]


def test_a_scaler_needs_a_value_that_means_something() -> None:
    """The queue's mean, else what waits, else none."""
    queue = {"name": "nv_inference_queue_duration_us", "as": "mean", "per": SUCCESS}
    assert "customMetrics/nv_inference_queue_duration_us" in scaled_object(sources(queue))
    assert "metricAggregationType: max" in scaled_object(
        sources("nv_inference_pending_request_count")
    )
    assert scaled_object(sources(DURATION)) == ""
