"""Output for people: printable lines, in colour where the terminal and the user allow it.

Rules: no-color.org (NO_COLOR), bixense.com/clicolors (CLICOLOR, CLICOLOR_FORCE). Every text
passes `printable`, so that a name from a sender cannot move the cursor.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from receiver.text import printable

BOLD, RED, GREEN, YELLOW, DIM = "1", "31", "32", "33", "2"
COLORS = {
    "ok": GREEN, "warn": YELLOW, "fail": f"{BOLD};{RED}", "skip": DIM,
    "good": GREEN, "bad": f"{BOLD};{RED}",
}  # fmt: skip
"""The colour of each mark of a finding and each severity of a verdict."""


def wants_color(is_terminal: bool, environment: Mapping[str, str]) -> bool:  # noqa: FBT001 - a fact
    """Whether to colour: NO_COLOR before CLICOLOR_FORCE before the kind of terminal."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("CLICOLOR_FORCE", "0") not in {"", "0"}:
        return True
    return is_terminal and environment.get("CLICOLOR") != "0" and environment.get("TERM") != "dumb"


@dataclass(frozen=True, slots=True)
class Printer:
    """Prints lines for people to `file`; None where the process has no such file."""

    file: TextIO | None
    colored: bool

    @property
    def columns(self) -> int:
        """The terminal's width; 0 where lines go uncut to a file."""
        if self.file is None or not self.file.isatty():
            return 0
        return shutil.get_terminal_size().columns

    def wrapped(self, text: str, indent: int) -> list[str]:
        """Wrap a text to lines that are indented by `indent` columns."""
        room = self.columns - indent
        shown = printable(text)
        return textwrap.wrap(shown, room, break_on_hyphens=False) or [""] if room > 30 else [shown]

    def paint(self, text: str, color: str) -> str:
        """Return printable text in a colour."""
        shown = printable(text)
        return f"\x1b[{color}m{shown}\x1b[0m" if self.colored and color and shown else shown

    def line(self, text: str = "", color: str = "") -> None:
        """Print one line of any text."""
        self.raw(self.paint(text, color))

    def raw(self, text: str) -> None:
        """Print a line unchanged: coloured already, or for a program."""
        if self.file is not None:
            print(text, file=self.file)


def on(file: TextIO | None) -> Printer:
    """Return a printer for a file."""
    terminal = file is not None and file.isatty()
    return Printer(file, wants_color(terminal, os.environ))


def out() -> Printer:
    """Return a printer for the current standard output."""
    return on(sys.stdout)


def err() -> Printer:
    """Return a printer for the current standard error."""
    return on(sys.stderr)


def show_error(problem: str, hint: str = "") -> None:
    """Print an error and its hint on standard error."""
    printer = err()
    printer.raw(f"{printer.paint('error:', COLORS['fail'])} {printable(problem)}")
    for text in hint.splitlines():
        printer.line(f"  {text}")
