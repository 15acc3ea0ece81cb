"""`top`: the stages live in a terminal."""

import argparse
import json
import shutil
import sys
import time
from typing import Any

from receiver.commands import Verbs, add_json, add_verb
from receiver.commands.ask import get_json, receiver_url
from receiver.settings import Origin, Settings
from receiver.spelling import size, span

CLEAR = "\x1b[H\x1b[2J"


def add(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    """Make the verb."""
    parser = add_verb(
        verbs,
        "top",
        "watch the stages in a terminal",
        "Watch a running receiver: the verdict, the flow of the last minute, the busiest metrics and\n"
        "the last errors. Ends with Ctrl-C; without a terminal it shows one moment and ends.",
        common,
    )
    parser.add_argument("--receiver", metavar="URL", help="default: where this configuration listens")  # fmt: skip
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="how often to look (default: 2)")  # fmt: skip
    parser.add_argument("--once", action="store_true", help="show one moment and end")
    add_json(parser, "one moment, as JSON")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Show it."""
    url = receiver_url(given.receiver, settings)
    live = sys.stdout.isatty() and not given.once and not given.json
    while True:
        status, metrics = (
            get_json(f"{url}/api/v1/status"),
            get_json(f"{url}/api/v1/metrics?limit=500"),
        )
        if given.json:
            print(json.dumps({"status": status, "metrics": metrics}, indent=2))
        else:
            columns, lines = shutil.get_terminal_size()
            shown = "\n".join(line[:columns] for line in to_lines(status, metrics, lines - 1 if live else 60))  # fmt: skip
            print(f"{CLEAR if live else ''}{shown}", flush=True)
        if not live:
            return int(status["verdict"]["severity"] == "bad")
        time.sleep(max(0.2, given.every))


def to_lines(status: dict[str, Any], metrics: dict[str, Any], room: int) -> list[str]:
    """Write one screen, at most `room` lines."""
    flow, outbox, verdict = status["flow"], status["outbox"], status["verdict"]
    dropped, rejected = sum(flow["dropped"].values()), sum(flow["rejected"].values())
    seconds = flow["seconds"] or 1.0
    lines = [verdict["line"], f"  {verdict['hint']}" if verdict["hint"] else ""]
    lines += [f"  also: {each}" for each in verdict["also"]]
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
    space = max(3, room - len(lines) - len(errors) - 3)
    lines += [_row(row) for row in rows[:space]]
    if len(rows) > space:
        lines.append(f"  and {len(rows) - space} more")
    return [*lines, "", *errors]


def _row(row: dict[str, Any]) -> str:
    last = "-" if row["last_value"] is None else f"{row['last_value']:.6g}"
    return f"  {row['per_minute']:>10,.1f}  {row['series']:>7,}  {last:>14}  {row['name']}"


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())
