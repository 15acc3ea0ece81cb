"""Why the service rejects an item: a closed set of reasons, by the service's words.

In: the message of an item's error. Out: a reason, the label of
receiver_items_rejected_total, with its meaning and what to do about it.
"""

import re

TOO_OLD = "too_old"
SAMPLED_OUT = "sampled_out"
UNEXPLAINED = "unexplained"
DAMAGED = "damaged"
OTHER = "other"
REJECT_REASONS = {
    TOO_OLD: ("Older than 48 hours when it arrived.", "Counted as expired, not as rejected. Look for an outage longer than that, or a clock that is off."),
    "too_new": ("More than two hours in the future.", "Set the clock of the machine that Prometheus runs on."),
    "too_long": ("A field over its limit.", "The receiver cuts what it knows of; report this one."),
    "wrong_type": ("A field of the wrong type.", "The receiver should never send one; report it."),
    "missing_field": ("A field that is required is missing.", "The receiver should never send one; report it."),
    "too_large": ("An item over 64 KiB.", "The receiver leaves labels out before that; report this one."),
    "not_json": ("A line that is not JSON.", "The receiver should never send one; report it."),
    SAMPLED_OUT: ("The resource's ingestion sampling threw it away.", "Set ingestion sampling to 100 % under Usage and estimated costs."),
    UNEXPLAINED: ("The service accepted fewer than were sent, and did not say which.", "The service's answer names none of them: open a support request with the time, and the numbers that dead-letters shows."),
    DAMAGED: ("Changed on the disk while it waited; the service refused it, and it cannot be read.", "Look at the disk that the outbox is on: its log, its health."),
    OTHER: ("Any other error.", "See the service's own words: appinsights-receiver dead-letters."),
}  # fmt: skip
"""Each reason: its meaning, and what to do."""

_PATTERNS = (
    (TOO_OLD, r"^\s*103\b|older than the allowed"),
    ("too_new", r"^\s*104\b|newer than the max"),
    ("too_long", r"^\s*100\b|is too long"),
    ("wrong_type", r"^\s*(106|200)\b|incorrect type"),
    ("missing_field", r"^\s*109\b|required but missing"),
    ("too_large", r"item length must not exceed"),
    ("not_json", r"SyntaxError|Unexpected token"),
    (SAMPLED_OUT, r"sampled out"),
    (UNEXPLAINED, r"without saying which"),
    (DAMAGED, r"damaged on the disk"),
)


def reason_of(message: str) -> str:
    """Name the kind of an item's error, by the service's words."""
    for reason, pattern in _PATTERNS:
        if re.search(pattern, message, re.IGNORECASE):
            return reason
    return OTHER
