"""metrics.json says which series are wanted.

In: the file's text. Out: an `Allowlist` that answers whether a series' name is
wanted. Reads no files and keeps no clock.

The format: {"customMetrics": ["name", "glob_*", ...]}. A name selects the series
of exactly that name, as Prometheus shows it; `*` stands for any run of characters
and `?` for one.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.errors import SettingsError
from receiver.intake.name_mistakes import NAME_LIMIT, did_you_mean, impossible, suspicion
from receiver.text import printable

__all__ = ["KEY", "NAME_LIMIT", "Allowlist", "Entry", "parse"]

KEY = "customMetrics"
REMEMBERED_BYTES = 256
"""A longer name is looked up anew each time: what is remembered is bounded in bytes too."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the list: the series' name, or a glob of names."""

    name: str

    @property
    def is_glob(self) -> bool:
        """Whether the name stands for many."""
        return "*" in self.name or "?" in self.name

    def fits(self, name: str) -> bool:
        """Whether this entry selects the series called `name`."""
        if not self.is_glob:
            return self.name == name
        return re.fullmatch(_glob_pattern(self.name), name, re.DOTALL) is not None


class Allowlist:
    """The metrics that are wanted.

    An answer is remembered for each name, at most `remembered_limit` of them: a
    name costs its globs once.
    """

    def __init__(self, entries: Sequence[Entry], remembered_limit: int = 100_000) -> None:
        """Take the entries as they are; `parse` checks them."""
        self.entries = tuple(entries)
        self._exact = frozenset(entry.name for entry in entries if not entry.is_glob)
        globs = [_glob_pattern(entry.name) for entry in entries if entry.is_glob]
        self._globs = re.compile("|".join(globs), re.DOTALL) if globs else None
        self._remembered: dict[bytes, bool] = {}
        self._remembered_limit = remembered_limit

    def wants(self, name: bytes) -> bool:
        """Say whether the series called `name` are wanted; bytes that are not UTF-8 match globs alone."""
        known = self._remembered.get(name)
        if known is None:
            known = self._matches(name.decode("utf-8", "replace"))
            if len(self._remembered) >= self._remembered_limit:
                self._remembered.clear()
            if len(name) <= REMEMBERED_BYTES:
                self._remembered[name] = known
        return known

    def names_seen(self) -> dict[bytes, bool]:
        """Give the names that were asked for so far, and the answers; a copy."""
        return dict(self._remembered)

    def _matches(self, name: str) -> bool:
        return name in self._exact or bool(self._globs and self._globs.fullmatch(name))

    def suspicions(self) -> Iterator[str]:
        """Name the entries that look misspelt: near to a metric of Triton's, but not one."""
        return filter(None, (suspicion(entry.name) for entry in self.entries))


def parse(text: str | bytes, source: str) -> Allowlist:
    """Read metrics.json; `source` is the file's name, for messages.

    Raises: SettingsError, which names the file, the place and the nearest right spelling.
    """
    try:
        lines = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        document = json.loads(lines, object_pairs_hook=_Pairs)
    except json.JSONDecodeError as error:
        message = f"{source}:{error.lineno}:{error.colno}: not JSON: {error.msg}"
        raise SettingsError(message) from error
    except RecursionError as error:
        raise SettingsError(
            f"{source}: not JSON that anyone would write: nested too deep"
        ) from error
    except UnicodeDecodeError as error:
        message = f"{source}: not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
        raise SettingsError(message) from error
    except ValueError as error:  # a number with thousands of digits
        raise SettingsError(f"{source}: not JSON that anyone would write: {error}") from error
    if not isinstance(document, _Pairs):
        message = f'{source}: the file holds {_kind(document)}, not an object like {{"{KEY}": ["name", …]}}'
        raise SettingsError(message)
    entries = _entries_of(document.pairs, source)
    return Allowlist(list(_checked(entries, source, lines)))


class _Pairs:
    """A JSON object whose repeated keys are still to be seen."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _entries_of(pairs: Iterable[tuple[str, Any]], source: str) -> list[Any]:
    entries: list[Any] | None = None
    for key, value in pairs:
        if key != KEY:
            near = difflib.get_close_matches(key.lower(), [KEY.lower()], cutoff=0.5)
            hint = f'; did you mean "{KEY}"?' if near else f'; the one key is "{KEY}"'
            raise SettingsError(f'{source}: unknown key "{_short(key)}"{hint}')
        if entries is not None:
            raise SettingsError(f'{source}: the key "{KEY}" occurs twice; join its lists into one')
        if not isinstance(value, list):
            raise SettingsError(f'{source}: "{KEY}" is {_kind(value)}, not a list of names')
        entries = value
    if not entries:
        what = f'the key "{KEY}" is missing' if entries is None else f'"{KEY}" is empty'
        message = f'{source}: {what}, so nothing would be sent; name a metric, or "*" for all'
        raise SettingsError(message)
    return entries


def _checked(entries: Sequence[Any], source: str, text: str) -> Iterator[Entry]:
    first: dict[str, int] = {}
    for index, name in enumerate(entries):
        place = f"{source}{_line_of(entries, index, text)}: {KEY}[{index}]"
        if not isinstance(name, str):
            raise SettingsError(f"{place} is {_kind(name)}, not a metric's name in quotes")
        if problem := impossible(name):
            raise SettingsError(f'{place}, "{_short(name)}": {problem}{did_you_mean(name)}')
        if name in first:
            message = f'{place}, "{name}": the same as {KEY}[{first[name]}]; take one of them out'
            raise SettingsError(message)
        first[name] = index
        yield Entry(name)


def _line_of(entries: Sequence[Any], index: int, text: str) -> str:
    """Find an entry's line: the n-th occurrence of its JSON, n by its equals before it."""
    token = json.dumps(entries[index], ensure_ascii=False, default=lambda each: dict(each.pairs))
    place = -1
    for _ in range(1 + sum(entry == entries[index] for entry in entries[:index])):
        place = text.find(token, place + 1)
    return f":{text.count(chr(10), 0, place) + 1}" if place >= 0 else ""


def _glob_pattern(glob: str) -> str:
    """Write a glob as an expression that tries each place of a name once.

    The first place where the text between two stars fits is as good as any later one, so it
    is kept (an atomic group): a sender's long name cannot have the places multiplied.
    """
    first, *rest = ("".join("." if c == "?" else re.escape(c) for c in part) for part in glob.split("*"))  # fmt: skip
    if not rest:
        return first
    between = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return f"{first}{between}.*{rest[-1]}"


def _short(name: str) -> str:
    """Spell a name for a message: not too long, and printable whatever it holds."""
    return printable(name if len(name) <= 80 else name[:80] + "…")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
    return "an object"
