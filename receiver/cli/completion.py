"""`completion`: a shell's completion script, generated from the table of verbs."""

import argparse
from collections.abc import Iterator

from receiver.cli.help_text import takes
from receiver.cli.parser import flags_of
from receiver.cli.verbs import PROGRAM, VERBS, Verb
from receiver.config.settings import SETTINGS, Origin, Settings

FILES = frozenset({"FILE", "DIR", "FILE|URL"})


def run(given: argparse.Namespace, _: Settings, __: list[Origin]) -> int:
    """Print the script."""
    print({"bash": bash, "zsh": zsh, "fish": fish}[given.shell](), end="")
    return 0


def _takes(verb: Verb) -> dict[str, str]:
    """Map each flag of a verb to the kind of value that it takes."""
    known = {setting.flag: takes(setting) for setting in SETTINGS if setting.flag}
    return known | {flag.name: flag.takes for flag in verb.flags}


def _words(verb: Verb) -> list[str]:
    return [choice for operand in verb.operands for choice in operand.choices]


def bash() -> str:
    """Write the script for bash; the package bash-completion is not needed."""
    names = " ".join([*(verb.name for verb in VERBS), "help", "--help", "--version"])
    cases = "".join(
        f'    {verb.name}) words="{" ".join([*flags_of(verb), *_words(verb)])}" ;;\n'
        for verb in VERBS
    )
    files = "|".join(sorted({name for verb in VERBS for name, kind in _takes(verb).items() if kind in FILES}))  # fmt: skip
    return f"""\
_appinsights_receiver() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{names}" -- "$word"))
    return
  fi
  case $before in
    {files}) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$word")); return ;;
  esac
  case ${{COMP_WORDS[1]}} in
{cases}    help) words="{" ".join(verb.name for verb in VERBS)}" ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -F _appinsights_receiver {PROGRAM}
"""


def zsh() -> str:
    """Write the script for zsh."""
    verbs = "\n".join(f"    {_quoted(f'{verb.name}:{verb.summary}')}" for verb in VERBS)
    cases = "".join(
        f"    {verb.name}) _arguments {' '.join(_zsh_flags(verb))} ;;\n" for verb in VERBS
    )
    return f"""\
#compdef {PROGRAM}
_appinsights_receiver() {{
  local -a verbs
  verbs=(
{verbs}
    'help:show the help of a verb'
  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
{cases}    help) _describe verb verbs ;;
  esac
}}
compdef _appinsights_receiver {PROGRAM}
"""


def _zsh_flags(verb: Verb) -> Iterator[str]:
    values, meanings = _takes(verb), _meanings(verb)
    for name in flags_of(verb):
        text = meanings.get(name, "").replace("[", "(").replace("]", ")").replace(":", " ")
        action = "_files" if values.get(name) in FILES else " "
        value = f":{values[name].replace(':', ' ')}:{action}" if values.get(name) else ""
        yield _quoted(f"{name}[{text}]{value}")
    if words := _words(verb):
        yield _quoted(f"1:word:({' '.join(words)})")


def fish() -> str:
    """Write the script for fish."""
    lines = [f"complete -c {PROGRAM} -f"]
    lines += [
        f"complete -c {PROGRAM} -n __fish_use_subcommand -a {verb.name} -d {_quoted(verb.summary)}"
        for verb in VERBS
    ]
    lines.append(
        f"complete -c {PROGRAM} -n __fish_use_subcommand -a help -d 'show the help of a verb'"
    )
    for verb in VERBS:
        values, meanings = _takes(verb), _meanings(verb)
        here = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {verb.name}'"
        for name in flags_of(verb):
            argument = " -r -F" if values.get(name) in FILES else " -x" if values.get(name) else ""
            about = f" -d {_quoted(meanings[name])}" if meanings.get(name) else ""
            lines.append(f"{here} -l {name.strip('-')}{argument}{about}")
        lines += [f"{here} -a {word}" for word in _words(verb)]
    return "\n".join(lines) + "\n"


def _meanings(verb: Verb) -> dict[str, str]:
    known = {setting.flag: setting.meaning for setting in SETTINGS if setting.flag}
    return (
        known
        | {flag.name: flag.meaning for flag in verb.flags}
        | {"--help": "show this help and exit"}
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
