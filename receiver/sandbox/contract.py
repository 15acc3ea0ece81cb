"""The answer to one request, according to the ingestion service's contract.

200 when every item is accepted, 206 when some are, 400 when none is; the body lists the
refused items with their errors. A request that cannot be split into items (type, encoding,
size, syntax) is refused as a whole. Pure: no sockets, no clock, no state.
Source: `/v2.1/track` in swagger v2.1; the items' rules are in item.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson

from receiver.sandbox.body import RefusedBodyError, read_items
from receiver.sandbox.fields import RefusedItemError
from receiver.sandbox.item import Checker, Item

DEFAULT_DECODED_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, order=True)
class ItemError:
    """The service's error on one refused item; `index` counts from 0 in the order sent."""

    index: int
    status: int
    message: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of a request."""

    status: int
    items_received: int
    accepted: Mapping[int, Item] = field(default_factory=dict)
    others: frozenset[int] = frozenset()  # accepted items that are not metrics
    errors: Sequence[ItemError] = ()

    @property
    def items_accepted(self) -> int:
        """The number of accepted items, including those that are not metrics."""
        return len(self.accepted) + len(self.others)

    def body(self) -> bytes:
        """Return the answer's body in the service's format."""
        errors = [
            {"index": error.index, "statusCode": error.status, "message": error.message}
            for error in self.errors
        ]
        return orjson.dumps(
            {
                "itemsReceived": self.items_received,
                "itemsAccepted": self.items_accepted,
                "appId": None,
                "errors": errors,
            }
        )

    def refusing(self, refusals: Sequence[ItemError]) -> "Judgement":
        """Return a judgement that refuses these items too."""
        refused_before = {error.index for error in self.errors}
        errors = [error for error in refusals if error.index not in refused_before]
        refused = {error.index for error in errors}
        changed = replace(
            self,
            accepted={index: item for index, item in self.accepted.items() if index not in refused},
            others=self.others - refused,
            errors=sorted([*self.errors, *errors]),
        )
        return replace(changed, status=_status(changed.items_received, changed.items_accepted))


def judge(
    content_type: str,
    content_encoding: str,
    body: bytes,
    *,
    now_ms: int,
    known_keys: frozenset[str] | None = None,
    decoded_limit_bytes: int = DEFAULT_DECODED_LIMIT_BYTES,
) -> Judgement:
    """Judge the items of a request at this moment.

    `known_keys` are instrumentation keys in lower case; without them any well-formed key is valid.
    Raises: nothing; an unreadable body is a judgement too.
    """
    try:
        raw_items = read_items(content_type, content_encoding, body, decoded_limit_bytes)
    except RefusedBodyError as refusal:
        return refused_whole(refusal.status, refusal.message)
    checker = Checker(now_ms, known_keys)
    accepted: dict[int, Item] = {}
    others: list[int] = []
    errors: list[ItemError] = []
    for index, raw in enumerate(raw_items):
        try:
            item = checker.check(raw)
        except RefusedItemError as refusal:
            errors.append(ItemError(index, 400, str(refusal)))
        else:
            if item is None:
                others.append(index)
            else:
                accepted[index] = item
    received = len(raw_items)
    status = _status(received, received - len(errors))
    return Judgement(status, received, accepted, frozenset(others), errors)


def refused_whole(status: int, message: str) -> Judgement:
    """Refuse a request as a whole, without reading its items."""
    return Judgement(status, 0, errors=(ItemError(0, status, message),))


def _status(received: int, accepted: int) -> int:
    if accepted == received:
        return 200
    return 206 if accepted else 400
