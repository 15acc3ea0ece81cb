"""Delivery on jumping time, between an outbox and a service that are a few lines each.

The service answers as a test's function says, which is given the lines of each POST; the
outbox keeps batches in a dict, and counts what became of their items.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from receiver.delivery.backoff import Backoff
from receiver.delivery.http_connection import Answer
from receiver.delivery.picker import Picker
from receiver.delivery.sender import Delivery, DeliveryCounts
from receiver.delivery.service_clock import ServiceClock
from receiver.errors import NotCommitted, Unreachable
from receiver.events import Events
from receiver.outbox.gzip_body import compress, unpack
from receiver.outbox.values import Batch, Settlement

EPOCH = 1_800_000_000.0
Errors = dict[int, tuple[int, str]]
Said = Answer | Unreachable
POISON = b'{"poison":1}\n'


def line(number: int) -> bytes:
    """Make an item that can be told from others."""
    return b'{"item":%d}\n' % number


def own(status: int, items: int, errors: Errors | None = None, **headers: str) -> Answer:
    """Answer as the service does; `errors` are (status, message) by index."""
    errors = errors or {}
    listed = [{"index": i, "statusCode": s, "message": m} for i, (s, m) in errors.items()]
    body = {"itemsReceived": items, "itemsAccepted": items - len(errors), "errors": listed}
    return Answer(status, headers, json.dumps(body).encode())


def accepted(lines: Sequence[bytes]) -> Answer:
    """Answer that all is well."""
    return own(200, len(lines))


class FakeOutbox:
    """Batches by number, and what became of items."""

    def __init__(self) -> None:
        self.batches: dict[int, Batch] = {}
        self.totals: Counter[str] = Counter()
        self.settled: list[Settlement] = []
        self.last = 0
        self.lane = ""
        self.compactions = 0
        self.free = 0

    def add(self, lines: Sequence[bytes], newest_ms: int, oldest_ms: int) -> int:
        self.last += 1
        batch = Batch(self.last, compress(lines), len(lines), oldest_ms, newest_ms, "key")
        self.batches[self.last] = batch
        return self.last

    def next_batches(
        self, busy: Collection[int], fresh_from: int, most: int, lane: str
    ) -> list[Batch]:
        assert lane == self.lane
        free = [batch for batch in self.batches.values() if batch.id not in busy]
        return sorted(free, key=lambda batch: (batch.id < fresh_from, batch.id))[:most]

    def smallest_batch(self, lane: str) -> list[Batch]:
        assert lane == self.lane
        return sorted(self.batches.values(), key=lambda batch: len(batch.body))[:1]

    def batch(self, number: int) -> Batch | None:
        return self.batches.get(number)

    def newest_id(self) -> int:
        return self.last

    def compact(self) -> bool:
        """Give a part of what is `free` back; says whether there is more."""
        self.compactions += 1
        if not self.batches:
            self.free = max(0, self.free - 1)
        return not self.batches and self.free > 0

    def settle(self, outcome: Settlement) -> list[int]:
        batch = self.batches.pop(outcome.batch.id)
        self.settled.append(outcome)
        self.totals["accepted"] += outcome.accepted
        self.totals["expired"] += outcome.expired
        self.totals["rejected"] += sum(outcome.rejected.values())
        return [self.add(lines, batch.newest_ms, batch.oldest_ms) for lines in outcome.again]


class Bench:
    """Delivery, with all around it; times are in seconds since the bench was made."""

    def __init__(
        self,
        answer: Callable[[list[bytes]], Said],
        *,
        seconds: float = 0.05,
        senders: int = 4,
        signed_in: bool = False,
        lane: str = "",
    ) -> None:
        """Answer each POST with `answer`, after so many seconds."""
        self.loop = asyncio.get_running_loop()
        self.begun_at = self.loop.time()
        self.outbox = FakeOutbox()
        self.outbox.lane = lane
        self.posts: list[tuple[float, list[bytes]]] = []
        self.answer = answer
        self.seconds = seconds
        self.disk_fails = False
        self.url = "https://service.example/v2.1/track"
        self.forgotten = 0
        self.taken: list[int] = []
        self.given_back: list[int] = []
        self.busy_lanes: set[str] = set()
        self.clock_offset = 0.0
        self.events = Events(self.clock, self.loop.time)
        self.changed = asyncio.Event()
        self.picker = Picker(self.loop.time, Backoff(lambda: 0.5), lane)
        self.backoff = Backoff(lambda: 0.5)
        self.between: Callable[[], None] = lambda: None
        self.senders = senders
        self.token = object() if signed_in else None
        self.service_clock = ServiceClock(self.loop.time, self.clock)
        self.counts = DeliveryCounts()
        self.delivery = self._new_delivery()

    def _new_delivery(self) -> Delivery:
        stands_in: Any = self  # for the committer, the transport and the token bucket
        return Delivery(
            stands_in,
            stands_in,
            "key",
            self.picker,
            self.backoff,
            stands_in,
            self.senders,
            self.service_clock,
            self.clock,
            self.events,
            self.changed,
            lane=self.outbox.lane,
            counts=self.counts,
        )

    @property
    def now(self) -> float:
        """Seconds since the bench was made."""
        return self.loop.time() - self.begun_at

    def clock(self) -> float:
        """Say the time of the day."""
        return EPOCH + self.clock_offset + self.now

    def add(self, *lines: bytes, newest_ms: int | None = None, oldest_ms: int | None = None) -> int:
        """Put a batch into the outbox."""
        now_ms = round(self.clock() * 1000)
        newest_ms = now_ms if newest_ms is None else newest_ms
        number = self.outbox.add(lines, newest_ms, newest_ms if oldest_ms is None else oldest_ms)
        self.changed.set()
        return number

    async def run(
        self, seconds: float, step: Callable[[], object] = lambda: None, step_seconds: float = 5.0
    ) -> None:
        """Deliver for so long, and call `step` now and then.

        The next delivery continues with the same back-off, clock and counts.
        """
        running = asyncio.create_task(self.delivery.run())
        for _ in range(round(seconds / step_seconds)):
            step()
            await asyncio.sleep(step_seconds)
        self.delivery.stop()
        await running
        self.delivery = self._new_delivery()

    def posts_with(self, item: bytes) -> list[float]:
        """List the times of POSTs that brought an item."""
        return [at for at, lines in self.posts if item in lines]

    def most_a_minute(self, times: Sequence[float]) -> int:
        """Count the most of some times that lie within a minute."""
        return max((sum(first <= at < first + 60 for at in times) for first in times), default=0)

    @property
    def endpoint(self) -> "Bench":
        """Stand in for the endpoint too."""
        return self

    def forget(self) -> None:
        self.forgotten += 1

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        if self.disk_fails:
            raise NotCommitted("the disk fails")
        return question(self.outbox)

    async def settle(self, outcome: Settlement) -> list[int]:
        if self.disk_fails:
            raise NotCommitted("the disk fails")
        return self.outbox.settle(outcome)

    async def take(self, items: int) -> None:
        self.taken.append(items)
        self.between()

    def give_back(self, items: int) -> None:
        self.given_back.append(items)

    async def post(self, body: bytes) -> Answer:
        lines = unpack(body)
        self.posts.append((self.now, lines))
        await asyncio.sleep(self.seconds)
        answer = self.answer(lines)
        if isinstance(answer, Unreachable):
            raise answer
        return answer
