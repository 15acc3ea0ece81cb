"""The choice of the next batches: a refused batch delays no other.

In: batches in flight, accepted and refused. Out: batches of the outbox. Sends nothing, waits
for nothing.

Theory of operation: batches not yet tried go first; among them those of the last minute, so
that catching up after an outage does not delay current data, then the oldest, which is the
next to expire. A refused batch is *set back* into a second queue, of which one batch at a time
is tried, alternating with the others. While others are accepted, a refusal from that queue
concerns the batch and not the endpoint: only the queue waits (`backoff`, its own). After `SPLIT_AFTER` such refusals a batch is sent in halves, down to a single item.
The queue is in memory: after a restart every batch counts as not tried.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from receiver.azure.policy import Action
from receiver.delivery.backoff import Backoff
from receiver.outbox.store import Outbox
from receiver.outbox.values import Batch

FRESH_SECONDS = 60.0
SPLIT_AFTER = 2
"""Refusals while others are accepted; one may be chance."""
QUEUE_LIMIT = 5000
"""Batches that are set back; above it the one that waited longest counts as not tried."""


@dataclass(frozen=True, slots=True)
class SetBack:
    """A batch that was refused; `alone` counts the refusals while others were accepted."""

    items: int
    alone: int = 0
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class RefusedAlone:
    """Batches that are refused while others are accepted, and the latest reason."""

    batches: int = 0
    items: int = 0
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Picked:
    """The result of a query: batches, and the numbers that were `set_back` at its start.

    `gone` is a set back batch that is no longer in the outbox.
    """

    batches: tuple[Batch, ...]
    set_back: frozenset[int]
    gone: int | None = None


class Picker:
    """Chooses batches. `ticks` is monotonic, in seconds; `backoff` is that of batches set back."""

    def __init__(self, ticks: Callable[[], float], backoff: Backoff, lane: str = "") -> None:
        """Start without batches, for one lane of the outbox."""
        self._ticks = ticks
        self._lane = lane
        self.backoff = backoff
        self._in_flight: set[int] = set()
        self._set_back: dict[int, SetBack] = {}
        self._last_was_set_back = False
        self._newest_ids: deque[tuple[float, int]] = deque()

    @property
    def in_flight(self) -> int:
        """The number of batches in flight."""
        return len(self._in_flight)

    @property
    def is_idle(self) -> bool:
        """Whether no batch is in flight or set back."""
        return not self._in_flight and not self._set_back

    @property
    def refused_alone(self) -> RefusedAlone:
        """The batches that are refused while others are accepted."""
        refused = [entry for entry in self._set_back.values() if entry.alone]
        if not refused:
            return RefusedAlone()
        items = sum(entry.items for entry in refused)
        return RefusedAlone(len(refused), items, refused[-1].reason, refused[-1].hint)

    def wait_seconds(self, now: float) -> float:
        """Return the time until a batch that is set back may be sent; 0 if one may now, or none is."""
        return self.backoff.wait_seconds(now) if self._set_back else 0.0

    def is_set_back(self, batch: Batch) -> bool:
        """Whether a batch was refused before."""
        return batch.id in self._set_back

    def begin(self, batch: Batch) -> None:
        """Note that a batch is in flight."""
        self._in_flight.add(batch.id)
        self._last_was_set_back = self.is_set_back(batch)

    def end(self, batch: Batch) -> None:
        """Note that a batch is no longer in flight."""
        self._in_flight.discard(batch.id)

    def query(self, room: int, action: Action | None) -> Callable[[Outbox], Picked]:
        """Return a query of the outbox for at most `room` batches that are not in flight.

        `action` is the reason of a closed back-off: a used-up quota is probed with the smallest
        batch. The query runs in the outbox's thread, so it holds copies of what may change.
        """
        set_back, lane = frozenset(self._set_back), self._lane
        if action is Action.QUOTA:
            return lambda outbox: Picked(tuple(outbox.smallest_batch(lane)), set_back)
        busy = set_back | self._in_flight
        retried = self._next_set_back()
        comes_first = room > 1 or not self._last_was_set_back

        def ask(outbox: Outbox) -> Picked:
            waiting = outbox.batch(retried) if retried is not None else None
            gone = None if waiting else retried
            if waiting and comes_first:
                rest = outbox.next_batches(busy, self._fresh_from(outbox), room - 1, lane)
                return Picked((waiting, *rest), set_back)
            batches = tuple(outbox.next_batches(busy, self._fresh_from(outbox), room, lane))
            if waiting and not batches:
                batches = (waiting,)
            return Picked(batches, set_back, gone)

        return ask

    def _next_set_back(self) -> int | None:
        """Return the next batch that is set back; None while one is in flight or all wait."""
        if self._set_back.keys() & self._in_flight or self.backoff.wait_seconds(self._ticks()):
            return None
        return next(iter(self._set_back), None)

    def _fresh_from(self, outbox: Outbox) -> int:
        """Return the first batch of the last minute; runs only in the outbox's thread."""
        now, newest = self._ticks(), self._newest_ids
        if not newest or now - newest[-1][0] > FRESH_SECONDS / 12:
            newest.append((now, outbox.newest_id()))
        while len(newest) > 1 and now - newest[1][0] > FRESH_SECONDS:
            newest.popleft()
        return newest[0][1] + 1

    def chosen(self, picked: Picked) -> list[Batch]:
        """Return the picked batches, without those set back during the query."""
        if picked.gone is not None:
            self._set_back.pop(picked.gone, None)
        newly_set_back = self._set_back.keys() - picked.set_back
        return [batch for batch in picked.batches if batch.id not in newly_set_back]

    def settled(self, batch: Batch) -> None:
        """Forget a batch that has its outcome."""
        self._set_back.pop(batch.id, None)

    def refused(self, batch: Batch, reason: str, hint: str, *, alone: bool) -> bool:
        """Set a batch back, behind the others there; returns whether to send it in halves.

        `alone`: others are accepted meanwhile.
        """
        entry = self._set_back.pop(batch.id, SetBack(batch.items))
        if alone:
            entry = replace(entry, alone=entry.alone + 1, reason=reason, hint=hint)
        self._set_back[batch.id] = entry
        if len(self._set_back) > QUEUE_LIMIT:
            del self._set_back[next(iter(self._set_back))]
        return entry.alone >= SPLIT_AFTER and batch.items > 1

    def put_back(self, batch: Batch, parts: Mapping[int, int], *, first: bool) -> None:
        """Set back the parts of a settled batch; `parts` maps their numbers to counts of items.

        Halves go `first`: the refused size or item is found in a few attempts, without
        splitting other batches.
        """
        before = self._set_back.pop(batch.id, SetBack(batch.items))
        entries = {number: replace(before, items=items) for number, items in parts.items()}
        self._set_back = entries | self._set_back if first else self._set_back | entries
        if first:
            self._last_was_set_back = False
