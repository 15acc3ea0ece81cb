"""Which batches are sent next: every batch gets its turn, and none takes the others'.

In: what is under way, what was accepted and what was refused. Out: batches of the outbox.
Sends nothing, waits for nothing.

Theory of operation: batches that were not tried yet go first; of them what arrived in the
last minute, so that catching up after an outage does not make the present late, and then
the oldest, which is the next to expire. A batch that was refused is *set back*: it waits in
a line of its own, from which one at a time is tried, in turns with the others. While others
are accepted a refusal from that line says something of the batch and nothing of the way: it
makes the line wait (`line`, a back-off of its own), and the others go on. A batch refused
`SPLIT_AFTER` times like that is sent in halves, until what is refused is a single item.
The line is in memory: after a restart each batch is tried anew.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from receiver.azure.policy import Action
from receiver.delivery.backoff import Backoff
from receiver.outbox.batch import Batch
from receiver.outbox.store import Outbox

FRESH_SECONDS = 60.0
SPLIT_AFTER = 2
"""Refusals while others are accepted; one may be chance."""
LINE_LIMIT = 5000
"""Batches in the line; past that the one that waited longest counts as not tried."""


@dataclass(frozen=True, slots=True)
class SetBack:
    """A batch that was refused; `alone` counts the refusals while others were accepted."""

    items: int
    alone: int = 0
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Stubborn:
    """Batches that are refused while others are accepted, and the latest reason."""

    batches: int = 0
    items: int = 0
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Picked:
    """What the outbox gave, and the numbers that were `set_back` when it was asked.

    `gone`: the batch whose turn it was is there no more.
    """

    batches: tuple[Batch, ...]
    set_back: frozenset[int]
    gone: int | None = None


class Picker:
    """Chooses. `ticks` is in seconds and never goes back; `line` is the back-off of what is set back."""

    def __init__(self, ticks: Callable[[], float], backoff: Backoff, lane: str = "") -> None:
        """Start with nothing under way and nothing set back, for one lane of the outbox."""
        self._ticks = ticks
        self._lane = lane
        self.backoff = backoff
        self._in_flight: set[int] = set()
        self._set_back: dict[int, SetBack] = {}
        self._last_was_set_back = False
        self._newest_ids: deque[tuple[float, int]] = deque()

    @property
    def in_flight(self) -> int:
        """How many batches are."""
        return len(self._in_flight)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, and nothing set back."""
        return not self._in_flight and not self._set_back

    @property
    def stubborn(self) -> Stubborn:
        """What is refused while others are accepted."""
        refused = [entry for entry in self._set_back.values() if entry.alone]
        if not refused:
            return Stubborn()
        items = sum(entry.items for entry in refused)
        return Stubborn(len(refused), items, refused[-1].reason, refused[-1].hint)

    def wait_seconds(self, now: float) -> float:
        """Say when the line is to be looked at again; 0 when nothing waits in it, or something may go."""
        return self.backoff.wait_seconds(now) if self._set_back else 0.0

    def is_set_back(self, batch: Batch) -> bool:
        """Whether a batch was refused before."""
        return batch.id in self._set_back

    def begin(self, batch: Batch) -> None:
        """Note that a batch is under way."""
        self._in_flight.add(batch.id)
        self._last_was_set_back = self.is_set_back(batch)

    def end(self, batch: Batch) -> None:
        """Note that a batch is under way no more."""
        self._in_flight.discard(batch.id)

    def question(self, room: int, action: Action | None) -> Callable[[Outbox], Picked]:
        """Make what is to be asked of the outbox: at most `room` batches, none that is under way.

        `action` says why the way is closed, where it is: a used-up quota is probed with the
        smallest batch. The question is asked in the outbox's thread, so it takes along all
        that may change meanwhile.
        """
        set_back, lane = frozenset(self._set_back), self._lane
        if action is Action.QUOTA:
            return lambda outbox: Picked(tuple(outbox.smallest_batch(lane)), set_back)
        busy = set_back | self._in_flight
        turn = self._turn()
        comes_first = room > 1 or not self._last_was_set_back

        def ask(outbox: Outbox) -> Picked:
            waiting = outbox.batch(turn) if turn is not None else None
            gone = None if waiting else turn
            if waiting and comes_first:
                rest = outbox.next_batches(busy, self._fresh_from(outbox), room - 1, lane)
                return Picked((waiting, *rest), set_back)
            batches = tuple(outbox.next_batches(busy, self._fresh_from(outbox), room, lane))
            if waiting and not batches:
                batches = (waiting,)
            return Picked(batches, set_back, gone)

        return ask

    def _turn(self) -> int | None:
        """Name the batch in the line whose turn it is; none while one is under way, or it waits."""
        if self._set_back.keys() & self._in_flight or self.backoff.wait_seconds(self._ticks()):
            return None
        return next(iter(self._set_back), None)

    def _fresh_from(self, outbox: Outbox) -> int:
        """Name the first batch of the last minute; runs in the outbox's thread alone."""
        now, newest = self._ticks(), self._newest_ids
        if not newest or now - newest[-1][0] > FRESH_SECONDS / 12:
            newest.append((now, outbox.newest_id()))
        while len(newest) > 1 and now - newest[1][0] > FRESH_SECONDS:
            newest.popleft()
        return newest[0][1] + 1

    def chosen(self, picked: Picked) -> list[Batch]:
        """Take what the outbox gave, without what was set back while it was asked."""
        if picked.gone is not None:
            self._set_back.pop(picked.gone, None)
        newly_set_back = self._set_back.keys() - picked.set_back
        return [batch for batch in picked.batches if batch.id not in newly_set_back]

    def settled(self, batch: Batch) -> None:
        """Forget a batch that has come to its end."""
        self._set_back.pop(batch.id, None)

    def refused(self, batch: Batch, reason: str, hint: str, *, alone: bool) -> bool:
        """Set a batch back, behind the others of the line; says whether to send it in halves.

        `alone`: others are accepted meanwhile.
        """
        entry = self._set_back.pop(batch.id, SetBack(batch.items))
        if alone:
            entry = replace(entry, alone=entry.alone + 1, reason=reason, hint=hint)
        self._set_back[batch.id] = entry
        if len(self._set_back) > LINE_LIMIT:
            del self._set_back[next(iter(self._set_back))]
        return entry.alone >= SPLIT_AFTER and batch.items > 1

    def put_back(self, batch: Batch, parts: Mapping[int, int], *, first: bool) -> None:
        """Set back the parts of a batch that is settled: their items, by their numbers.

        Halves go `first`, and next: the size or the item that is refused is found in a few
        tries, without cutting up other batches.
        """
        before = self._set_back.pop(batch.id, SetBack(batch.items))
        entries = {number: replace(before, items=items) for number, items in parts.items()}
        self._set_back = entries | self._set_back if first else self._set_back | entries
        if first:
            self._last_was_set_back = False
