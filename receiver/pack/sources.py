"""In which form a metric of Triton's reaches Azure, as the entries of metrics.json say. Pure.

In: the entries. Out: for a counter or a gauge, where its numbers are: an item's name, a
column of customMetrics, and how they are to be read:

    TOTAL   what a counter grew in a window: sum them up            (delta, mean)
    RATE    an `_irate`: a rate a second, once a minute and series  (samples, last, aggregate)
    RAW     the counter itself, which only grows                    (samples, last)

Two counters can be set in relation only in one form. A gauge is read alike in all of its forms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from receiver.intake.entries import As, Entry
from receiver.intake.metrics_json import Allowlist
from receiver.triton import METRIC_NAMES


class Form(StrEnum):
    """How the numbers of a counter are to be read."""

    TOTAL = "total"
    RATE = "rate"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a metric's numbers are: `column` of the items called `item`.

    `entry` is the entry of metrics.json that puts them there.
    """

    form: Form
    item: str
    column: str
    entry: Entry

    def has(self, label: str) -> bool:
        """Whether its items can be told apart by a label."""
        return self.entry.keeps(label)


@dataclass(frozen=True, slots=True)
class Mean:
    """An item whose value is what `name` grew, and whose count is what the metrics of `per` grew."""

    name: str
    per: tuple[str, ...]
    item: str
    entry: Entry


class Sources:
    """The forms of all of Triton's metrics under one metrics.json."""

    def __init__(self, allowlist: Allowlist) -> None:
        """Look at each name that Triton and the recording rules bring forth, and at each exact one."""
        exact = [entry.name for entry in allowlist.entries if not entry.is_glob]
        names = dict.fromkeys((*METRIC_NAMES, *exact))
        self._entries = {name: allowlist.matches(name) for name in names}
        self.means = tuple(self._find_means())

    def _find_means(self) -> Iterator[Mean]:
        for name, entries in self._entries.items():
            for entry in entries:
                if entry.as_ is As.MEAN:
                    yield Mean(name, entry.per, entry.item_name(name), entry)

    def mean(self, name: str, per: Sequence[str]) -> Mean | None:
        """Find the item that is a counter over others."""
        wanted = sorted(per)
        return next(
            (each for each in self.means if each.name == name and sorted(each.per) == wanted), None
        )

    def counter(self, names: Sequence[str], form: Form, labels: Sequence[str] = ()) -> list[Source]:
        """Find what adds up to the growth of some counters in one form, told apart by `labels`.

        One source where an item counts all of them together, else one for each; empty where
        a counter is missing in that form.
        """
        whole = self._counted(names) if form is Form.TOTAL else []
        fitting = [source for source in whole if all(map(source.has, labels))]
        if fitting:
            return fitting[:1]
        found = [self._single(name, form, labels) for name in names]
        return [source for source in found if source] if all(found) else []

    def gauge(self, name: str) -> Source | None:
        """Find a gauge's values: aggregates before last values before samples."""
        order = (As.AGGREGATE, As.LAST, As.SAMPLES)
        entries = [entry for entry in self._entries.get(name, ()) if entry.as_ in order]
        entries.sort(key=lambda entry: order.index(entry.as_))
        return (
            Source(Form.RAW, entries[0].item_name(name), "valueSum", entries[0])
            if entries
            else None
        )

    def _counted(self, names: Sequence[str]) -> list[Source]:
        """Find the means whose events are these counters'; the whole request's time comes first."""
        wanted = sorted(names)
        return [
            Source(Form.TOTAL, mean.item, "valueCount", mean.entry)
            for mean in self.means
            if sorted(mean.per) == wanted
        ]

    def _single(self, name: str, form: Form, labels: Sequence[str]) -> Source | None:
        found: list[Source] = []
        for entry in self._entries.get(f"{name}_irate" if form is Form.RATE else name, ()):
            item = entry.item_name(f"{name}_irate" if form is Form.RATE else name)
            if form is Form.TOTAL and entry.as_ in {As.DELTA, As.MEAN}:
                found.append(Source(form, item, "valueSum", entry))
            elif (form is Form.RATE and entry.as_ in {As.SAMPLES, As.LAST, As.AGGREGATE}) or (
                form is Form.RAW and entry.as_ in {As.SAMPLES, As.LAST}
            ):
                found.append(Source(form, item, "value", entry))
        found = [source for source in found if all(map(source.has, labels))]
        found.sort(key=lambda source: source.entry.as_ is As.MEAN)  # a delta counts idle time too
        if not found and form is Form.TOTAL:
            found = [source for source in self._counted([name]) if all(map(source.has, labels))]
        return found[0] if found else None
