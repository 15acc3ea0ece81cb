"""One delivery for each lane of the outbox, independent of the others.

In: the resources of the routes, as they change. Out: a running `Delivery` for each, with its own
connections, token, rate limit and back-off.

Theory of operation: a lane has one delivery at a time, since two would send a batch twice. When
its resource changes, the old delivery first finishes its batches in flight; its counts continue. A
lane whose route is removed is still delivered to its last resource, until it is empty. A lane
without a resource (its route was removed before the start) is held: its items are sent to no other
resource, and expire when they are too old.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import reduce

from receiver.config.resources import Resource
from receiver.delivery.sender import Delivery, DeliveryCounts
from receiver.errors import NotCommitted
from receiver.outbox.committer import Committer, Signal

HELD_SECONDS = 60.0
"""Interval at which held lanes are checked for expired items."""
Open = Callable[[Resource, AsyncExitStack, asyncio.Event, DeliveryCounts], Delivery]
"""Makes a delivery; the stack closes its connections, the event is set when batches may have come."""


class Changed:
    """Notifies all deliveries that batches may have come."""

    def __init__(self) -> None:
        """Start without deliveries."""
        self.signals: set[Signal] = set()

    def set(self) -> None:
        """Notify all."""
        for signal in self.signals:
            signal.set()


class Deliveries:
    """The deliveries by lane; the receiver's own route always has one, with an empty name."""

    def __init__(
        self, own: Resource, open_delivery: Open, committer: Committer, changed: Changed
    ) -> None:
        """Prepare, without sending. `own` is the resource of the receiver's own route, whose delivery is `default`."""
        self._open = open_delivery
        self._committer = committer
        self._changed = changed
        self._wanted: dict[str, Resource] = {}
        self._stopping = False
        self._tasks: asyncio.TaskGroup | None = None
        self._lanes: dict[str, _Lane] = {}
        self._stopped = asyncio.Event()
        self._ended: DeliveryCounts | None = None
        self.use([own])
        self.default = self._lanes[""].delivery

    @property
    def counts(self) -> DeliveryCounts:
        """The sum of all lanes, including ended ones."""
        others = [lane.delivery.counts for name, lane in self._lanes.items() if name]
        if not others and self._ended is None:
            return self.default.counts
        return reduce(DeliveryCounts.plus, others, (self._ended or DeliveryCounts()).plus(self.default.counts))  # fmt: skip

    @property
    def by_lane(self) -> Mapping[str, Delivery]:
        """The deliveries by lane, including those that are ending."""
        return {name: lane.delivery for name, lane in self._lanes.items()}

    @property
    def resources(self) -> Mapping[str, Resource]:
        """The resources by lane, including those of removed routes."""
        return {name: lane.resource for name, lane in self._lanes.items()}

    def use(self, resources: Sequence[Resource]) -> None:
        """Deliver to these resources from now on; without an own one among them the present own one stays."""
        own = {name: resource for name, resource in self._wanted.items() if not name}
        self._wanted = own | {resource.name: resource for resource in resources}
        for name, resource in self._wanted.items():
            lane = self._lanes.get(name)
            if lane is None:
                self._begin(resource, DeliveryCounts())
            elif lane.resource != resource or lane.is_ending:
                lane.delivery.stop()  # its successor starts when the batches in flight have ended
        for name, lane in self._lanes.items():
            if name not in self._wanted:
                lane.is_ending = True
                lane.delivery.end_when_empty()

    def _begin(self, resource: Resource, counts: DeliveryCounts) -> None:
        lane = self._lanes[resource.name] = _Lane(resource, self._open, counts)
        self._changed.signals.add(lane.signal)
        if self._tasks:
            self._start(lane, self._tasks)

    def _start(self, lane: "_Lane", tasks: asyncio.TaskGroup) -> None:
        tasks.create_task(self._run(lane), name=f"delivery {lane.resource.name}".strip())

    async def _run(self, lane: "_Lane") -> None:
        await lane.run()
        name, counts = lane.resource.name, lane.delivery.counts
        self._changed.signals.discard(lane.signal)
        self._committer.busy_lanes.discard(name)
        if self._stopping:
            return
        del self._lanes[name]
        if resource := self._wanted.get(name):
            self._begin(resource, counts)
        else:
            self._ended = counts.plus(self._ended or DeliveryCounts())

    async def run(self) -> None:
        """Send until `stop`; return when the batches in flight have their outcome."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for lane in self._lanes.values():
                self._start(lane, tasks)
            tasks.create_task(self._expire_held(), name="held lanes")

    async def _expire_held(self) -> None:
        """Expire items of lanes without a delivery, until `stop`."""
        while not self._stopping:
            try:
                async with asyncio.timeout(HELD_SECONDS):
                    await self._stopped.wait()
            except TimeoutError:
                served = set(self._lanes)
                try:
                    await self._committer.ask(lambda outbox: outbox.expire_held(served))  # noqa: B023 - awaited here
                except NotCommitted:
                    continue  # reported by the committer

    def finish(self, within_seconds: float) -> None:
        """Send waiting batches for at most this time; a lane ends early when no more can be sent in it."""
        self._stopping = True
        self._stopped.set()
        for lane in self._lanes.values():
            lane.delivery.finish(within_seconds)

    def stop(self) -> None:
        """Start no further batch."""
        self._stopping = True
        self._stopped.set()
        for lane in self._lanes.values():
            lane.delivery.stop()

    def retry_now(self, lane: str | None = None) -> bool:
        """Retry one lane or all at once; returns whether any of them was waiting."""
        deliveries = [
            delivery for name, delivery in self.by_lane.items() if lane is None or name == lane
        ]
        waits = any(delivery.backoff.state.failures for delivery in deliveries)
        for delivery in deliveries:
            delivery.retry_now()
        return waits


class _Lane:
    """A delivery with its connections. `signal` is set when batches may have come."""

    def __init__(self, resource: Resource, open_delivery: Open, counts: DeliveryCounts) -> None:
        self.resource = resource
        self.signal = asyncio.Event()
        self.is_ending = False
        self._stack = AsyncExitStack()
        self.delivery = open_delivery(resource, self._stack, self.signal, counts)

    async def run(self) -> None:
        async with self._stack:
            await self.delivery.run()
