"""Prometheus' own check of its configuration: `promtool check config`.

In: a file, and the promtool to run. Out: a finding. Passwords in promtool's output are masked.
"""

import re
import shutil
import subprocess

from receiver.cli.findings import Finding, Mark
from receiver.cli.prometheus.addresses import masked

TIMEOUT_SECONDS = 20.0
_UNKNOWN_FIELD = re.compile(r"field (\w+) not found in type")


def check_config(path: str, promtool: str | None) -> Finding:
    """Run `promtool`: for None the one on PATH, for an empty text none."""
    program = shutil.which("promtool") if promtool is None else promtool
    if not program:
        return Finding("promtool", Mark.SKIP, "none on PATH: Prometheus' own check did not run", "promtool comes with Prometheus; --promtool names it.")  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - a program named by the operator
            [program, "check", "config", path],
            capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        words = getattr(error, "strerror", None) or f"no answer within {TIMEOUT_SECONDS:g} s"
        return Finding("promtool", Mark.WARN, f"{program}: {words}", "--promtool names another.")
    if done.returncode == 0:
        return Finding("promtool", Mark.OK, "the configuration and its rules are valid")
    words = _words(done.stdout + "\n" + done.stderr)
    if unknown := _UNKNOWN_FIELD.search(words):
        return Finding("promtool", Mark.WARN, f"this promtool does not know {unknown[1]}: {words}", "A misspelling, or Prometheus is newer than this promtool: use the promtool of its release.")  # fmt: skip
    mark = Mark.FAIL if re.search(r"pars|unmarshal|invalid|unknown|not a valid", words) else Mark.WARN  # fmt: skip
    return Finding("promtool", mark, words, "Prometheus would not load it: correct the file.")


def _words(text: str) -> str:
    """Return promtool's complaint on one line, without quoted values, which may be secrets."""
    failed = text.partition("FAILED:")[2] or text
    lines = [line.strip() for line in failed.splitlines()]
    complaint = " ".join(
        line for line in lines if line and not line.startswith(("Checking", "SUCCESS"))
    )
    return masked(re.sub(r"`[^`]*`", "`…`", complaint))[:400]
