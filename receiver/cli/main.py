"""The command line's entry point.

Exit codes: 0 done, 1 failed, 2 an argument or a setting cannot be used.
The verbs are in `receiver.cli.verbs`. A verb's module is loaded only when it runs, so that
--help and --version start fast.
"""

import errno
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

from receiver import __version__
from receiver.cli import help_text
from receiver.cli.parser import HelpAsked, Mistyped, VersionAsked, read
from receiver.cli.terminal import err, out, show_error
from receiver.cli.verbs import PROGRAM, Verb
from receiver.config.settings import Settings, resolve
from receiver.errors import ReceiverError, SettingsError

_PASSWORD = re.compile(r"https?://[^/@\s]*:[^/@\s]*@")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader closed the pipe: head, or a pager that was quit
        _drop_output()
        return 1
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _drop_output()
        show_error(f"standard output: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        verb, given = read(arguments)
    except HelpAsked as asked:
        _show_help(asked.verb)
        return 0
    except VersionAsked:
        print(f"{PROGRAM} {__version__}")
        return 0
    except Mistyped as error:
        show_error(str(error), f"usage: {error.usage}\nFor more: {error.help}")
        return 2
    if any(_PASSWORD.search(text) for text in arguments):
        err().line("warning: other users can read a password in a command line (ps): put the address into the environment (RECEIVER_URL), or user:password into a file (--user-file)")  # fmt: skip
    as_json = getattr(given, "json", False)
    try:
        settings, origins = resolve(vars(given), os.environ)
        if verb.logs:
            _start_logging(settings)
        return int(import_module(verb.module).run(given, settings, origins))
    except SettingsError as error:
        return _fail(error.problems, "", 2, as_json=as_json)
    except ReceiverError as error:
        return _fail([str(error)], error.hint, 1, as_json=as_json)


def _start_logging(settings: Settings) -> None:
    logs = import_module("receiver.logs")  # loads structlog, which --help does not need
    logs.configure(settings.log_level, settings.log_format, colors=err().colored)


def _show_help(verb: Verb | None) -> None:
    printer = out()
    width = help_text.WIDTH
    if printer.file and printer.file.isatty():
        width = min(width, os.get_terminal_size(printer.file.fileno()).columns)
    paint = printer.paint if printer.colored else help_text.plain
    text = help_text.of_verb(verb, paint, width) if verb else help_text.overview(paint, width)
    printer.raw(text)


def _fail(problems: Sequence[str], hint: str, code: int, *, as_json: bool) -> int:
    """Print the errors on standard error, and as JSON for a program that reads it."""
    for problem in problems:
        show_error(problem, hint)
    if as_json:
        import json  # noqa: PLC0415 - start of --help and --version

        print(json.dumps({"errors": problems}))
    return code


def _drop_output() -> None:
    """Redirect a standard output that accepts no more data to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
