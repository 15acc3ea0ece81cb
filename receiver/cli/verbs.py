"""What the command line can do: a file for each verb.

Each has `add`, which makes its parser and says which function runs it; `receiver.cli.main`
reads the settings and calls that function with the arguments given. Exit codes: 0 all
is well, 1 something is wrong or could not be done, 2 a setting cannot be used.
"""

import argparse
from typing import Any

Verbs = Any
"""argparse's subparsers, which have no public type."""

EXIT_CODES = "Exit codes: 0 all is well, 1 something is wrong or could not be done, 2 a setting cannot be used."


def add_verb(
    verbs: Verbs,
    name: str,
    summary: str,
    description: str,
    *parents: argparse.ArgumentParser,
    example: str = "",
    operands: str = "",
    exits: str = EXIT_CODES,
) -> argparse.ArgumentParser:
    """Make the parser of one verb; its help ends in an example and its exit codes."""
    epilog = f"{example}\n\n{exits}" if example else exits
    made: argparse.ArgumentParser = verbs.add_parser(
        name,
        parents=list(parents),
        help=summary,
        description=description,
        epilog=epilog,
        usage=f"appinsights-receiver {name} {operands} [OPTION …]".replace("  ", " "),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return made


def add_json(parser: argparse.ArgumentParser, text: str = "answer in JSON") -> None:
    """Let a verb answer a program."""
    parser.add_argument("--json", action="store_true", help=text)
