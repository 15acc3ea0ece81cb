"""The forecast of a metrics.json's cost. Pure.

In: current series with their values, and a metrics.json. Out: for each entry the items and
billed bytes of a month. Items are made, not guessed: raw items are rendered as the receiver
renders them, folded items come from the fold itself, over some windows of samples.

Unknown properties of a series are assumed at the higher cost: a counter above 0 and a gauge
change all the time; a counter of 0, a total and a limit never change. A series without a number
now (an idle quantile) sends nothing.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from receiver.azure.billing import billed
from receiver.azure.envelope import Identity, format_time, line, make_template
from receiver.fold.fold import Fold
from receiver.intake.entries import Entry
from receiver.intake.metrics_json import Allowlist
from receiver.outbox.gzip_body import all_lines
from receiver.pack.forms import RATE, counter_of, folded_form, raw_form
from receiver.rows import RECORD
from receiver.triton import METRICS

MONTH_MINUTES = 43_800
"""A twelfth of a year."""
RULE_SECONDS = 60.0
SCRAPE_SECONDS = 15.0
"""The assumed sample intervals: of a rule, of a scrape."""
START_MS = 1_800_000_000_000
"""Any full hour."""
_STILL = ("_total_bytes", "_limit")
_RATED = frozenset(metric.name for metric in METRICS if metric.rated)


@dataclass(frozen=True, slots=True)
class Seen:
    """A series: its labels, the name under `__name__`, and its value, NaN for none.

    `seconds` is its sample interval, 0 if unknown; `moves` is whether its value changes, None if
    unknown.
    """

    labels: Mapping[str, str]
    value: float
    seconds: float = 0.0
    moves: bool | None = None

    @property
    def name(self) -> str:
        """Its name."""
        return self.labels["__name__"]

    @property
    def has_number(self) -> bool:
        """Whether the series has a value that can be sent."""
        return self.value == self.value


@dataclass(frozen=True, slots=True)
class Line:
    """The forecast of one entry for a month, without the price."""

    entry: str
    series: int
    items: float
    billed_bytes: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of a metrics.json for a month."""

    lines: Sequence[Line]

    @property
    def series(self) -> int:
        """Series of all entries; a series in two entries counts twice."""
        return sum(line.series for line in self.lines)

    @property
    def items(self) -> float:
        """Items of all entries."""
        return sum(line.items for line in self.lines)

    @property
    def billed_bytes(self) -> float:
        """Billed bytes of all entries."""
        return sum(line.billed_bytes for line in self.lines)

    def times(self, factor: float) -> "Forecast":
        """Return the forecast for `factor` times as many series."""
        return Forecast([
            replace(
                line,
                series=round(line.series * factor),
                items=line.items * factor,
                billed_bytes=line.billed_bytes * factor,
            )
            for line in self.lines
        ])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """Forecasts of one metrics.json unchanged, and of the same metrics folded and raw."""

    yours: Forecast
    folded: Forecast
    raw: Forecast

    def times(self, factor: float) -> "Comparison":
        """Return the forecasts for `factor` times as many series."""
        return Comparison(*(form.times(factor) for form in (self.yours, self.folded, self.raw)))


def with_rates(series: Sequence[Seen]) -> list[Seen]:
    """Add the `_irate` series that recording rules make of these series."""
    made = [
        replace(
            row,
            labels={**row.labels, "__name__": f"{name}{RATE}"},
            value=12.34 if row.value and row.has_number else row.value,
            seconds=0.0,
        )
        for row in series
        for name in _rated(row)
    ]
    return [*series, *made]


def _rated(seen: Seen) -> Iterator[str]:
    """Yield the names whose rate rules record from a series: its own, and a summary's mean."""
    if "quantile" in seen.labels:
        return
    summary, _, part = seen.name.rpartition("_")
    if seen.name in _RATED:
        yield seen.name
    elif summary in _RATED and part in {"sum", "count"}:
        yield seen.name
        if part == "count":
            yield summary


def with_counters(series: Sequence[Seen]) -> list[Seen]:
    """Add the missing counters of `_irate` series."""
    there = {row.name for row in series}
    made = [
        replace(
            row,
            labels={**row.labels, "__name__": counter_of(row.name)},
            value=12_345_678.0 if row.value and row.has_number else row.value,
            seconds=0.0,
        )
        for row in series
        if row.name.endswith(RATE) and counter_of(row.name) not in there
    ]
    return [*series, *made]


def compare(
    allowlist: Allowlist,
    series: Sequence[Seen],
    identity: Identity,
    scrape_seconds: float = SCRAPE_SECONDS,
    factor: float = 1.0,
) -> Comparison:
    """Forecast a metrics.json, and its metrics folded and raw."""
    more = with_counters(series)
    yours = forecast(allowlist, series, identity, scrape_seconds, factor)

    def other(form: Allowlist, on: Sequence[Seen]) -> Forecast:
        if form.entries == allowlist.entries:
            return yours
        return forecast(form, on, identity, scrape_seconds, factor)

    folded = folded_form(allowlist, {row.name for row in more})
    return Comparison(yours, other(folded, more), other(raw_form(allowlist), series))


