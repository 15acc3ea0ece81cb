"""The checks of one telemetry item: return its metric, or raise the service's refusal.

Checks only the public contract: the envelope's fields, types and lengths, the
instrumentation key, the range of time. The first violation is reported, in the service's
wording. A null is treated as an absent field.
Source: Bond schemas Envelope, MetricData, DataPoint; swagger v2.1; limits.py.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import orjson

from receiver.sandbox import fields, limits
from receiver.sandbox.body import RawItem, syntax_error
from receiver.sandbox.fields import Fields, RefusedItemError

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# swagger and .NET write the kind as a word, the Python package and Go as a number
_KINDS = (None, 0, 1, "Measurement", "Aggregation")
# Below half its limit no text can be too long, whatever its characters.
_SAFE_KEY = limits.MAX_PROPERTY_KEY // 2
_SAFE_VALUE = limits.MAX_PROPERTY_VALUE // 2


@dataclass(frozen=True, slots=True)
class Spread:
    """The fields of an aggregated data point beside its value."""

    count: int
    min: float | None
    max: float | None
    std_dev: float | None


class Item(NamedTuple):
    """One metric: its first data point, and all that identifies its series."""

    name: str
    properties: dict[str, str]
    tags: dict[str, str]
    ikey: str
    namespace: str | None
    time_ms: int
    value: float
    spread: Spread | None
    ignored_points: int


class Checker:
    """Checks the items of one request at one moment; caches parsed times and keys."""

    def __init__(self, now_ms: int, known_keys: frozenset[str] | None) -> None:
        """Judge times by `now_ms`; with `known_keys`, in lower case, accept no other key."""
        self._now_ms = now_ms
        self._known_keys = known_keys
        self._times: dict[str, int] = {}
        self._keys: set[str] = set()

    def check(self, raw: RawItem) -> Item | None:
        """Return the metric, or None for telemetry of another type.

        Raises: RefusedItemError, with the service's message.
        """
        envelope = _parsed(raw)
        fields.integer(envelope, "ver", "Envelope")
        fields.text(envelope, "name", "Envelope", limits.MAX_ENVELOPE_NAME)
        time_ms = self._time_ms(envelope)
        ikey = self._ikey(envelope)
        fields.optional_text(envelope, "seq", "Envelope", limits.MAX_SEQ)
        fields.number(envelope, "sampleRate", "Envelope")
        tags = _tags(envelope)
        data = fields.object_(envelope, "data", "Envelope")
        base_type = fields.text(data, "baseType", "Data", limits.MAX_ENVELOPE_NAME)
        base_data = fields.object_(data, "baseData", "Data")
        if base_type != "MetricData":
            if base_type in limits.OTHER_BASE_TYPES:
                return None
            raise RefusedItemError(limits.wrong_type("baseType", "Data", "MetricData", base_type))
        if fields.integer(base_data, "ver", "MetricData") is None:
            raise RefusedItemError(limits.missing("ver", "MetricData", "number"))
        properties = _properties(base_data)
        point, ignored_points = _first_point(base_data)
        name = fields.text(point, "name", "DataPoint", limits.MAX_METRIC_NAME)
        namespace = fields.optional_text(point, "ns", "DataPoint", limits.MAX_NAMESPACE)
        _kind(point)
        value = fields.number(point, "value", "DataPoint")
        if value is None:
            raise RefusedItemError(limits.missing("value", "DataPoint", "number"))
        spread = _spread(point, value)
        return Item(name, properties, tags, ikey, namespace, time_ms, value, spread, ignored_points)

    def _time_ms(self, envelope: Fields) -> int:
        text = fields.text(envelope, "time", "Envelope", limits.MAX_TIME)
        time_ms = self._times.get(text)
        if time_ms is None:
            time_ms = self._times[text] = _utc_ms(text)
        if time_ms < self._now_ms - limits.MAX_AGE_MS:
            raise RefusedItemError(limits.too_old(self._now_ms - time_ms))
        if time_ms > self._now_ms + limits.MAX_AHEAD_MS:
            raise RefusedItemError(limits.too_new(time_ms - self._now_ms))
        return time_ms

    def _ikey(self, envelope: Fields) -> str:
        if not envelope.get("iKey"):
            raise RefusedItemError(limits.INVALID_KEY)
        key = fields.text(envelope, "iKey", "Envelope", limits.MAX_IKEY).lower()
        if key not in self._keys:
            known = self._known_keys
            if not _GUID.fullmatch(key) or (known is not None and key not in known):
                raise RefusedItemError(limits.INVALID_KEY)
            self._keys.add(key)
        return key


def _parsed(raw: RawItem) -> Fields:
    if isinstance(raw, bytes):
        if len(raw) > limits.MAX_ITEM_BYTES:
            raise RefusedItemError(limits.ITEM_TOO_LONG)
        try:
            envelope = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise RefusedItemError(syntax_error(error)) from error
    else:
        envelope, length_bytes = raw
        if length_bytes > limits.MAX_ITEM_BYTES:
            raise RefusedItemError(limits.ITEM_TOO_LONG)
    if type(envelope) is not dict:
        raise RefusedItemError(f"Telemetry item is not an object: {limits.shown(envelope)}")
    return envelope


def _utc_ms(text: str) -> int:
    # Bond, Envelope.time: "formatted in UTC ISO 8601 format, with a trailing 'Z' character".
    try:
        if _UTC_TIME.fullmatch(text):
            return (datetime.fromisoformat(text) - _EPOCH) // _MILLISECOND
    except ValueError:
        pass  # well-formed, but no valid day or hour
    raise RefusedItemError(limits.wrong_type("time", "Envelope", "date", text))


def _tags(envelope: Fields) -> dict[str, str]:
    tags = envelope.get("tags")
    if tags is None:
        return {}
    if type(tags) is not dict:
        raise RefusedItemError(limits.wrong_type("tags", "Envelope", "object", tags))
    for key, value in tags.items():
        if type(value) is not str:
            raise RefusedItemError(limits.wrong_child(key, "string", value))
        limit = limits.TAG_LIMITS.get(key, limits.MAX_OTHER_TAG)
        if len(value) > limit >> 1:
            fields.must_fit(value, key, "ContextTagKeys", limit)
    return tags


def _properties(base_data: Fields) -> dict[str, str]:
    properties = base_data.get("properties")
    if properties is None:
        return {}
    if type(properties) is not dict:
        raise RefusedItemError(limits.wrong_type("properties", "MetricData", "object", properties))
    for key, value in properties.items():
        if type(value) is not str:
            raise RefusedItemError(limits.wrong_child(key, "string", value))
        if len(key) > _SAFE_KEY:
            fields.must_fit(key, "properties.key", "MetricData", limits.MAX_PROPERTY_KEY)
        if len(value) > _SAFE_VALUE:
            fields.must_fit(value, f"properties.{key}", "MetricData", limits.MAX_PROPERTY_VALUE)
    return properties


def _first_point(base_data: Fields) -> tuple[Fields, int]:
    # swagger v2.1: "If multiple data points were sent only the first one will be used."
    points = base_data.get("metrics")
    if points is None or points == []:
        raise RefusedItemError(limits.missing("metrics", "MetricData", "array"))
    if type(points) is not list:
        raise RefusedItemError(limits.wrong_type("metrics", "MetricData", "array", points))
    point = points[0]
    if type(point) is not dict:
        raise RefusedItemError(limits.wrong_type("metrics", "MetricData", "DataPoint", point))
    return point, len(points) - 1


def _kind(point: Fields) -> None:
    kind = point.get("kind")
    if kind not in _KINDS or isinstance(kind, bool):
        raise RefusedItemError(limits.wrong_type("kind", "DataPoint", "DataPointType", kind))


def _spread(point: Fields, value: float) -> Spread | None:
    count = fields.integer(point, "count", "DataPoint")
    low = fields.number(point, "min", "DataPoint")
    high = fields.number(point, "max", "DataPoint")
    std_dev = fields.number(point, "stdDev", "DataPoint")
    if low is None and high is None and std_dev is None and (count is None or count == 1):
        return None
    # The service counts an absent or non-positive count as 1.
    spread = Spread(count if count is not None and count > 0 else 1, low, high, std_dev)
    mean = value / spread.count
    slack = abs(mean) * 1e-9  # both sides were computed
    if (low is not None and mean < low - slack) or (high is not None and mean > high + slack):
        raise RefusedItemError(limits.not_between(low, mean, high))
    return spread
