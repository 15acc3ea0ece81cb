"""The names of the metrics that arrive: which are selected, and which selected ones are missing.

In: the names that the metrics.json in force has met. Out: those names, the items that each of
them becomes, and an explanation of each entry without one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from receiver.intake.metrics_json import Allowlist, Entry
from receiver.server.write_handler import WriteHandler
from receiver.status.missing_metric import MissingMetric, explain_missing

NAMES_SECONDS = 2.0
SHOWN_ABSENCES = 100


@dataclass(frozen=True, slots=True)
class Listed:
    """The source of a row: the series named `source`, and the entry that sends them, if any."""

    source: str
    entry: Entry | None


class ArrivingNames:
    """The names that the metrics.json in force has met. `clock` is in seconds since the epoch."""

    def __init__(self, write_handler: WriteHandler, clock: Callable[[], float]) -> None:
        """Start without names. `write_handler` has the metrics.json in force."""
        self._write_handler = write_handler
        self._clock = clock
        self._seen: dict[str, bool] = {}
        self._seen_at = 0.0
        self._outlets: dict[str, dict[str, Listed]] = {}
        self._absences: dict[str, tuple[int, MissingMetric]] = {}
        self.allowlist_since = 0.0
        """The time of the last change of metrics.json; 0 before the first."""

    def begin_allowlist(self) -> None:
        """Note that another metrics.json is in force."""
        self._seen, self._outlets = {}, {}
        self.allowlist_since = self._clock()

    @property
    def allowlist(self) -> Allowlist:
        """The metrics.json in force."""
        return self._write_handler.pipeline.allowlist

    def selects(self, name: bytes) -> bool:
        """Whether a name is selected."""
        return self.allowlist.wants(name)

    def seen(self) -> Mapping[str, bool]:
        """Return the names that have arrived, and whether they are selected; up to some seconds old."""
        now = self._clock()
        if not self._seen or abs(now - self._seen_at) > NAMES_SECONDS:
            self._seen_at = now
            seen = self.allowlist.names_seen().items()
            self._seen = {name.decode("utf-8", "replace"): wanted for name, wanted in seen}
        return self._seen

    def absences(self) -> list[MissingMetric]:
        """Explain the entries that have matched no name yet."""
        seen = self.seen()
        if not seen:
            return []
        wanted = [name for name, is_wanted in seen.items() if is_wanted]
        missing: list[MissingMetric] = []
        for entry in self.allowlist.entries:
            fits = entry.name in seen if not entry.is_glob else any(map(entry.fits, wanted))
            if not fits and len(missing) < SHOWN_ABSENCES:
                missing.append(self._absence(entry.name, seen))
        return missing

    def _absence(self, name: str, seen: Mapping[str, bool]) -> MissingMetric:
        known = self._absences.get(name)
        if known is None or known[0] != len(seen):
            known = self._absences[name] = len(seen), explain_missing(name, seen)
        return known[1]

    def outlets(self, source: str) -> dict[str, Listed]:
        """Return the item names of the series named `source`; its own name if it only counts for others."""
        known = self._outlets.get(source)
        if known is None:
            entries = self.allowlist.matches(source)
            known = {entry.item_name(source): Listed(source, entry) for entry in entries}
            known = self._outlets[source] = known or {source: Listed(source, None)}
        return known
