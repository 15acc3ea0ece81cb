"""The parser of answers: whether the service itself answered, and its errors by item.

In: the headers and body of an answer to a batch. Out: an `Answered`, whose `body` is one of
a closed set. Opens nothing, raises nothing.

Theory of operation: proxies, gateways and portals between the receiver and the service
answer with the same statuses. Only the service's body is a complete JSON object with
`itemsReceived`, `itemsAccepted` and `errors`, whose numbers match the batch. A body that is
empty or truncated may be the service's; any other body is not.
Source: Breeze v2.1 /track response (swagger v2.1); "itemsReceived" comes first.
"""

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from receiver.azure.masking import mask_words
from receiver.azure.policy import ITEM_ACTIONS, Body
from receiver.azure.rejections import OTHER, reason_of

MESSAGE_LIMIT = 300
ANSWER_LIMIT_BYTES = 8 << 20
"""Limit of an answer, with its framing or decompressed: the errors of 64,000 items fit."""
_BEGINNING = b'{"itemsReceived"'
_ABOUT_AN_ITEM = re.compile(r"\s*\d{3}\s*:")
"""The service numbers its errors about an item: "103: Field 'time' on type ..."."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A parsed body. `errors` maps an item's index to (status, message); `words` is the text for logs."""

    body: Body
    words: str = ""
    accepted: int = 0
    errors: Mapping[int, tuple[int, str]] = field(default_factory=dict)


def read_answer(headers: Mapping[str, str], body: bytes, item_count: int) -> Answered:
    """Read an answer to a batch of `item_count` items."""
    text, is_whole = _decoded(body, headers)
    if not text.strip():
        return Answered(Body.MISSING)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        kind = Body.MISSING if _may_be_cut_off(text, is_whole=is_whole) else Body.FOREIGN
        return Answered(kind, _shown(text))
    return _the_services(document, item_count) or Answered(Body.FOREIGN, _shown(text))


def _decoded(body: bytes, headers: Mapping[str, str]) -> tuple[bytes, bool]:
    """Undo a Content-Encoding that was not requested; returns also whether the body is complete.

    The header may remain where the HTTP client has already decoded the body.
    """
    encoding = headers.get("Content-Encoding", "").strip().lower()
    zipped = body[:2] == b"\x1f\x8b"
    if not zipped and encoding != "deflate":
        return body, True
    decompressor = zlib.decompressobj(47 if zipped else 15)
    try:
        text = decompressor.decompress(body, ANSWER_LIMIT_BYTES)
    except zlib.error:
        return body, True
    return text, decompressor.eof


def _may_be_cut_off(text: bytes, *, is_whole: bool) -> bool:
    """Whether a text that is not JSON starts like the service's body."""
    beginning = b"".join(text[:200].split())[: len(_BEGINNING)]
    return _BEGINNING.startswith(beginning) and (len(beginning) > 1 or not is_whole)


def _the_services(document: Any, item_count: int) -> Answered | None:
    """Read the service's JSON document; None for another document, or one for another batch."""
    if not isinstance(document, dict):
        return None
    received, accepted = document.get("itemsReceived"), document.get("itemsAccepted")
    listed = document.get("errors")
    if type(received) is not int or type(accepted) is not int:
        return None
    if not isinstance(listed, list | None) or not 0 <= accepted <= received:
        return None
    errors = _errors(listed or [], item_count)
    kind = _kind(errors, received, accepted, item_count)
    words = next((message for _, message in errors.values() if message), "")
    return Answered(kind, words, accepted, errors) if kind else None


def _kind(
    errors: Mapping[int, tuple[int, str]], received: int, accepted: int, item_count: int
) -> Body | None:
    """Return the kind of the service's body; None for an answer to another request."""
    was_read = received == item_count
    if not accepted and _is_about_the_batch(errors, item_count, was_read=was_read):
        return Body.CONFIGURATION
    if was_read:
        return Body.ITEMS
    return None if received else Body.UNREAD


def _is_about_the_batch(
    errors: Mapping[int, tuple[int, str]], item_count: int, *, was_read: bool
) -> bool:
    """Whether the errors of a batch, of which nothing was accepted, name no item."""
    messages = {message for _, message in errors.values()}
    if any(code in ITEM_ACTIONS for code, _ in errors.values()):
        return False  # each of them is about its item
    if not messages or messages == {""}:
        return item_count > 0
    is_common = len(messages) == 1 and (len(errors) == item_count or not was_read)
    return is_common and not is_about_an_item(*messages)


def is_about_an_item(message: str) -> bool:
    """Whether a message of the service is about an item, not about the sender."""
    return bool(_ABOUT_AN_ITEM.match(message)) or reason_of(message) != OTHER


def _errors(listed: list[Any], item_count: int) -> dict[int, tuple[int, str]]:
    """Return the errors about items of the batch, at most one an item."""
    errors: dict[int, tuple[int, str]] = {}
    for error in listed:
        if not isinstance(error, dict):
            continue
        index, code = error.get("index"), error.get("statusCode")
        if type(index) is int and 0 <= index < item_count and type(code) is int:
            message = shown(str(error.get("message") or ""))
            errors.setdefault(index, (min(max(code, 0), 999), message))
    return dict(sorted(errors.items()))


def _shown(body: bytes) -> str:
    """Show the start of a body as printable text on one line."""
    return shown(body[: 2 * MESSAGE_LIMIT].decode("utf-8", "replace").lstrip("\ufeff"))


def shown(text: str) -> str:
    """Return printable text, cut and masked: JSON may contain half a surrogate pair."""
    text = "".join(c if c.isprintable() else " " for c in text[: 2 * MESSAGE_LIMIT])
    return mask_words(" ".join(text.split())[:MESSAGE_LIMIT])
