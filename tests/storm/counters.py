"""Counters that the receiver folds: the scrapes of one target, and what its items must add up to.

The clock of the scrapes is their own, so that a second of the storm closes many windows.
Processes begin anew, counters are missing from a scrape, and a scrape comes again in
another request, as when Prometheus reads its log once more.
"""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.integration.remote_write import Point

WINDOW_MS = 60_000
BEGUN_BEFORE_MS = 24 * 3_600_000
"""How far in the past the first scrape is: room for the clock, and not too old for the service."""

ENTRIES: tuple[object, ...] = (
    "nv_*",
    {"name": "nv_both", "as": "delta", "rename": "both_grown"},
    {"name": "calls", "as": "delta"},
    {"name": "busy_us", "as": "mean", "per": "done", "keep": ["shard"]},
    {"name": "busy_us", "as": "mean", "per": "done", "rename": "busy_by_model"},
)
"""Raw entries, folded ones, and a counter that is both."""


def write_metrics_json(path: Path, change: int) -> None:
    """Write the list; of each two changes one has an entry more, which nothing fits."""
    more = ({"name": "nothing", "as": "last"},) * (change % 2)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"customMetrics": (*more, *ENTRIES)}))
    fresh.replace(path)


Labels = tuple[tuple[str, str], ...]
_MODELS = ("a", "b")
_NAMES = ("busy_us", "calls", "done", "nv_both")


class Total(NamedTuple):
    """What the items of one series add up to: their values, or their counts."""

    name: str
    labels: Labels
    of: str


class Counters:
    """The counters of one target. `totals` is what they have grown, as items must say it."""

    def __init__(self, shard: int, chance: random.Random, begun_at_ms: int) -> None:
        """Begin a day before `begun_at_ms`; `chance` decides everything else."""
        self._shard = ("shard", str(shard))
        self._target = (("instance", f"triton-{shard}:8002"), ("job", "triton"))
        self._chance = chance
        self._at_ms = begun_at_ms - BEGUN_BEFORE_MS
        keys = [(name, model) for name in _NAMES for model in _MODELS]
        self._values = {key: chance.randrange(1_000_000) for key in keys}
        self._last: dict[tuple[str, str], int] = {}
        self._scraped: list[Point] = []
        self.totals: Counter[Total] = Counter()
        self.restarts = 0
        self.ends_in_ms = 0
        """The window of the last growth."""

    def scrape(self) -> list[Point]:
        """Make the samples of a request: a scrape, now and then with the one before again."""
        chance = self._chance
        again = [point for point in self._scraped if point.name != "nv_both"]
        if chance.random() >= 0.1:
            again = []
        self._at_ms += chance.choice((10_000, 15_000, 15_000, 30_000, 30_000, 150_000))
        if chance.random() < 0.05:
            self.restarts += 1
            self._values = {key: chance.randrange(50) for key in self._values}
        self._grow(0)
        missing = {key for key in self._values if self._last and chance.random() < 0.04}
        return [*again, *self._sample(missing)]

    def last_scrapes(self) -> Iterator[list[Point]]:
        """Make one more scrape in which each counter grows, and a later one, which closes its window."""
        self._at_ms += 2 * WINDOW_MS
        self.ends_in_ms = self._at_ms - self._at_ms % WINDOW_MS
        self._grow(1)
        yield self._sample(set())
        self._at_ms += 2 * WINDOW_MS
        yield self._sample(set())

    def _grow(self, least: int) -> None:
        for key in self._values:
            self._values[key] += self._chance.randint(least, 9_999 if key[0] == "busy_us" else 99)

    def _sample(self, missing: set[tuple[str, str]]) -> list[Point]:
        self._scraped = []
        for key, value in self._values.items():
            if key in missing:
                continue
            name, model = key
            labels = (*self._target, ("model", model), self._shard)
            self._scraped.append(Point(name, labels, self._at_ms, float(value)))
            last = self._last.get(key, value)  # the first sample is a baseline
            self._last[key] = value
            self._count(name, model, value - last if value >= last else value)
        return self._scraped

    def _count(self, name: str, model: str, grown: int) -> None:
        joined, by_model = (self._shard,), (("model", model), self._shard)
        if name in ("busy_us", "done"):
            of = "value" if name == "busy_us" else "count"
            self.totals[Total("busy_us", joined, of)] += grown
            self.totals[Total("busy_by_model", by_model, of)] += grown
        else:
            name = "both_grown" if name == "nv_both" else name
            self.totals[Total(name, by_model, "value")] += grown
