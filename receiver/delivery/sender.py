"""The delivery of one lane: sends batches of the outbox, and records their outcomes.

In: batches. Out: settlements. Sends, and acts on the verdict of an answer.
`receiver.delivery.picker` chooses the next batch, `backoff` and `rate_limit` the time,
`receiver.azure.verdict` judges the answer.

A batch stays in the outbox until its outcome is written there. A process that dies
between the service's answer and that write sends the batch again: the service has
no idempotency key, so delivery is at least once.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from receiver.azure.envelope import with_key
from receiver.azure.policy import Action
from receiver.azure.rejections import DAMAGED, REJECT_REASONS
from receiver.azure.verdict import Verdict, judge
from receiver.delivery.backoff import Backoff
from receiver.delivery.http_connection import Answer
from receiver.delivery.picker import Picker, pick
from receiver.delivery.rate_limit import TokenBucket
from receiver.delivery.service_clock import ServiceClock
from receiver.delivery.settlement import halves, settlement
from receiver.delivery.transport import Transport
from receiver.errors import Damaged, NotCommitted, Unreachable
from receiver.events import Events, Kind
from receiver.latency import Latency
from receiver.outbox.committer import Committer
from receiver.outbox.gzip_body import unpack
from receiver.outbox.values import Batch, DeadLetter, Settlement

DISK_RETRY_SECONDS = 1.0
REJECTED = "rejected"
"""The place of rejections among the recent errors, before the route."""
_ABOUT_THE_RATE = (Action.THROTTLE, Action.QUOTA)
"""Refusals for the amount of data, never for the batch."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """The events of one lane's delivery, with counts and log lines of their own."""

    failed: Kind
    set_back: Kind
    unconfirmed: Kind
    rejected: Kind
    resumed: str

    @classmethod
    def of(cls, lane: str) -> "Kinds":
        """Return a lane's events."""
        where, of_route = (f"delivery {lane}", f" of route {lane}") if lane else ("delivery", "")
        one = f"a batch{of_route} is refused while others are accepted"
        return cls(
            Kind(where, f"delivery{of_route} waits", apart_seconds=3600.0),
            Kind(where, one, apart_seconds=600.0),
            Kind(where, f"items{of_route} unconfirmed", apart_seconds=600.0),
            Kind(f"{REJECTED} {lane}".strip(), f"items{of_route} rejected"),
            f"delivery{of_route} resumed",
        )


@dataclass(slots=True)
class DeliveryCounts:
    """Counts of delivery since the process started."""

    attempts: Counter[str] = field(default_factory=Counter)
    unconfirmed_items: int = 0
    seconds: float = 0.0
    sent_bytes: int = 0
    latency: Latency = field(default_factory=Latency)

    def plus(self, other: "DeliveryCounts") -> "DeliveryCounts":
        """Return the sum of two counts."""
        return DeliveryCounts(
            self.attempts + other.attempts,
            self.unconfirmed_items + other.unconfirmed_items,
            self.seconds + other.seconds,
            self.sent_bytes + other.sent_bytes,
            self.latency.plus(other.latency),
        )


