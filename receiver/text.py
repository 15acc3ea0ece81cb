"""Formatting of durations, sizes, times and foreign texts for people, and reading of sizes. Pure."""

from datetime import UTC, datetime

MOST_BYTES = 1 << 50
"""Upper limit of sizes: larger values are mistakes."""
_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}  # fmt: skip


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


def read_size(text: str) -> int:
    """Read a size in bytes, KiB, MiB, GiB, kB, MB or GB. Raises: ValueError."""
    text = text.strip().upper()
    number = text.rstrip("BIKMG ")
    unit = text[len(number) :].strip()
    try:
        size = int(float(number) * _UNITS[unit])
    except (KeyError, ValueError, OverflowError):
        size = 0
    if not 1 <= size <= MOST_BYTES:
        message = "not a size like 1073741824, 512MiB or 1GiB"
        raise ValueError(message)
    return size


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
