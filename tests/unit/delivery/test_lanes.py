"""Each lane has one delivery at a time, which ends before the next begins; none waits for another."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from functools import wraps
from types import SimpleNamespace
from typing import Any

import pytest

from receiver.azure.connection_string import Connection
from receiver.config.resources import Resource
from receiver.delivery.lanes import HELD_SECONDS, Changed, Deliveries
from receiver.delivery.sender import DeliveryCounts
from receiver.errors import NotCommitted
from tests.unit.delivery.jumping import run

STOP_SECONDS = 3.0
"""What is under way takes so long after a stop."""


def resource(name: str, senders: int = 1) -> Resource:
    """Name a lane's resource; another number of senders is another resource."""
    return Resource(name, Connection("key", "https://service.example"), "", 0, senders)


class FakeDelivery:
    """Runs until it is told to end, and a while longer; notes what it is told."""

    def __init__(self, whose: Resource, signal: asyncio.Event, counts: DeliveryCounts) -> None:
        self.whose, self.signal, self.counts = whose, signal, counts
        self.backoff = SimpleNamespace(state=SimpleNamespace(failures=0))
        self.told: list[object] = []
        self.runs = False
        self._ends = asyncio.Event()

    async def run(self) -> None:
        self.runs = True
        await self._ends.wait()
        await asyncio.sleep(STOP_SECONDS)
        self.runs = False

    def stop(self) -> None:
        self.told.append("stop")
        self._ends.set()

    def end_when_empty(self) -> None:
        self.told.append("end when empty")

    def finish(self, within_seconds: float) -> None:
        self.told.append(within_seconds)
        self._ends.set()

    def retry_now(self) -> None:
        self.told.append("retry")

    def is_empty(self) -> None:
        """End, as one does that was told to end when nothing waits."""
        self._ends.set()


class Bench:
    """Deliveries of lanes, and all that were made for them; `closed` are those whose connections are."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.made: list[FakeDelivery] = []
        self.closed: list[Resource] = []
        self.asked: list[tuple[float, set[str]]] = []
        self.disk_fails = False
        self.busy_lanes: set[str] = set()
        self.changed = Changed()
        committer: Any = self
        self.deliveries = Deliveries(resource(""), self.open, committer, self.changed)
        self.running: asyncio.Task[None] | None = None

    def open(
        self,
        whose: Resource,
        stack: AsyncExitStack,
        signal: asyncio.Event,
        counts: DeliveryCounts,
    ) -> Any:
        if whose.name:
            assert not [made for made in self.made if made.whose.name == whose.name and made.runs]
        stack.callback(self.closed.append, whose)
        self.made.append(FakeDelivery(whose, signal, counts))
        return self.made[-1]

    def begin(self) -> None:
        """Run them."""
        self.running = asyncio.create_task(self.deliveries.run())

    async def ask(self, question: Callable[[Any], object]) -> object:
        if self.disk_fails:
            self.asked.append((self.loop.time(), set()))
            raise NotCommitted("no")
        return question(self)

    def expire_held(self, served: set[str]) -> None:
        self.asked.append((self.loop.time(), set(served)))

    def lanes(self) -> list[str]:
        """Name the lanes that have a delivery that runs, in order."""
        return [made.whose.name for made in self.made if made.runs]

    async def end(self) -> None:
        """Stop them all; each ends."""
        self.deliveries.stop()
        assert self.running
        await asyncio.wait_for(self.running, 60)


def jumping(test: Callable[[Bench], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on jumping time, with a bench that is stopped in the end."""

    @wraps(test)
    def on_jumping_time() -> None:
        async def main() -> None:
            bench = Bench()
            async with asyncio.timeout(10_000):
                await test(bench)
                await bench.end()

        run(main())

    del on_jumping_time.__wrapped__  # pytest would look for a fixture
    return on_jumping_time


@jumping
async def test_each_lane_is_delivered_and_each_end_waited_for(bench: Bench) -> None:
    """Those that were there before the start, and those that came later; connections are closed last."""
    bench.deliveries.use([resource("a")])
    assert bench.lanes() == []
    bench.begin()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bench.lanes() == ["", "a"]
    bench.deliveries.use([resource("a"), resource("b")])
    await asyncio.sleep(1)
    assert bench.lanes() == ["", "a", "b"]
    assert id(bench.deliveries.default) == id(bench.made[0])
    assert list(bench.deliveries.by_lane) == ["", "a", "b"]
    assert bench.deliveries.resources == {"": resource(""), "a": resource("a"), "b": resource("b")}
    assert [made.told for made in bench.made] == [[], [], []]

    began_at = bench.loop.time()
    await bench.end()
    assert bench.loop.time() - began_at == pytest.approx(STOP_SECONDS)
    assert [made.told for made in bench.made] == [["stop"]] * 3
    assert {each.name for each in bench.closed} == {"", "a", "b"}
    assert len(bench.made) == 3, "none begins anew"


@jumping
async def test_another_resource_begins_when_the_one_before_has_ended(bench: Bench) -> None:
    """No batch goes to two; the counts go on; the same resource again disturbs nothing."""
    bench.deliveries.use([resource("a")])
    bench.begin()
    await asyncio.sleep(1)
    bench.made[1].counts.unconfirmed_items = 7
    bench.busy_lanes |= {"", "a"}
    bench.deliveries.use([resource("a"), resource("")])
    assert bench.made[1].told == []

    bench.deliveries.use([resource("a", senders=5)])
    await asyncio.sleep(STOP_SECONDS - 1)
    assert bench.made[1].told == ["stop"]
    assert len(bench.made) == 2
    await asyncio.sleep(2)
    assert [made.whose for made in bench.made] == [resource(""), resource("a"), resource("a", 5)]
    assert bench.closed == [resource("a")]
    assert bench.made[2].counts.unconfirmed_items == bench.deliveries.counts.unconfirmed_items == 7
    assert bench.busy_lanes == {""}
    assert bench.lanes() == ["", "a"]


