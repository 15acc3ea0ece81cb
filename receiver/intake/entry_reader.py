"""The parser of an object in metrics.json: an `Entry`, or a sentence about the mistake.

In: the keys and values of one object, checked as JSON. Out: an `Entry`, or a `Mistake` with
its key and, if there is one, the nearest right spelling. Pure.
`receiver/config/metrics.schema.json` has the same rules for editors; a test compares the two.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from receiver.intake.entries import EVERY_SECONDS, TARGET_LABELS, As, Entry, First
from receiver.intake.json_file import Mistake, kind, nearest, short

EVERY_MAX_SECONDS = 3600
QUIET_MAX_SECONDS = 24 * 3600
LABELS_MAX = 64
KEYS = ("name", "as", "per", "every", "keep", "drop", "rename", "quiet", "first")
_MEANT = {
    "raw": "samples", "sample": "samples", "gauge": "last", "value": "last", "latest": "last",
    "sum": "aggregate", "min": "aggregate", "max": "aggregate", "summary": "aggregate", "stats": "aggregate",
    "rate": "delta", "irate": "delta", "increase": "delta", "counter": "delta", "difference": "delta",
    "ratio": "mean", "average": "mean", "avg": "mean",
}  # fmt: skip
"""Common other words for the values of `As`."""
_KEYS_MEANT = {"metric": "name", "type": "as", "kind": "as", "interval": "every", "window": "every", "labels": "keep",
               "by": "keep", "without": "drop", "denominator": "per", "divide": "per", "alias": "rename"}  # fmt: skip

_NO_LABEL = re.compile(r"[\x00-\x1f\x7f{}\"=,\ud800-\udfff]")

Choice = TypeVar("Choice", As, First)


def read_entry(fields: Mapping[str, Any], impossible: Callable[[str], str]) -> Entry:
    """Make an entry of an object's fields; `impossible` returns why a name is invalid, or nothing.

    Raises: Mistake.
    """
    for key in fields:
        if key not in KEYS:
            raise Mistake(f'unknown key "{short(key)}"{nearest(key, KEYS, _KEYS_MEANT)}')
    if "name" not in fields:
        raise Mistake('has no "name"; write {"name": "a_metric", "as": "delta"}')
    name = _name(fields, "name", impossible)
    as_ = _choice(fields, "as", As.SAMPLES, _MEANT)
    _check_together(fields, as_)
    every = _duration(fields, "every", EVERY_MAX_SECONDS) or EVERY_SECONDS
    quiet = _duration(fields, "quiet", QUIET_MAX_SECONDS)
    if 0 < quiet < every:
        raise Mistake("is shorter than a window, so it would do nothing; make it longer", "quiet")
    return Entry(
        name,
        as_,
        _per(fields, impossible),
        every,
        _labels(fields, "keep", as_) if "keep" in fields else None,
        _labels(fields, "drop", as_) if "drop" in fields else (),
        _rename(fields, name, impossible),
        quiet,
        _choice(fields, "first", First.AUTO, {}),
    )


def _check_together(fields: Mapping[str, Any], as_: As) -> None:
    """Refuse keys without effect, and contradictory keys."""
    if as_ is As.MEAN and "per" not in fields:
        raise Mistake('"as": "mean" needs "per": the counter of the events, as nv_inference_request_success')  # fmt: skip
    if as_ is not As.MEAN and "per" in fields:
        raise Mistake(f'"per" needs "as": "mean", and this is "{as_}"', "per")
    if "keep" in fields and "drop" in fields:
        raise Mistake('"keep" and "drop" are both set; keep one', "drop")
    if as_ is As.SAMPLES:
        for key in ("every", "quiet"):
            if key in fields:
                message = f'"{key}" needs "as": last, aggregate, delta or mean: a sample is an item at once'
                raise Mistake(message, key)
    if "first" in fields and not as_.is_growth:
        raise Mistake(f'"first" needs "as": "delta" or "mean", and this is "{as_}"', "first")


def _name(
    fields: Mapping[str, Any], key: str, impossible: Callable[[str], str], *index: int
) -> str:
    value = fields[key][index[0]] if index else fields[key]
    if not isinstance(value, str):
        raise Mistake(f"is {kind(value)}, not a metric's name in quotes", key, *index)
    if problem := impossible(value):
        raise Mistake(problem, key, *index)
    return value


def _per(fields: Mapping[str, Any], impossible: Callable[[str], str]) -> tuple[str, ...]:
    if "per" not in fields:
        return ()
    value = fields["per"]
    if isinstance(value, list):
        names = tuple(_name(fields, "per", impossible, index) for index in range(len(value)))
    else:
        names = (_name(fields, "per", impossible),)
    if not names:
        raise Mistake("is an empty list; name the counter of the events", "per")
    for index, name in enumerate(names):
        where = (index,) if isinstance(value, list) else ()
        if "*" in name or "?" in name:
            raise Mistake(f'"{short(name)}" is a glob; name each metric', "per", *where)
        if name in names[:index]:
            raise Mistake(f'"{short(name)}" occurs twice', "per", *where)
    return names


def _labels(fields: Mapping[str, Any], key: str, as_: As) -> tuple[str, ...]:
    value = fields[key]
    if isinstance(value, str):
        raise Mistake(f'is a text, not a list of labels; did you mean ["{short(value)}"]?', key)
    if not isinstance(value, list):
        raise Mistake(f"is {kind(value)}, not a list of labels", key)
    if not value and key == "drop":
        raise Mistake('is an empty list, which drops nothing; leave "drop" out', key)
    if len(value) > LABELS_MAX:
        raise Mistake(f"has {len(value)} labels, more than the {LABELS_MAX} allowed", key)
    for index, label in enumerate(value):
        if problem := _wrong_label(label, as_) or (
            "occurs twice" if label in value[:index] else ""
        ):
            shown = f'"{short(label)}" ' if isinstance(label, str) else ""
            raise Mistake(f"{shown}{problem}", key, index)
    return tuple(value)


def _wrong_label(label: object, as_: As) -> str:
    """Return why a label cannot be named here; empty if it can."""
    if not isinstance(label, str):
        return f"is {kind(label)}, not a label's name in quotes"
    if not label or label != label.strip() or _NO_LABEL.search(label):
        return "is not a label's name"
    if label == "__name__":
        return 'is the name itself; "rename" changes it'
    if as_ is not As.SAMPLES and label in TARGET_LABELS:
        where = "role" if label == "job" else "role instance"
        return f"is every folded item's {where}, and no dimension; take it out"
    return ""


def _rename(fields: Mapping[str, Any], name: str, impossible: Callable[[str], str]) -> str:
    if "rename" not in fields:
        return ""
    rename = _name(fields, "rename", impossible)
    if "?" in rename:
        raise Mistake('a new name cannot contain "?"', "rename")
    if rename.count("*") > 1:
        raise Mistake('a new name can contain only one "*"', "rename")
    if "*" in rename and name.count("*") != 1:
        raise Mistake(f'"*" stands for the text that the one "*" of the name matches, and "{short(name)}" has {name.count("*")}', "rename")  # fmt: skip
    if "*" not in rename and ("*" in name or "?" in name):
        raise Mistake(f'would give all series of "{short(name)}" one name; put the "*" into it', "rename")  # fmt: skip
    if rename == name:
        raise Mistake("is the name itself; leave it out", "rename")
    return rename


def _choice(
    fields: Mapping[str, Any], key: str, default: Choice, meant: Mapping[str, str]
) -> Choice:
    if key not in fields:
        return default
    value = fields[key]
    words = tuple(type(default))
    if isinstance(value, str) and value in words:
        return type(default)(value)
    choices = ", ".join(f'"{word}"' for word in words)
    if not isinstance(value, str):
        raise Mistake(f"is {kind(value)}; it is one of {choices}", key)
    hint = nearest(value, words, meant)
    raise Mistake(f'"{short(value)}" is none of {choices}{hint}', key)


def _duration(fields: Mapping[str, Any], key: str, most_seconds: int) -> int:
    """Read a duration in whole minutes; 0 where it is missing."""
    if key not in fields:
        return 0
    value = fields[key]
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most_seconds // 60:
        raise Mistake(f'is a number without a unit; did you mean "{value}m"?', key)
    match = re.fullmatch(r"([0-9]{1,6})([smh])", value) if isinstance(value, str) else None
    if not match:
        shown = f'"{short(value)}"' if isinstance(value, str) else kind(value)
        raise Mistake(f'{shown} is not a duration; write it like "5m" or "1h"', key)
    seconds = int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
    nearest = min(max(60, round(seconds / 60) * 60), most_seconds)
    if match[2] == "s" or not 60 <= seconds <= most_seconds:
        longest = f"{most_seconds // 3600}h"
        message = f'"{value}" is not whole minutes between "1m" and "{longest}"; did you mean "{nearest // 60}m"?'
        raise Mistake(message, key)
    return seconds
