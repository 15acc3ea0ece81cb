"""Formatting of durations, sizes, times and foreign texts for people. Pure."""

from datetime import UTC, datetime


def span(seconds: float) -> str:
    """Format a duration: 40 s, 12 min, 3 h, 3 days."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{round(seconds)} s"


def size(count: float) -> str:
    """Format a number of bytes: 512 B, 41 kB, 3.2 MB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def moment(at: float) -> str:
    """Format a time in UTC, to the second: 2026-11-27T15:02:08Z."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def printable(text: str) -> str:
    r"""Escape a foreign text so that a terminal or a log only shows it.

    Control characters (ESC, BEL, newlines, C1), bidirectional and other invisible marks,
    line separators, private use and lone surrogates become escapes: \x1b, \n, \u202e, \udcff.
    For people only: JSON output has the exact text.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