@jumping
async def test_a_lane_without_a_route_is_delivered_to_the_end(bench: Bench) -> None:
    """Where it led last; its counts stay in the sum. The receiver's own lane always stays."""
    assert bench.deliveries.counts is bench.deliveries.default.counts
    bench.deliveries.use([resource("a")])
    bench.begin()
    await asyncio.sleep(1)
    bench.deliveries.use([resource("a"), resource("b")])
    await asyncio.sleep(1)
    for made, count in zip(bench.made, (1, 20, 300), strict=True):
        made.counts.sent_bytes = count
    assert bench.deliveries.counts.sent_bytes == 321
    bench.deliveries.use([])
    assert [made.told for made in bench.made] == [[], ["end when empty"], ["end when empty"]]
    assert set(bench.deliveries.resources) == {"", "a", "b"}

    bench.made[1].is_empty()
    await asyncio.sleep(STOP_SECONDS + 1)
    assert list(bench.deliveries.by_lane) == ["", "b"]
    bench.made[2].is_empty()
    await asyncio.sleep(STOP_SECONDS + 1)
    assert list(bench.deliveries.by_lane) == [""]
    assert bench.deliveries.counts.sent_bytes == 321
    assert bench.deliveries.default.counts.sent_bytes == 1
    assert len(bench.changed.signals) == 1


@jumping
async def test_a_route_that_returns_while_its_lane_ends_continues(bench: Bench) -> None:
    """With a new delivery, since the one before ends with what waits."""
    bench.deliveries.use([resource("a")])
    bench.begin()
    await asyncio.sleep(1)
    bench.deliveries.use([])
    bench.deliveries.use([resource("a")])
    assert bench.made[1].told == ["end when empty", "stop"]
    await asyncio.sleep(STOP_SECONDS + 1)
    assert bench.lanes() == ["", "a"]
    assert len(bench.made) == 3
    assert bench.made[2].told == []


@jumping
async def test_what_comes_wakes_each_lane_that_runs(bench: Bench) -> None:
    """And none that has ended."""
    bench.deliveries.use([resource("a")])
    bench.begin()
    await asyncio.sleep(1)
    bench.changed.set()
    assert [made.signal.is_set() for made in bench.made] == [True, True]
    bench.deliveries.use([])
    bench.made[1].is_empty()
    await asyncio.sleep(STOP_SECONDS + 1)
    for made in bench.made:
        made.signal.clear()
    bench.changed.set()
    assert [made.signal.is_set() for made in bench.made] == [True, False]


@jumping
async def test_lanes_without_a_delivery_are_looked_at(bench: Bench) -> None:
    """Once a minute, with those that are delivered; a disk that fails is asked again."""
    bench.deliveries.use([resource("a")])
    began_at = bench.loop.time()
    bench.begin()
    await asyncio.sleep(2 * HELD_SECONDS + 1)
    bench.disk_fails = True
    await asyncio.sleep(HELD_SECONDS)
    bench.disk_fails = False
    bench.deliveries.use([])
    bench.made[1].is_empty()
    await asyncio.sleep(HELD_SECONDS)

    times, lanes = zip(*bench.asked, strict=True)
    assert [at - began_at for at in times] == [HELD_SECONDS * number for number in (1, 2, 3, 4)]
    assert lanes == ({"", "a"}, {"", "a"}, set(), {""})


@pytest.mark.parametrize("how", ["finish", "stop"])
def test_an_end_is_each_lane_s(how: str) -> None:
    """They are told at once, end side by side, and nothing begins after it."""

    @jumping
    async def test(bench: Bench) -> None:
        bench.deliveries.use([resource("a")])
        bench.begin()
        await asyncio.sleep(1)
        bench.deliveries.use([resource("a", senders=5)])
        began_at = bench.loop.time()
        if how == "finish":
            bench.deliveries.finish(8.0)
        else:
            bench.deliveries.stop()
        assert bench.running
        await bench.running
        assert bench.loop.time() - began_at == pytest.approx(STOP_SECONDS)
        told = 8.0 if how == "finish" else "stop"
        assert [made.told for made in bench.made] == [[told], ["stop", told]]

    test()


@jumping
async def test_a_retry_is_of_one_lane_or_of_all(bench: Bench) -> None:
    """And says whether any of those waited."""
    bench.deliveries.use([resource("a"), resource("b")])
    bench.begin()
    await asyncio.sleep(1)
    assert bench.deliveries.retry_now("a") is False
    assert [made.told for made in bench.made] == [[], ["retry"], []]
    bench.made[2].backoff.state.failures = 3
    assert bench.deliveries.retry_now("a") is False
    assert bench.deliveries.retry_now("b") is True
    assert bench.deliveries.retry_now("other") is False
    assert [made.told for made in bench.made] == [[], ["retry"] * 2, ["retry"]]
    assert bench.deliveries.retry_now() is True
    assert [made.told for made in bench.made] == [["retry"], ["retry"] * 3, ["retry"] * 2]
