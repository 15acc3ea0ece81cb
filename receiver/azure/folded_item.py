"""Rendering of a folded window as one line of JSON: a metric item for many samples.

In: role and labels of its series, its name, its numbers. Out: a line in the format of
`receiver.azure.envelope`; parts common to many items are rendered once.
Pure. Source: the v2.1 schema (DataPoint: kind, value, count, min, max).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from receiver.allocator import exact_bytes
from receiver.azure.envelope import (
    EPOCH,
    KEY_LIMIT,
    LINE_END,
    LINE_START,
    METRIC,
    PROPERTIES,
    VALUE,
    VALUE_LIMIT,
    Identity,
    fit,
    head,
    order_labels,
)
from receiver.azure.limits import NAME_LIMIT

PROPERTIES_LIMIT_BYTES = 48 << 10
"""Limit of an item's properties, with which name and role still fit into the service's 64 KiB."""
CLOUD_LABELS = ("cloud_RoleName", "cloud_RoleInstance")
"""Azure's column names of role and role instance, which `read_series` uses."""
_EXACT = 2.0**53


@dataclass(frozen=True, slots=True)
class FoldedItem:
    """An item parsed from its line. `series` is a hash that all items of one series share.

    `count` is None where the item has one value.
    """

    series: int
    time_ms: int
    value: float
    count: int | None = None
    least: float | None = None
    most: float | None = None

    @property
    def mean(self) -> float | None:
        """The value that Azure shows as Avg; None where the item has one value."""
        return self.value / self.count if self.count else None


def item_properties(labels: Mapping[str, str]) -> bytes:
    """Render an item's properties, cut to the service's limits; above 48 KiB the longest are omitted."""
    properties: dict[str, str] = {}
    for label in order_labels(labels):
        properties[fit(label, KEY_LIMIT)] = fit(labels[label], VALUE_LIMIT)
    text = orjson.dumps(properties)
    while len(text) > PROPERTIES_LIMIT_BYTES:
        del properties[max(properties, key=lambda key: len(properties[key].encode()))]
        text = orjson.dumps(properties)
    return text


def item_head(job: str, instance: str, identity: Identity) -> bytes:
    """Render the part of a target's items between the time and the properties."""
    tags = identity.tags({"job": job, "instance": instance})
    return head(tags, identity.instrumentation_key)


def item_line(
    time_text: bytes, head: bytes, properties: bytes, name: bytes, numbers: bytes
) -> bytes:
    """Join an item's parts; `name` is the metric's name as JSON, `numbers` the rest."""
    labels = PROPERTIES + properties + b"," if properties != b"{}" else b""
    return b"".join((LINE_START, time_text, head, labels, METRIC, name, numbers, LINE_END))


def item_name(name: str) -> bytes:
    """Render a metric's name as JSON, cut to the service's limit."""
    return orjson.dumps(fit(name, NAME_LIMIT))


def one_value(value: float) -> bytes:
    """Render the numbers of an item with one value."""
    return VALUE + _number(value)


def many_values(value: float, count: int, least: float, most: float) -> bytes:
    """Render the numbers of an item for `count` events whose sum is `value`."""
    return b"".join((
        b',"kind":"Aggregation","value":', _number(value), b',"count":%d' % count,
        b',"min":', _number(least), b',"max":', _number(most),
    ))  # fmt: skip


def read_item(line: bytes) -> FoldedItem:
    """Parse a line of `item_line`. The searched bytes cannot be in a JSON string, whose quotes are escaped."""
    middle, _, numbers = line.rpartition(VALUE)
    time_text, _, series = middle[len(LINE_START) :].partition(b'"')
    since = datetime.fromisoformat(time_text.decode()) - EPOCH
    point = orjson.loads(b'{"value":' + numbers.removesuffix(LINE_END) + b"}")
    return FoldedItem(
        hash(series),
        since // timedelta(milliseconds=1),
        point["value"],
        point.get("count"),
        point.get("min"),
        point.get("max"),
    )


def read_series(line: bytes) -> tuple[str, bytes]:
    """Read a line's metric name and labels, as JSON; role and instance under Azure's column names."""
    envelope = orjson.loads(line)
    data, tags = envelope["data"]["baseData"], envelope["tags"]
    labels = data.get("properties", {})
    tagged = (tags["ai.cloud.role"], tags["ai.cloud.roleInstance"])
    labels.update(zip(CLOUD_LABELS, tagged, strict=True))
    return data["metrics"][0]["name"], exact_bytes(orjson.dumps(labels))


def _number(value: float) -> bytes:
    """Format a number; an integer without a fraction."""
    if value == int(value) and abs(value) < _EXACT:
        return b"%d" % value
    return orjson.dumps(value)
