"""The choice of the next batches: a refused batch delays no other.

In: batches in flight, accepted and refused. Out: batches of the outbox. Sends nothing, waits
for nothing.

Theory of operation: batches not yet tried go first; among them those of the last minute, so
that catching up after an outage does not delay current data, then the oldest, which is the
next to expire. A refused batch is *set back* into a second queue, of which one batch at a time
is tried, alternating with the others. While others are accepted, a refusal from that queue
concerns the batch and not the endpoint: only the queue waits (`backoff`, its own). After
`SPLIT_AFTER` such refusals a batch is sent in halves, down to a single item. The queue is in
memory: after a restart every batch counts as not tried.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from receiver.azure.policy import Action
from receiver.delivery.backoff import Backoff
from receiver.outbox.store import Outbox
from receiver.outbox.values import Batch

FRESH_SECONDS = 60.0
NONE_FRESH = 1 << 62
"""Above all numbers of batches."""
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
class Wish:
    """A wish for at most `room` batches of a lane, none of which is `busy`.

    `retried` is a batch that is set back; it comes first, or only if there is no other. Batches
    from number `fresh_from` on are of the last minute. `smallest`: only the smallest batch,
    whichever it is.
    """

    lane: str
    room: int
    busy: frozenset[int]
    set_back: frozenset[int]
    retried: int | None
    retried_comes_first: bool
    fresh_from: int
    asks_for_newest: bool
    smallest: bool


@dataclass(frozen=True, slots=True)
class Picked:
    """The answer to a wish. `gone`: the batch to be retried is no longer in the outbox."""

    batches: tuple[Batch, ...]
    gone: bool = False
    newest_id: int | None = None


def pick(outbox: Outbox, wish: Wish) -> Picked:
    """Return the batches of a wish; runs in the outbox's thread."""
    if wish.smallest:
        return Picked(tuple(outbox.smallest_batch(wish.lane)))
    newest_id = outbox.newest_id() if wish.asks_for_newest else None
    retried = None if wish.retried is None else outbox.batch(wish.retried)
    gone = wish.retried is not None and retried is None
    room = wish.room - (retried is not None and wish.retried_comes_first)
    batches = outbox.next_batches(wish.busy, wish.fresh_from, room, wish.lane)
    if retried and (wish.retried_comes_first or not batches):
        batches = [retried, *batches]
    return Picked(tuple(batches), gone, newest_id)


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

    def wish(self, room: int, action: Action | None) -> Wish:
        """Return a wish for at most `room` batches that are not in flight.

        `action` is the reason of the current wait: a used-up quota is probed with the smallest
        batch.
        """
        set_back, now, newest = frozenset(self._set_back), self._ticks(), self._newest_ids
        while len(newest) > 1 and now - newest[1][0] > FRESH_SECONDS:
            newest.popleft()
        return Wish(
            self._lane,
            room,
            set_back | self._in_flight,
            set_back,
            self._next_set_back(),
            retried_comes_first=room > 1 or not self._last_was_set_back,
            fresh_from=newest[0][1] + 1 if newest else NONE_FRESH,
            asks_for_newest=not newest or now - newest[-1][0] > FRESH_SECONDS / 12,
            smallest=action is Action.QUOTA,
        )

    def _next_set_back(self) -> int | None:
        """Return the next batch that is set back; None while one is in flight or all wait."""
        if self._set_back.keys() & self._in_flight or self.backoff.wait_seconds(self._ticks()):
            return None
        return next(iter(self._set_back), None)

    def chosen(self, wish: Wish, picked: Picked) -> list[Batch]:
        """Return the picked batches, without those set back since the wish."""
        if picked.newest_id is not None:
            self._newest_ids.append((self._ticks(), picked.newest_id))
        if picked.gone and wish.retried is not None:
            self._set_back.pop(wish.retried, None)
        newly_set_back = self._set_back.keys() - wish.set_back
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

    def set_back_parts(self, batch: Batch, parts: Mapping[int, int], *, first: bool) -> None:
        """Set back the parts of a settled batch; `parts` maps their numbers to counts of items.

        Halves go `first`: the refused size or item is found in a few attempts, without
        splitting other batches.
        """
        before = self._set_back.pop(batch.id, SetBack(batch.items))
        entries = {number: replace(before, items=items) for number, items in parts.items()}
        self._set_back = entries | self._set_back if first else self._set_back | entries
        if first:
            self._last_was_set_back = False
