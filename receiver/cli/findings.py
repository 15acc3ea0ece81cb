"""The findings of a command: one line for each check, the first problem on top."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from receiver.cli.terminal import BOLD, COLORS, out


class Mark(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; `fix` says what to do about a failure."""

    what: str
    mark: Mark
    detail: str
    fix: str = ""


def first_trouble(findings: Sequence[Finding]) -> Finding | None:
    """Return the first failure, or else the first warning."""
    for mark in (Mark.FAIL, Mark.WARN):
        trouble = next((finding for finding in findings if finding.mark is mark), None)
        if trouble:
            return trouble
    return None


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 if a check failed; a warning is not a failure."""
    return int(any(finding.mark is Mark.FAIL for finding in findings))


def show(
    findings: Sequence[Finding],
    *,
    as_json: bool,
    cause: Finding | None = None,
    all_passed: str = "every check passed.",
) -> int:
    """Print findings, the cause first (by default the first trouble); return the exit code."""
    cause = cause or first_trouble(findings)
    if as_json:
        document = {
            "ok": not exit_code(findings),
            "cause": asdict(cause) if cause else None,
            "findings": [asdict(finding) for finding in findings],
        }
        print(json.dumps(document, indent=2))
        return exit_code(findings)
    printer = out()
    if cause:
        head = printer.paint(f"{cause.mark.upper()}:", COLORS[cause.mark])
        printer.raw(f"{head} {printer.paint(f'{cause.what}: {cause.detail}', BOLD)}")
        for line in cause.fix.splitlines():
            printer.line(f"  {line}")
    else:
        printer.raw(f"{printer.paint('OK:', COLORS['ok'])} {all_passed}")
    printer.line()
    width = max((len(finding.what) for finding in findings), default=0)
    indent = width + 8
    for finding in findings:
        first, *others = printer.wrapped(finding.detail, indent)
        mark = printer.paint(f"{finding.mark:<4}", COLORS[finding.mark])
        printer.raw(f"{mark}  {printer.paint(f'{finding.what:<{width}}', '')}  {first}")
        if finding.fix and finding is not cause and finding.mark is not Mark.OK:
            for line in finding.fix.splitlines():
                others += printer.wrapped(line, indent)
        for line in others:
            printer.raw(f"{'':<{indent}}{line}")
    return exit_code(findings)
