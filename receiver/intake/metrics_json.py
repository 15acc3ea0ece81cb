"""metrics.json: the selected series, and how their samples are used.

In: the file's text. Out: an `Allowlist`, which matches series' names to entries, and series to
their use. Reads no files and keeps no clock.

The format: {"customMetrics": ["name", "glob_*", {"name": ..., "as": ...}, ...]}. A name
selects the series of exactly that name, as Prometheus shows it; `*` stands for any run
of characters and `?` for one. `receiver.intake.entry_reader` has the keys of an object.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.errors import SettingsError
from receiver.intake.entries import Entry, glob_pattern
from receiver.intake.entry_reader import read_entry
from receiver.intake.json_file import JsonFile, Mistake, Pairs, fields_of, kind, read_json, short
from receiver.intake.name_mistakes import did_you_mean, impossible, suspicion

__all__ = ["KEY", "Allowlist", "Entry", "parse"]

KEY = "customMetrics"
REMEMBERED_BYTES = 256
"""Longest cached name: the cache is limited in bytes too."""
FOLD_FULL = "fold_full"
WOULD_JOIN = "would_join"


@dataclass(frozen=True, slots=True)
class Use:
    """The use of a series' samples, decided once and cached: as items, in the fold, or both.

    `rendered` has the labels of its items, the name under `__name__`; None for no items.
    `fold_number` is from 1 to 2**32 - 1; 0 for no fold. A series without either has the reason
    in `dropped`, and is decided again at the next request.
    """

    rendered: Mapping[str, str] | None = None
    fold_number: int = 0
    dropped: str = ""


class Allowlist:
    """The selected metrics.

    The result for a name is cached, so its globs are matched once; `remembered_limit` limits the
    cached names.
    """

    def __init__(self, entries: Sequence[Entry], remembered_limit: int = 100_000) -> None:
        """Keep the entries, which `parse` has checked."""
        self.entries = tuple(entries)
        self._denominators = frozenset(name for entry in entries for name in entry.per)
        exact = frozenset(entry.name for entry in entries if not entry.is_glob)
        self._exact = exact | self._denominators
        globs = [glob_pattern(entry.name) for entry in entries if entry.is_glob]
        self._globs = re.compile("|".join(globs), re.DOTALL) if globs else None
        self._remembered: dict[bytes, bool] = {}
        self._remembered_limit = remembered_limit

    def wants(self, name: bytes) -> bool:
        """Whether the series named `name` are selected; bytes that are not UTF-8 match only globs."""
        known = self._remembered.get(name)
        if known is None:
            known = self._matches(name.decode("utf-8", "replace"))
            if len(self._remembered) >= self._remembered_limit:
                self._remembered.clear()
            if len(name) <= REMEMBERED_BYTES:
                self._remembered[name] = known
        return known

    def matches(self, name: str) -> tuple[Entry, ...]:
        """Return the entries that apply to the series named `name`.

        One entry applies among those with the same item name, and one among those that send every
        sample: the exact name, else the first.
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
        """Whether an entry folds the series named `name`, or uses it as a mean's count."""
        return name in self._denominators or any(entry.is_folded for entry in self.matches(name))

    def use_of(self, labels: Mapping[str, str]) -> Use:
        """Return the use of a selected series, without a fold: every sample is an item."""
        return Use(rendered=labels)

    def names_seen(self) -> dict[bytes, bool]:
        """Return a copy of the names looked up so far, with the answers."""
        return dict(self._remembered)

    def _matches(self, name: str) -> bool:
        return name in self._exact or bool(self._globs and self._globs.fullmatch(name))

    def suspicions(self) -> Iterator[str]:
        """Yield warnings for probably misspelt entries: near a metric of Triton, but not one."""
        return filter(None, (suspicion(entry.name) for entry in self.entries))


def parse(text: str | bytes, source: str) -> Allowlist:
    """Read metrics.json; `source` is the file's name, for messages.

    Raises: SettingsError, which names the file, the place and the nearest right spelling.
    """
    file = read_json(text, source, KEY, f'{{"{KEY}": ["name", …]}}')
    without = 'so nothing would be sent; name a metric, or "*" for all'
    return Allowlist(list(_checked(file, file.entries("names", without))))


def _checked(file: JsonFile, entries: Sequence[Any]) -> Iterator[Entry]:
    outlets: dict[tuple[str, str], int] = {}
    for index, value in enumerate(entries):
        try:
            if isinstance(value, str):
                if problem := impossible(value):
                    raise Mistake(f"{problem}{did_you_mean(value)}")
                entry = Entry(value)
            elif isinstance(value, Pairs):
                entry = read_entry(fields_of(value), _impossible_with_hint)
            else:
                raise Mistake(f"is {kind(value)}, not a metric's name in quotes")
            if other := _clash(entry, outlets):
                raise Mistake(other)
        except Mistake as mistake:
            raise SettingsError(file.message(mistake, index, value)) from mistake
        outlets[entry.name, entry.item_name(entry.name)] = index
        yield entry


def _clash(entry: Entry, outlets: Mapping[tuple[str, str], int]) -> str:
    """Return the earlier entry that makes the same items; empty for none."""
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


def _impossible_with_hint(name: str) -> str:
    problem = impossible(name)
    return f'"{short(name)}": {problem}{did_you_mean(name)}' if problem else ""
