"""`top`: the receiver's stages live in a terminal."""

import argparse
import json
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from receiver.cli.fetch import NoAnswer
from receiver.cli.receiver_api import Ask, ask_running
from receiver.cli.screen import Screen, whole_screen
from receiver.cli.terminal import BOLD, COLORS, DIM, Printer, out
from receiver.config.settings import Origin, Settings
from receiver.text import printable, size, span

FILE_COLUMNS = 1000
"""The width without a terminal: wide enough to cut nothing."""
FILE_LINES = 60
METRICS_LEAST = 3
ERRORS_MOST = 3
ROUTES_MOST = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the screen, and its colour."""

    text: str
    color: str = ""


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Show the stages. Raises: NoAnswer, SettingsError."""
    ask = ask_running(given, settings)
    if given.json:
        status, metrics = _ask(ask)
        print(json.dumps({"status": status, "metrics": metrics}, indent=2))
        return _exit_code(status)
    printer = out()
    if given.once or sys.stdout is None or not sys.stdout.isatty():
        status, metrics = _ask(ask)
        for row in to_rows(status, metrics, FILE_LINES, FILE_COLUMNS):
            printer.line(row.text, row.color)
        return _exit_code(status)
    seen = _ask(ask)  # a wrong address is an error before the screen opens
    with whole_screen() as screen:
        return _watch(ask, screen, printer, seen, given.every)


def _watch(
    ask: Ask,
    screen: Screen,
    printer: Printer,
    seen: tuple[dict[str, Any], dict[str, Any]],
    every: float,
) -> int:
    """Refresh until q; without an answer from the receiver, show a notice above the old rows."""
    gone_at, words = 0.0, ""
    while True:
        columns, lines = screen.size
        if gone_at:
            rows = [*_wrapped(_gone(gone_at, words), columns, COLORS["bad"])]
            old = to_rows(*seen, lines - len(rows), columns)
            rows += [Row(row.text, DIM) for row in old]
        else:
            rows = to_rows(*seen, lines, columns)
        screen.show([printer.paint(row.text[:columns], row.color) for row in rows[:lines]])
        if screen.wait(every) in {"q", "Q", "\x1b", "\x04"}:
            return 1 if gone_at else _exit_code(seen[0])
        try:
            seen, gone_at = _ask(ask), 0.0
        except NoAnswer as error:
            gone_at, words = gone_at or time.time(), str(error)


def _ask(ask: Ask) -> tuple[dict[str, Any], dict[str, Any]]:
    status = ask("/api/v1/status", "verdict", "flow", "outbox", "errors")
    return status, ask("/api/v1/metrics?limit=500", "selected")


def _exit_code(status: dict[str, Any]) -> int:
    return int(status["verdict"]["severity"] == "bad")


def _gone(since: float, words: str) -> str:
    moment = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return f"NO ANSWER since {moment}: {words}. The lines below are old."


def to_rows(status: dict[str, Any], metrics: dict[str, Any], room: int, columns: int) -> list[Row]:
    """Return the rows of one screen: at most `room` lines of at most `columns`.

    The verdict is on top and complete: its sentences wrap, tables are cut. The remaining
    lines go to the flow, the errors and the metrics, in this order.
    """
    verdict = status["verdict"]
    rows = [*_wrapped(verdict["line"], columns, COLORS.get(verdict["severity"], BOLD))]
    if verdict["hint"]:
        rows += _wrapped(f"  {verdict['hint']}", columns)
    for line in verdict["also"]:
        rows += _wrapped(f"  also: {line}", columns, COLORS["warn"])
    rows += [Row(""), *_flow(status), *_routes(status.get("routes", []))]
    errors = [
        row
        for error in status["errors"][:ERRORS_MOST]
        for row in _wrapped(f"  {error['count']:,} x {error['where']}: {error['words']}", columns)
    ]
    if errors:
        errors = [Row(""), Row("last errors", BOLD), *errors]
    space = room - len(rows) - len(errors)
    rows += _metrics(metrics["selected"]["rows"], max(METRICS_LEAST, space - 2))
    return [Row(row.text[:columns], row.color) for row in [*rows, *errors][:room]]


