"""Checks of a fault's fields: return the value, or raise an error with its place.

Every check takes a value and its place. Used only by faults.py.
"""

import math
from collections.abc import Callable
from typing import Any

_SHOWN = 80  # characters of a wrong value that an error repeats
_MAX_DELAY_SECONDS = 3_600


class InvalidFaultError(ValueError):
    """An invalid fault; the message names its place."""

    def __init__(self, place: str, expected: str, got: object) -> None:
        """Compose the message: the place, what was expected, the value."""
        super().__init__(f"{place}: expected {expected}, got {repr(got)[:_SHOWN]}")


def integer(value: object, place: str) -> int:
    """Any whole number."""
    if type(value) is not int:
        raise InvalidFaultError(place, "a whole number", value)
    return value


def positive(value: object, place: str) -> int:
    """A whole number from 1 up."""
    if type(value) is not int or value < 1:
        raise InvalidFaultError(place, "a whole number of 1 or more", value)
    return value


def times(value: object, place: str) -> int | None:
    """A number of requests, or null for all."""
    if value is not None and (type(value) is not int or value < 1):
        raise InvalidFaultError(place, "a whole number of 1 or more, or null", value)
    return value


def seconds(value: object, place: str) -> float:
    """A limited delay."""
    if type(value) in (int, float) and 0 <= value <= _MAX_DELAY_SECONDS:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise InvalidFaultError(place, f"seconds from 0 to {_MAX_DELAY_SECONDS}", value)


def probability(value: object, place: str) -> float:
    """A share of the requests."""
    if type(value) in (int, float) and 0 <= value <= 1 and not math.isnan(value):  # type: ignore[operator,arg-type]
        return float(value)  # type: ignore[arg-type]
    raise InvalidFaultError(place, "a number from 0 to 1", value)


def status(value: object, place: str) -> int:
    """A final HTTP status."""
    if type(value) is not int or not 200 <= value <= 599:
        raise InvalidFaultError(place, "an HTTP status from 200 to 599", value)
    return value


def boolean(value: object, place: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise InvalidFaultError(place, "true or false", value)
    return value


def text(value: object, place: str) -> str | None:
    """Any text, or null."""
    if value is not None and type(value) is not str:
        raise InvalidFaultError(place, "a string or null", value)
    return value


def header(value: object, place: str) -> str:
    """A valid header value."""
    if type(value) is not str or not value or not value.isprintable() or not value.isascii():
        raise InvalidFaultError(place, "one line of printable ASCII", value)
    return value


def optional_header(value: object, place: str) -> str | None:
    """A valid header value, or null for none."""
    return None if value is None else header(value, place)


def retry_after(value: object, place: str) -> int | str | None:
    """Seconds, or the header's exact text."""
    if value is None or (type(value) is int and value >= 0):
        return value
    if type(value) is str:
        return header(value, place)
    raise InvalidFaultError(place, "seconds of 0 or more, or a string", value)


def one_of(*choices: object) -> Callable[[object, str], Any]:
    """Return a check that accepts only these values."""

    def check(value: object, place: str) -> object:
        if value not in choices or isinstance(value, bool):
            raise InvalidFaultError(place, "one of " + ", ".join(map(str, choices)), value)
        return value

    return check
