"""What a selection costs: items and gigabytes an hour, a day and a month. Pure.

Application Insights bills stored text, not what crosses the network: by Azure's
documentation about a quarter less than the JSON that is sent, and up to half less for
small items. So the JSON's size is given, and money for three quarters of it.
"""

from dataclasses import dataclass

BILLED_SHARE = 0.75
HOURS = {"hour": 1, "day": 24, "month": 730}
"""A month is a twelfth of a year."""
LINE_BYTES = 450.0
"""An item of Triton's in JSON, measured, for estimates before any was seen."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one span costs. `money` is None without a price."""

    span: str
    items: int
    json_gb: float
    billed_gb: float
    money: float | None


def estimate(items_per_second: float, bytes_per_item: float, price_per_gb: float) -> list[Cost]:
    """Extrapolate a pace to an hour, a day and a month; GB are 10^9 bytes, a price of 0 is none."""
    costs = []
    for span, hours in HOURS.items():
        items = items_per_second * 3600 * hours
        json_gb = items * bytes_per_item / 1e9
        billed_gb = json_gb * BILLED_SHARE
        money = billed_gb * price_per_gb if price_per_gb else None
        costs.append(Cost(span, round(items), json_gb, billed_gb, money))
    return costs
