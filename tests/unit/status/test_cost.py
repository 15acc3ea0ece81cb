"""A month is extrapolated, and held against a budget."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from receiver.intake.entries import As, Entry
from receiver.intake.metrics_json import Allowlist
from receiver.ledger import Ledger
from receiver.server.write_handler import WriteCounts
from receiver.status.cost import HOURS, LINE_BYTES, Price, estimate, overrun
from receiver.status.history import Point
from receiver.status.monitor import Monitor
from receiver.status.recent_metrics import MetricSeen, SeriesSeen
from receiver.status.sampling import Sampling

NOW = 1_795_000_000.0
MONTH_SECONDS = 3600 * HOURS["month"]
LINE = 426
"""Bytes of an item in JSON, of which 300 are billed."""


def no_sizes() -> Mapping[str, float]:
    """Fail where they are asked for without need."""
    raise AssertionError


def test_a_month_below_the_budget_is_no_overrun() -> None:
    """Nor is any month without a budget, nor is an unknown pace; and the metrics are not looked at."""
    month = 10 * 300 * MONTH_SECONDS / 1e9
    for price, pace in ((Price(), 1e6), (Price(budget_gb=month * 1.01), 10.0)):
        assert overrun(estimate(pace, LINE, price), no_sizes, price) is None
    assert overrun([], no_sizes, Price(budget_gb=1)) is None


def test_a_month_above_the_budget_names_the_dearest_first() -> None:
    """Three of them, each with its GB; the factor of the bill counts."""
    price = Price(per_gb=2.0, factor=1.5, budget_gb=10.0)
    sizes = {"nv_few": 0.5, "nv_most": 6.0, "nv_none": 0.0, "nv_some": 2.0, "nv_more": 3.0}

    found = overrun(estimate(11.5, LINE, price), lambda: sizes, price)

    assert found is not None
    assert found.month_gb == pytest.approx(11.5 * 300 * 1.5 * MONTH_SECONDS / 1e9)
    assert found.money == pytest.approx(found.month_gb * 2)
    assert [name for name, _ in found.dearest] == ["nv_most", "nv_more", "nv_some"]
    assert found.dearest[0][1] == pytest.approx(found.month_gb * 6 / 11.5)
    assert found.words.startswith("13.6 GB a month at the last hour's rate (it costs 27.20), and the budget is 10.0 GB; most: nv_most 7.1 GB, ")  # fmt: skip


def monitor(tmp_path: Path, price: Price, seconds: float) -> tuple[Monitor, Any]:
    """Look at a receiver that made 10 raw and 2 folded items a second for so long."""
    sampling = Sampling(lambda: NOW)
    allowlist = Allowlist(
        [Entry("nv_a"), Entry("nv_long_*"), Entry("nv_f", As.DELTA), Entry("nv_g", As.AGGREGATE, rename="nv_h")]
    )  # fmt: skip
    for name, often in (("nv_a", 60), ("nv_long_b", 30), ("nv_long_c", 30), ("nv_f", 60), ("nv_h", 60)):  # fmt: skip
        allowlist.wants(b"nv_g" if name == "nv_h" else name.encode())
        metric = sampling.metrics[name] = MetricSeen(name)
        series = SeriesSeen(b'{"model":"%b"}' % (b"m" * (300 if "long" in name else 1)))
        metric.series[1] = series
        for number in range(often):
            metric.add(series, 1.0, 0, NOW - number)
    pipeline = SimpleNamespace(allowlist=allowlist)
    observer = SimpleNamespace(
        events=None, clock=lambda: NOW, write_handler=SimpleNamespace(pipeline=pipeline)
    )
    settings: Any = SimpleNamespace(
        price_per_gb=price.per_gb,
        billed_factor=price.factor,
        budget_gb=price.budget_gb,
        outbox_dir=tmp_path,
    )
    made = Monitor(cast("Any", observer), sampling, settings)
    made.history.add(Point(NOW - seconds, Ledger()))
    ledger = Ledger(rendered=round(10 * seconds), flushed=round(2 * seconds))
    snapshot = SimpleNamespace(
        now=NOW,
        ledger=ledger,
        outbox=SimpleNamespace(size_bytes=0),
        oldest_seconds=0.0,
        write_handler=WriteCounts(),
        refused={},
        delivery=SimpleNamespace(seconds=0.0, attempts={}, unconfirmed_items=0),
        routes=(),
    )
    return made, snapshot


def test_the_monitor_holds_the_last_hour_against_the_budget(tmp_path: Path) -> None:
    """Entries by their bytes, not by their items, and folded ones one by one, after a quarter of an hour."""
    made, snapshot = monitor(tmp_path, Price(budget_gb=0.1), 1800)
    found = made._overrun(snapshot)
    assert found is not None
    items = 10 * (LINE_BYTES - 126) + 2 * 234
    assert found.month_gb == pytest.approx(items * MONTH_SECONDS / 1e9)
    # As many items as of nv_a, each of more than twice the bytes.
    assert [name for name, _ in found.dearest] == ["nv_long_*", "nv_a", "nv_f as delta"]
    (_, first), (_, second), (_, third) = found.dearest
    assert first > 2 * second > 2 * 4 * third
    assert sum(gb for _, gb in found.dearest) < found.month_gb

    for price, seconds in ((Price(), 1800), (Price(budget_gb=1e6), 1800), (Price(budget_gb=0.1), 899)):  # fmt: skip
        made, snapshot = monitor(tmp_path, price, seconds)
        assert made._overrun(snapshot) is None


def test_the_budget_is_shown_within_it_too(tmp_path: Path) -> None:
    """With the month, once there is one."""
    made, snapshot = monitor(tmp_path, Price(budget_gb=1e6), 1800)
    view = cast("Any", SimpleNamespace(snapshot=snapshot))
    budget = made.budget(view)
    assert (budget.budget_gb, budget.overrun) == (1e6, None)
    assert budget.month_gb
    made, snapshot = monitor(tmp_path, Price(), 30)
    assert made.budget(cast("Any", SimpleNamespace(snapshot=snapshot))).month_gb is None
