"""Queries in KQL over customMetrics: sums of counters, relations of them, gauges. Pure.

In: sources of `receiver.pack.sources`. Out: the text of a query. A mean is always the sum of
what is above the line over the sum of what is below it, never a mean of means: a query is
right at any zoom and split.

What each form costs in accuracy stands beside the functions. Kept to what both Kusto and
DuckDB's translation of KQL run, so that tests can execute every query.
Source: learn.microsoft.com, Kusto query language, and customMetrics' columns.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from receiver.pack.sources import Form, Source

RAW_BIN = "5m"
"""The bins in which a raw counter's growth is read where no bin is asked for."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which rows, and in which bins. `where` are conditions; `bin` empty: one row for all time."""

    where: tuple[str, ...] = ()
    bin: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result: the sum of some counters' growth."""

    name: str
    sources: Sequence[Source]


def quoted(text: str) -> str:
    """Write a string literal."""
    return json.dumps(text, ensure_ascii=False)


def dimension(label: str) -> str:
    """Read a label into a column of its name."""
    plain = label.isidentifier() and label.isascii()
    path = f".{label}" if plain else f"[{quoted(label)}]"
    return f"{label if plain else 'label'} = tostring(customDimensions{path})"


def table(scope: Scope, names: Iterable[str]) -> str:
    """Begin a query: the rows of these names."""
    listed = ", ".join(map(quoted, dict.fromkeys(names)))
    condition = f"name in ({listed})" if "," in listed else f"name == {listed}"
    return f"customMetrics\n| where {' and '.join((*scope.where, condition))}"


def counters(
    scope: Scope, form: Form, columns: Sequence[Column], labels: Sequence[str] = ()
) -> str:
    """Add up what counters grew, by label and bin; for `Form.RATE` how fast, a second.

    TOTAL is exact. RATE knows one moment of each minute. RAW is read between the first samples
    of neighbouring bins; after a reset the highest value before it counts, and what a series
    grew across an empty bin is not seen.
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
    """Say how fast counters grow, a second. The scope needs a bin."""
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
    """Set counters in relation: `above` over `below`, by label and bin."""
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
    """Read a gauge: `columns` are what is wanted of each series' mean (`mean`) and peak (`most`).

    First each series by itself, then all of them: a mean of samples would count the series
    that is scraped more often twice.
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
    """Have a result drawn."""
    return f"{query}\n| render {kind}"


def _bin(scope: Scope, column: str) -> tuple[str, ...]:
    return (f"timestamp = bin({column}, {scope.bin})",) if scope.bin else ()


def _by(columns: Sequence[str]) -> str:
    return f" by {', '.join(columns)}" if columns else ""


def _series(labels: Sequence[str]) -> tuple[str, ...]:
    """Tell series apart: target and labels; those asked for in columns of their own."""
    key = "line = tostring(customDimensions)"
    return ("cloud_RoleName", "cloud_RoleInstance", key, *map(dimension, labels))


def _sum(sources: Sequence[Source], form: Form) -> str:
    """Add sources up, those of one column of the table in one pass."""
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
