"""The fold's state in columns: series, links, outputs.

A series has its last time and value. An output makes items: it has the open window and its
content. A link connects a series to an output, as its value or as its count. Columns of
numbers, not objects: 200,000 series fit in memory, a checkpoint is the columns' bytes, and the
loop of `receiver.fold.accumulate` is compiled.

Nothing is removed: numbers stay the same until the whole state is rebuilt.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from receiver.azure.limits import EXPIRY_MS

NEVER = -(1 << 63)
"""No time: an unseen series, or a window that is not open."""
FORGOTTEN = NEVER + 1
"""The time of a forgotten series, whose number can be reused."""
FORGET_MS = EXPIRY_MS
"""Time after which a series counts as unseen: the service accepts no older samples."""
NONE = -1
SCRAPES = 4
"""Scrapes for which a mean still waits for samples, which arrive in several requests."""


class Kind(IntEnum):
    """The ways in which an output uses a sample; also in the compiled loop."""

    LAST = 0
    AGGREGATE = 1
    DELTA = 2
    MEAN = 3


class Part(IntEnum):
    """The role of a series for an output."""

    VALUE = 0
    COUNT = 1


@dataclass(slots=True)
class Series:
    """Series, by number. `link` is the first of a series' links.

    `begun_ms` is the start timestamp of the last sample that had one, 0 before the first.
    `base_ms` and `base_value` are a first sample that counted nothing: another receiver may still
    hand over the counter's earlier value (`receiver.fold.takeover`). After that they are the time
    of the earlier value, and NaN.
    """

    time_ms: "array[int]" = field(default_factory=lambda: array("q"))
    value: "array[float]" = field(default_factory=lambda: array("d"))
    base_ms: "array[int]" = field(default_factory=lambda: array("q"))
    base_value: "array[float]" = field(default_factory=lambda: array("d"))
    target: "array[int]" = field(default_factory=lambda: array("i"))
    link: "array[int]" = field(default_factory=lambda: array("i"))
    begun_ms: "array[int]" = field(default_factory=lambda: array("q"))

    def grow(self, number: int) -> None:
        """Extend the columns to this number."""
        more = number + 1 - len(self.time_ms)
        if more > 0:
            self.time_ms.extend([NEVER] * more)
            self.value.extend([0.0] * more)
            self.base_ms.extend([NEVER] * more)
            self.base_value.extend([0.0] * more)
            self.target.extend([NONE] * more)
            self.link.extend([NONE] * more)
            self.begun_ms.extend([0] * more)

    def copy(self, number: int, other: "Series", its_number: int) -> None:
        """Copy a series of another state, without its target and links."""
        self.time_ms[number] = other.time_ms[its_number]
        self.value[number] = other.value[its_number]
        self.base_ms[number] = other.base_ms[its_number]
        self.base_value[number] = other.base_value[its_number]
        self.begun_ms[number] = other.begun_ms[its_number]


@dataclass(slots=True)
class Links:
    """Links of series to outputs. `next` is the series' next link, `beside` the output's."""

    output: "array[int]" = field(default_factory=lambda: array("i"))
    part: "array[int]" = field(default_factory=lambda: array("b"))
    next: "array[int]" = field(default_factory=lambda: array("i"))
    series: "array[int]" = field(default_factory=lambda: array("i"))
    beside: "array[int]" = field(default_factory=lambda: array("i"))

    def add(self, series: Series, number: int, outputs: "Outputs", output: int, part: Part) -> None:
        """Link a series to an output."""
        place = len(self.output)
        self.output.append(output)
        self.part.append(part)
        self.next.append(series.link[number])
        self.series.append(number)
        self.beside.append(outputs.link[output])
        series.link[number] = outputs.link[output] = place


@dataclass(slots=True)
class Outputs:
    """Outputs, from which items are made, by number.

    `start_ms` is the newest open window's start, NEVER for no open window;
    `receiver.fold.windows` keeps older open windows. `total`, `count`, `least` and `most` are the
    window's content so far. `touched_ms` is the arrival of its last sample by this machine's clock.
    `until_ms` is the end of the last window with an item: nothing is added before it.
    `left_total` and `left_count` are carried into the next item. `last_sent` and `last_sent_ms`
    are the value and the window of the last item. `scrapes` is the place of a mean's scrapes.
    """

    kind: "array[int]" = field(default_factory=lambda: array("b"))
    entry: "array[int]" = field(default_factory=lambda: array("i"))
    target: "array[int]" = field(default_factory=lambda: array("i"))
    name: "array[int]" = field(default_factory=lambda: array("i"))
    labels: "array[int]" = field(default_factory=lambda: array("i"))
    link: "array[int]" = field(default_factory=lambda: array("i"))
    every_ms: "array[int]" = field(default_factory=lambda: array("q"))
    scrapes: "array[int]" = field(default_factory=lambda: array("i"))
    start_ms: "array[int]" = field(default_factory=lambda: array("q"))
    total: "array[float]" = field(default_factory=lambda: array("d"))
    count: "array[float]" = field(default_factory=lambda: array("d"))
    least: "array[float]" = field(default_factory=lambda: array("d"))
    most: "array[float]" = field(default_factory=lambda: array("d"))
    touched_ms: "array[int]" = field(default_factory=lambda: array("q"))
    until_ms: "array[int]" = field(default_factory=lambda: array("q"))
    left_total: "array[float]" = field(default_factory=lambda: array("d"))
    left_count: "array[float]" = field(default_factory=lambda: array("d"))
    last_sent: "array[float]" = field(default_factory=lambda: array("d"))
    last_sent_ms: "array[int]" = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.kind)

    def copy_window(self, output: int, other: "Outputs", its_output: int) -> None:
        """Copy the newest window of another state's output, and what is carried into its item."""
        self.start_ms[output] = other.start_ms[its_output]
        self.total[output] = other.total[its_output]
        self.count[output] = other.count[its_output]
        self.least[output] = other.least[its_output]
        self.most[output] = other.most[its_output]
        self.touched_ms[output] = other.touched_ms[its_output]
        self.left_total[output] = other.left_total[its_output]
        self.left_count[output] = other.left_count[its_output]
        self.last_sent[output] = other.last_sent[its_output]
        self.last_sent_ms[output] = other.last_sent_ms[its_output]

    def add(
        self, kind: Kind, entry: int, target: int, name: int, labels: int, every_ms: int
    ) -> int:
        """Add an output without a window; returns its number."""
        self.kind.append(kind)
        self.entry.append(entry)
        self.target.append(target)
        self.name.append(name)
        self.labels.append(labels)
        self.link.append(NONE)
        self.every_ms.append(every_ms)
        self.scrapes.append(NONE)
        for times in (self.start_ms, self.touched_ms, self.until_ms, self.last_sent_ms):
            times.append(NEVER)
        for values in (self.total, self.count, self.left_total, self.left_count, self.last_sent):
            values.append(0.0)
        self.least.append(float("inf"))
        self.most.append(float("-inf"))
        return len(self.kind) - 1


