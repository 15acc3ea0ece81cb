"""The guard against exploding labels: limits on the distinct series of a metric, and in total.

The guard checks only series unknown to the pipeline. Above a limit new series are refused;
a counted series never is. Pure: the clock's time is an argument.

Theory of operation: a set holds an 8-byte digest of each series, so that a series evicted from
the cache is neither counted twice nor refused. The limits bound the set. Series end (a model is
unloaded, a pod replaced) unnoticed, since known series do not pass here. So when a limit is
reached, and at most once a day, all series are recounted: the cache is cleared, series that
arrive within an hour count as live, and all others are removed.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

CARDINALITY = "cardinality"
ANEW_SECONDS = 86_400.0
"""Shortest time between two recounts, each of which decides every series again."""
ALIVE_SECONDS = 3_600.0
"""Time within which a live series arrives."""
NEAR = 0.75
"""Share of a limit above which the values of labels are counted."""
VALUES_MAX = 50_000
NAMES_MAX = 1_000
"""Limit of remembered label values, and of remembered refused names."""


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    """The limits on distinct series of one metric, and of all together."""

    of_a_metric: int = 20_000
    in_all: int = 200_000


@dataclass(frozen=True, slots=True)
class Explosion:
    """A metric whose new series are refused: the limit reached, and the label with most values.

    `label` is empty if it is unknown; `values` is the counted number of its values, a lower
    bound; `refused` counts samples.
    """

    metric: str
    series: int
    limit: int
    is_total: bool
    label: str
    values: int
    refused: int

    @property
    def words(self) -> str:
        """The explosion, as a clause."""
        count = f"{self.limit} distinct series in all" if self.is_total else f"{self.series} series of {self.metric}"  # fmt: skip
        setting = "RECEIVER_TOTAL_SERIES_MAX" if self.is_total else "RECEIVER_METRIC_SERIES_MAX"
        text = f"{count} are known ({setting}), new ones of {self.metric} are dropped"
        if self.label:
            text += f"; its label {self.label} explodes: {self.values} values or more"
        return text


@dataclass(frozen=True, slots=True)
class Distinct:
    """The numbers of distinct series, in total and of the largest metric, with their limits."""

    series: int = 0
    limit: int = 0
    metric: str = ""
    metric_series: int = 0
    metric_limit: int = 0


class Guard:
    """Counts the distinct series of one pipeline."""

    def __init__(self, limits: SeriesLimits) -> None:
        """Start empty."""
        self._limits = limits
        self._seen: set[int] = set()
        self._counts: Counter[bytes] = Counter()
        self._alive: set[int] | None = None
        self._alive_counts: Counter[bytes] = Counter()
        self._values: dict[bytes, dict[str, set[int]]] = {}
        self._values_kept = 0
        self._refused: Counter[bytes] = Counter()
        self._largest = b""
        self._since: float | None = None

    def refuses(self, name: bytes, digest: int) -> bool:
        """Whether a series is new, and above a limit."""
        if digest in self._seen:
            return False
        limits = self._limits
        return self._counts[name] >= limits.of_a_metric or len(self._seen) >= limits.in_all

    def refuse(self, name: bytes, samples: int) -> None:
        """Count samples of a refused series."""
        if name in self._refused or len(self._refused) < NAMES_MAX:
            self._refused[name] += samples

    def admit(self, name: bytes, digest: int, labels: Mapping[str, str]) -> None:
        """Count an accepted series, once."""
        if self._alive is not None and digest not in self._alive:
            self._alive.add(digest)
            self._alive_counts[name] += 1
            if self._is_near(self._alive_counts[name], len(self._alive)):
                self._count_values(name, labels)
        if digest in self._seen:
            return
        self._seen.add(digest)
        self._counts[name] += 1
        if self._counts[name] > self._counts[self._largest]:
            self._largest = name
        if self._is_near(self._counts[name], len(self._seen)):
            self._count_values(name, labels)

    def _is_near(self, of_a_metric: int, in_all: int) -> bool:
        limits = self._limits
        return of_a_metric > NEAR * limits.of_a_metric or in_all > NEAR * limits.in_all

    def _count_values(self, name: bytes, labels: Mapping[str, str]) -> None:
        if self._values_kept >= VALUES_MAX:
            return
        by_label = self._values.setdefault(name, {})
        for label, value in labels.items():
            values = by_label.setdefault(label, set())
            before = len(values)
            values.add(hash(value))
            self._values_kept += len(values) - before

    def recount_if_due(self, now: float) -> bool:
        """Start or end a recount when it is due; True if all series must be decided again."""
        if self._since is None:
            self._since = now
        age = now - self._since
        if self._alive is not None:
            if age >= ALIVE_SECONDS:  # what has not arrived since has ended
                self._seen, self._counts = self._alive, self._alive_counts
                self._alive, self._alive_counts = None, Counter()
                self._largest = max(self._counts, key=self._counts.__getitem__, default=b"")
                self._refused.clear()
            return False
        if not self._refused or age < ANEW_SECONDS:
            return False
        self._since, self._alive = now, set()
        self._values, self._values_kept = {}, 0  # of the series that return
        return True

    def distinct(self) -> Distinct:
        """Return the use of the limits."""
        return Distinct(
            len(self._seen),
            self._limits.in_all,
            self._largest.decode("utf-8", "replace"),
            self._counts[self._largest],
            self._limits.of_a_metric,
        )

    def explosion(self) -> Explosion | None:
        """Return the most refused metric and its exploding label; None while no series is refused."""
        if not self._refused:
            return None
        name, refused = self._refused.most_common(1)[0]
        counts = {label: len(values) for label, values in self._values.get(name, {}).items()}
        label = max(counts, key=lambda candidate: (counts[candidate], candidate), default="")
        values = counts.get(label, 0)
        series, limits = self._counts[name], self._limits
        is_total = series < limits.of_a_metric
        return Explosion(
            name.decode("utf-8", "replace"),
            series,
            limits.in_all if is_total else limits.of_a_metric,
            is_total,
            label if values > 1 else "",
            values if values > 1 else 0,
            refused,
        )
