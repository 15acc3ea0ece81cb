"""The sandbox's state, and the judging of one request against it. Knows no HTTP server.

Time comes in as `now` (seconds since 1970); tests move it with `clock_offset_seconds`.
"""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from receiver.sandbox import contract
from receiver.sandbox.contract import Judgement
from receiver.sandbox.ledger import Ledger, RequestRecord
from receiver.sandbox.script import Script
from receiver.sandbox.store import DEFAULT_MAX_ITEMS, DEFAULT_MAX_SERIES, Store

INSTRUMENTATION_KEY = "11111111-2222-3333-4444-555555555555"
DEFAULT_MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_READING_BYTES = 256 * 1024 * 1024
_MESSAGE_SHOWN = 160  # characters of a refusal by which refusals are counted


class Sandbox:
    """A stand-in for one Application Insights resource: its keys, its items and its faults.

    `known_keys`: accept only these instrumentation keys; None accepts any well-formed one.
    `tokens`: require one of these bearer tokens (else 401); `forbidden_tokens` are answered 403.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        known_keys: Iterable[str] | None = None,
        tokens: Iterable[str] | None = None,
        forbidden_tokens: Iterable[str] = (),
        max_items: int = DEFAULT_MAX_ITEMS,
        max_series: int = DEFAULT_MAX_SERIES,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        max_decoded_bytes: int = contract.DEFAULT_DECODED_LIMIT_BYTES,
    ) -> None:
        """Start empty, with no fault scripted."""
        self._now = now
        self._started_ms = int(now() * 1000)
        self.known_keys = None if known_keys is None else frozenset(k.lower() for k in known_keys)
        self.tokens = None if tokens is None else frozenset(tokens)
        self.forbidden_tokens = frozenset(forbidden_tokens)
        self.max_body_bytes = max_body_bytes
        self.max_decoded_bytes = max_decoded_bytes
        self.reading_bytes = 0
        self.max_reading_bytes = MAX_READING_BYTES
        self.clock_offset_seconds = 0.0
        self.script = Script()
        self.store = Store(max_items, max_series)
        self.ledger = Ledger()

    @property
    def generation(self) -> str:
        """A text that changes when series are removed, so that a viewer reloads all."""
        return f"{self._started_ms}.{self.store.generation}"

    def clock(self) -> float:
        """Return the time by which items are judged, in seconds since 1970."""
        return self._now() + self.clock_offset_seconds

    def judge(self, content_type: str, content_encoding: str, body: bytes) -> Judgement:
        """Judge a request at this moment, without storing. Safe to call from another thread."""
        return contract.judge(
            content_type,
            content_encoding,
            body,
            now_ms=int(self.clock() * 1000),
            known_keys=self.known_keys,
            decoded_limit_bytes=self.max_decoded_bytes,
        )

    def keep(self, judgement: Judgement, record: RequestRecord) -> None:
        """Store the accepted items, and count all items."""
        accepted = judgement.accepted.values()
        self.store.add(accepted, record.number)
        record.items_received = judgement.items_received
        record.items_accepted = judgement.items_accepted
        self.ledger.judged(
            received=judgement.items_received,
            accepted=judgement.items_accepted,
            others=len(judgement.others),
            ignored_points=sum(item.ignored_points for item in accepted),
        )
        if judgement.errors:
            self.ledger.refused([_cause(error.message) for error in judgement.errors])

    def authorization_refusal(self, path: str, header: str | None) -> tuple[int, str] | None:
        """Return the status and message for an unauthorized request, or None.

        Source: Microsoft's troubleshooting guide: "v2/track doesn't support Microsoft Entra ID";
        401 for a token that is absent or wrong, 403 for one without the publisher's role.
        """
        if path == "/v2/track":
            refused = self.tokens is not None or header is not None
            return (400, "Authentication not supported") if refused else None
        if self.tokens is None:
            return None
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() == "bearer" and token in self.forbidden_tokens:
            return 403, "The identity lacks the role Monitoring Metrics Publisher"
        if scheme.lower() != "bearer" or token not in self.tokens:
            return 401, "Unauthorized: the token is absent, invalid or expired"
        return None


def utc_text(seconds: float) -> str:
    """Format seconds since 1970 as ISO 8601 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def utc_text_ms(milliseconds: int) -> str:
    """Format milliseconds since 1970 exactly, as ISO 8601 in UTC."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def _cause(message: str) -> str:
    """Return a message without the parts that differ between items, for counting."""
    return message.partition(". Expected:")[0].partition(" value '")[0][:_MESSAGE_SHOWN]