def _flow(status: dict[str, Any]) -> Iterator[Row]:
    flow, outbox = status["flow"], status["outbox"]
    seconds = flow["seconds"] or 1.0
    yield Row(f"last {span(flow['seconds'])}, in samples{' and items' if flow.get('folded') else ''}", BOLD)  # fmt: skip
    waits = f"now {outbox['items']:,}, {size(outbox['bytes'])}, oldest {span(outbox['oldest_seconds'])}"  # fmt: skip
    for name, key, words in (
        ("received", "received", f"in {flow['requests']:,} requests"),
        ("- unselected", "unselected", ""),
        ("- dropped", "dropped", ""),
        ("- folded", "folded", ""),
        ("= rendered", "rendered", ""),
        ("+ flushed", "flushed", "items of folded windows"),
        ("+ imported", "imported", "items of another outbox"),
        ("= committed", "committed", ""),
        ("- rejected", "rejected", ""),
        ("- expired", "expired", ""),
        ("- exported", "exported", "items to another outbox"),
        ("- waiting", "waiting", waits),
        ("= accepted", "accepted", ""),
    ):
        count = flow.get(key)
        if count is None or (key in {"folded", "flushed", "rendered"} and not flow.get("folded")):
            continue
        if key in {"imported", "exported"} and not count:
            continue
        by_reason = count if isinstance(count, dict) else {}
        total = sum(by_reason.values()) if isinstance(count, dict) else count
        color = COLORS["warn"] if total and key in {"dropped", "rejected", "expired"} else ""
        yield Row(f"  {name:<14}{total:>12,}  {total / seconds:>10,.1f}/s  {_reasons(by_reason) or words}", color)  # fmt: skip
    if refused := flow.get("refused"):
        yield Row(f"  requests refused: {_reasons(refused)}", COLORS["bad"])


def _routes(routes: list[dict[str, Any]]) -> Iterator[Row]:
    """Return one line a route; if there are too many, routes that do not deliver are first."""
    if not routes:
        return
    yield Row("")
    yield Row(f"  {'route':<16}  {'state':<10}  {'waiting':>9}  {'of its share':>12}  {'oldest':>8}  {'a minute':>10}", BOLD)  # fmt: skip
    shown = routes
    if len(routes) > ROUTES_MOST:
        shown = sorted(routes, key=lambda route: -_trouble(route))[: ROUTES_MOST - 1]
    for route in shown:
        outbox, delivery = route["outbox"], route["delivery"]
        share = f"{outbox['bytes'] / outbox['max_bytes']:.0%}" if outbox["max_bytes"] else "-"
        words = "full: its samples are dropped" if outbox["full"] else ""
        if delivery["failures"]:
            words = "; ".join(filter(None, (words, delivery["reason"])))
        oldest = span(outbox["oldest_seconds"]) if route["pending"] else "-"
        text = f"  {route['name']:<16}  {route['state']:<10}  {route['pending']:>9,}  {share:>12}  {oldest:>8}  {route['per_minute']:>10,.1f}  {words}"
        yield Row(printable(text.rstrip()), ("", COLORS["warn"], COLORS["bad"])[_trouble(route)])
    if len(routes) > len(shown):
        yield Row(f"  and {len(routes) - len(shown)} more", DIM)


def _trouble(route: dict[str, Any]) -> int:
    """Return 2 for a route that drops samples, 1 for one with waiting items and no delivery, else 0."""
    if route["outbox"]["full"]:
        return 2
    is_held = route["state"] == "held" and route["pending"] > 0
    return int(bool(route["delivery"]["failures"]) or is_held)


def _metrics(metrics: list[dict[str, Any]], space: int) -> Iterator[Row]:
    rows = sorted(metrics, key=lambda row: -row["per_minute"])
    yield Row("")
    yield Row(f"  {'a minute':>10}  {'series':>7}  {'values':>22}  metric", BOLD)
    shown = rows if len(rows) <= space else rows[: space - 1]
    for row in shown:
        yield Row(f"  {row['per_minute']:>10,.1f}  {row['series']:>7,}  {values(row):>22}  {row['name']}{_folded(row)}")  # fmt: skip
    if len(rows) > len(shown):
        yield Row(f"  and {len(rows) - len(shown)} more", DIM)


def values(row: dict[str, Any]) -> str:
    """Format the last values of a metric's series: their range, or the value that all share."""
    low, high = row["low"], row["high"]
    if low is None or high is None:
        return "-"
    return _number(low) if low == high else f"{_number(low)} to {_number(high)}"


def _folded(row: dict[str, Any]) -> str:
    """Return a folded metric's kind, and the number of samples in its last item."""
    if row.get("as", "samples") in {"", "samples"}:
        return ""
    count = row.get("last_count")
    return f"  {row['as']}" + (f", last of {count:,}" if count is not None else "")


def _number(value: float) -> str:
    """Format a value: integers exactly, as far as a double holds them, others to six digits."""
    if value == int(value) and abs(value) <= 1 << 53:
        return f"{int(value)}"
    return f"{value:.6g}"


def _wrapped(sentence: str, columns: int, color: str = "") -> Iterator[Row]:
    indent = " " * (len(sentence) - len(sentence.lstrip()))
    lines: Iterable[str] = textwrap.wrap(printable(sentence.strip()), columns, initial_indent=indent, subsequent_indent="    ")  # fmt: skip
    return (Row(line, color) for line in lines)


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
