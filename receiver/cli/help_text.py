"""The help of the command line, generated from the table of verbs. Pure.

In: a verb, a width, a function that colours. Out: text, the same as in docs/cli.md.
"""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from receiver.cli.terminal import BOLD
from receiver.cli.verbs import PROGRAM, SUMMARY, VERBS, Verb
from receiver.config import settings as reading
from receiver.config.settings import SETTINGS, Setting
from receiver.text import read_size

Paint = Callable[[str, str], str]
"""Colours a text, or returns it unchanged."""
WIDTH = 100
INDENT = 26
HELP = ("-h, --help", "show this help and exit")
_TAKES: dict[Callable[[str], Any], str] = {
    reading.read_address: "HOST:PORT",
    read_size: "SIZE",
    reading.read_seconds: "SECONDS",
    reading.read_count: "N",
    reading.read_price: "PRICE",
}
_NAMED = (
    ("_dir", "DIR"),
    ("_file", "FILE"),
    ("_json", "FILE"),
    ("_string", "STRING"),
    ("log_", "WORD"),
)


def plain(text: str, _: str) -> str:
    """Paint nothing."""
    return text


def takes(setting: Setting) -> str:
    """Return the placeholder of a setting's value: HOST:PORT, SIZE, SECONDS, N, FILE and so on."""
    if value_name := _TAKES.get(setting.read):
        return value_name
    return next((word for part, word in _NAMED if part in setting.name), "NAME")


def overview(paint: Paint = plain, width: int = WIDTH) -> str:
    """Write the help of the program: its verbs."""
    rows = [(verb.name, verb.summary) for verb in VERBS] + [
        ("help [VERB]", "show this help, or that of a verb")
    ]
    lines = [
        f"{paint('usage:', BOLD)} {PROGRAM} VERB [OPTION …]",
        "",
        SUMMARY,
        "",
        *_group("verbs", rows, paint, width),
        "",
        *_group("options", (HELP, ("--version", "show the version and exit")), paint, width),
        "",
        f"`{PROGRAM} VERB --help` lists the flags of a verb. Every setting has a flag and an",
        "environment variable; the flag wins. docs/cli.md has the help of all verbs on one page.",
    ]
    return "\n".join(lines)


def of_verb(
    verb: Verb, paint: Paint = plain, width: int = WIDTH, *, all_settings: bool = True
) -> str:
    """Write the help of one verb; without `all_settings` the settings are left to README."""
    lines = [f"{paint('usage:', BOLD)} {verb.usage}", "", verb.description, ""]
    if verb.operands:
        operands = [
            (operand.name, _with_default(operand.meaning, operand.default))
            for operand in verb.operands
        ]
        lines += [*_group("operands", operands, paint, width), ""]
    options = [HELP]
    for flag in verb.flags:
        default = flag.default if flag.takes and isinstance(flag.default, str) else None
        text = _with_default(flag.meaning, default)
        text += f" [{flag.environment}]" if flag.environment else ""
        options.append((f"{flag.name} {flag.takes}".strip(), text))
    lines += [*_group("options", options, paint, width), ""]
    if verb.settings is None and not all_settings:
        lines += ["settings: all; docs/settings.md lists them with their flags and variables", ""]
    elif verb.settings != ():
        title = (
            "settings"
            if verb.settings is None
            else "settings (the relevant ones; every other setting of `run` is accepted too)"
        )
        lines += [*_group(title, _settings(verb.settings), paint, width), ""]
    if verb.example:
        lines += [verb.example, ""]
    return "\n".join([*lines, verb.exits])


def _settings(shown: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    for setting in SETTINGS:
        if setting.flag and (shown is None or setting.name in shown):
            text = _with_default(setting.meaning, setting.default)
            yield f"{setting.flag} {takes(setting)}", f"{text} [{setting.environment}]"


def _with_default(meaning: str, default: str | None) -> str:
    return f"{meaning} (default: {default})" if default else meaning


def _group(title: str, rows: Iterable[tuple[str, str]], paint: Paint, width: int) -> Iterator[str]:
    yield paint(f"{title}:", BOLD)
    for name, text in rows:
        lines = textwrap.wrap(text, max(width, INDENT + 20) - INDENT, break_on_hyphens=False) or [
            ""
        ]
        head = f"  {name}"
        if len(head) > INDENT - 2:
            yield head
        else:
            yield f"{head:<{INDENT}}{lines.pop(0)}"
        yield from (f"{'':<{INDENT}}{line}" for line in lines)
