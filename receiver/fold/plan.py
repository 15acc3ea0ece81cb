"""The mapping of series to outputs, by the entries of metrics.json. Pure.

In: numbered series with their labels, one after the other. Out: columns of
`receiver.fold.state` with their links. The same series in the same order make the same
outputs, so the plan is not stored.

All series of an output have the same place (route, and target: job and instance), the same
item name, and the same labels after keep and drop. A mean's value and count are paired by
place and labels. `target` is a place's number in outputs, and a target's in series.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from receiver.fold.state import NEVER, Kind, Part, State
from receiver.intake.entries import TARGET_LABELS, As, Entry
from receiver.intake.metrics_json import Allowlist
from receiver.intake.routes import NO_ROUTES, Routing

_KINDS = {
    As.LAST: Kind.LAST,
    As.AGGREGATE: Kind.AGGREGATE,
    As.DELTA: Kind.DELTA,
    As.MEAN: Kind.MEAN,
}
Properties = Callable[[Mapping[str, str]], bytes]
"""Renders the labels of an item as its properties."""


@dataclass(slots=True)
class _MeanParts:
    """The counts of a mean, by series, and its outputs, by name, with the same target and labels."""

    counts: list[int] = field(default_factory=list)
    outputs: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Names:
    """Texts by number."""

    texts: list[bytes] = field(default_factory=list)
    numbers: dict[bytes, int] = field(default_factory=dict)

    def number(self, text: bytes) -> int:
        """Return a text's number; the next number for a new text."""
        number = self.numbers.get(text)
        if number is None:
            number = self.numbers[text] = len(self.texts)
            self.texts.append(text)
        return number


class Plan:
    """The outputs of one metrics.json, and the series that feed them."""

    def __init__(
        self, allowlist: Allowlist, properties: Properties, routing: Routing = NO_ROUTES
    ) -> None:
        """Start without series."""
        self.entries: Sequence[Entry] = [e for e in allowlist.entries if e.is_folded]
        self.state = State()
        self.names = _Names()
        self.labels = _Names()
        self.targets: list[tuple[str, str]] = []
        self.places: list[tuple[str, str, str]] = []
        self.refused = 0
        self._allowlist = allowlist
        self._properties = properties
        self._routing = routing
        self._target_numbers: dict[tuple[str, str], int] = {}
        self._place_numbers: dict[tuple[str, str, str], int] = {}
        self._joined: dict[tuple[int, int, int, int], int] = {}
        self._mean_parts: dict[tuple[int, int, int], _MeanParts] = {}
        self._roles: dict[str, tuple[list[tuple[int, int]], list[int]]] = {}

    def add_series(self, number: int, labels: Mapping[str, str]) -> None:
        """Link a series to its outputs; `labels` has the name under `__name__`."""
        series = self.state.series
        series.grow(number)
        series.target[number] = self._target(labels)
        place = self._place(labels)
        as_values, as_counts = self._roles_of(labels["__name__"])
        rendered: dict[tuple[str, ...] | None, int] = {}  # entries often keep the same labels
        for entry, name in as_values:
            kept = self._kept(self.entries[entry], labels, rendered)
            self._link_value(number, entry, place, name, kept)
        for entry in as_counts:
            kept = self._kept(self.entries[entry], labels, rendered)
            self._link_count(number, entry, place, kept)

    def _target(self, labels: Mapping[str, str]) -> int:
        job, instance = (labels.get(label, "") for label in TARGET_LABELS)
        number = self._target_numbers.get((job, instance))
        if number is None:
            number = self._target_numbers[job, instance] = len(self.targets)
            self.targets.append((job, instance))
            self.state.targets.first_ms.append(NEVER)
        return number

    def _place(self, labels: Mapping[str, str]) -> int:
        place = labels.get("job", ""), labels.get("instance", ""), self._routing.name_of(labels)
        number = self._place_numbers.get(place)
        if number is None:
            number = self._place_numbers[place] = len(self.places)
            self.places.append(place)
        return number

    def _roles_of(self, name: str) -> tuple[list[tuple[int, int]], list[int]]:
        """Return the entries for which a series is the value, with the item's name, or the count."""
        roles = self._roles.get(name)
        if roles is None:
            counting = [n for n, entry in enumerate(self.entries) if name in entry.per]
            values = [
                (self.entries.index(entry), self.names.number(entry.item_name(name).encode()))
                for entry in self._allowlist.matches(name)
                if entry.is_folded
            ]
            roles = self._roles[name] = values, counting
        return roles

    def _kept(
        self,
        entry: Entry,
        labels: Mapping[str, str],
        rendered: dict[tuple[str, ...] | None, int],
    ) -> int:
        kept = tuple(
            label
            for label in labels
            if label != "__name__" and label not in TARGET_LABELS and entry.keeps(label)
        )
        if kept not in rendered:
            text = self._properties({label: labels[label] for label in kept})
            rendered[kept] = self.labels.number(text)
        return rendered[kept]

    def _link_value(self, number: int, entry: int, target: int, name: int, kept: int) -> None:
        what = self.entries[entry]
        key = entry, target, name, kept
        is_shared = what.as_ is As.MEAN or not what.keeps_all_labels
        output = self._joined.get(key) if is_shared else None
        if output is None:
            output = self._add_output(*key)
            if is_shared:
                self._joined[key] = output
        elif what.as_ is As.LAST:
            self.refused += 1
            return
        self._link(number, output, Part.VALUE)

    def _add_output(self, entry: int, target: int, name: int, kept: int) -> int:
        what, outputs = self.entries[entry], self.state.outputs
        every_ms = what.every_seconds * 1000
        output = outputs.add(_KINDS[what.as_], entry, target, name, kept, every_ms)
        if what.as_ is As.MEAN:
            outputs.scrapes[output] = self.state.scrapes.add()
            parts = self._parts_of(entry, target, kept)
            parts.outputs[name] = output
            for counting in parts.counts:
                self._link(counting, output, Part.COUNT)
        return output

    def _link_count(self, number: int, entry: int, target: int, kept: int) -> None:
        parts = self._parts_of(entry, target, kept)
        parts.counts.append(number)
        for output in parts.outputs.values():
            self._link(number, output, Part.COUNT)

    def _parts_of(self, entry: int, target: int, kept: int) -> _MeanParts:
        return self._mean_parts.setdefault((entry, target, kept), _MeanParts())

    def _link(self, number: int, output: int, part: Part) -> None:
        self.state.links.add(self.state.series, number, self.state.outputs, output, part)

    def item(self, output: int) -> bytes:
        """Return the identity of an output's items: name, target, route and labels."""
        outputs = self.state.outputs
        place = (part.encode() for part in self.places[outputs.target[output]])
        digester = hashlib.blake2b(digest_size=8)
        for text in (self.names.texts[outputs.name[output]], *place, self.labels.texts[outputs.labels[output]]):  # fmt: skip
            digester.update(b"%d:" % len(text) + text)
        return digester.digest()
