"""The limits and messages of the Application Insights ingestion service.

Limits come from the Bond schemas of the public SDKs (Envelope, MetricData,
DataPoint, ContextTagKeys), from the v2.1 swagger file and from the published
limits page. The messages are known answers of the service; where none is
known, the nearest known one is used.

A length counts UTF-16 units, as the service does, so a character outside the
basic plane counts two.
"""

MAX_BATCH_ITEMS = 64_000
MAX_ITEM_BYTES = 65_536
MAX_AGE_MS = 172_800_000  # Envelope.time, MinDateOffset: 48 h
MAX_AHEAD_MS = 7_200_000  # Envelope.time, MaxDateOffset: 2 h

MAX_ENVELOPE_NAME = 1_024
MAX_TIME = 64
MAX_SEQ = 64
MAX_IKEY = 40
MAX_METRIC_NAME = 1_024
MAX_NAMESPACE = 256
MAX_PROPERTY_KEY = 150
MAX_PROPERTY_VALUE = 8_192
INT32 = 2**31

TAG_LIMITS = {
    "ai.application.ver": 1_024,
    "ai.cloud.location": 256,
    "ai.cloud.role": 256,
    "ai.cloud.roleInstance": 256,
    "ai.cloud.roleVer": 256,
    "ai.device.id": 1_024,
    "ai.device.locale": 64,
    "ai.device.model": 256,
    "ai.device.oemName": 256,
    "ai.device.osVersion": 256,
    "ai.device.type": 64,
    "ai.internal.agentVersion": 64,
    "ai.internal.nodeName": 256,
    "ai.internal.sdkVersion": 64,
    "ai.location.ip": 46,
    "ai.operation.correlationVector": 64,
    "ai.operation.id": 128,
    "ai.operation.name": 1_024,
    "ai.operation.parentId": 512,
    "ai.operation.syntheticSource": 1_024,
    "ai.session.id": 64,
    "ai.session.isFirst": 5,
    "ai.user.accountId": 1_024,
    "ai.user.authUserId": 1_024,
    "ai.user.id": 128,
}
MAX_OTHER_TAG = 1_024  # a tag that the schema does not list

# Telemetry that the service accepts, but that is not a metric.
OTHER_BASE_TYPES = frozenset(
    {
        "AvailabilityData",
        "EventData",
        "ExceptionData",
        "MessageData",
        "PageViewData",
        "PageViewPerfData",
        "RemoteDependencyData",
        "RequestData",
    }
)

INVALID_KEY = "Invalid instrumentation key"
ITEM_TOO_LONG = f"Telemetry item length must not exceed {MAX_ITEM_BYTES}"
_ACTUAL_SHOWN = 100  # characters of a refused value that a message repeats


def length(text: str) -> int:
    """Count the UTF-16 units of a text."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def json_type(value: object) -> str:
    """Return a value's type as JavaScript's typeof does."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "object"


def shown(value: object) -> str:
    """Return a value as the service repeats it in a message, cut to a readable length."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)[:_ACTUAL_SHOWN]


def too_long(field: str, owner: str, limit: int, actual: int) -> str:
    """Return the message for a text that is too long."""
    return (
        f"100: Field '{field[:_ACTUAL_SHOWN]}' on type '{owner}' is too long. "
        f"Expected: {limit} characters, Actual: {actual}"
    )


def too_old(age_ms: int) -> str:
    """Return the message for an item that is too old."""
    return (
        "103: Field 'time' on type 'Envelope' is older than the allowed min date. "
        f"Expected: now - {MAX_AGE_MS}ms, Actual: now - {age_ms}ms"
    )


def too_new(ahead_ms: int) -> str:
    """Return the message for an item too far in the future."""
    return (
        "104: Field 'time' on type 'Envelope' is newer than the max date. "
        f"Expected: now + {MAX_AHEAD_MS}ms, Actual: now + {ahead_ms}ms"
    )


def wrong_type(field: str, owner: str, expected: str, value: object) -> str:
    """Return the message for a field of the wrong type."""
    return (
        f"106: Field '{field}' on type '{owner}' is of incorrect type. "
        f"Expected: {expected}, Actual: {shown(value)}"
    )


def not_between(low: float | None, mean: float, high: float | None) -> str:
    """Return the message for a contradictory aggregate, which the service accepts and charts wrongly."""
    return (
        "106: Field 'value' on type 'DataPoint' is of incorrect value. "
        f"Expected: min <= value / count <= max, Actual: {low} <= {mean} <= {high}"
    )


def missing(field: str, owner: str, expected: str) -> str:
    """Return the message for a required field that is absent or empty."""
    return (
        f"109: Field '{field}' on type '{owner}' is required but missing or empty. "
        f"Expected: {expected}, Actual: undefined"
    )


def wrong_child(key: str, expected: str, value: object) -> str:
    """Return the message for a map's value of the wrong type."""
    return (
        f"200: Child value '{shown(value)}' for key '{key[:_ACTUAL_SHOWN]}' is of incorrect type. "
        f"Expected: {expected}, Actual: {json_type(value)}"
    )
