"""What the ingestion service's answer says of each item of a batch.

In: an HTTP status, headers and body. Out: a `Verdict`. Opens nothing, waits for
nothing, raises nothing.

Theory of operation: an answer speaks either of the items (200, 206, 400 with the
service's own body) or of the way to the service (all else). The first is settled
item by item; the second leaves every item where it is, and says when and how to
come again. Source: Application Insights' /v2.1/track contract (swagger v2.1) and
what its SDKs do, status by status.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

RETRYABLE = frozenset({401, 402, 403, 408, 429, 439, 500, 502, 503, 504})
"""Item statuses that say "not now"; any other error says "never"."""
RETRY_AFTER_LIMIT_SECONDS = 3600.0
"""The longest that an answer can make us wait: at least one probe an hour."""
MESSAGE_LIMIT = 300


class Action(Enum):
    """What to do with the batch as a whole."""

    SETTLE = "settle"
    """The service has judged the items: write it down."""
    RETRY = "retry"
    """A passing fault: back off, and send the batch again."""
    THROTTLE = "throttle"
    """Too much at once: wait as long as told."""
    QUOTA = "quota"
    """The daily or monthly volume is used up: wait long, then probe with one batch."""
    BLOCKED = "blocked"
    """Something must be set right by a person: keep everything, ask again slowly."""
    REDIRECT = "redirect"
    """Send it elsewhere."""
    SPLIT = "split"
    """Too large: send it in halves."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One item that the service will never take; `index` counts from 0 in the order sent."""

    index: int
    status: int
    message: str

    @property
    def reason(self) -> str:
        """The rejection's kind, from a closed set: the label of receiver_items_rejected_total."""
        return reason_of(self.message)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a batch.

    For SETTLE: `accepted` items are in; those at `retry` are to be sent again; the
    `rejected` are gone for good, the `expired` (their indexes) for their age;
    `unexplained` counts items that the service says it did not accept, without
    saying which. For the rest, `retry_after_seconds` is None where none was given.
    """

    action: Action
    accepted: int = 0
    retry: tuple[int, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    unexplained: int = 0
    retry_after_seconds: float | None = None
    location: str = ""
    reason: str = ""
    hint: str = ""


TOO_OLD = "too_old"
SAMPLED_OUT = "sampled_out"
UNEXPLAINED = "unexplained"
DAMAGED = "damaged"
REJECT_REASONS = {
    TOO_OLD: ("Older than 48 hours when it arrived.", "Counted as expired, not as rejected. Look for an outage longer than that, or a clock that is off."),
    "too_new": ("More than two hours in the future.", "Set the clock of the machine that Prometheus runs on."),
    "too_long": ("A field over its limit.", "The receiver cuts what it knows of; report this one."),
    "wrong_type": ("A field of the wrong type.", "The receiver should never send one; report it."),
    "missing_field": ("A field that is required is missing.", "The receiver should never send one; report it."),
    "too_large": ("An item over 64 KiB.", "The receiver leaves labels out before that; report this one."),
    "not_json": ("A line that is not JSON.", "The receiver should never send one; report it."),
    SAMPLED_OUT: ("The resource's ingestion sampling threw it away.", "Set ingestion sampling to 100 % under Usage and estimated costs."),
    UNEXPLAINED: ("The service counted fewer than were sent, without saying why.", "Look at the resource's own logs; open a support request with the time."),
    DAMAGED: ("Changed on the disk while it waited; the service refused it, and nobody can read it.", "Look at the disk that the outbox is on: its log, its health."),
    "other": ("Any other error.", "See the service's own words: appinsights-receiver dead-letters."),
}  # fmt: skip
"""Why the service rejected an item: its meaning, and what to do."""

_PATTERNS = (
    (TOO_OLD, r"^\s*103\b|older than the allowed"),
    ("too_new", r"^\s*104\b|newer than the max"),
    ("too_long", r"^\s*100\b|is too long"),
    ("wrong_type", r"^\s*(106|200)\b|incorrect type"),
    ("missing_field", r"^\s*109\b|required but missing"),
    ("too_large", r"item length must not exceed"),
    ("not_json", r"SyntaxError|Unexpected token"),
    (SAMPLED_OUT, r"sampled out"),
    (DAMAGED, r"damaged on the disk"),
)
_CONFIGURATION = re.compile(
    r"invalid instrumentation key|authentication not supported", re.IGNORECASE
)

_HINTS = {
    400: "The instrumentation key, or the way to sign in, is not the resource's: copy the connection string again.",
    401: "The service wants a token: the resource takes Microsoft Entra ID only, or the token is expired.",
    402: "The volume that is paid for is used up: raise the daily cap, or send fewer metrics.",
    403: "The identity lacks the role Monitoring Metrics Publisher on the Application Insights resource.",
    404: "Nothing listens at that address: check IngestionEndpoint in the connection string.",
    405: "The address is not an ingestion endpoint: check IngestionEndpoint in the connection string.",
    408: "A passing fault: everything is kept and sent again.",
    407: "The proxy wants credentials: put them into HTTPS_PROXY.",
    429: "More arrives than the service takes at once: everything is kept and sent again; if it lasts, select less.",
    439: "The daily cap is reached: raise it under Usage and estimated costs, or send fewer metrics.",
}


_HINT_OF_5XX = "The service's own trouble: everything is kept and sent again; see Azure's status page if it lasts."
_HINT_OF_A_PAGE = "Something answers in the service's place, a proxy or a portal: check HTTPS_PROXY, NO_PROXY and IngestionEndpoint."
_HINT_OF_SOME = "The service takes some items later: they are kept and sent again."


def reason_of(message: str) -> str:
    """Name the kind of an item's error, by the service's words."""
    for reason, pattern in _PATTERNS:
        if re.search(pattern, message, re.IGNORECASE):
            return reason
    return "other"


def verdict(
    status: int, headers: Mapping[str, str], body: bytes, item_count: int, now: float
) -> Verdict:
    """Say what the ingestion service did with each item of a batch.

    Items are numbered from 0 in the order sent. On 200, 206 and 400, items that
    `errors` does not list were accepted, as far as `itemsAccepted` bears that out.
    `now`, in seconds since the epoch, is for a Retry-After that is a date; `headers`
    are looked up by their names' usual spelling; a caller's mapping folds case.

    Raises: nothing; a body that cannot be read is judged by its status alone, but for a web
    page: the service never sends one, so whoever did knows nothing of the items.
    Source: Breeze v2.1 /track response; cases in tests/unit/azure/test_verdict.py.
    """
    answer = _read(body)
    wait = retry_after(headers.get("Retry-After", ""), now)
    said = _first_message(answer) or _text(body)
    reason = f"{status} {said.removeprefix(str(status)).lstrip(' :')}".strip()
    if 200 <= status < 300 or status == 400:
        blocked = _why_blocked(status, body, said)
        if blocked:
            return Verdict(Action.BLOCKED, retry_after_seconds=wait, reason=reason, hint=blocked)
        return _judge_items(answer, item_count, status, wait, said)
    if status == 413:
        if item_count > 1:
            return Verdict(Action.SPLIT, reason=reason)
        return _all_rejected(1, status, said or "the service finds this one item too large")
    if status in (307, 308):
        return Verdict(Action.REDIRECT, location=headers.get("Location", ""), reason=reason)
    hint = _HINTS.get(status, "")
    if status == 429:
        return Verdict(Action.THROTTLE, retry_after_seconds=wait, reason=reason, hint=hint)
    if status in (402, 439):
        return Verdict(Action.QUOTA, retry_after_seconds=wait, reason=reason, hint=hint)
    if status == 408 or status >= 500:
        hint = hint or _HINT_OF_5XX
        return Verdict(Action.RETRY, retry_after_seconds=wait, reason=reason, hint=hint)
    hint = (
        hint
        or "That is not how an ingestion endpoint answers: check the connection string and proxies."
    )
    return Verdict(Action.BLOCKED, retry_after_seconds=wait, reason=reason, hint=hint)


def _why_blocked(status: int, body: bytes, said: str) -> str:
    """Say what a person has to set right before items can be judged at all; empty for nothing."""
    if status in (200, 400) and body.lstrip()[:1] == b"<":
        return _HINT_OF_A_PAGE
    return _HINTS[400] if status == 400 and _CONFIGURATION.search(said) else ""


def retry_after(text: str, now: float) -> float | None:
    """Read Retry-After, seconds or an HTTP date, as seconds from now, 0 to 3,600; None without one."""
    text = text.strip()
    if not text:
        return None
    try:
        seconds = (
            float(text)
            if re.fullmatch(r"\d{1,15}(\.\d*)?", text)
            else parsedate_to_datetime(text).timestamp() - now
        )
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT_SECONDS)


def _judge_items(
    answer: dict[str, Any] | None, item_count: int, status: int, wait: float | None, said: str = ""
) -> Verdict:
    if answer is None:
        if status == 206:  # some were not accepted, and nobody can say which
            return Verdict(
                Action.RETRY,
                retry_after_seconds=wait,
                reason="206 without the service's body",
                hint=_HINT_OF_SOME,
            )
        if status < 300:  # judged by its status alone, and said so
            return Verdict(
                Action.SETTLE, accepted=item_count, reason=f"{status} without the service's body"
            )
        return _all_rejected(item_count, status, said)
    if status == 400 and answer.get("itemsReceived") == 0:  # the body as a whole was not understood
        return _all_rejected(item_count, status, said)
    retry: list[int] = []
    rejected: list[Rejection] = []
    for index, (code, message) in sorted(_errors(answer, item_count).items()):
        if code in RETRYABLE and reason_of(message) != SAMPLED_OUT:
            retry.append(index)
        else:
            rejected.append(Rejection(index, code, message))
    unlisted = item_count - len(retry) - len(rejected)
    counted = answer.get("itemsAccepted")
    if not isinstance(counted, int) or isinstance(counted, bool):
        counted = unlisted
    accepted = max(0, min(unlisted, counted))
    return Verdict(
        Action.SETTLE,
        accepted=accepted,
        retry=tuple(retry),
        rejected=tuple(rejected),
        unexplained=unlisted - accepted,
        retry_after_seconds=wait,
        reason=f"{status} {_first_message(answer)}".strip() if retry or rejected else "",
        hint=_HINT_OF_SOME if retry else "",
    )


def _all_rejected(item_count: int, status: int, said: str) -> Verdict:
    message = said or "no reason given"
    rejected = tuple(Rejection(index, status, message) for index in range(item_count))
    return Verdict(Action.SETTLE, rejected=rejected, reason=f"{status} {message}")


def _read(body: bytes) -> dict[str, Any] | None:
    """Read the service's own body; None for anything else."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(answer, dict) and ("itemsAccepted" in answer or "errors" in answer):
        return answer
    return None


