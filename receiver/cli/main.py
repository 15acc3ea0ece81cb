"""The command line: what a person types, and what it answers.

Exit codes: 0 done, 1 it could not be done, 2 something that was set cannot be used.
What each verb does is in `receiver.cli.verbs`.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from receiver import __version__, logs
from receiver.cli import (
    check,
    dead_letters,
    doctor,
    explain,
    relabel,
    run,
    sandbox,
    suggest,
    tap,
    top,
)
from receiver.config.settings import SETTINGS, resolve
from receiver.errors import ReceiverError, SettingsError

VERBS = (run, sandbox, check, doctor, explain, suggest, relabel, tap, top, dead_letters)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    parser = make_parser()
    given = parser.parse_args(arguments)
    logs.configure()
    try:
        settings, origins = resolve(vars(given), os.environ)
        return int(given.run(given, settings, origins))
    except SettingsError as error:
        return _tell(error.problems, 2, as_json=getattr(given, "json", False))
    except ReceiverError as error:
        return _tell([str(error)], 1, as_json=getattr(given, "json", False))
    except (KeyboardInterrupt, BrokenPipeError):
        return 1


def _tell(problems: Sequence[str], code: int, *, as_json: bool) -> int:
    """Say what keeps a verb from its work: to people, and to a program that waits for JSON."""
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if as_json:
        print(json.dumps({"errors": problems}))
    return code


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all verbs, their flags from the one list of settings."""
    parser = argparse.ArgumentParser(
        prog="appinsights-receiver",
        description="Takes Prometheus' remote_write and delivers it to Azure Application Insights.",
        epilog="Every flag has an environment variable; a flag wins. README.md lists them.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        verb.add(verbs, _make_common(getattr(verb, "SHOWN", ())))
    return parser


def _make_common(shown: Sequence[str]) -> argparse.ArgumentParser:
    """Make the flags that every verb takes; help shows those that matter to it, or all."""
    common = argparse.ArgumentParser(add_help=False)
    which = "those that matter here; all others of `run` are taken too" if shown else "README.md explains each"  # fmt: skip
    group = common.add_argument_group("settings", which)
    for setting in SETTINGS:
        if setting.flag:
            default = f" (default: {setting.default})" if setting.default else ""
            text = f"{setting.meaning}{default} [{setting.environment}]".replace("%", "%%")
            if shown and setting.name not in shown:
                text = argparse.SUPPRESS
            group.add_argument(setting.flag, dest=setting.name, metavar="…", help=text)
    return common
