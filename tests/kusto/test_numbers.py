"""Every query of every output, run on the items of a Triton whose numbers are known."""

from typing import Any

import pytest

from receiver.intake.metrics_json import parse
from receiver.pack.alerts import log_rules
from receiver.pack.kql import Scope
from receiver.pack.panels import panels
from receiver.pack.queries import markdown
from receiver.pack.sources import Sources
from receiver.pack.workbook import WORKBOOK_SCOPE
from tests.kusto import world
from tests.kusto.files import FILES
from tests.kusto.kusto import Database, blocks, workbook_query

RIGHT: dict[str, dict[Any, Any]] = {
    # two instances, 60 and 15 requests each 15 s
    "requests": {"fast": 2 * 60 / 15, "slow": 2 * 15 / 15},
    "failures": {("slow", "BACKEND"): 2 * 5 / 15},
    "failure_ratio": {"fast": 0.0, "slow": 0.25},
    "latency": {"fast": 3.0, "slow": 90.0},
    "queue_time": {"fast": 0.5, "slow": 60.0},
    "p99": {"fast": 7.0, "slow": 7.0},
    "batch_size": {"fast": 4.0, "slow": 1.0},
    "queue_to_compute": {"fast": 0.25, "slow": 3.0},
    "pending": {"fast": 1.0, "slow": 1.0},  # a mean of 0.5 on each instance
    "cache": {"fast": 0.25},
    "gpu_utilization": {f"GPU-{instance}": 0.5 for instance in world.INSTANCES},
    "gpu_power": {f"GPU-{instance}": 200.0 for instance in world.INSTANCES},
    "gpu_energy": {f"GPU-{instance}": 200.0 for instance in world.INSTANCES},
    "gpu_memory": {(instance, f"GPU-{instance}"): 0.75 for instance in world.INSTANCES},
    "cpu_utilization": dict.fromkeys(world.INSTANCES, 0.5),
}
BREAKDOWN = (60 * 2 * 500 + 15 * 2 * 60000) / 150 / 1000
"""The queue's part of a request's time in ms, all models: 120 fast and 30 slow requests."""
TOLERANCE = {"raw": 0.07, "default": 0.07, "pending": 0.07, "cpu_utilization": 0.07}
"""Bins of raw samples hold one more or one less of them at their ends."""


@pytest.fixture(scope="module", params=sorted(FILES))
def form(request: pytest.FixtureRequest) -> str:
    """Name a form of metrics.json."""
    return str(request.param)


@pytest.fixture(scope="module")
def database(form: str) -> Database:
    """Hold the items that the receiver makes of that world in that form."""
    wanted = parse(FILES[form], form)
    items = (each for each in world.ITEMS[form]())
    if form == "default":
        items = (
            each
            for each in items
            if wanted.wants(each["data"]["baseData"]["metrics"][0]["name"].encode())
        )
    return Database(items)


def test_each_panel_has_the_right_numbers(form: str, database: Database) -> None:
    """In each bin but the outermost, which are cut: whatever form the metrics came in."""
    seen = set()
    for panel in panels(Sources(parse(FILES[form], form))):
        rows = database.run(workbook_query(panel.query(WORKBOOK_SCOPE)))
        assert rows, panel.key
        seen.add(panel.key)
        if panel.key == "breakdown":
            for row in _inner(rows):
                assert row["queue"] == pytest.approx(BREAKDOWN, rel=0.001), (panel.key, row)
        if panel.key not in RIGHT:
            continue
        got: dict[Any, list[float]] = {}
        for row in _inner(rows):
            key = tuple(row[label] for label in panel.labels)
            got.setdefault(key if len(key) > 1 else key[0], []).append(row[panel.columns[0]])
        tolerance = max(TOLERANCE.get(form, 0.001), TOLERANCE.get(panel.key, 0))
        for key, right in RIGHT[panel.key].items():
            for value in got[key]:
                assert value == pytest.approx(right, rel=tolerance, abs=1e-9), (panel.key, key)
    assert {"requests", "latency", "cpu_utilization", "delivery", "cost"} <= seen
    if form != "default":
        assert set(RIGHT) - {"p99", "cache", "gpu_energy"} <= seen


def _inner(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    times = sorted({row["timestamp"] for row in rows})
    return [row for row in rows if row["timestamp"] in times[1:-1]]


def test_each_alert_sees_what_it_is_for(form: str, database: Database) -> None:
    """A failing and slow model, a full GPU; and no alarm of silence while there is traffic."""
    rules = {rule.key: rule for rule in log_rules(Sources(parse(FILES[form], form)))}
    got = {key: database.run(rule.query) for key, rule in rules.items()}
    assert got["no_traffic"] == []
    by_model = {row["model"]: row["milliseconds"] for row in got["latency"]}
    assert by_model == pytest.approx({"fast": 3.0, "slow": 90.0}, rel=0.001)
    assert got["cost"][0]["megabytes"] > 0
    if "failures" in got:
        percent = {row["model"]: row["percent"] for row in got["failures"]}
        assert percent == pytest.approx({"fast": 0, "slow": 25}, abs=0.1)
    if "gpu_memory" in got:
        assert [row["percent"] for row in got["gpu_memory"]] == pytest.approx([75, 75])


@pytest.mark.parametrize("form", sorted(FILES))
def test_silence_is_seen(form: str) -> None:
    """Where an instance delivers, and no model of it was asked."""
    wanted = Sources(parse(FILES[form], form))
    (rule,) = [rule for rule in log_rules(wanted) if rule.key == "no_traffic"]
    idle = []
    for each in world.ITEMS[form]():
        point = each["data"]["baseData"]["metrics"][0]
        if point["name"].startswith("nv_inference") and "pending" not in point["name"]:
            if form in {"delta", "folded"}:
                continue  # no item without growth
            point["value"] = 0.0 if form == "irate" else 1000.0
        idle.append(each)
    rows = Database(idle).run(rule.query)
    assert sorted(row["cloud_RoleInstance"] for row in rows) == sorted(world.INSTANCES)


def test_the_page_of_queries_runs(form: str, database: Database) -> None:
    """Each block returns rows."""
    sources = Sources(parse(FILES[form], form))
    item = next((mean.item for mean in sources.means), "")
    for query in blocks(markdown(panels(sources), item)):
        assert database.run(query), query


def test_copies_are_counted_once() -> None:
    """An item that was sent twice doubles a sum; the query for that sees one."""
    sources = Sources(parse(FILES["folded"], "x"))
    name = "nv_inference_request_duration_us"
    items = list(world.folded())
    once, twice = Database(items), Database(items + items)
    query = blocks(markdown(panels(sources), name))[-1]
    assert twice.run(query) == once.run(query)
    plain = next(p for p in panels(sources) if p.key == "requests").query(Scope((), "5m"))
    assert twice.run(plain) != once.run(plain)
