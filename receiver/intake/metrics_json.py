"""metrics.json says which series are wanted, and what becomes of them.

In: the file's text. Out: an `Allowlist` that answers whether a series' name is
wanted, and which entries it falls under. Reads no files and keeps no clock.

The format: {"customMetrics": ["name", "glob_*", {"name": ..., "as": ...}, ...]}. A name
selects the series of exactly that name, as Prometheus shows it; `*` stands for any run
of characters and `?` for one. `receiver.intake.entry_reader` has the keys of an object.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from receiver.errors import SettingsError
from receiver.intake.ends import Ends
from receiver.intake.entries import Entry, glob_pattern
from receiver.intake.entry_reader import Mistake, kind, read_entry, short
from receiver.intake.name_mistakes import NAME_LIMIT, did_you_mean, impossible, suspicion

__all__ = ["KEY", "NAME_LIMIT", "Allowlist", "Entry", "parse"]

KEY = "customMetrics"
SCHEMA_KEY = "$schema"
"""Names the JSON Schema for an editor; it is not looked at."""
REMEMBERED_BYTES = 256
"""A longer name is looked up anew each time: what is remembered is bounded in bytes too."""


class Allowlist:
    """The metrics that are wanted.

    An answer is remembered for each name, at most `remembered_limit` of them: a
    name costs its globs once.
    """

    def __init__(self, entries: Sequence[Entry], remembered_limit: int = 100_000) -> None:
        """Take the entries as they are; `parse` checks them."""
        self.entries = tuple(entries)
        self._denominators = frozenset(name for entry in entries for name in entry.per)
        exact = frozenset(entry.name for entry in entries if not entry.is_glob)
        self._exact = exact | self._denominators
        globs = [glob_pattern(entry.name) for entry in entries if entry.is_glob]
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

    def matches(self, name: str) -> tuple[Entry, ...]:
        """Give the entries that count for the series called `name`.

        Of entries whose items would have one name, and of those that make an item of each
        sample, one counts: the exact name, else the first.
        """
        chosen: dict[str, Entry] = {}
        fitting = [entry for entry in self.entries if entry.fits(name)]
        for entry in sorted(fitting, key=lambda entry: entry.is_glob):
            outlet = entry.item_name(name)
            if outlet not in chosen and (
                entry.is_folded or all(other.is_folded for other in chosen.values())
            ):
                chosen[outlet] = entry
        return tuple(chosen.values())

    def folds(self, name: str) -> bool:
        """Say whether an entry folds the series called `name`, or counts its events by it."""
        return name in self._denominators or any(entry.is_folded for entry in self.matches(name))

    def ends_of(self, labels: Mapping[str, str]) -> Ends:
        """Decide what a wanted series is for: each of its samples is an item."""
        return Ends(rendered=labels)

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
        message = f'{source}: the file holds {kind(document)}, not an object like {{"{KEY}": ["name", …]}}'
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
        if key == SCHEMA_KEY and isinstance(value, str):
            continue
        if key != KEY:
            near = difflib.get_close_matches(key.lower(), [KEY.lower()], cutoff=0.5)
            hint = f'; did you mean "{KEY}"?' if near else f'; the one key is "{KEY}"'
            raise SettingsError(f'{source}: unknown key "{short(key)}"{hint}')
        if entries is not None:
            raise SettingsError(f'{source}: the key "{KEY}" occurs twice; join its lists into one')
        if not isinstance(value, list):
            raise SettingsError(f'{source}: "{KEY}" is {kind(value)}, not a list of names')
        entries = value
    if not entries:
        what = f'the key "{KEY}" is missing' if entries is None else f'"{KEY}" is empty'
        message = f'{source}: {what}, so nothing would be sent; name a metric, or "*" for all'
        raise SettingsError(message)
    return entries


def _checked(entries: Sequence[Any], source: str, text: str) -> Iterator[Entry]:
    outlets: dict[tuple[str, str], int] = {}
    for index, value in enumerate(entries):
        try:
            if isinstance(value, str):
                if problem := impossible(value):
                    raise Mistake(f"{problem}{did_you_mean(value)}")
                entry = Entry(value)
            elif isinstance(value, _Pairs):
                entry = read_entry(_fields(value), _impossible_with_hint)
            else:
                raise Mistake(f"is {kind(value)}, not a metric's name in quotes")
            if other := _clash(entry, outlets):
                raise Mistake(other)
        except Mistake as mistake:
            raise SettingsError(_spell(mistake, index, value, source, text)) from mistake
        outlets[entry.name, entry.item_name(entry.name)] = index
        yield entry


def _fields(pairs: _Pairs) -> Mapping[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs.pairs:
        if key in fields:
            raise Mistake("is there twice; say it once", key)
        fields[key] = value
    return fields


def _clash(entry: Entry, outlets: Mapping[tuple[str, str], int]) -> str:
    """Say which entry before makes the same items; empty for none."""
    outlet = entry.item_name(entry.name)
    for (name, other), index in outlets.items():
        if other != outlet:
            continue
        if name == entry.name:
            more = "take one of them out" if not entry.rename else "change one of them"
            if entry.is_folded and not entry.rename:
                more += ', or give it another name with "rename"'
            return f"the same as {KEY}[{index}]; {more}"
        return f'its items are called "{short(outlet)}", as those of {KEY}[{index}]; give them a name of their own'
    return ""


def _spell(mistake: Mistake, index: int, value: Any, source: str, text: str) -> str:
    """Spell a mistake with its file, line and place."""
    line = _lines(text).get((index, *mistake.place)) or _lines(text).get((index,), 0)
    place = f"{KEY}[{index}]"
    for step in mistake.place:
        place += f"[{step}]" if isinstance(step, int) else f".{short(step)}"
    where = f"{source}:{line}: {place}" if line else f"{source}: {place}"
    if isinstance(value, str):
        return f'{where}, "{short(value)}": {mistake.problem}'
    if mistake.place or mistake.problem.startswith(("is ", "has ")):
        return f"{where} {mistake.problem}"
    return f"{where}: {mistake.problem}"


def _impossible_with_hint(name: str) -> str:
    problem = impossible(name)
    return f'"{short(name)}": {problem}{did_you_mean(name)}' if problem else ""


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')


def _lines(text: str) -> dict[tuple[str | int, ...], int]:
    """Find the line of each entry, of each of its keys' values and of their elements.

    The text is JSON already; this reads its tokens alone.
    """
    lines: dict[tuple[str | int, ...], int] = {}
    path: list[str | int] = []  # keys and indices down to the value that comes next
    opened: list[str] = []
    line, place, expects_key, key = 1, 0, False, ""
    for token in _TOKEN.finditer(text):
        line += text.count("\n", place, token.start())
        place = token.start()
        sign = token[0]
        if sign == ":":
            path[-1] = key
        elif sign == ",":
            if opened[-1] == "[" and isinstance(path[-1], int):
                path[-1] += 1
            expects_key = opened[-1] == "{"
        elif sign in "]}":
            path.pop()
            opened.pop()
        elif expects_key:
            key, expects_key = json.loads(sign), False
        else:
            if path[:1] == [KEY]:
                lines.setdefault(tuple(path[1:]), line)
            if sign in "[{":
                path.append(0 if sign == "[" else "")
                opened.append(sign)
                expects_key = sign == "{"
    return lines
