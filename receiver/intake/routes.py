"""Routes from series to resources.

In: a series' labels. Out: the number of its route. A series takes the first route whose labels all
fit; `*` stands for any run of characters and `?` for one, and a missing label is the empty text,
as in Prometheus. `receiver.intake.routes_json` reads the file. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from receiver.intake.entries import glob_pattern
from receiver.outbox.values import OWN, Lane
from receiver.rows import NO_LANE

OWN_ROUTE = "default"
"""The route of series without another route: the receiver's own connection string."""
NO_KEY = "00000000-0000-0000-0000-000000000000"
"""Placeholder in items of a removed route, for its key if it returns."""
UNROUTED = "unrouted"
Matchers = tuple[tuple[str, tuple[str, ...]], ...]
"""Labels with their globs, one of which must fit."""


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of routes.json. For 0 and None the receiver's own settings apply."""

    name: str
    match: Matchers
    connection_string: str = field(default="", repr=False)
    connection_string_file: str = ""
    authentication_string: str | None = None
    items_per_second: int = 0
    senders: int = 0
    outbox_max_bytes: int = 0
    proxy: str | None = field(default=None, repr=False)

    def fits(self, labels: Mapping[str, str]) -> bool:
        """Whether a series takes this route, if none before it does; the name is under `__name__`."""
        return all(
            any(_pattern(glob).fullmatch(labels.get(label, "")) for glob in globs)
            for label, globs in self.match
        )

    def sentence(self) -> str:
        """Describe the series that take the route."""
        parts = [f"{label} {' or '.join(globs)}" for label, globs in self.match]
        return f"{self.name}: {', '.join(parts) or 'all series'}"


@dataclass(frozen=True, slots=True)
class Routing:
    """All routes, by number: 0 is the receiver's own, 1 the file's first. `keys` are the resources' keys."""

    routes: tuple[Route, ...] = ()
    keys: tuple[str, ...] = field(default=(), repr=False)
    drops_unmatched: bool = False

    def number_of(self, labels: Mapping[str, str]) -> int:
        """Return the number of a series' route; NO_LANE for none."""
        for number, route in enumerate(self.routes, 1):
            if route.fits(labels):
                return number
        return NO_LANE if self.drops_unmatched else 0

    def name_of(self, labels: Mapping[str, str]) -> str:
        """Return the lane of a series' route; empty for the receiver's own, or none."""
        number = self.number_of(labels)
        return self.routes[number - 1].name if 0 < number < NO_LANE else ""

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Return the lanes in the outbox, by number."""
        named = zip(self.routes, self.keys, strict=True)
        return (OWN, *(Lane(route.name, key) for route, key in named))

    @property
    def matchers(self) -> tuple[tuple[str, Matchers], ...]:
        """Return the routes' names and matchers, which decide the route of a series."""
        return tuple((route.name, route.match) for route in self.routes)


NO_ROUTES = Routing()


def shown(lane: str) -> str:
    """Return the name of a lane's route, for display."""
    return lane or OWN_ROUTE


def lane_of(name: str) -> str:
    """Return the lane of a route's displayed name."""
    return "" if name == OWN_ROUTE else name


@lru_cache(maxsize=1024)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile(glob_pattern(glob), re.DOTALL)
