"""The estimated billed size of an item: the text of its columns. Pure.

In: an item. Out: its billed bytes, part by part. Azure bills "a string representation of
the column entries", including columns added during ingestion; which of these count is only
partly documented. One factor calibrates the estimate: the `_BilledSize` of your own items
(`appinsights-receiver cost --calibrate`).
Source: learn.microsoft.com, Azure Monitor Logs cost calculations; the columns of customMetrics.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import orjson

from receiver.azure.folded_item import CLOUD_LABELS

TIME_BYTES = 24
KEY_BYTES = 36
RESOURCE_BYTES = 36
CLIENT_BYTES = 14
"""The client's type and masked address."""
PLACE_BYTES = 33
"""City, state and country, which the service looks up from the sender's address."""
FIXED_BYTES = TIME_BYTES + KEY_BYTES + RESOURCE_BYTES + CLIENT_BYTES + PLACE_BYTES

ENVELOPE_BYTES = 126
"""Bytes of an item's JSON beyond its columns, for one value of about 8 digits."""

NUMBER_BYTES = 8
_TARGET = (*CLOUD_LABELS, "job", "instance")
"""Labels that become the columns role and role instance."""


@dataclass(frozen=True, slots=True)
class Billed:
    """Billed bytes of an item, by part."""

    fixed: int
    name: int
    values: int
    properties: int
    target: int

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(getattr(self, part.name) for part in fields(self))


def billed(line: bytes) -> Billed:
    """Estimate the billed bytes of a rendered item."""
    item: dict[str, Any] = orjson.loads(line)
    data = item["data"]["baseData"]
    point = data["metrics"][0]
    value = _length(point["value"])
    properties = data.get("properties")
    return Billed(
        FIXED_BYTES,
        len(point["name"].encode()),
        value
        + _length(point.get("count", 1))
        + _length(point.get("min", point["value"]))
        + _length(point.get("max", point["value"])),
        len(orjson.dumps(properties)) if properties else 0,
        sum(len(tag.encode()) for tag in item["tags"].values()),
    )


def billed_of_series(name: str, properties: Mapping[str, str], *, has_many_values: bool) -> int:
    """Estimate the billed bytes of a series' item from its labels, to within some bytes.

    Every number counts as eight digits: four of an item with many values (sum, min, max, count),
    else three.
    """
    target = sum(len(properties.get(label, "").encode()) for label in _TARGET)
    kept = {label: value for label, value in properties.items() if label not in CLOUD_LABELS}
    return (
        FIXED_BYTES
        + len(name.encode())
        + (4 * NUMBER_BYTES if has_many_values else 3 * NUMBER_BYTES + 1)
        + (len(orjson.dumps(kept)) if kept else 0)
        + target
    )


def billed_of_json(json_bytes: float) -> float:
    """Estimate the billed bytes of an item with one value from its JSON's size."""
    return max(float(FIXED_BYTES), json_bytes - ENVELOPE_BYTES)


def _length(number: float) -> int:
    return len(orjson.dumps(number))
