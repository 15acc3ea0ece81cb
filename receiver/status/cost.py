"""What a selection costs: items and gigabytes an hour, a day and a month. Pure.

Application Insights bills stored columns, not what crosses the network:
`receiver.azure.billing` has the estimate, `RECEIVER_BILLED_FACTOR` calibrates it.
"""

from dataclasses import dataclass

from receiver.azure.billing import billed_of_json

HOURS = {"hour": 1, "day": 24, "month": 730}
"""A month is a twelfth of a year."""
LINE_BYTES = 450.0
"""An item of Triton's in JSON, measured, for estimates before any was seen."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a GB costs, 0 where that is not known; and what a bill says of the estimate."""

    per_gb: float = 0.0
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What one span costs. `money` is None without a price."""

    span: str
    items: int
    json_gb: float
    billed_gb: float
    money: float | None


def estimate(items_per_second: float, bytes_per_item: float, price: Price) -> list[Cost]:
    """Extrapolate a pace to an hour, a day and a month; GB are 10^9 bytes, a price of 0 is none."""
    costs = []
    for span, hours in HOURS.items():
        items = items_per_second * 3600 * hours
        json_gb = items * bytes_per_item / 1e9
        billed_gb = items * billed_of_json(bytes_per_item) * price.factor / 1e9
        money = billed_gb * price.per_gb if price.per_gb else None
        costs.append(Cost(span, round(items), json_gb, billed_gb, money))
    return costs
