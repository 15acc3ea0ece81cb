"""The windows of a PromQL expression, and the series that they select.

In: an expression, or its tree as Prometheus 3 parses it (/api/v1/parse_query). Out: for
each `function(name{…}[window])` the name, its job and the window. Strings and comments are
removed before brackets are searched: `{model=~"[abc]"}` is not a window. Pure.
Rules: Prometheus' lexer (promql/parser/lex.go) for strings and comments, its documentation
for durations.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TWO_SAMPLES = frozenset({"rate", "irate", "increase", "delta", "idelta", "deriv", "predict_linear"})
"""Functions without a value where their window holds fewer than two samples."""

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`|#[^\n]*')
_WINDOW = re.compile(
    r"(?:(?P<function>[a-zA-Z_]\w*)\s*\(\s*)?"
    r"(?P<name>[a-zA-Z_:][\w:]*)?\s*(?P<matchers>\{[^{}]*\})?\s*\[(?P<window>[^\[\]:]*)\]"
)
_JOB = re.compile(r"[{,]\s*job\s*=\s*\x00(\d+)\x00")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31536000.0}  # fmt: skip
_DURATION = re.compile(r"(?:\d+y)?(?:\d+w)?(?:\d+d)?(?:\d+h)?(?:\d+m(?!s))?(?:\d+s)?(?:\d+ms)?")


@dataclass(frozen=True, slots=True)
class RangeCall:
    """A function over a window of `seconds` on the series of `name`, of one `job` or any."""

    function: str
    name: str
    seconds: float
    job: str = ""

    @property
    def wants_two(self) -> bool:
        """Whether it needs two samples for a value."""
        return self.function in TWO_SAMPLES


def range_calls(expression: str) -> list[RangeCall]:
    """Return the windows of an expression."""
    texts: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        if match[0].startswith("#"):
            return " "
        texts.append(match[0][1:-1])
        return f"\x00{len(texts) - 1}\x00"

    bare = _TEXT.sub(put_aside, expression)
    result = []
    for match in _WINDOW.finditer(bare):
        if window := seconds(match["window"].strip()):
            job = _JOB.search(match["matchers"] or "")
            result.append(RangeCall(match["function"] or "", match["name"] or "", window, texts[int(job[1])] if job else ""))  # fmt: skip
    return result


def range_calls_in(tree: Any) -> list[RangeCall]:
    """Return the windows of an expression's tree."""
    return list(_walk(tree, ""))


def _walk(node: Any, function: str) -> Iterator[RangeCall]:
    if isinstance(node, list):
        for child in node:
            yield from _walk(child, function)
    if not isinstance(node, Mapping):
        return
    match node.get("type"):
        case "matrixSelector":
            matchers = {matcher["name"]: matcher["value"] for matcher in node.get("matchers", ()) if matcher["type"] == "="}  # fmt: skip
            name = node.get("name") or matchers.get("__name__", "")
            yield RangeCall(function, name, node["range"] / 1000, matchers.get("job", ""))
        case "call":
            yield from _walk(node.get("args"), node["func"]["name"])
        case _:
            for child in node.values():
                if isinstance(child, list | Mapping):
                    yield from _walk(child, "")


def seconds(text: str) -> float:
    """Read a Prometheus duration, 1h30m or 90s; a bare number is seconds. 0 for anything else."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not text or not _DURATION.fullmatch(text):
        return 0.0
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", text))  # fmt: skip
