"""The reader of metrics.json and routes.json: a mistake has its file, line and place.

In: a file's text. Out: its one list of entries, with objects as `Pairs`, and mistakes as
messages. Pure.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.errors import SettingsError
from receiver.text import printable

SCHEMA_KEY = "$schema"
"""The key that names the JSON Schema for an editor; ignored here."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')


class Mistake(Exception):
    """A mistake in an entry; `place` is its path inside the entry: a key, an index."""

    def __init__(self, problem: str, *place: str | int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.place = place


class Pairs:
    """A JSON object with repeated keys preserved."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        """Take the keys with their values, in the file's order."""
        self.pairs = pairs


def fields_of(pairs: Pairs) -> Mapping[str, Any]:
    """Return an object's values by key. Raises: Mistake."""
    fields: dict[str, Any] = {}
    for key, value in pairs.pairs:
        if key in fields:
            raise Mistake("occurs twice; keep one", key)
        fields[key] = value
    return fields


@dataclass(frozen=True, slots=True)
class JsonFile:
    """The file's object; `source` is the file's name, `key` the key of its list."""

    source: str
    key: str
    text: str
    pairs: Sequence[tuple[str, Any]]

    def entries(self, what: str, without: str, others: Sequence[str] = ()) -> list[Any]:
        """Return the list; `others` are the further allowed keys.

        `what` names the list's elements, and `without` the effect of an empty list.

        Raises: SettingsError.
        """
        entries: list[Any] | None = None
        keys = [self.key, *others]
        for key, value in self.pairs:
            if (key == SCHEMA_KEY and isinstance(value, str)) or key in others:
                continue
            if key != self.key:
                near = difflib.get_close_matches(
                    key.lower(), [known.lower() for known in keys], 1, 0.5
                )
                meant = next((known for known in keys if known.lower() in near), "")
                there = (
                    f'the one key is "{self.key}"' if not others else f"there are {', '.join(keys)}"
                )
                hint = f'; did you mean "{meant}"?' if meant else f"; {there}"
                raise SettingsError(f'{self.source}: unknown key "{short(key)}"{hint}')
            if entries is not None:
                raise SettingsError(f'{self.source}: the key "{key}" occurs twice; join its lists into one')  # fmt: skip
            if not isinstance(value, list):
                raise SettingsError(f'{self.source}: "{key}" is {kind(value)}, not a list of {what}')  # fmt: skip
            entries = value
        if not entries:
            key = f'"{self.key}"'
            state = f"the key {key} is missing" if entries is None else f"{key} is empty"
            raise SettingsError(f"{self.source}: {state}, {without}")
        return entries

    def other(self, key: str) -> Any:
        """Return the value of a further key, None if it is missing. Raises: SettingsError."""
        values = [value for name, value in self.pairs if name == key]
        if len(values) > 1:
            raise SettingsError(f'{self.source}: the key "{key}" occurs twice; keep one')
        return values[0] if values else None

    def message(self, mistake: Mistake, index: int, value: Any) -> str:
        """Return the message for a mistake in an entry, with its file, line and place."""
        known = self._lines()
        line = known.get((index, *mistake.place)) or known.get((index,), 0)
        place = f"{self.key}[{index}]"
        for step in mistake.place:
            place += f"[{step}]" if isinstance(step, int) else f".{short(step)}"
        where = f"{self.source}:{line}: {place}" if line else f"{self.source}: {place}"
        if isinstance(value, str):
            return f'{where}, "{short(value)}": {mistake.problem}'
        if mistake.place or mistake.problem.startswith(("is ", "has ")):
            return f"{where} {mistake.problem}"
        return f"{where}: {mistake.problem}"

    def _lines(self) -> dict[tuple[str | int, ...], int]:
        """Return the lines of entries, of their keys' values and of those values' elements.

        The text is valid JSON; only its tokens are read here.
        """
        lines: dict[tuple[str | int, ...], int] = {}
        path: list[str | int] = []  # keys and indices down to the next value
        opened: list[str] = []
        line, offset, expects_key, key = 1, 0, False, ""
        for token in _TOKEN.finditer(self.text):
            line += self.text.count("\n", offset, token.start())
            offset = token.start()
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
                if path[:1] == [self.key]:
                    lines.setdefault(tuple(path[1:]), line)
                if sign in "[{":
                    path.append(0 if sign == "[" else "")
                    opened.append(sign)
                    expects_key = sign == "{"
        return lines


def read_json(text: str | bytes, source: str, key: str, example: str) -> JsonFile:
    """Parse the file's JSON; `example` is a valid object, for messages. Raises: SettingsError."""
    try:
        lines = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        document = json.loads(lines, object_pairs_hook=Pairs)
    except json.JSONDecodeError as error:
        message = f"{source}:{error.lineno}:{error.colno}: not JSON: {error.msg}"
        raise SettingsError(message) from error
    except RecursionError as error:
        message = f"{source}: not JSON that anyone would write: nested too deep"
        raise SettingsError(message) from error
    except UnicodeDecodeError as error:
        message = f"{source}: not UTF-8: byte {error.start} is {error.object[error.start]:#04x}"
        raise SettingsError(message) from error
    except ValueError as error:  # a number with thousands of digits
        raise SettingsError(f"{source}: not JSON that anyone would write: {error}") from error
    if not isinstance(document, Pairs):
        message = f"{source}: the file holds {kind(document)}, not an object like {example}"
        raise SettingsError(message)
    return JsonFile(source, key, lines, document.pairs)


def nearest(word: str, words: Iterable[str], meant: Mapping[str, str] = {}) -> str:
    """Return the end of a message: the nearest of `words`, or all of them."""
    lower, there = word.lower().strip(), tuple(words)
    if better := meant.get(lower):
        return f'; did you mean "{better}"?'
    near = difflib.get_close_matches(lower, there, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else f"; there are {', '.join(there)}"


def short(name: str) -> str:
    """Return a name for a message: shortened, and printable."""
    return printable(name if len(name) <= 80 else name[:80] + "…")


def kind(value: object) -> str:
    """Return the kind of a JSON value, for a message."""
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
