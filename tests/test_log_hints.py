"""Every line of the log that tells of trouble says what to do."""

import ast
from collections.abc import Iterator
from pathlib import Path

RECEIVER = Path(__file__).parents[1] / "receiver"
WARNS = {"warning", "error", "exception", "critical"}
SPEAK_FOR_THEMSELVES = {
    "metrics.json looks misspelt",  # its entry says what was meant
    "setting",  # its problem ends in what to do
}


def warnings() -> Iterator[tuple[str, ast.Call]]:
    """Find each call of the log that warns, and where it is."""
    for path in sorted(RECEIVER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log"), attr=level)) if (
                    level in WARNS
                ):
                    yield f"{path.relative_to(RECEIVER)}:{node.lineno}", node


def test_each_trouble_has_a_hint() -> None:
    """Read from the source: a line without one would be found at three in the morning."""
    found = dict(warnings())
    assert found  # most are events, which cannot be without
    without = [
        place
        for place, call in found.items()
        if "hint" not in {each.arg for each in call.keywords}
        and ast.literal_eval(call.args[0]) not in SPEAK_FOR_THEMSELVES
    ]
    assert without == []
