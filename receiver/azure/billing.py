"""What Azure bills for an item: the text of the columns that it is stored in. Pure.

In: an item. Out: its billed bytes, part by part. An estimate: Azure bills "a string
representation of the column entries", those added during ingestion too; which of these
count is documented in part only. So one number calibrates it: what a resource's own
`_BilledSize` says for items of yours (`appinsights-receiver cost --calibrate`).
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
"""Type of client and its masked address."""
PLACE_BYTES = 33
"""City, state and country, which the service looks up from the sender's address."""
FIXED_BYTES = TIME_BYTES + KEY_BYTES + RESOURCE_BYTES + CLIENT_BYTES + PLACE_BYTES

ENVELOPE_BYTES = 126
"""What the JSON of an item with one value of some 8 digits has more than its columns."""

NUMBER_BYTES = 8
_TARGET = (*CLOUD_LABELS, "job", "instance")
"""Labels that say role and role instance, which are columns of their own."""


@dataclass(frozen=True, slots=True)
class Billed:
    """Billed bytes of an item, by what they are spent on."""

    fixed: int
    name: int
    values: int
    properties: int
    target: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(getattr(self, part.name) for part in fields(self))


def billed(line: bytes) -> Billed:
    """Say what a rendered item costs."""
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
    """Say what an item of a series costs without the item, within some bytes.

    Of its numbers each is taken for one of eight digits; of an item of many values they are
    sum, least, greatest and count, else one three times.
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
    """Say what an item of one value costs from its JSON's size alone, within some bytes."""
    return max(float(FIXED_BYTES), json_bytes - ENVELOPE_BYTES)


def _length(number: float) -> int:
    return len(orjson.dumps(number))
