"""Prometheus' own judgement of its configuration: `promtool check config`.

In: a file, and which promtool. Out: a finding. Passwords in promtool's words are masked.
"""

import re
import shutil
import subprocess

from receiver.cli.findings import Finding, Mark
from receiver.cli.prometheus.addresses import masked

TIMEOUT_SECONDS = 20.0
_OLDER = re.compile(r"field (\w+) not found in type")


def check_config(path: str, promtool: str | None) -> Finding:
    """Ask `promtool`, the one on PATH for None, none for an empty text."""
    program = shutil.which("promtool") if promtool is None else promtool
    if not program:
        return Finding("promtool", Mark.SKIP, "none on PATH: Prometheus' own check was not asked", "promtool comes with Prometheus; --promtool names it.")  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - the program that the operator names
            [program, "check", "config", path],
            capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        words = getattr(error, "strerror", None) or f"no answer within {TIMEOUT_SECONDS:g} s"
        return Finding("promtool", Mark.WARN, f"{program}: {words}", "--promtool names another.")
    if done.returncode == 0:
        return Finding("promtool", Mark.OK, "the configuration and its rules are valid")
    words = _words(done.stdout + "\n" + done.stderr)
    if found := _OLDER.search(words):
        return Finding("promtool", Mark.WARN, f"this promtool does not know {found[1]}: {words}", "Misspelt, or Prometheus is newer than this promtool: use the promtool that came with it.")  # fmt: skip
    mark = Mark.FAIL if re.search(r"pars|unmarshal|invalid|unknown|not a valid", words) else Mark.WARN  # fmt: skip
    return Finding("promtool", mark, words, "Prometheus would not load it: mend the file.")


def _words(text: str) -> str:
    """Keep what promtool complains of, on one line, without quoted values: one may be a secret."""
    failed = text.partition("FAILED:")[2] or text
    lines = [line.strip() for line in failed.splitlines()]
    told = " ".join(line for line in lines if line and not line.startswith(("Checking", "SUCCESS")))
    return masked(re.sub(r"`[^`]*`", "`…`", told))[:400]
