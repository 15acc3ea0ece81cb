"""Lengths of time, sizes, times of day and others' words, as a person can read them. Pure."""


def span(seconds: float) -> str:
    """Spell a length of time as a person says it: 40 s, 12 min, 3 h, 3 days."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{round(seconds)} s"


def size(count: float) -> str:
    """Spell bytes as a person says it: 512 B, 41 kB, 3.2 MB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def clock_time(at: float) -> str:
    """Spell a moment as the time of day in UTC."""
    return f"{int(at) // 3600 % 24:02}:{int(at) // 60 % 60:02} UTC"


def printable(text: str) -> str:
    r"""Spell what may not be UTF-8, as headers and file names, so that it can be shown: \udcff."""
    return text.encode("utf-8", "backslashreplace").decode()
