"""HTTP dates, as seconds since the epoch.

In: the text of a `Date` or a `Retry-After`. Out: a time, or nothing. Each of the three
forms of RFC 9110 5.6.7 is in UTC, also where it names no zone (asctime's never does).
"""

from datetime import UTC
from email.utils import parsedate_to_datetime


def parse_http_date(text: str) -> float | None:
    """Read an HTTP date; None for what is none."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