@dataclass(slots=True)
class Scrapes:
    """The last scrapes of means, SCRAPES for each mean, in sequence."""

    time_ms: "array[int]" = field(default_factory=lambda: array("q"))
    total: "array[float]" = field(default_factory=lambda: array("d"))
    count: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self) -> int:
        """Add the places of one mean; returns the first."""
        place = len(self.time_ms)
        self.time_ms.extend([NEVER] * SCRAPES)
        self.total.extend([0.0] * SCRAPES)
        self.count.extend([0.0] * SCRAPES)
        return place

    def clear(self, place: int) -> None:
        """Forget the scrapes of one mean."""
        for slot in range(place, place + SCRAPES):
            self.time_ms[slot] = NEVER
            self.total[slot] = self.count[slot] = 0.0


@dataclass(slots=True)
class Targets:
    """Targets, by number: the start of their watch under this metrics.json."""

    first_ms: "array[int]" = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class State:
    """All columns together."""

    series: Series = field(default_factory=Series)
    links: Links = field(default_factory=Links)
    outputs: Outputs = field(default_factory=Outputs)
    scrapes: Scrapes = field(default_factory=Scrapes)
    targets: Targets = field(default_factory=Targets)
    since_ms: int = NEVER
    """The time of the first sample under this metrics.json."""

    def links_of(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield a series' outputs, with its part in each."""
        place = self.series.link[number]
        while place != NONE:
            yield self.links.output[place], self.links.part[place]
            place = self.links.next[place]

    def is_counter(self, number: int) -> bool:
        """Whether any item is made of a series' growth."""
        kinds = self.outputs.kind
        return any(kinds[output] > Kind.AGGREGATE for output, _ in self.links_of(number))

    def forget(self, now_ms: int) -> None:
        """Free the state of series unseen for two days, and of targets without series."""
        series, first_ms = self.series, self.targets.first_ms
        live = set()
        for number, time_ms in enumerate(series.time_ms):
            if time_ms >= now_ms - FORGET_MS:
                live.add(series.target[number])
            elif (
                time_ms != NEVER
            ):  # the first sample of an unseen series may be in a request in flight
                series.time_ms[number] = FORGOTTEN
        for target in range(len(first_ms)):
            if target not in live:
                first_ms[target] = NEVER

    def columns(self) -> "tuple[array[Any], ...]":
        """List the columns in the order in which receiver/native/binding.c takes them."""
        series, links, outputs, scrapes = self.series, self.links, self.outputs, self.scrapes
        return (
            series.time_ms, series.value, series.target, series.link, series.begun_ms,
            self.targets.first_ms,
            links.output, links.part, links.next,
            outputs.kind, outputs.start_ms, outputs.every_ms, outputs.total, outputs.count,
            outputs.least, outputs.most, outputs.touched_ms, outputs.scrapes,
            scrapes.time_ms, scrapes.total, scrapes.count,
        )  # fmt: skip
