"""A month is extrapolated, and held against a budget."""

from collections.abc import Mapping

import pytest

from receiver.status.cost import HOURS, Price, estimate, overrun

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