def forecast_by(
    group_of: Callable[[Seen], str],
    allowlist: Allowlist,
    series: Sequence[Seen],
    identity: Identity,
    scrape_seconds: float = SCRAPE_SECONDS,
    factor: float = 1.0,
) -> dict[str, Forecast]:
    """Forecast each group of series separately, such as a route's or a target's.

    Series of different groups are never joined. Groups are in the order of their first series.
    """
    groups: dict[str, list[Seen]] = {}
    for row in series:
        groups.setdefault(group_of(row), []).append(row)
    return {
        name: forecast(allowlist, members, identity, scrape_seconds, factor)
        for name, members in groups.items()
    }


def together(forecasts: Sequence[Forecast]) -> Forecast:
    """Add up forecasts of one metrics.json, entry by entry."""
    return Forecast([
        replace(
            lines[0],
            series=sum(line.series for line in lines),
            items=sum(line.items for line in lines),
            billed_bytes=sum(line.billed_bytes for line in lines),
        )
        for lines in zip(*(forecast.lines for forecast in forecasts), strict=True)
    ])  # fmt: skip


def forecast(
    allowlist: Allowlist,
    series: Sequence[Seen],
    identity: Identity,
    scrape_seconds: float = SCRAPE_SECONDS,
    factor: float = 1.0,
) -> Forecast:
    """Forecast a month, by entry.

    `scrape_seconds` is the interval of series with an unknown one. `factor` is the ratio of a
    resource's bill to the estimate.
    """
    entries = list(allowlist.entries)
    series_of = Counter[int]()
    items, sizes = defaultdict[int, float](float), defaultdict[int, float](float)
    by_name: dict[str, int] = {}
    for row in series:
        for entry in allowlist.matches(row.name):
            number = entries.index(entry)
            series_of[number] += 1
            if entry.is_folded:
                by_name[entry.item_name(row.name)] = number
            elif row.has_number:
                pace = MONTH_MINUTES * 60 / _seconds(row, scrape_seconds)
                items[number] += pace
                sizes[number] += pace * _raw_bytes(row, entry, identity)
    for name, count, size in _folded(allowlist, series, identity):
        items[by_name[name]] += count
        sizes[by_name[name]] += size
    return Forecast([
        Line(entry.title(), series_of[number], items[number], sizes[number] * factor)
        for number, entry in enumerate(entries)
    ])  # fmt: skip


def _seconds(seen: Seen, scrape_seconds: float) -> float:
    return seen.seconds or (RULE_SECONDS if seen.name.endswith(RATE) else scrape_seconds)


def _raw_bytes(seen: Seen, entry: Entry, identity: Identity) -> int:
    time = format_time(START_MS)
    assert time
    kept = {label: value for label, value in seen.labels.items() if entry.keeps(label)}
    labels = {**kept, "__name__": entry.item_name(seen.name)}
    template = make_template(labels, identity)
    return billed(line(time, template.middle, json.dumps(seen.value).encode())).total


def _folded(
    allowlist: Allowlist, series: Sequence[Seen], identity: Identity
) -> Iterator[tuple[str, float, float]]:
    """Yield name, items and bytes a month of folded items: some windows, scaled up.

    Entries with the same window have a fold of their own, so that an hour's window does not need
    an hour of samples for windows of a minute.
    """
    for span in sorted({_span(entry) for entry in allowlist.entries if entry.is_folded}):
        feeding = [row for row in series if row.has_number and _feeds(row.name, allowlist, span)]
        yield from _of_span(allowlist, feeding, identity, span)


def _feeds(name: str, allowlist: Allowlist, span: int) -> bool:
    of_span = [entry for entry in allowlist.entries if entry.is_folded and _span(entry) == span]
    return any(name in entry.per for entry in of_span) or any(
        entry.is_folded and _span(entry) == span for entry in allowlist.matches(name)
    )


def _span(entry: Entry) -> int:
    return max(entry.every_seconds, entry.quiet_seconds)


def _of_span(
    allowlist: Allowlist, series: Sequence[Seen], identity: Identity, span: int
) -> Iterator[tuple[str, float, float]]:
    if not series:
        return
    counted = {
        entry.item_name(row.name)
        for row in series
        for entry in allowlist.matches(row.name)
        if entry.is_folded and _span(entry) == span
    }
    fold = Fold(allowlist, identity)
    for number, row in enumerate(series, start=1):
        fold.add_series(number, json.dumps(row.labels).encode())
    minutes = span // 60
    for minute in range(2 * minutes + 1):
        time_ms = START_MS + minute * 60_000
        records = [
            RECORD.pack(number, time_ms, _value(row, minute))
            for number, row in enumerate(series, start=1)
        ]
        fold.take(b"".join(records), time_ms)
    closed = fold.close(START_MS + (4 * span + 3600) * 1000)
    first = format_time(START_MS + span * 1000)
    last = format_time(START_MS + 2 * span * 1000)
    assert first
    assert last
    for rendered in all_lines(closed):
        item = json.loads(rendered)
        name = item["data"]["baseData"]["metrics"][0]["name"]
        if name in counted and first.decode() <= item["time"] < last.decode():
            scale = MONTH_MINUTES / minutes
            yield name, scale, scale * billed(rendered).total


def _value(seen: Seen, minute: int) -> float:
    """Simulate a value: a counter rises, a gauge varies; 0, a total and a limit stay."""
    moves = seen.moves
    if moves is None:
        moves = bool(seen.value) and not seen.name.endswith(_STILL)
    return seen.value + (seen.value % 97 * 0.25 + minute * 431.0 if moves else 0.0)
