"""The last hour's rate is held against the budget, entry by entry."""

from types import SimpleNamespace
from typing import Any

import pytest

from receiver.intake.entries import As, Entry
from receiver.intake.metrics_json import Allowlist
from receiver.ledger import Ledger
from receiver.server.write_handler import WriteCounts
from receiver.status.arriving_names import ArrivingNames
from receiver.status.cost import HOURS, LINE_BYTES, Price
from receiver.status.history import History, Point
from receiver.status.recent_metrics import MetricSeen, SeriesSeen
from receiver.status.sampling import Sampling
from receiver.status.spending import Spending

NOW = 1_795_000_000.0
MONTH_SECONDS = 3600 * HOURS["month"]


def spending(price: Price, seconds: float) -> tuple[Spending, Any]:
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
    write_handler = SimpleNamespace(pipeline=pipeline)
    observer: Any = SimpleNamespace(clock=lambda: NOW, write_handler=write_handler)
    history, names = History(), ArrivingNames(observer.write_handler, observer.clock)
    made = Spending(observer, sampling, history, names, price)
    history.add(Point(NOW - seconds, Ledger()))
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


def test_the_last_hour_is_held_against_the_budget() -> None:
    """Entries by their bytes, not by their items, and folded ones one by one, after a quarter of an hour."""
    made, snapshot = spending(Price(budget_gb=0.1), 1800)
    found = made.overrun(snapshot)
    assert found is not None
    items = 10 * (LINE_BYTES - 126) + 2 * 234
    assert found.month_gb == pytest.approx(items * MONTH_SECONDS / 1e9)
    # As many items as of nv_a, each of more than twice the bytes.
    assert [name for name, _ in found.dearest] == ["nv_long_*", "nv_a", "nv_f as delta"]
    (_, first), (_, second), (_, third) = found.dearest
    assert first > 2 * second > 2 * 4 * third
    assert sum(gb for _, gb in found.dearest) < found.month_gb

    for price, seconds in ((Price(), 1800), (Price(budget_gb=1e6), 1800), (Price(budget_gb=0.1), 899)):  # fmt: skip
        made, snapshot = spending(price, seconds)
        assert made.overrun(snapshot) is None


def test_the_budget_is_shown_within_it_too() -> None:
    """With the month, once there is one."""
    made, snapshot = spending(Price(budget_gb=1e6), 1800)
    budget = made.budget(snapshot)
    assert (budget.budget_gb, budget.overrun) == (1e6, None)
    assert budget.month_gb
    made, snapshot = spending(Price(), 30)
    assert made.budget(snapshot).month_gb is None
