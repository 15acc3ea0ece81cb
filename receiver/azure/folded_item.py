"""A folded window becomes one line of JSON: a metric item that stands for many samples.

In: role and labels of its series, its name, its numbers. Out: a line as
`receiver.azure.envelope` writes them; the parts that many items share are rendered once.
Pure. Source: the v2.1 schema (DataPoint: kind, value, count, min, max).
"""

import json
from collections.abc import Mapping

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
_EXACT = 2.0**53


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


def _number(value: float) -> bytes:
    """Spell a number; a whole one without its fraction."""
    if value == int(value) and abs(value) < _EXACT:
        return b"%d" % value
    return orjson.dumps(value)


def _to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
