"""HTTP dates, as seconds since the epoch.

In: the text of a `Date` or a `Retry-After`. Out: a time, or None. All three forms of
RFC 9110 5.6.7 are in UTC, also without a zone (asctime's has none).
"""

from datetime import UTC
from email.utils import parsedate_to_datetime


def parse_http_date(text: str) -> float | None:
    """Read an HTTP date; None for any other text."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
