"""What an entry of metrics.json does to which series, in one sentence. Pure."""

from receiver.intake.entries import Entry
from receiver.triton import METRIC_NAMES

NAMES_SHOWN = 4


def describe(entry: Entry) -> str:
    """Say what becomes of the samples; of a glob also which metrics of Triton's it takes."""
    if not entry.is_glob:
        return entry.sentence()
    fitting = [name for name in METRIC_NAMES if entry.fits(name)]
    if not fitting:
        return f"{entry.sentence()} (fits no metric of Triton)"
    shown = ", ".join(fitting[:NAMES_SHOWN])
    more = f" and {len(fitting) - NAMES_SHOWN} more" if len(fitting) > NAMES_SHOWN else ""
    return f"{entry.sentence()} (of Triton's: {shown}{more})"
