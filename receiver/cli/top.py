"""`top`: the stages live in a terminal."""

import argparse
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable
from typing import Any

from receiver.cli.receiver_api import ask_running
from receiver.config.settings import Origin, Settings
from receiver.text import size, span

CLEAR = "\x1b[H\x1b[2J"
FILE_COLUMNS = 1000
"""Where no terminal sets a width: nothing is cut that somebody may look for."""


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Show it."""
    ask = ask_running(given.receiver, settings)
    live = sys.stdout.isatty() and not given.once and not given.json
    while True:
        status = ask("/api/v1/status", "verdict", "flow", "outbox", "errors")
        metrics = ask("/api/v1/metrics?limit=500", "selected")
        if given.json:
            print(json.dumps({"status": status, "metrics": metrics}, indent=2))
        else:
            columns, lines = shutil.get_terminal_size() if live else (FILE_COLUMNS, 61)
            shown = "\n".join(to_lines(status, metrics, lines - 1, columns))
            print(f"{CLEAR if live else ''}{shown}", flush=True)
        if not live:
            return int(status["verdict"]["severity"] == "bad")
        time.sleep(max(0.2, given.every))


def to_lines(status: dict[str, Any], metrics: dict[str, Any], room: int, columns: int) -> list[str]:
    """Write one screen of at most `columns`: sentences go on in the next line, tables are cut.

    What the sentences leave of `room` lines the metrics get, but never fewer than three.
    """
    flow, outbox, verdict = status["flow"], status["outbox"], status["verdict"]
    dropped, rejected = sum(flow["dropped"].values()), sum(flow["rejected"].values())
    seconds = flow["seconds"] or 1.0
    said = [verdict["line"], f"  {verdict['hint']}" if verdict["hint"] else ""]
    said += [f"  also: {each}" for each in verdict["also"]]
    lines = _wrapped(said, columns)
    lines += [f"last {span(flow['seconds'])}, in samples", ""]
    lines += [
        f"  {name:<14}{count:>12,}  {count / seconds:>10,.1f}/s  {words}"
        for name, count, words in (
            ("received", flow["received"], f"in {flow['requests']} requests"),
            ("- unselected", flow["unselected"], ""),
            ("- dropped", dropped, _reasons(flow["dropped"])),
            ("= committed", flow["committed"], ""),
            ("- rejected", rejected, _reasons(flow["rejected"])),
            ("- expired", flow["expired"], ""),
            ("- waiting", flow["waiting"], f"now {outbox['items']:,}, {size(outbox['bytes'])}, oldest {span(outbox['oldest_seconds'])}"),
            ("= accepted", flow["accepted"], ""),
        )
    ]  # fmt: skip
    rows = sorted(metrics["selected"]["rows"], key=lambda row: -row["per_minute"])
    lines += ["", f"  {'a minute':>10}  {'series':>7}  {'last value':>14}  metric"]
    errors = [f"  {each['count']:,} x {each['where']}: {each['words']}" for each in status["errors"][:3]]  # fmt: skip
    errors = _wrapped(errors, columns)
    space = max(3, room - len(lines) - len(errors) - 3)
    lines += [_row(row) for row in rows[:space]]
    if len(rows) > space:
        lines.append(f"  and {len(rows) - space} more")
    return [*(line[:columns] for line in lines), "", *errors]


def _wrapped(sentences: Iterable[str], columns: int) -> list[str]:
    return [
        part
        for each in sentences
        for part in textwrap.wrap(each, columns, subsequent_indent="    ") or [""]
    ]


def _row(row: dict[str, Any]) -> str:
    last = "-" if row["last_value"] is None else f"{row['last_value']:.6g}"
    return f"  {row['per_minute']:>10,.1f}  {row['series']:>7,}  {last:>14}  {row['name']}"


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())
