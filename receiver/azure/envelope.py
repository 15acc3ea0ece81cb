"""Rendering of a sample as one line of JSON: a metric item of Application Insights.

In: a series' labels, and its samples' values and times. Out: the lines of a batch of type
x-json-stream. Has no clock: an item's time is its sample's.

A series has a template; a line is that, after a time and before a value. The shape comes from the
contracts of the `applicationinsights` package. Limits:
"Application Insights limits" and the v2.1 schema (Envelope, MetricData, DataPoint).
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson
from applicationinsights.channel import contracts

from receiver.azure.limits import NAME_LIMIT
from receiver.outbox.gzip_body import compress, unpack

ENVELOPE_NAME = "Microsoft.ApplicationInsights.Metric"
KEY_LIMIT = 150
VALUE_LIMIT = 8192
ROLE_LIMIT = 256
"""Lengths in UTF-16 units, as the service counts them."""
ITEM_LIMIT_BYTES = 65536
LINE_OVERHEAD_BYTES = 64
"""Space for the time and the value, which are not in the template."""

FIRST_LABELS = ("model", "version", "gpu_uuid", "reason", "quantile")
LAST_LABELS = ("job", "instance")
"""Only the first ten properties become dimensions of the metric, so the most useful go first."""
_PLACED = {"__name__", *FIRST_LABELS, *LAST_LABELS}

LINE_START, PROPERTIES, METRIC, VALUE, LINE_END = (
    b'{"time":"', b'"properties":', b'"metrics":[{"name":', b',"value":', b"}]}}}\n",
)  # fmt: skip
"""The parts of a line around its time, labels, name and numbers. A template ends with VALUE."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "0.0.0.0")  # noqa: S104 - compared, not bound


