"""What a metrics.json will cost before anything is sent. Pure.

In: the series that a Triton shows, with their values, and a metrics.json. Out: for each entry
the items and billed bytes of a month. Nothing is guessed that can be made: raw items are
rendered as the receiver renders them, folded ones come out of the fold itself, which is
given some windows of samples.

What a page cannot tell is assumed, and on the dear side: a counter that is not 0 and a gauge
move all the time; one that is 0, a total and a limit never do.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from receiver.azure.billing import billed
from receiver.azure.envelope import Identity, line, make_template, spell_time
from receiver.azure.renderer import RECORD
from receiver.fold.fold import Fold
from receiver.intake.entries import As, Entry
from receiver.intake.metrics_json import Allowlist
from receiver.triton import METRICS

MONTH_MINUTES = 43_800
"""A twelfth of a year."""
RULE_SECONDS = 60.0
START_MS = 1_800_000_000_000
"""A moment on an hour's bound; which one makes no difference."""
_STILL = ("_total_bytes", "_limit")


@dataclass(frozen=True, slots=True)
class Seen:
    """A series on a metrics page: its labels, the name under `__name__`, and its value."""

    labels: Mapping[str, str]
    value: float

    @property
    def name(self) -> str:
        """Its name."""
        return self.labels["__name__"]


@dataclass(frozen=True, slots=True)
class Line:
    """What one entry brings in a month. Money is a matter of the price."""

    entry: str
    series: int
    items: float
    billed_bytes: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a metrics.json brings in a month."""

    lines: Sequence[Line]

    @property
    def items(self) -> float:
        """Items of all entries."""
        return sum(each.items for each in self.lines)

    @property
    def billed_bytes(self) -> float:
        """Billed bytes of all entries."""
        return sum(each.billed_bytes for each in self.lines)


def with_rates(series: Sequence[Seen]) -> list[Seen]:
    """Add the `_irate` series that the recording rules make of these."""
    rated = {metric.name for metric in METRICS if metric.rated}
    made = [
        Seen({**each.labels, "__name__": f"{each.name}_irate"}, each.value and 12.34)
        for each in series
        if each.name in rated and "quantile" not in each.labels
    ]
    return [*series, *made]


def forecast(
    allowlist: Allowlist,
    series: Sequence[Seen],
    identity: Identity,
    scrape_seconds: float,
    factor: float = 1.0,
) -> Forecast:
    """Say what a month costs, by entry. `factor` is what a resource's own bill said of the estimate."""
    entries = list(allowlist.entries)
    series_of = Counter[int]()
    items, sizes = defaultdict[int, float](float), defaultdict[int, float](float)
    for each in series:
        for entry in allowlist.matches(each.name):
            number = entries.index(entry)
            series_of[number] += 1
            if not entry.is_folded:
                seconds = RULE_SECONDS if each.name.endswith("_irate") else scrape_seconds
                pace = MONTH_MINUTES * 60 / seconds
                items[number] += pace
                sizes[number] += pace * _raw_bytes(each, identity)
    by_name = {
        entry.item_name(each.name): entries.index(entry)
        for each in series
        for entry in allowlist.matches(each.name)
        if entry.is_folded
    }
    for name, count, size in _folded(allowlist, series, identity):
        items[by_name[name]] += count
        sizes[by_name[name]] += size
    return Forecast([
        Line(_words(entry), series_of[number], items[number], sizes[number] * factor)
        for number, entry in enumerate(entries)
    ])  # fmt: skip


def _words(entry: Entry) -> str:
    shown = entry.name if entry.as_ is As.SAMPLES else f"{entry.name} as {entry.as_}"
    return f"{shown}, called {entry.rename}" if entry.rename else shown


def _raw_bytes(seen: Seen, identity: Identity) -> int:
    time = spell_time(START_MS)
    assert time
    template = make_template(seen.labels, identity)
    return billed(line(time, template.middle, json.dumps(seen.value).encode())).total


def _folded(
    allowlist: Allowlist, series: Sequence[Seen], identity: Identity
) -> Iterator[tuple[str, float, float]]:
    """Give name, items and bytes a month of folded items: a window's worth of each, scaled up."""
    folding = [each for each in series if allowlist.folds(each.name)]
    entries = [entry for entry in allowlist.entries if entry.is_folded]
    if not folding or not entries:
        return
    fold = Fold(allowlist, identity)
    for number, each in enumerate(folding, start=1):
        fold.add_series(number, json.dumps(each.labels).encode())
    span = max(max(entry.every_seconds, entry.quiet_seconds) for entry in entries)
    minutes = span // 60
    for minute in range(2 * minutes + 1):
        time_ms = START_MS + minute * 60_000
        records = [
            RECORD.pack(number, time_ms, _value(each, minute))
            for number, each in enumerate(folding, start=1)
        ]
        fold.take(b"".join(records), time_ms)
    closed = fold.close(START_MS + (4 * span + 3600) * 1000)
    first = spell_time(START_MS + span * 1000)
    last = spell_time(START_MS + 2 * span * 1000)
    assert first
    assert last
    for rendered in closed.lines:
        item = json.loads(rendered)
        if first.decode() <= item["time"] < last.decode():
            scale = MONTH_MINUTES / minutes
            yield (
                item["data"]["baseData"]["metrics"][0]["name"],
                scale,
                scale * billed(rendered).total,
            )


def _value(seen: Seen, minute: int) -> float:
    """Let it move: a counter upwards, a gauge about its value; what is 0, a total or a limit stays."""
    if not seen.value or seen.name.endswith(_STILL):
        return seen.value
    return seen.value + seen.value % 97 * 0.25 + minute * 431.0
