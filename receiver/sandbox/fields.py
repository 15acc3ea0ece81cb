"""Readers of an item's fields: return a field's value, or raise the service's refusal.

A null is treated as an absent field. `owner` is the schema's type for the service's message.
"""

from typing import Any, TypeAlias

from receiver.sandbox import limits

Fields: TypeAlias = dict[str, Any]


class RefusedItemError(Exception):
    """An item that breaks the contract; the message is the service's."""


def text(fields: Fields, field: str, owner: str, limit: int) -> str:
    """Return a required text that is not empty and fits its limit."""
    value = fields.get(field)
    if type(value) is not str:
        if value is None:
            raise RefusedItemError(limits.missing(field, owner, "string"))
        raise RefusedItemError(limits.wrong_type(field, owner, "string", value))
    if not value:
        raise RefusedItemError(limits.missing(field, owner, "string"))
    if len(value) > limit >> 1:
        must_fit(value, field, owner, limit)
    return value


def optional_text(fields: Fields, field: str, owner: str, limit: int) -> str | None:
    """Return a text that fits its limit, or None when it is absent or empty."""
    return text(fields, field, owner, limit) if fields.get(field) not in (None, "") else None


def must_fit(text: str, field: str, owner: str, limit: int) -> None:
    """Refuse a text that is too long."""
    actual = limits.length(text)
    if actual > limit:
        raise RefusedItemError(limits.too_long(field, owner, limit, actual))


def number(fields: Fields, field: str, owner: str) -> float | None:
    """Return a number, or None when it is absent."""
    value = fields.get(field)
    if type(value) is float or type(value) is int:  # finite: the parser refuses all others
        return float(value)
    if value is None:
        return None
    raise RefusedItemError(limits.wrong_type(field, owner, "number", value))


def integer(fields: Fields, field: str, owner: str) -> int | None:
    """Return a whole number of 32 bits, or None when it is absent."""
    value = fields.get(field)
    if type(value) is float and value.is_integer():
        value = int(value)
    if value is None or (type(value) is int and -limits.INT32 <= value < limits.INT32):
        return value
    raise RefusedItemError(limits.wrong_type(field, owner, "number", value))


def object_(fields: Fields, field: str, owner: str) -> Fields:
    """Return a required object."""
    value = fields.get(field)
    if type(value) is dict:
        return value
    if value is None:
        raise RefusedItemError(limits.missing(field, owner, "object"))
    raise RefusedItemError(limits.wrong_type(field, owner, "object", value))
