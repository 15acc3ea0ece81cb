"""The parsers of the verbs' flags.

In: the text. Out: the value, or ValueError with what was expected.
"""

import math

MOST_SECONDS = 366 * 86400.0
SHARDS_MAX = 1000


def _number(text: str) -> float:
    try:
        number = float(text.strip().removesuffix("s"))
    except ValueError:
        return math.nan
    return number if number <= MOST_SECONDS else math.nan


def at_least_one(text: str) -> int:
    """Read a whole number of at least 1. Raises: ValueError."""
    if text.strip().isdecimal() and 0 < (count := int(text)) < 10**9:
        return count
    raise ValueError("not a whole number of at least 1")


def some_seconds(text: str) -> float:
    """Read a time above 0, with or without the suffix s. Raises: ValueError."""
    if (number := _number(text)) > 0:
        return number
    raise ValueError("not a number of seconds above 0, like 30 or 0.5s")


def pause(text: str) -> float:
    """Read the time between two refreshes: at least 0.2 s. Raises: ValueError."""
    if (number := _number(text)) >= 0.2:
        return number
    raise ValueError("not a number of seconds of at least 0.2")


def scrape_interval(text: str) -> float:
    """Read the time between two scrapes. Raises: ValueError."""
    if (number := _number(text)) > 0:
        return number
    raise ValueError("not a number of seconds like 15")


def shards(text: str) -> int:
    """Read the number of receivers. Raises: ValueError."""
    if text.strip().isdecimal() and 0 < (count := int(text)) <= SHARDS_MAX:
        return count
    raise ValueError(f"not a whole number from 1 to {SHARDS_MAX}")
