"""The form in which a metric of Triton reaches Azure, according to metrics.json. Pure.

In: the entries. Out: for a counter or a gauge the location of its numbers: an item's name, a
column of customMetrics, and the form:

    TOTAL   a counter's growth in a window: sum it up               (delta, mean)
    RATE    an `_irate`: a rate a second, once a minute and series  (samples, last, aggregate)
    RAW     the counter itself, which only grows                    (samples, last)

Two counters can be divided only if both are in one form. All forms of a gauge are read alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from receiver.intake.entries import As, Entry
from receiver.intake.metrics_json import Allowlist
from receiver.triton import METRIC_NAMES


class Form(StrEnum):
    """The form of a counter's numbers."""

    TOTAL = "total"
    RATE = "rate"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class Source:
    """The location of a metric's numbers: `column` of the items named `item`.

    `entry` is the entry of metrics.json that sends them.
    """

    form: Form
    item: str
    column: str
    entry: Entry

    def has(self, label: str) -> bool:
        """Whether its items keep a label."""
        return self.entry.keeps(label)


@dataclass(frozen=True, slots=True)
class Mean:
    """An item whose value is the growth of `name`, and whose count is the growth of the `per` counters."""

    name: str
    per: tuple[str, ...]
    item: str
    entry: Entry


class Sources:
    """The forms of all of Triton's metrics under one metrics.json."""

    def __init__(self, allowlist: Allowlist) -> None:
        """Match all names of Triton and of the recording rules, and the exact names of metrics.json."""
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
        """Return the mean of a counter over others."""
        wanted = sorted(per)
        return next(
            (mean for mean in self.means if mean.name == name and sorted(mean.per) == wanted), None
        )

    def counter(self, names: Sequence[str], form: Form, labels: Sequence[str] = ()) -> list[Source]:
        """Return sources whose sum is the growth of counters in one form, split by `labels`.

        One source if an item counts all of them together, else one for each counter; empty if a
        counter is missing in that form.
        """
        whole = self._counted(names) if form is Form.TOTAL else []
        fitting = [source for source in whole if all(map(source.has, labels))]
        if fitting:
            return fitting[:1]
        singles = [self._single(name, form, labels) for name in names]
        return [source for source in singles if source] if all(singles) else []

    def gauge(self, name: str) -> Source | None:
        """Return a gauge's source: aggregates before last values before samples."""
        order = (As.AGGREGATE, As.LAST, As.SAMPLES)
        entries = [entry for entry in self._entries.get(name, ()) if entry.as_ in order]
        entries.sort(key=lambda entry: order.index(entry.as_))
        return (
            Source(Form.RAW, entries[0].item_name(name), "valueSum", entries[0])
            if entries
            else None
        )

    def _counted(self, names: Sequence[str]) -> list[Source]:
        """Return the means whose events are counted by exactly these counters."""
        wanted = sorted(names)
        return [
            Source(Form.TOTAL, mean.item, "valueCount", mean.entry)
            for mean in self.means
            if sorted(mean.per) == wanted
        ]

    def _single(self, name: str, form: Form, labels: Sequence[str]) -> Source | None:
        fitting: list[Source] = []
        for entry in self._entries.get(f"{name}_irate" if form is Form.RATE else name, ()):
            item = entry.item_name(f"{name}_irate" if form is Form.RATE else name)
            if form is Form.TOTAL and entry.as_.is_growth:
                fitting.append(Source(form, item, "valueSum", entry))
            elif (form is Form.RATE and not entry.as_.is_growth) or (
                form is Form.RAW and entry.as_ in {As.SAMPLES, As.LAST}
            ):
                fitting.append(Source(form, item, "value", entry))
        fitting = [source for source in fitting if all(map(source.has, labels))]
        fitting.sort(key=lambda source: source.entry.as_ is As.MEAN)  # a delta counts idle time too
        if not fitting and form is Form.TOTAL:
            fitting = [source for source in self._counted([name]) if all(map(source.has, labels))]
        return fitting[0] if fitting else None