def _errors(answer: dict[str, Any], item_count: int) -> dict[int, tuple[int, str]]:
    """List the errors that speak of an item that was sent, one an item."""
    listed: dict[int, tuple[int, str]] = {}
    errors = answer.get("errors")
    for error in errors if isinstance(errors, list) else ():
        if not isinstance(error, dict):
            continue
        index, code = error.get("index"), error.get("statusCode")
        if type(index) is int and 0 <= index < item_count and type(code) is int:
            said = _printable(str(error.get("message") or ""))
            listed.setdefault(index, (min(max(code, 0), 999), said))
    return listed


def _first_message(answer: dict[str, Any] | None) -> str:
    errors = answer.get("errors") if answer else None
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, dict) and error.get("message"):
            return _printable(str(error["message"]))
    return ""


def _text(body: bytes) -> str:
    """Show the start of a body that is not the service's, as printable text on one line."""
    return _printable(body[: 2 * MESSAGE_LIMIT].decode("utf-8", "replace"))


def _printable(text: str) -> str:
    """Keep what a log, a terminal and a database can hold: JSON may spell half a character."""
    text = "".join(c if c.isprintable() else " " for c in text[: 2 * MESSAGE_LIMIT])
    return " ".join(text.split())[:MESSAGE_LIMIT]
