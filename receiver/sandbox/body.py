"""The reader of request bodies: splits a body into raw items.

Content types: `x-json-stream` and `application/x-json-stream` hold one envelope
a line; `application/json` holds an array, one envelope, or (as the .NET
exporter sends it) lines. Encodings: gzip or none. Nothing is decompressed past
the limit. Source: swagger v2.1 `consumes`, and what the public SDKs send.
"""

import zlib
from typing import TypeAlias

import orjson

from receiver.sandbox import limits

STREAM_TYPES = frozenset({"x-json-stream", "application/x-json-stream"})
JSON_TYPE = "application/json"
_GZIP_WINDOW_BITS = 31  # a gzip header is expected
# One line of a stream, or one parsed element of an array with its length in bytes.
RawItem: TypeAlias = bytes | tuple[object, int]


class RefusedBodyError(Exception):
    """An unreadable request; `status` is its answer."""

    def __init__(self, status: int, message: str) -> None:
        """Keep the answer's status and message."""
        super().__init__(message)
        self.status = status
        self.message = message


def read_items(
    content_type: str, content_encoding: str, body: bytes, limit_bytes: int
) -> list[RawItem]:
    """Split a request body into items, numbered as the service numbers them.

    A blank line within a stream is an unreadable item; at the end it is ignored.

    Raises: RefusedBodyError, when the body cannot be split into items.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind != JSON_TYPE and kind not in STREAM_TYPES:
        raise RefusedBodyError(415, f"Unsupported media type '{limits.shown(content_type)}'")
    data = _decoded(content_encoding, body, limit_bytes).strip()
    if not data:
        raise RefusedBodyError(400, "Unexpected end of JSON input")
    items = _lines(data) if kind in STREAM_TYPES else _json_items(data)
    if len(items) > limits.MAX_BATCH_ITEMS:
        raise RefusedBodyError(413, f"A batch must not exceed {limits.MAX_BATCH_ITEMS} items")
    return items


def syntax_error(error: orjson.JSONDecodeError) -> str:
    """Return a JSON error in the service's wording."""
    if error.pos >= len(error.doc):
        return "SyntaxError: Unexpected end of JSON input"
    return f"SyntaxError: Unexpected token {error.doc[error.pos]}"


def _decoded(content_encoding: str, body: bytes, limit_bytes: int) -> bytes:
    coding = content_encoding.strip().lower()
    if coding in ("", "identity"):
        return body
    if coding != "gzip":
        raise RefusedBodyError(
            415, f"Unsupported content encoding '{limits.shown(content_encoding)}'"
        )
    try:
        return _gunzip(body, limit_bytes)
    except zlib.error as error:
        raise RefusedBodyError(400, "The body is not valid gzip") from error


def _gunzip(body: bytes, limit_bytes: int) -> bytes:
    """Decompress all gzip members of a body, never beyond the limit."""
    parts: list[bytes] = []
    left = limit_bytes
    while body:
        member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        part = member.decompress(body, left + 1)
        if len(part) > left:
            raise RefusedBodyError(413, f"The body must not exceed {limit_bytes} bytes")
        if not member.eof:
            raise RefusedBodyError(400, "The gzip body is cut short")
        parts.append(part)
        left -= len(part)
        body = member.unused_data
    return b"".join(parts)


def _lines(data: bytes) -> list[RawItem]:
    return [line.strip() for line in data.split(b"\n")]


def _json_items(data: bytes) -> list[RawItem]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if data.startswith(b"{") and b"\n" in data:
            return _lines(data)
        raise RefusedBodyError(400, syntax_error(error)) from error
    if not isinstance(document, list):
        return [(document, len(data))]
    if len(data) <= limits.MAX_ITEM_BYTES:  # no element can be too long
        return [(element, 0) for element in document]
    return [(element, _length_bytes(element)) for element in document]


def _length_bytes(element: object) -> int:
    try:
        return len(orjson.dumps(element))
    except orjson.JSONEncodeError:  # nested deeper than any telemetry
        return limits.MAX_ITEM_BYTES + 1
