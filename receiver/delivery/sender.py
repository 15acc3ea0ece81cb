"""Batches go from the outbox to the service, and their outcome comes back.

In: batches. Out: settlements. Decides when to send, wait, retry and stop; what an
answer means is `receiver.azure.verdict`'s, when the gate opens is `receiver.delivery.backoff`'s.

A batch stays in the outbox until its outcome is written there. A process that dies
between the service's answer and that write sends the batch again: the service has
no idempotency key, so delivery is at least once.

What arrived in the last minute goes before older data, so that catching up after
an outage does not make the present late; of the older data the oldest goes first,
since that is the next to expire.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from receiver.azure.limits import EXPIRY_MS
from receiver.azure.verdict import DAMAGED, REJECT_REASONS, Action, verdict
from receiver.delivery.backoff import Backoff
from receiver.delivery.http_client import Answer
from receiver.delivery.rate_limit import TokenBucket
from receiver.delivery.settlement import settlement
from receiver.delivery.transport import Transport
from receiver.errors import Damaged, NotCommitted, Unreachable
from receiver.events import Events, Kind
from receiver.latency import Latency
from receiver.outbox.batch import Batch, DeadLetter, Settlement, compress, unpack
from receiver.outbox.committer import Committer
from receiver.outbox.store import Outbox

FRESH_SECONDS = 60.0
DISK_RETRY_SECONDS = 1.0
_ABOUT_THE_BODY = frozenset({400, 413, 415, 422, 500})
"""Statuses that may mean that the service could not read the body."""

FAILED = Kind("delivery", "delivery waits", apart_seconds=3600.0)
REJECTED = Kind("rejected", "items rejected")


@dataclass(slots=True)
class DeliveryCounts:
    """What delivery did since this process began."""

    attempts: Counter[str] = field(default_factory=Counter)
    unconfirmed_items: int = 0
    seconds: float = 0.0
    sent_bytes: int = 0
    latency: Latency = field(default_factory=Latency)


class Delivery:
    """Empties the outbox. `wall_clock` is in seconds since the epoch."""

    def __init__(
        self,
        committer: Committer,
        transport: Transport,
        gate: Backoff,
        pace: TokenBucket,
        instrumentation_key: str,
        senders: int,
        wall_clock: Callable[[], float],
        events: Events,
        changed: asyncio.Event,
    ) -> None:
        """Wire it up; `run` starts it. At most `senders` batches are under way at once.

        `changed` is set, by whoever commits, when there may be batches.
        """
        self._committer = committer
        self._transport = transport
        self.gate = gate
        self._pace = pace
        self._key = instrumentation_key
        self._senders = senders
        self._wall_clock = wall_clock
        self._loop = asyncio.get_running_loop()
        self._under_way: set[int] = set()
        self._events = events
        self._changed = changed
        self._stopping = False
        self._fresh: deque[tuple[float, int]] = deque()
        self._service_clock_offset: float | None = None
        self.counts = DeliveryCounts()
        self.last_rejection = ""

    @property
    def clock_ahead_seconds(self) -> float | None:
        """How far our clock is ahead of the service's; None before the service told its time."""
        if self._service_clock_offset is None:
            return None
        return self._wall_clock() - self._service_clock_offset - self._loop.time()

    async def run(self) -> None:
        """Send until `stop` is called; then return when what is under way has its outcome."""
        async with asyncio.TaskGroup() as tasks:
            while batches := await self._next_batches():
                for batch in batches:
                    await self._pace.take(batch.items)
                    if self._may_still_go():
                        tasks.create_task(self._send(batch), name=f"batch {batch.id}")
                    else:
                        self._under_way.discard(batch.id)

    def _may_still_go(self) -> bool:
        """Whether a batch may go that has waited for its pace: the end or the gate may have come between."""
        return (
            not self._stopping
            and not self.gate.wait_seconds(self._loop.time())
            and len(self._under_way) <= self.gate.at_once(self._senders)
        )

    def stop(self) -> None:
        """Begin no further batch."""
        self._stopping = True
        self._changed.set()

    def wake(self) -> None:
        """Say that something has changed: there may be batches, or room to send them."""
        self._changed.set()

    async def _next_batches(self) -> list[Batch]:
        """Wait until batches may go, and return them; none when stopping."""
        while not self._stopping:
            self._changed.clear()
            if self._room() and (batches := await self._choose()):
                if batches := batches[: self._room()]:
                    self._under_way.update(batch.id for batch in batches)
                    return batches
                continue  # the gate has closed while we looked
            wait = self.gate.wait_seconds(self._loop.time()) or None
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                pass  # the gate's time is over
        return []

    def _room(self) -> int:
        """Say how many more batches may go now."""
        if self.gate.wait_seconds(self._loop.time()):
            return 0
        return max(0, self.gate.at_once(self._senders) - len(self._under_way))

    async def _choose(self) -> list[Batch]:
        busy = frozenset(self._under_way)  # what has its outcome while we look is not ours either
        room = self._room()
        try:
            batches = await self._committer.ask(lambda outbox: self._pick(outbox, busy, room))
            self._committer.delivery_busy = bool(batches or self._under_way)
            if not batches and not self._under_way:
                while await self._committer.ask(Outbox.compact):
                    pass  # step by step, so that requests get their turn
        except NotCommitted:  # the disk fails; the committer has said so
            await asyncio.sleep(DISK_RETRY_SECONDS)
            self.wake()
            return []
        return batches

    def _pick(self, outbox: Outbox, busy: frozenset[int], most: int) -> list[Batch]:
        """Pick the batches to send next, none of `busy`; runs in the outbox's thread."""
        if self.gate.state.action is Action.QUOTA:
            return outbox.smallest_batch()  # a probe; nothing else is under way
        now = self._loop.time()
        if not self._fresh or now - self._fresh[-1][0] > FRESH_SECONDS / 12:
            self._fresh.append((now, outbox.newest_id()))
        while len(self._fresh) > 1 and now - self._fresh[1][0] > FRESH_SECONDS:
            self._fresh.popleft()
        return outbox.next_batches(busy, self._fresh[0][1] + 1, most)

    async def _send(self, batch: Batch) -> None:
        started_at = self._loop.time()
        try:
            if self._is_too_old(batch):
                await self._settle(Settlement(batch, expired=batch.items))
            else:
                await self._judge(batch, await self._transport.post(self._body(batch)), started_at)
        except Damaged as error:
            letter = DeadLetter(0, str(error), "")
            rejected = {DAMAGED: batch.items}
            await self._settle(Settlement(batch, rejected=rejected, dead_letters=[letter]))
        except Unreachable as error:
            self.counts.attempts["unreachable"] += 1
            self._transport.route.forget()
            self._failed(Action.RETRY, started_at, None, error.cause, error.hint)
        except Exception as error:  # noqa: BLE001 - an event, with its traceback
            hint = "A defect of the receiver: please report it."
            self._failed(Action.RETRY, started_at, None, str(error), hint, error)
        finally:
            seconds = self._loop.time() - started_at
            self.counts.seconds += seconds
            self.counts.latency.observe(seconds)
            self._under_way.discard(batch.id)
            self.wake()

    async def _judge(self, batch: Batch, answer: Answer, started_at: float) -> None:
        self.counts.attempts[str(answer.status)] += 1
        self.counts.sent_bytes += len(batch.body)
        self._learn_time(answer)
        found = verdict(answer.status, answer.headers, answer.body, batch.items, self._wall_clock())
        if answer.status in _ABOUT_THE_BODY:
            unpack(batch.body)  # one that the disk has damaged would be refused for ever
        if found.action not in (Action.SETTLE, Action.SPLIT):
            if found.action is Action.BLOCKED:
                self._transport.route.forget()
            self._failed(
                found.action, started_at, found.retry_after_seconds, found.reason, found.hint
            )
            return
        if found.retry:  # before the write, so that nobody sends them again at once
            wait = found.retry_after_seconds
            self._failed(Action.RETRY, started_at, wait, found.reason, found.hint)
        elif self.gate.succeeded():
            self._events.is_over(FAILED, "delivery goes on")
        await self._settle(settlement(batch, found))
        if (
            found.action is Action.SETTLE
            and found.reason
            and not found.retry
            and not found.rejected
        ):
            self.counts.unconfirmed_items += batch.items

    def _failed(
        self,
        action: Action,
        started_at: float,
        wait: float | None,
        reason: str,
        hint: str,
        defect: Exception | None = None,
    ) -> None:
        now = self._loop.time()
        self.gate.failed(action, now, started_at, wait, reason, hint)
        seconds = round(self.gate.state.until - now, 1)
        self._events.happened(
            FAILED, action.value, reason, hint, defect=defect, wait_seconds=seconds
        )

    async def _settle(self, outcome: Settlement) -> None:
        """Write an outcome down, however long the disk takes to let us: else it is sent twice."""
        if outcome.rejected:
            letter = next(iter(outcome.dead_letters), None)
            self.last_rejection = letter.message if letter else ""
            for reason, items in outcome.rejected.items():
                words = self.last_rejection or reason
                hint = f"{REJECT_REASONS[reason][1]} appinsights-receiver dead-letters shows them."
                self._events.happened(REJECTED, reason, words, hint, times=items)
        while True:
            try:
                return await self._committer.settle(outcome)
            except NotCommitted:
                if self._stopping:
                    return None
                await asyncio.sleep(DISK_RETRY_SECONDS)

    def _body(self, batch: Batch) -> bytes:
        """Return the body to send: its items' key is the one that is configured now."""
        if batch.destination == self._key:
            return batch.body
        old = f'"iKey":"{batch.destination}"'.encode()
        new = f'"iKey":"{self._key}"'.encode()
        return compress([line.replace(old, new, 1) for line in unpack(batch.body)])

    def _learn_time(self, answer: Answer) -> None:
        try:
            told = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
        except (ValueError, OverflowError):
            return
        self._service_clock_offset = told - self._loop.time()

    def _is_too_old(self, batch: Batch) -> bool:
        """Whether the service would refuse all of it for its age, by the service's clock and ours.

        Either one alone may be wrong: ours may jump, and a proxy that answers in the service's
        place may have its own. Where they differ the service has to judge itself.
        """
        if self._service_clock_offset is None:
            return False
        service_now = self._service_clock_offset + self._loop.time()
        now_ms = min(service_now, self._wall_clock()) * 1000
        return batch.newest_ms < now_ms - EXPIRY_MS
