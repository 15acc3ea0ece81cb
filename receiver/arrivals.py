"""What came in, as it is counted: by one process, or by several and added up.

In: the counts of reception, door, admission and cache. Out: a frozen `Arrivals`, which
can be added to others, and be spelt as a document and read again.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeVar

from receiver.admission import AdmissionStatistics
from receiver.cache import CacheStatistics
from receiver.door import DoorCounts
from receiver.latency import Latency
from receiver.reception import ReceptionCounts

NOTHING_UNDER_WAY = AdmissionStatistics(0, 0, 0)
NOTHING_LEARNT = CacheStatistics(0, 0, 0, 0)

Counts = TypeVar("Counts", ReceptionCounts, DoorCounts, AdmissionStatistics, CacheStatistics)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What one process, or several, have counted of what came in."""

    reception: ReceptionCounts = field(default_factory=ReceptionCounts)
    door: DoorCounts = field(default_factory=DoorCounts)
    admission: AdmissionStatistics = NOTHING_UNDER_WAY
    cache: CacheStatistics = NOTHING_LEARNT

    def plus(self, other: Self) -> Self:
        """Add up: counts and gauges; of the times of a last request the later one."""
        reception = _sum(self.reception, other.reception)
        last_at = max(self.reception.last_request_at, other.reception.last_request_at)
        return type(self)(
            replace(reception, last_request_at=last_at),
            _sum(self.door, other.door),
            _sum(self.admission, other.admission),
            _sum(self.cache, other.cache),
        )

    def ended(self) -> Self:
        """Give what is left of it when its process has ended: the counts, and nothing under way."""
        return type(self)(
            self.reception,
            replace(self.door, connections=0),
            cache=replace(NOTHING_LEARNT, misses=self.cache.misses),
        )

    def to_document(self) -> dict[str, Any]:
        """Spell it for another process."""
        return {each.name: _spell(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_document` has spelt."""
        reception, door = dict(document["reception"]), dict(document["door"])
        for name in ("replies", "refused_requests", "refused_series"):
            reception[name] = Counter(reception[name])
        reception["latency"] = Latency(*reception["latency"])
        door["closed"] = Counter(door["closed"])
        return cls(
            ReceptionCounts(**reception),
            DoorCounts(**door),
            AdmissionStatistics(**document["admission"]),
            CacheStatistics(**document["cache"]),
        )


def _spell(counts: Counts) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for each in fields(counts):
        value = getattr(counts, each.name)
        is_latency = isinstance(value, Latency)
        document[each.name] = (value.counts, value.total_seconds) if is_latency else value
    return document


def _sum(one: Counts, other: Counts) -> Counts:
    """Add up what two processes have counted, field by field."""
    values: dict[str, Any] = {}
    for each in fields(one):
        mine, theirs = getattr(one, each.name), getattr(other, each.name)
        values[each.name] = mine.plus(theirs) if isinstance(mine, Latency) else mine + theirs
    return replace(one, **values)


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """One of the processes that take requests. `pid` is 0 while a dead one is not replaced yet."""

    number: int
    pid: int
    requests: int
    restarts: int = 0
