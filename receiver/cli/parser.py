"""The parser of the command line, driven by the table of verbs.

In: the arguments. Out: the verb and its values, or a `Mistyped` with the mistake, the
nearest right spelling, and the verb's usage.
"""

import argparse
import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from receiver.cli.verbs import PROGRAM, VERBS, Flag, Verb, find
from receiver.config.settings import SETTINGS

_SETTINGS = frozenset(setting.name for setting in SETTINGS)
"""Names that `receiver.config.settings.resolve` reads, from flags and from variables."""


class Mistyped(Exception):
    """The command line cannot be read; `usage` is that of the verb concerned."""

    def __init__(self, problem: str, verb: Verb | None) -> None:
        super().__init__(problem)
        self.usage = verb.usage if verb else f"{PROGRAM} VERB [OPTION …]"
        self.help = f"{PROGRAM} {verb.name} --help" if verb else f"{PROGRAM} --help"


class HelpAsked(Exception):
    """A request for the help of a verb, or of the program where `verb` is None."""

    def __init__(self, verb: Verb | None) -> None:
        super().__init__()
        self.verb = verb


class VersionAsked(Exception):
    """A request for the version."""


def read(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[Verb, argparse.Namespace]:
    """Find the verb and read its flags. Raises: Mistyped, HelpAsked, VersionAsked."""
    if not arguments:
        raise Mistyped("the verb is missing", None)
    first, rest = arguments[0], arguments[1:]
    if first in {"-h", "--help"} or (first == "help" and not rest):
        raise HelpAsked(None)
    if first in {"-V", "--version"}:
        raise VersionAsked
    if first.startswith("-"):
        raise Mistyped(f"{first.partition('=')[0]} precedes the verb; flags follow the verb", None)
    if first == "help":
        raise HelpAsked(_verb(rest[0]))
    verb = _verb(first)
    return verb, _read_flags(verb, rest, environment)


def flags_of(verb: Verb) -> list[str]:
    """List all flags that a verb takes, settings included."""
    own = [flag.name for flag in verb.flags]
    settings = [setting.flag for setting in SETTINGS if setting.flag and _takes_settings(verb)]
    return ["--help", *own, *(name for name in settings if name not in own)]


def _takes_settings(verb: Verb) -> bool:
    return verb.settings != ()


def _verb(name: str) -> Verb:
    verb = find(name)
    if verb is None:
        problem = f'no verb "{name}"{_did_you_mean(name, [known.name for known in VERBS])}'
        raise Mistyped(problem, None)
    return verb


def _read_flags(
    verb: Verb, arguments: Sequence[str], environment: Mapping[str, str]
) -> argparse.Namespace:
    if "-h" in arguments or "--help" in arguments:  # even if other arguments are wrong
        raise HelpAsked(verb)
    given, unknown = _parser(verb).parse_known_args(arguments)
    if unknown:
        name = unknown[0].partition("=")[0]
        what = f"{name} is not a flag of {verb.name}" if name.startswith("-") else f'"{name}" is an unexpected operand'  # fmt: skip
        raise Mistyped(what + _did_you_mean(name, flags_of(verb)), verb)
    for flag in verb.flags:
        if flag.takes:
            _read_value(verb, flag, given, environment)
    for operand in verb.operands:
        value = getattr(given, operand.name.lower())
        if operand.choices and value not in operand.choices:
            raise Mistyped(f'no {operand.name.lower()} "{value}"; there are {", ".join(operand.choices)}', verb)  # fmt: skip
    return given


def _parser(verb: Verb) -> "_Parser":
    parser = _Parser(verb)
    for operand in verb.operands:
        nargs = None if operand.default is None else "?"
        parser.add_argument(operand.name.lower(), nargs=nargs, default=operand.default, metavar=operand.name)  # fmt: skip
    for flag in verb.flags:
        if flag.takes:
            parser.add_argument(flag.name, dest=flag.dest)
        else:
            parser.add_argument(flag.name, dest=flag.dest, action="store_true")
    own = {flag.name for flag in verb.flags}
    for setting in SETTINGS:
        if setting.flag and setting.flag not in own and _takes_settings(verb):
            parser.add_argument(setting.flag, dest=setting.name)
    return parser


def _read_value(
    verb: Verb, flag: Flag, given: argparse.Namespace, environment: Mapping[str, str]
) -> None:
    """Set a flag's value: the flag's, else its variable's, else the default."""
    text, source = getattr(given, flag.dest), flag.name
    if text is None and flag.environment and flag.dest not in _SETTINGS:
        text, source = environment.get(flag.environment) or None, flag.environment
    if text is None:
        setattr(given, flag.dest, flag.default)
        return
    try:
        setattr(given, flag.dest, flag.read(text))
    except ValueError as error:
        raise Mistyped(f'{source} is "{text}": {error}', verb) from error


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    names = list(known)
    bare = name.strip("-")
    near = [candidate for candidate in names if bare and candidate.strip("-").startswith(bare)] or (
        difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    )
    return f"; did you mean {near[0]}?" if near else ""


class _Parser(argparse.ArgumentParser):
    """argparse without its help and its exit: a mistake raises an exception."""

    def __init__(self, verb: Verb) -> None:
        super().__init__(prog=PROGRAM, add_help=False, allow_abbrev=False)
        self._verb = verb

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and exiting. Raises: Mistyped."""
        raise Mistyped(_plainer(message), self._verb)


def _plainer(message: str) -> str:
    if message.startswith("the following arguments are required: "):
        return f"{message.rpartition(': ')[2]} is missing"
    if message.startswith("argument ") and "expected one argument" in message:
        return f"{message.removeprefix('argument ').partition(':')[0]} needs a value"
    if "ignored explicit argument" in message:
        return f"{message.removeprefix('argument ').partition(':')[0]} takes no value"
    return message
