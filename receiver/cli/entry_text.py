"""One sentence on an entry of metrics.json: what it does, and to which series. Pure."""

from receiver.intake.entries import Entry
from receiver.triton import METRIC_NAMES

NAMES_SHOWN = 4


def describe(entry: Entry) -> str:
    """Describe what the entry does; for a glob, list Triton's metrics that it matches."""
    if not entry.is_glob:
        return entry.sentence()
    fitting = [name for name in METRIC_NAMES if entry.fits(name)]
    if not fitting:
        return f"{entry.sentence()} (matches no metric of Triton)"
    shown = ", ".join(fitting[:NAMES_SHOWN])
    more = f" and {len(fitting) - NAMES_SHOWN} more" if len(fitting) > NAMES_SHOWN else ""
    return f"{entry.sentence()} (of Triton's: {shown}{more})"
