"""A folded window becomes one line of JSON: a metric item that stands for many samples.

In: role and labels of its series, its name, its numbers. Out: a line as
`receiver.azure.envelope` writes them; the parts that many items share are rendered once.
Pure. Source: the v2.1 schema (DataPoint: kind, value, count, min, max).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from receiver.azure.envelope import (
    ENVELOPE_NAME,
    KEY_LIMIT,
    NAME_LIMIT,
    VALUE_LIMIT,
    Identity,
    fit,
    order_labels,
)

PROPERTIES_LIMIT_BYTES = 48 << 10
"""Bytes of an item's properties; with name and role the item keeps within the service's 64 KiB."""
CLOUD_LABELS = ("cloud_RoleName", "cloud_RoleInstance")
"""Azure's own names of role and role instance, under which `read_series` gives them."""
_EXACT = 2.0**53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_AT = len(b'{"time":"')
_VALUE = b',"value":'
_END = b"]}}}\n"


@dataclass(frozen=True, slots=True)
class FoldedItem:
    """An item as its line has it. `series` is a digest: the same for all items of one series.

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
        """Give what Azure shows as Avg; None where the item has one value."""
        return self.value / self.count if self.count else None


def item_properties(labels: Mapping[str, str]) -> bytes:
    """Render an item's properties, cut to the service's limits; the longest are left out past 48 KiB."""
    properties: dict[str, str] = {}
    for label in order_labels(labels):
        properties[fit(label, KEY_LIMIT)] = fit(labels[label], VALUE_LIMIT)
    text = _to_json(properties)
    while len(text) > PROPERTIES_LIMIT_BYTES:
        del properties[max(properties, key=lambda key: len(properties[key].encode()))]
        text = _to_json(properties)
    return text


def item_head(job: str, instance: str, identity: Identity) -> bytes:
    """Render what the items of a target have between their time and their properties."""
    tags = _to_json(identity.tags({"job": job, "instance": instance}))
    name, key = _to_json(ENVELOPE_NAME), _to_json(identity.instrumentation_key)
    return b"".join((
        b'","name":', name, b',"iKey":', key, b',"tags":', tags,
        b',"data":{"baseType":"MetricData","baseData":{"ver":2,',
    ))  # fmt: skip


def item_line(
    time_text: bytes, head: bytes, properties: bytes, name: bytes, numbers: bytes
) -> bytes:
    """Put an item together; `name` is the metric's as JSON, `numbers` what follows it."""
    labels = b'"properties":' + properties + b"," if properties != b"{}" else b""
    return b"".join((
        b'{"time":"', time_text, head, labels, b'"metrics":[{"name":', name, numbers, b"}]}}}\n",
    ))  # fmt: skip


def item_name(name: str) -> bytes:
    """Render a metric's name as JSON, cut to the service's limit."""
    return _to_json(fit(name, NAME_LIMIT))


def one_value(value: float) -> bytes:
    """Render the numbers of an item with one value."""
    return b',"value":' + _number(value)


def many_values(value: float, count: int, least: float, most: float) -> bytes:
    """Render the numbers of an item that stands for `count` events, the sum of which is `value`."""
    return b"".join((
        b',"kind":"Aggregation","value":', _number(value), b',"count":%d' % count,
        b',"min":', _number(least), b',"max":', _number(most),
    ))  # fmt: skip


def read_item(line: bytes) -> FoldedItem:
    """Read what `item_line` wrote. No JSON string holds the bytes looked for: its quotes are escaped."""
    middle, _, numbers = line.rpartition(_VALUE)
    time_text, _, series = middle[_TIME_AT:].partition(b'"')
    since = datetime.fromisoformat(time_text.decode()) - _EPOCH
    found = orjson.loads(b'{"value":' + numbers.removesuffix(_END))
    return FoldedItem(
        hash(series),
        since // timedelta(milliseconds=1),
        found["value"],
        found.get("count"),
        found.get("min"),
        found.get("max"),
    )


def read_series(line: bytes) -> tuple[str, dict[str, str]]:
    """Read the name of a line's series, and its labels; role and instance under Azure's own names."""
    envelope = orjson.loads(line)
    data, tags = envelope["data"]["baseData"], envelope["tags"]
    labels = data.get("properties", {})
    tagged = (tags["ai.cloud.role"], tags["ai.cloud.roleInstance"])
    labels.update(zip(CLOUD_LABELS, tagged, strict=True))
    return data["metrics"][0]["name"], labels


def _number(value: float) -> bytes:
    """Spell a number; a whole one without its fraction."""
    if value == int(value) and abs(value) < _EXACT:
        return b"%d" % value
    return orjson.dumps(value)


def _to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
