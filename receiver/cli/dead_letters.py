"""`dead-letters`: show the items that Application Insights rejected permanently."""

import argparse
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from receiver.azure.masking import mask_item
from receiver.cli.fetch import NoAnswer
from receiver.cli.receiver_api import ask_running
from receiver.cli.rejected_items import RejectedItem, from_json, read_dead_letters
from receiver.cli.terminal import BOLD, DIM, Printer, out
from receiver.config.settings import Origin, Settings
from receiver.errors import OutboxError
from receiver.outbox.dead_letters import KEPT


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Show the rejected items. Raises: OutboxError, NoAnswer, SettingsError."""
    letters, total = _read(given, settings)
    if given.json:
        for letter in letters:
            print(json.dumps(letter.to_json()))
        return 0
    printer = out()
    if not letters:
        printer.line("Nothing was rejected.")
    elif given.all:
        for letter in letters:
            _show_item(printer, letter)
    else:
        _show_groups(printer, letters)
    if total > len(letters):
        printer.line(f"{total - len(letters)} older ones: --limit {total}", DIM)
    return 0


def _read(given: argparse.Namespace, settings: Settings) -> tuple[list[RejectedItem], int]:
    """Ask the running receiver; where none answers, read its outbox."""
    try:
        document = ask_running(given, settings)(f"/api/v1/dead-letters?limit={KEPT}", "items")
        letters = [from_json(item) for item in document["items"]]
    except NoAnswer:  # also a receiver whose credentials are not available here
        if given.receiver:
            raise
        letters = _of_directory(settings.outbox_dir)
    return letters[: given.limit], len(letters)


def _of_directory(directory: Path) -> list[RejectedItem]:
    try:
        return read_dead_letters(directory)
    except (OSError, sqlite3.Error) as error:
        raise OutboxError(f"no receiver answers, and no outbox can be read in {directory}: {error}") from error  # fmt: skip


def _show_groups(printer: Printer, letters: Sequence[RejectedItem]) -> None:
    """Show one item of each kind of rejection, the most frequent kind first."""
    groups: dict[tuple[int, str, str], list[RejectedItem]] = {}
    for letter in letters:
        groups.setdefault((letter.status, letter.message, letter.route), []).append(letter)
    for (status, message, route), alike in sorted(groups.items(), key=lambda group: -len(group[1])):
        times = sorted(letter.time_text for letter in alike)
        span = times[0] if times[0] == times[-1] else f"{times[0]} to {times[-1]}"
        printer.line(f"{len(alike):,} x {status} {message}", BOLD)
        of_route = f"; route {route}" if route else ""
        printer.line(f"  {span}; reason {alike[0].reason}{of_route}")
        printer.line(f"  {alike[0].hint}")
        printer.line(f"  {mask_item(alike[0].item)}", DIM)
    if len(letters) > len(groups):
        printer.line("One item of each kind; --all shows every item.", DIM)


def _show_item(printer: Printer, letter: RejectedItem) -> None:
    of_route = f"  (route {letter.route})" if letter.route else ""
    printer.line(f"{letter.time_text}  {letter.status} {letter.message}{of_route}", BOLD)
    printer.line(f"  {mask_item(letter.item)}", DIM)
    printer.line(f"  {letter.reason}: {letter.hint}")
