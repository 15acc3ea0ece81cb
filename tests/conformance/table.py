"""docs/protocol.md's table of cases; `python -m tests.conformance.table` writes it anew."""

import re
from pathlib import Path

from tests.conformance.cases import CASES, Case

PAGE = Path(__file__).parents[2] / "docs/protocol.md"
_BLOCK = re.compile(r"(<!-- cases -->\n).*(<!-- end of cases -->)", re.DOTALL)


def row(case: Case) -> str:
    """Write a case's row."""
    counts = " / ".join(map(str, case.written)) if case.version == 2 else ""
    says = f"`{case.says}`" if case.says else ""
    return f"| {case.source} | {case.name} | {case.status} | {counts} | {says} |"


def renewed(page: str) -> str:
    """Put the table into the page."""
    head = "| source | case | answer | written | the text says |\n| --- | --- | --- | --- | --- |"
    table = "\n".join([head, *map(row, CASES)])
    return _BLOCK.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
