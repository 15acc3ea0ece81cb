"""What a command found out: one line for each thing looked at, the first trouble on top."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from receiver.cli.terminal import BOLD, COLORS, out


class Mark(StrEnum):
    """How a thing that was looked at is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `fix` says what to do where it is not well."""

    what: str
    mark: Mark
    detail: str
    fix: str = ""


def first_trouble(findings: Sequence[Finding]) -> Finding | None:
    """Find the cause: the first that fails, or else the first warning."""
    for mark in (Mark.FAIL, Mark.WARN):
        found = next((each for each in findings if each.mark is mark), None)
        if found:
            return found
    return None


def exit_code(findings: Sequence[Finding]) -> int:
    """Say 1 where something fails; a warning is no failure."""
    return int(any(each.mark is Mark.FAIL for each in findings))


def show(
    findings: Sequence[Finding],
    *,
    as_json: bool,
    cause: Finding | None = None,
    well: str = "all that was looked at is well.",
) -> int:
    """Print findings, their cause first (the first trouble if not given); return the exit code."""
    cause = cause or first_trouble(findings)
    if as_json:
        document = {
            "ok": not exit_code(findings),
            "cause": asdict(cause) if cause else None,
            "findings": [asdict(each) for each in findings],
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
        printer.raw(f"{printer.paint('OK:', COLORS['ok'])} {well}")
    printer.line()
    width = max((len(each.what) for each in findings), default=0)
    indent = width + 8
    for each in findings:
        first, *others = printer.wrapped(each.detail, indent)
        mark = printer.paint(f"{each.mark:<4}", COLORS[each.mark])
        printer.raw(f"{mark}  {printer.paint(f'{each.what:<{width}}', '')}  {first}")
        if each.fix and each is not cause and each.mark is not Mark.OK:
            for line in each.fix.splitlines():
                others += printer.wrapped(line, indent)
        for line in others:
            printer.raw(f"{'':<{indent}}{line}")
    return exit_code(findings)
