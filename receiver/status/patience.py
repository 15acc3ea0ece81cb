"""How long a state may last before it is a verdict. Pure values; tests shorten them."""

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Patience:
    """Times in seconds.

    The intervals at which data arrive are observed; where they are longer than these
    times allow for, the times grow with them.
    """

    window: float = 130.0
    """What counts as now: longer than a minute, in which an _irate comes once, and its delay."""
    starting: float = 60.0
    first_values: float = 20.0
    first_irates: float = 150.0
    """An _irate takes two scrapes and an evaluation each minute."""
    silent: float = 120.0
    """Prometheus comes at least each scrape interval, 15 s to a minute in most places."""
    silent_unknown: float = 330.0
    """The same before the interval is known: five minutes is the longest that Prometheus bears."""
    behind: float = 120.0
    step: float = 10.0
    """How often all is looked at."""

    def scaled(self, factor: float) -> "Patience":
        """Make all times so many times as long."""
        return Patience(*(getattr(self, each.name) * factor for each in fields(self)))


INTERVALS = 2.5
"""How many observed intervals may go by without anything: one may come late, and one be missed."""

PATIENCE = Patience()
