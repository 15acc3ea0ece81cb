"""The times after which a state becomes a verdict. Pure values; tests shorten them."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Patience:
    """Times in seconds.

    They are extended where the observed interval of requests is longer than they allow for.
    """

    window: float = 130.0
    """The current window: longer than a minute, the interval of an _irate, plus its delay."""
    starting: float = 60.0
    first_values: float = 20.0
    first_irates: float = 150.0
    """An _irate needs two scrapes and an evaluation, once a minute."""
    silent: float = 120.0
    """Prometheus sends at least every scrape interval, usually 15 s to a minute."""
    silent_unknown: float = 330.0
    """The same before the interval is known: five minutes is Prometheus' longest useful interval."""
    behind: float = 120.0
    step: float = 10.0
    """Interval of the monitor's checks."""

    def scaled(self, factor: float) -> "Patience":
        """Multiply all times by a factor."""
        return Patience(*(getattr(self, time.name) * factor for time in fields(self)))


INTERVALS = 2.5
"""Number of observed intervals without data before a verdict: one may be late, one missing."""

PATIENCE = Patience()