class Delivery:
    """Delivers one lane of the outbox."""

    def __init__(
        self,
        committer: Committer,
        transport: Transport,
        key: str,
        picker: Picker,
        backoff: Backoff,
        rate_limit: TokenBucket,
        senders: int,
        service_clock: ServiceClock,
        wall_clock: Callable[[], float],
        events: Events,
        changed: asyncio.Event,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        lane: str = "",
        counts: DeliveryCounts | None = None,
    ) -> None:
        """Prepare; `run` starts. At most `senders` batches are in flight at once.

        `key` is the resource's. `counts` are continued from the lane's previous delivery.
        `changed` is set when there may be batches. `wall_clock` is in seconds since the epoch.
        """
        self._committer = committer
        self._transport = transport
        self._key = key
        self.picker = picker
        self.backoff = backoff
        self._rate_limit = rate_limit
        self._senders = senders
        self.service_clock = service_clock
        self._wall_clock = wall_clock
        self._events = events
        self._changed = changed
        self._sleep = sleep
        self._loop = asyncio.get_running_loop()
        self._lane = lane
        self._kinds = Kinds.of(lane)
        self._stopping = self._ends_when_empty = False
        self._finish_at: float | None = None
        self.counts = counts or DeliveryCounts()
        self._is_empty = self._disk_fails = False

    async def run(self) -> None:
        """Send until `finish` or `stop`; return when the batches in flight have their outcome."""
        async with asyncio.TaskGroup() as tasks:
            while batches := await self._next_batches():
                for batch in batches:
                    await self._rate_limit.take(batch.items)
                    if self._may_be_sent():
                        tasks.create_task(self._send(batch), name=f"batch {batch.id}")
                    else:
                        self._rate_limit.give_back(batch.items)
                        self.picker.end(batch)

    def _may_be_sent(self) -> bool:
        """Whether a batch may be sent after its wait for the rate limit, in which a stop or a failure may have come."""
        return (
            not self._stopping
            and not self.backoff.wait_seconds(self._loop.time())
            and self.picker.in_flight <= self.backoff.at_once(self._senders)
        )

    def finish(self, within_seconds: float) -> None:
        """Send waiting batches for at most this time; end early when no more can be sent in it."""
        self._finish_at = self._loop.time() + within_seconds
        self._loop.call_later(within_seconds, self.stop)
        self._changed.set()

    def stop(self) -> None:
        """Start no further batch."""
        self._stopping = True
        self._changed.set()

    def end_when_empty(self) -> None:
        """End when no batch waits, without a time limit: the route was removed."""
        self._ends_when_empty = True
        self._changed.set()

    def retry_now(self) -> None:
        """Retry at once, after a fix."""
        self.backoff.retry_now(self._loop.time())
        self._changed.set()

    async def _next_batches(self) -> list[Batch]:
        """Wait until batches may be sent, and return them; none at the end."""
        while not self._stopping:
            self._changed.clear()
            batches = await self._choose()
            if batches or self._is_over():
                return batches
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_seconds() or None):
                    await self._changed.wait()
        return []

    def _wait_seconds(self) -> float:
        """Return the time until a batch may be sent, if one waits; 0 if one may be sent now."""
        now = self._loop.time()
        return self.backoff.wait_seconds(now) or self.picker.wait_seconds(now)

    def _is_over(self) -> bool:
        """Whether the end has come: no batch waits, or none may be sent before the time of `finish`."""
        may_have_more = self._changed.is_set() and not self._disk_fails
        if may_have_more or self.picker.in_flight:
            return False
        if self._ends_when_empty and self._is_empty and self.picker.is_idle:
            return True
        if self._finish_at is None:
            return False
        wait = self._wait_seconds()
        return not wait or self._loop.time() + wait > self._finish_at

    def _room(self) -> int:
        """Return how many more batches may be sent now."""
        if self.backoff.wait_seconds(self._loop.time()):
            return 0
        return max(0, self.backoff.at_once(self._senders) - self.picker.in_flight)

    async def _choose(self) -> list[Batch]:
        """Return the next batches, from now on in flight; none while there is no room or none waits."""
        self._is_empty = False
        room = self._room()
        if not room:
            return []
        wish = self.picker.wish(room, self.backoff.state.action)
        try:
            picked = await self._committer.ask(lambda outbox: pick(outbox, wish))
            self._disk_fails = False
            batches = self.picker.chosen(wish, picked)
            if picked.gone:
                self._changed.set()  # the next batch that is set back may be tried
            self._is_empty = not batches and not picked.gone
            if batches or self.picker.in_flight:
                self._committer.busy_lanes.add(self._lane)
            else:
                self._committer.busy_lanes.discard(self._lane)
                while await self._committer.ask(lambda outbox: outbox.compact()):
                    pass  # in steps, so that requests are committed in between
        except NotCommitted:  # reported by the committer
            self._disk_fails = True
            await self._sleep(DISK_RETRY_SECONDS)
            self._changed.set()
            return []
        batches = batches[: self._room()]  # after a failure meanwhile: none, or one
        for batch in batches:
            self.picker.begin(batch)
        return batches

    async def _send(self, batch: Batch) -> None:
        started_at = self._loop.time()
        try:
            if self.service_clock.is_too_old(batch.newest_ms):
                await self._settle(Settlement(batch, expired=batch.items))
                self.picker.settled(batch)
            else:
                await self._attempt(batch, started_at)
        except Damaged as error:
            letter = DeadLetter(0, str(error), "")
            rejected = {DAMAGED: batch.items}
            await self._settle(Settlement(batch, rejected=rejected, dead_letters=[letter]))
            self.picker.settled(batch)
        except Exception as error:  # noqa: BLE001 - an event, with its traceback
            hint = "A defect of the receiver: please report it."
            defect = Verdict(Action.RETRY, reason=str(error), hint=hint)
            self._set_back(batch, defect, started_at, error)
        finally:
            seconds = self._loop.time() - started_at
            self.counts.seconds += seconds
            self.counts.latency.observe(seconds)
            self.picker.end(batch)
            self._changed.set()

    async def _attempt(self, batch: Batch, started_at: float) -> None:
        """POST a batch, and act on the answer. Raises: Damaged."""
        body = batch.body
        if batch.destination != self._key:
            body = with_key(body, batch.destination, self._key)
        try:
            answer = await self._transport.post(body)
        except Unreachable as error:
            self.counts.attempts["unreachable"] += 1
            refusal = Verdict(Action.RETRY, reason=error.cause, hint=error.hint)
            await self._refused(batch, refusal, started_at)
            return
        self.counts.attempts[str(answer.status)] += 1
        self.counts.sent_bytes += len(batch.body)
        verdict = self._judge(batch, answer)
        match verdict.action:
            case Action.SETTLE | Action.UNCONFIRMED:
                await self._judged(batch, verdict, started_at)
            case _:
                await self._refused(batch, verdict, started_at)

    def _judge(self, batch: Batch, answer: Answer) -> Verdict:
        parts = urlsplit(self._transport.endpoint.url)
        verdict = judge(
            answer.status,
            answer.headers,
            answer.body,
            batch.items,
            self._wall_clock(),
            address=f"{parts.scheme}://{parts.netloc}",
            signed_in=self._transport.token is not None,
        )
        if verdict.by_the_service:
            self.service_clock.learn(answer.headers.get("Date", ""))
        if verdict.about_the_body and verdict.accepted < batch.items:
            unpack(batch.body)  # raises where the disk has damaged it: it would be refused for ever
        return verdict

    async def _judged(self, batch: Batch, verdict: Verdict, started_at: float) -> None:
        """Record the service's result for each item; set back those to be sent again."""
        some_are_taken = verdict.accepted >= len(verdict.retry) and verdict.wait is Action.RETRY
        divide = False
        if verdict.retry and not some_are_taken:
            divide = self._set_back(batch, verdict, started_at)
        else:
            self._succeeded(batch)
        if verdict.action is Action.UNCONFIRMED:
            self.counts.unconfirmed_items += batch.items
            self._events.happened(
                self._kinds.unconfirmed,
                "unconfirmed",
                verdict.reason,
                verdict.hint,
                times=batch.items,
            )
        outcome = settlement(batch, verdict, divide=divide)
        await self._settle_in_part(batch, outcome, first=divide)

    async def _refused(self, batch: Batch, verdict: Verdict, started_at: float) -> None:
        """Keep a batch that was refused as a whole, behind the others."""
        if verdict.action not in _ABOUT_THE_RATE:
            self._transport.endpoint.forget()  # the redirect's target may be the wrong one
        divide = self._set_back(batch, verdict, started_at)
        if divide or verdict.action is Action.SPLIT:
            await self._settle_in_part(batch, halves(batch), first=True)

    def _set_back(
        self, batch: Batch, verdict: Verdict, started_at: float, defect: Exception | None = None
    ) -> bool:
        """Set a batch back, and have it or all batches wait; returns whether to send it in halves.

        Only this batch waits if others were accepted since it was last refused. All wait if the
        cause is the endpoint or the amount of data.
        """
        now, action = self._loop.time(), verdict.kind_of_wait
        others_pass = self.picker.is_set_back(batch) and not self.backoff.state.failures
        if others_pass:
            self.picker.backoff.failed(action, now, started_at)
        alone = others_pass and action not in _ABOUT_THE_RATE
        divide = self.picker.refused(batch, verdict.reason, verdict.hint, alone=alone)
        if alone:
            self._report(self._kinds.set_back, verdict, defect=defect)
            return divide
        self.backoff.failed(
            action, now, started_at, verdict.retry_after_seconds, verdict.reason, verdict.hint
        )
        wait = round(self.backoff.wait_seconds(now), 1)
        self._report(self._kinds.failed, verdict, defect=defect, wait_seconds=wait)
        return False

    def _report(self, kind: Kind, verdict: Verdict, **more: Any) -> None:
        reason = verdict.kind_of_wait.value
        self._events.happened(kind, reason, verdict.reason, verdict.hint, **more)

    def _succeeded(self, batch: Batch) -> None:
        if self.backoff.succeeded():
            self._events.is_over(self._kinds.failed, self._kinds.resumed)
        if self.picker.is_set_back(batch):
            self.picker.backoff.succeeded()

    async def _settle_in_part(self, batch: Batch, outcome: Settlement, *, first: bool) -> None:
        """Settle a batch, and set back its parts that are sent again."""
        numbers = await self._settle(outcome)
        parts = dict(zip(numbers, map(len, outcome.again), strict=False))
        self.picker.set_back_parts(batch, parts, first=first)

    async def _settle(self, outcome: Settlement) -> Sequence[int]:
        """Record an outcome, retrying while the disk fails: a lost outcome means a second delivery.

        Returns the numbers of the batches to send again; none if stopped before the write.
        """
        messages = (letter.message for letter in outcome.dead_letters if letter.message)
        words = next(messages, "the service gives no message")
        for reason, items in outcome.rejected.items():
            hint = f"{REJECT_REASONS[reason][1]} appinsights-receiver dead-letters shows them."
            self._events.happened(self._kinds.rejected, reason, words, hint, times=items)
        while True:
            try:
                return await self._committer.settle(outcome)
            except NotCommitted:
                if self._stopping:
                    return ()
                await self._sleep(DISK_RETRY_SECONDS)
