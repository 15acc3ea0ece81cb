"""Queries in KQL over customMetrics: sums of counters, ratios of them, gauges. Pure.

In: sources of `receiver.pack.sources`. Out: the text of a query. A mean is always the sum of
the numerators over the sum of the denominators, never a mean of means: a query is correct
at any zoom and split.

The functions state the accuracy of each form. Only KQL that both Kusto and DuckDB's
translation of it can run is used, so that tests execute every query.
Source: learn.microsoft.com, Kusto query language, and customMetrics' columns.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from receiver.pack.sources import Form, Source

RAW_BIN = "5m"
"""The bins for a raw counter's growth where the scope has none."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows and bins of a query. `where` are conditions; an empty `bin` gives one row for all time."""

    where: tuple[str, ...] = ()
    bin: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result: the sum of some counters' growth."""

    name: str
    sources: Sequence[Source]


def quoted(text: str) -> str:
    """Return a string literal."""
    return json.dumps(text, ensure_ascii=False)


def dimension(label: str) -> str:
    """Return the expression that extracts a label into a column of the same name."""
    plain = label.isidentifier() and label.isascii()
    path = f".{label}" if plain else f"[{quoted(label)}]"
    return f"{label if plain else 'label'} = tostring(customDimensions{path})"


def table(scope: Scope, names: Iterable[str]) -> str:
    """Return the start of a query: the rows of these names."""
    listed = ", ".join(map(quoted, dict.fromkeys(names)))
    condition = f"name in ({listed})" if "," in listed else f"name == {listed}"
    return f"customMetrics\n| where {' and '.join((*scope.where, condition))}"


def counters(
    scope: Scope, form: Form, columns: Sequence[Column], labels: Sequence[str] = ()
) -> str:
    """Sum the growth of counters, by label and bin; for `Form.RATE` their rate a second.

    TOTAL is exact. RATE samples one moment of each minute. RAW compares the first samples of
    neighbouring bins; after a reset it counts from the highest value before, and growth
    across an empty bin is lost.
    """
    names = [source.item for column in columns for source in column.sources]
    by: Sequence[str]
    if form is Form.TOTAL:
        before = table(scope, names)
        by = (*_bin(scope, "timestamp"), *map(dimension, labels))
    elif form is Form.RATE:
        before, by = _rates(scope, names, labels)
    else:
        before, by = _growth(scope, names, labels)
    sums = ", ".join(f"{column.name} = {_sum(column.sources, form)}" for column in columns)
    return f"{before}\n| summarize {sums}{_by(by)}"


def per_second(
    scope: Scope, form: Form, columns: Sequence[Column], labels: Sequence[str] = ()
) -> str:
    """Return the rate of counters a second. The scope needs a bin."""
    query = counters(scope, form, columns, labels)
    if form is Form.RATE:
        return query
    rates = ", ".join(f"{column.name} = {column.name} / ({scope.bin} / 1s)" for column in columns)
    return f"{query}\n| extend {rates}"


def relation(
    scope: Scope,
    form: Form,
    above: Column,
    below: Column,
    result: str,
    labels: Sequence[str] = (),
    scale: str = "",
) -> str:
    """Divide sums of counters: `above` over `below`, by label and bin."""
    kept = ", ".join((*(("timestamp",) if scope.bin else ()), *labels))
    shown = f"{kept}, " if kept else ""
    return (
        f"{counters(scope, form, [above, below], labels)}\n"
        f"| where {below.name} > 0\n"
        f"| project {shown}{result} = todouble({above.name}) / {below.name}{scale}"
    )


def gauge(
    scope: Scope, source: Source, columns: Mapping[str, str], labels: Sequence[str] = ()
) -> str:
    """Aggregate a gauge: `columns` are expressions of each series' mean (`mean`) and peak (`most`).

    Each series is aggregated first, then all of them: a plain mean of samples would give
    more weight to a series that is scraped more often.
    """
    series = _series(labels)
    by = (*_bin(scope, "timestamp"), *series)
    after = (*(("timestamp",) if scope.bin else ()), *labels)
    wanted = ", ".join(f"{name} = {how}" for name, how in columns.items())
    return (
        f"{table(scope, [source.item])}\n"
        f"| summarize mean = sum(valueSum) / sum(valueCount), most = max(valueMax){_by(by)}\n"
        f"| summarize {wanted}{_by(after)}"
    )


def chart(query: str, kind: str = "timechart") -> str:
    """Append the rendering of a chart."""
    return f"{query}\n| render {kind}"


def _bin(scope: Scope, column: str) -> tuple[str, ...]:
    return (f"timestamp = bin({column}, {scope.bin})",) if scope.bin else ()


def _by(columns: Sequence[str]) -> str:
    return f" by {', '.join(columns)}" if columns else ""


def _series(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that identify a series, and one column for each of these labels."""
    key = "line = tostring(customDimensions)"
    return ("cloud_RoleName", "cloud_RoleInstance", key, *map(dimension, labels))


def _sum(sources: Sequence[Source], form: Form) -> str:
    """Return the sum of sources, with one sumif for each column of the table."""
    by_column: dict[str, list[str]] = {}
    for source in sources:
        column = {Form.TOTAL: source.column, Form.RATE: "rate", Form.RAW: "grown"}[form]
        by_column.setdefault(column, []).append(source.item)
    parts = []
    for column, items in by_column.items():
        listed = ", ".join(map(quoted, items))
        condition = f"name in ({listed})" if len(items) > 1 else f"name == {listed}"
        parts.append(f"sumif({column}, {condition})")
    return " + ".join(parts)


def _rates(scope: Scope, names: Sequence[str], labels: Sequence[str]) -> tuple[str, Sequence[str]]:
    by = (*_bin(scope, "timestamp"), "name", *_series(labels))
    text = f"{table(scope, names)}\n| summarize rate = sum(valueSum) / sum(valueCount){_by(by)}"
    return text, (*(("timestamp",) if scope.bin else ()), *labels)


def _growth(scope: Scope, names: Sequence[str], labels: Sequence[str]) -> tuple[str, Sequence[str]]:
    bin_ = scope.bin or RAW_BIN
    shown = ", ".join(("cloud_RoleName", "cloud_RoleInstance", "name", "line", *labels))
    by = ("at = bin(timestamp, " + bin_ + ")", "name", *_series(labels))
    text = f"""\
let steps = {table(scope, names)}
| summarize arg_min(timestamp, value), highest = max(value){_by(by)};
let growth = steps
| project at = at - {bin_}, later = value, cloud_RoleName, cloud_RoleInstance, name, line
| join kind=inner (steps | project at, earlier = value, highest, {shown}) on at, cloud_RoleName, cloud_RoleInstance, name, line
| project timestamp = at, grown = iff(later >= earlier, later - earlier, highest - earlier + later), name{"".join(f", {label}" for label in labels)};
growth"""
    return text, (*(("timestamp",) if scope.bin else ()), *labels)
