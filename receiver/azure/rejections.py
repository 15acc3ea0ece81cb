"""The reasons for which the service rejects an item, recognised by its messages.

In: the message of an item's error. Out: a reason, which is the label of
receiver_items_rejected_total, with its meaning and a hint.
"""

import re

from receiver.ledger import ROUTE_FULL

TOO_OLD = "too_old"
SAMPLED_OUT = "sampled_out"
UNEXPLAINED = "unexplained"
DAMAGED = "damaged"
OTHER = "other"
REJECT_REASONS = {
    TOO_OLD: ("Older than 48 hours when it arrived.", "Counted as expired, not as rejected. Look for an outage of more than 48 hours, or a wrong clock."),
    "too_new": ("More than two hours in the future.", "Set the clock of the machine that Prometheus runs on."),
    "too_long": ("A field over its limit.", "The receiver cuts all fields with a known limit; please report this one."),
    "wrong_type": ("A field of the wrong type.", "The receiver should never send this; please report it."),
    "missing_field": ("A required field is missing.", "The receiver should never send this; please report it."),
    "too_large": ("An item over 64 KiB.", "The receiver omits labels to stay below that; please report this."),
    "not_json": ("A line that is not JSON.", "The receiver should never send this; please report it."),
    SAMPLED_OUT: ("The resource's ingestion sampling discarded it.", "Set ingestion sampling to 100 % under Usage and estimated costs."),
    UNEXPLAINED: ("The service accepted fewer items than were sent, without saying which.", "The service's answer names no item: open a support request with the time and the numbers that dead-letters shows."),
    DAMAGED: ("Damaged on the disk while it waited: the service refused it, and it cannot be read.", "Check the health and the logs of the outbox's disk."),
    ROUTE_FULL: ("An item of a folded window whose route had no room: its share of the outbox was full.", "The route's resource takes less than arrives: repair that first, or set a larger outbox_max_bytes for the route in routes.json."),
    OTHER: ("Any other error.", "Read the service's message: appinsights-receiver dead-letters."),
}  # fmt: skip
"""The reasons, each with its meaning and a hint."""

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
    """Return the reason of an item's error, by its message."""
    for reason, pattern in _PATTERNS:
        if re.search(pattern, message, re.IGNORECASE):
            return reason
    return OTHER
