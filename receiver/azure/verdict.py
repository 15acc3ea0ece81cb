"""The verdict on a batch, item by item.

In: an HTTP status, headers and body. Out: a `Verdict`. Opens nothing, waits for nothing,
raises nothing. The meaning of answers is in the table of `receiver.azure.policy`, their
parsing in `receiver.azure.answer`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime

from receiver.azure.answer import Answered, read_answer
from receiver.azure.policy import ITEM_ACTIONS, Action, Body, rule_for
from receiver.azure.rejections import SAMPLED_OUT, reason_of

RETRY_AFTER_LIMIT_SECONDS = 3600.0
"""The longest wait that an answer can request: at least one probe an hour."""
_SOME_LATER = "The service will accept some items later: they are kept and sent again."
_BY_URGENCY = (Action.QUOTA, Action.BLOCKED, Action.THROTTLE, Action.RETRY)


@dataclass(frozen=True, slots=True)
class Rejection:
    """One permanently rejected item; `index` counts from 0 in the order sent."""

    index: int
    status: int
    message: str

    @property
    def reason(self) -> str:
        """The reason, which is the label of receiver_items_rejected_total."""
        return reason_of(self.message)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of sending a batch.

    For SETTLE: `accepted` counts items; those at `retry` are sent again, after a back-off
    of kind `wait`; the `rejected` are permanently rejected; `unexplained` counts items that
    the service did not accept without naming them. For UNCONFIRMED all items are
    `accepted`. `retry_after_seconds` is None without a Retry-After. `by_the_service`: the
    answer is the service's own. `about_the_body`: see `Rule`.
    """

    action: Action
    accepted: int = 0
    retry: tuple[int, ...] = ()
    wait: Action = Action.RETRY
    rejected: tuple[Rejection, ...] = ()
    unexplained: int = 0
    retry_after_seconds: float | None = None
    reason: str = ""
    hint: str = ""
    by_the_service: bool = False
    about_the_body: bool = False

    @property
    def kind_of_wait(self) -> Action:
        """The kind of back-off of what is sent again."""
        if self.action is Action.SETTLE:
            return self.wait
        return Action.RETRY if self.action is Action.SPLIT else self.action


def judge(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    item_count: int,
    now: float,
    *,
    address: str = "",
    signed_in: bool = False,
) -> Verdict:
    """Return the service's verdict on the items of a batch.

    Items are numbered from 0 in the order sent. `now`, in seconds since the epoch, is used
    for a Retry-After that is a date; `headers` must be case-insensitive. `address` is put
    into the reason where another server answered; `signed_in` says whether a token was sent.
    """
    answered = read_answer(headers, body, item_count)
    rule = rule_for(status, answered.body, answered.words, signed_in=signed_in)
    reason = f"{status} {answered.words.removeprefix(str(status)).lstrip(' :')}".strip()
    if address and answered.body is Body.FOREIGN:
        reason += f" (from {address})"
    verdict = Verdict(
        rule.action,
        retry_after_seconds=retry_after(headers.get("Retry-After", ""), now),
        reason=reason,
        hint=rule.hint,
        by_the_service=answered.body.is_the_services,
        about_the_body=rule.about_the_body,
    )
    if rule.action is Action.SETTLE:
        return _by_item(verdict, answered, item_count, signed_in=signed_in)
    if rule.action is Action.UNCONFIRMED:
        return replace(verdict, accepted=item_count, reason=f"{status} without the service's body")
    if rule.action is Action.SPLIT and item_count == 1:
        return _single(verdict, status, answered)
    if answered.body is Body.MISSING and 200 <= status < 300:
        return replace(verdict, reason=f"{status} without the service's body")
    return verdict


def _single(verdict: Verdict, status: int, answered: Answered) -> Verdict:
    """Judge an item that cannot be split: only the service itself may reject it."""
    if not answered.body.is_the_services:
        return replace(verdict, action=Action.BLOCKED)
    message = answered.words or f"this single item is too large for the service ({status})"
    return replace(verdict, action=Action.SETTLE, rejected=(Rejection(0, status, message),))


def _by_item(verdict: Verdict, answered: Answered, item_count: int, *, signed_in: bool) -> Verdict:
    """Assign every item its result, by the service's list of errors."""
    retry: list[int] = []
    rejected: list[Rejection] = []
    waits: dict[Action, int] = {}
    for index, (code, message) in answered.errors.items():
        if code in ITEM_ACTIONS and reason_of(message) != SAMPLED_OUT:
            retry.append(index)
            waits.setdefault(ITEM_ACTIONS[code], code)
        else:
            rejected.append(Rejection(index, code, message))
    unlisted = item_count - len(retry) - len(rejected)
    accepted = min(unlisted, answered.accepted)
    wait = next((action for action in _BY_URGENCY if action in waits), Action.RETRY)
    hint = _SOME_LATER if retry else ""
    if wait is not Action.RETRY:
        hint = rule_for(waits[wait], Body.ITEMS, "", signed_in=signed_in).hint
    return replace(
        verdict,
        accepted=accepted,
        retry=tuple(retry),
        wait=wait,
        rejected=tuple(rejected),
        unexplained=unlisted - accepted,
        reason=verdict.reason if retry or rejected or unlisted > accepted else "",
        hint=hint,
    )


def retry_after(text: str, now: float) -> float | None:
    """Read a Retry-After of seconds or a date as seconds from now, 0 to 3,600; None for other texts."""
    text = text.strip()
    if re.fullmatch(r"\d{1,15}(\.\d*)?", text):
        seconds = float(text)
    elif (moment := parse_http_date(text)) is not None:
        seconds = moment - now
    else:
        return None
    return min(max(seconds, 0.0), RETRY_AFTER_LIMIT_SECONDS)


def parse_http_date(text: str) -> float | None:
    """Read a `Date` or a `Retry-After` as seconds since the epoch; None for any other text.

    All three forms of RFC 9110 5.6.7 are in UTC, also without a zone (asctime's has none).
    """
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
