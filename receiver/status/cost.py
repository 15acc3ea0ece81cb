"""The cost of a selection: items and gigabytes an hour, a day and a month. Pure.

Application Insights bills stored columns, not network traffic: `receiver.azure.billing`
estimates them, `RECEIVER_BILLED_FACTOR` calibrates the estimate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from receiver.azure.billing import billed_of_json

HOURS = {"hour": 1, "day": 24, "month": 730}
"""A month is a twelfth of a year."""
DEAREST = 3
"""Number of entries that an overrun lists."""
LINE_BYTES = 450.0
"""Measured JSON size of an item, for estimates before any item was seen."""
FOLDED_LINE_BYTES = 360.0
"""Average size of a folded item of the example: 234 billed bytes (docs/cost.md)."""


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a GB (0: unknown), the calibration factor, and the monthly budget in GB (0: none)."""

    per_gb: float = 0.0
    factor: float = 1.0
    budget_gb: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one span of time. `money` is None without a price."""

    span: str
    items: int
    json_gb: float
    billed_gb: float
    money: float | None


@dataclass(frozen=True, slots=True)
class Overrun:
    """A month above the budget, with its most expensive entries.

    `dearest` are (entry, GB a month), the largest first.
    """

    month_gb: float
    budget_gb: float
    money: float | None = None
    dearest: tuple[tuple[str, float], ...] = ()

    @property
    def words(self) -> str:
        """The overrun in a sentence."""
        text = f"{gigabytes(self.month_gb)} a month at the last hour's rate"
        if self.money is not None:
            text += f" (it costs {self.money:.2f})"
        text += f", and the budget is {gigabytes(self.budget_gb)}"
        if self.dearest:
            text += "; most: " + ", ".join(f"{name} {gigabytes(gb)}" for name, gb in self.dearest)
        return text


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget, the month at the last hour's rate (None before it is known), and the overrun."""

    budget_gb: float
    month_gb: float | None
    overrun: Overrun | None


def overrun(
    costs: Sequence[Cost], sizes: Callable[[], Mapping[str, float]], price: Price
) -> Overrun | None:
    """Compare a month with the budget; None without a budget, or below it.

    `sizes` returns bytes a second by entry, for the entries' shares of the month; it is called
    only when needed.
    """
    month = next((cost for cost in costs if cost.span == "month"), None)
    if month is None or not price.budget_gb or month.billed_gb <= price.budget_gb:
        return None
    by_entry = {entry: size for entry, size in sizes().items() if size > 0}
    dearest = sorted(by_entry, key=lambda entry: (-by_entry[entry], entry))[:DEAREST]
    whole = sum(by_entry.values())
    shares = tuple((entry, month.billed_gb * by_entry[entry] / whole) for entry in dearest)
    return Overrun(month.billed_gb, price.budget_gb, month.money, shares)


def gigabytes(gb: float) -> str:
    """Format GB with two significant digits."""
    return f"{gb:.1f} GB" if gb >= 1 else f"{gb:.2g} GB"


def estimate(items_per_second: float, bytes_per_item: float, price: Price) -> list[Cost]:
    """Extrapolate a rate to an hour, a day and a month; GB are 10^9 bytes, a price of 0 means none."""
    costs = []
    for span, hours in HOURS.items():
        items = items_per_second * 3600 * hours
        json_gb = items * bytes_per_item / 1e9
        billed_gb = items * billed_of_json(bytes_per_item) * price.factor / 1e9
        money = billed_gb * price.per_gb if price.per_gb else None
        costs.append(Cost(span, round(items), json_gb, billed_gb, money))
    return costs