_TAG_OF = {"job": "ai.cloud.role", "instance": "ai.cloud.roleInstance"}
"""The tag that repeats a label, unless a setting or the host's name replaces it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The sender: the resource's key, and the sources of role and role instance.

    A configured role or role instance applies to every item. An empty one is taken from
    the series: its `job` and its `instance`; an instance on loopback does not identify
    the machine, so `host` replaces it.

    In `slim` items a property is omitted where the role or role instance has the same text:
    nothing is lost, and it is billed once.
    """

    instrumentation_key: str
    host: str
    role: str = ""
    role_instance: str = ""
    slim: bool = False

    def tags(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Return the role and role instance of a series' items."""
        role = self.role or labels.get("job") or "prometheus"
        instance = self.role_instance or labels.get("instance") or self.host
        if not self.role_instance and instance.rsplit(":", 1)[0] in _LOOPBACK:
            instance = self.host
        return {
            "ai.cloud.role": fit(role, ROLE_LIMIT),
            "ai.cloud.roleInstance": fit(instance, ROLE_LIMIT),
        }


@dataclass(frozen=True, slots=True)
class Template:
    """The bytes between an item's time and its value, common to all items of one series.

    `cut` and `left_out` count labels shortened or omitted to keep within the service's
    limits. A template without `middle` cannot be sent.
    """

    middle: bytes
    cut: int = 0
    left_out: int = 0


@dataclass(slots=True)
class TimeTexts:
    """Times in the service's format, with a cache of distinct milliseconds."""

    limit: int = 4096
    _known: dict[int, bytes | None] = field(default_factory=dict)

    def get(self, timestamp_ms: int) -> bytes | None:
        """Format a time as ISO 8601 in UTC with milliseconds; None outside years 1 to 9999."""
        try:
            return self._known[timestamp_ms]
        except KeyError:
            if len(self._known) >= self.limit:
                self._known.clear()
            text = self._known[timestamp_ms] = format_time(timestamp_ms)
            return text


def format_time(timestamp_ms: int) -> bytes | None:
    """Format milliseconds since the epoch as 2026-11-22T10:32:29.365Z; None outside years 1 to 9999."""
    try:
        moment = EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def line(time_text: bytes, middle: bytes, value_text: bytes) -> bytes:
    """Join an item's parts; `value_text` is a JSON number."""
    return b"".join((LINE_START, time_text, middle, value_text, LINE_END))


def make_template(labels: Mapping[str, str], identity: Identity) -> Template:
    """Render a series' template. `labels` has the name under `__name__`.

    Labels over a limit are cut by `fit`. While an item is over 64 KiB its longest
    label is omitted. With a name over its limit the template has no middle.
    """
    name = labels["__name__"]
    if _units(name) > NAME_LIMIT:
        return Template(b"")
    properties: dict[str, str] = {}
    cut = 0
    tags = identity.tags(labels)
    for label in order_labels(labels):
        if identity.slim and labels[label] == tags.get(_TAG_OF.get(label, "")):
            continue
        key, value = fit(label, KEY_LIMIT), fit(labels[label], VALUE_LIMIT)
        cut += (key != label) + (value != labels[label])
        properties[key] = value
    left_out = 0
    middle = _render(name, properties, tags, identity.instrumentation_key)
    excess = len(middle) - (ITEM_LIMIT_BYTES - LINE_OVERHEAD_BYTES)
    if excess > 0:
        for key in sorted(properties, key=lambda key: -len(properties[key].encode())):
            excess -= (
                len(orjson.dumps({key: properties.pop(key)})) - 1
            )  # two braces less, a comma more
            left_out += 1
            if excess <= 0:
                break
        middle = _render(name, properties, tags, identity.instrumentation_key)
    return Template(middle, cut, left_out)


def series_of(template: bytes) -> tuple[str, bytes]:
    """Read a series' name and its labels, as JSON, back from its template, or from the end of one.

    The searched bytes contain a quote, which in a JSON string always follows a backslash.
    """
    before, _, metric = template.partition(METRIC)
    labels = before.partition(PROPERTIES)[2].removesuffix(b",")
    name: str = orjson.loads(metric.removesuffix(VALUE))
    return name, labels or b"{}"


def common_start(identity: Identity) -> bytes:
    """Render the common prefix of all templates of an identity."""
    role = "placeholder"
    return head({"ai.cloud.role": role}, identity.instrumentation_key).partition(role.encode())[0]


def with_key(body: bytes, old: str, new: str) -> bytes:
    """Return a batch's body with another resource's key. Raises: Damaged."""
    before, after = f'"iKey":"{old}"'.encode(), f'"iKey":"{new}"'.encode()
    return compress([line.replace(before, after, 1) for line in unpack(body)])


def order_labels(labels: Collection[str]) -> list[str]:
    """Sort labels into the order of the item's properties, without the name."""
    first, last = (
        [label for label in placed if label in labels] for placed in (FIRST_LABELS, LAST_LABELS)
    )
    return [*first, *sorted(set(labels) - _PLACED), *last]


def fit(text: str, limit: int) -> str:
    """Cut a text to `limit` UTF-16 units, the last nine of which are `~` and a digest of the text.

    Different texts stay different, and the same text is always cut the same way.
    """
    if 2 * len(text) <= limit or _units(text) <= limit:
        return text
    digest = hashlib.blake2s(text.encode(), digest_size=4).hexdigest()
    kept = text.encode("utf-16-le")[: 2 * (limit - 9)].decode("utf-16-le", "ignore")
    return f"{kept}~{digest}"


def _units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def _render(name: str, properties: dict[str, str], tags: dict[str, str], key: str) -> bytes:
    """Render everything between the time and the value."""
    labels = PROPERTIES + orjson.dumps(properties) + b"," if properties else b""
    return b"".join((head(tags, key), labels, METRIC, orjson.dumps(name), VALUE))


def head(tags: dict[str, str], key: str) -> bytes:
    """Render everything between the time and the properties."""
    return _HEAD % (orjson.dumps(key), orjson.dumps(tags))


def _head() -> bytes:
    """Render an item's part between its time and its properties, with `%b` for its key and its tags.

    The package's contracts define the fields' names and nesting.
    """
    wrapped = contracts.Data()
    wrapped.base_type, wrapped.base_data = "MetricData", contracts.MetricData()
    envelope = contracts.Envelope()
    envelope.name, envelope.time, envelope.data = ENVELOPE_NAME, "", wrapped
    envelope.ikey, envelope.tags["%b"] = "%b", ""
    made = envelope.write()
    fields = {field: made[field] for field in ("name", "iKey", "tags")}
    data, version = made["data"], made["data"]["baseData"]["ver"]
    fields["data"] = {"baseType": data["baseType"], "baseData": {"ver": version}}
    text = orjson.dumps(fields).replace(b'{"%b":""}', b"%b").replace(b'"%b"', b"%b")
    return b'","' + text[2 : -len("}}}")] + b","


_HEAD = _head()
