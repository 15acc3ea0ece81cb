"""A storm with routes, one of them blocked, and two replicas: none is lost, and no other is late.

Two replicas write the same streams to a receiver that is killed with -9; routes `a` and the
receiver's own lead to sandboxes that fail now and then, `b` to one that refuses all until the
storm is over. Each item is looked for in its own resource, which takes no other's key.
How late each is, is measured here; copies are only bounded: that each is explained is held against the storm
with routes (`tests.storm.storm`).
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from receiver.sandbox.faults import parse as parse_faults
from tests.integration.receivers import ReceiverProcess, delivered, read_status
from tests.integration.remote_write import Point, encode, post
from tests.integration.test_routes import BLOCKED, Resources, resources, route_of
from tests.integration.waiting import in_loop, until
from tests.storm.storm import faults

KILLS = 3
REQUESTS = 8
"""Of each replica, before each kill and after the last."""
A_REQUEST = 60
MODELS = ("a_1", "b_1", "x_1", "a_2", "b_2", "x_2")
LATE_SECONDS = 10.0
"""Of a sample of a route that is not blocked, from its 2xx to its resource, while the receiver runs."""


@dataclass
class Stream:
    """What the replicas write: both the same, each at its own pace."""

    begun_ms: int = field(default_factory=lambda: int(time.time() * 1000))
    acknowledged: dict[float, float] = field(default_factory=dict)
    """When the leader's sample was acknowledged, by value."""

    def request(self, number: int, replica: str) -> list[Point]:
        first = number * A_REQUEST
        return [
            Point(
                "nv_stream",
                (("model", MODELS[value % len(MODELS)]), ("replica", replica)),
                self.begun_ms + value,
                float(value),
            )
            for value in range(first, first + A_REQUEST)
        ]


class Replica:
    """A sender that comes again until it is answered, as Prometheus does."""

    def __init__(self, name: str, stream: Stream, receiver: ReceiverProcess) -> None:
        self.name, self._stream, self._receiver = name, stream, receiver
        self.written = 0
        self.over = False

    async def run(self, session: aiohttp.ClientSession) -> None:
        while not self.over:
            sent = self._stream.request(self.written, self.name)
            body = encode(sent)
            while True:
                try:
                    reply = await post(session, self._receiver.url, body)
                    if reply.status < 300:
                        break
                    assert reply.status >= 500, reply
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(0.05)
            now = time.monotonic()
            for point in sent:
                self._stream.acknowledged.setdefault(point.value, now)
            self.written += 1
            await asyncio.sleep(0.02)


async def watch(there: Resources, name: str, seen: dict[float, float]) -> None:
    """Note when each sample came to its resource."""
    while True:
        for value in there.values(name):
            seen.setdefault(value, time.monotonic())
        await asyncio.sleep(0.1)


def up_seconds(begin: float, end: float, downs: list[tuple[float, float]]) -> float:
    """Say how long it took, without the time from each kill to the next start."""
    down = sum(max(0.0, min(end, up_at) - max(begin, down_at)) for down_at, up_at in downs)
    return end - begin - down


@in_loop(110)
async def test_a_storm_with_a_route_that_is_blocked(tmp_path: Path) -> None:
    """Every acknowledged sample is in its resource; no other route is late; copies are few."""
    chance = random.Random(20261127)
    stream = Stream()
    async with resources(tmp_path) as there, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:  # fmt: skip
        there.write("a", "b")
        kinds = [pair for pair in faults("http://localhost:9") if pair[1].get("status", 0) in (429, 503, 500, 408)]  # fmt: skip
        chances = [{"probability": p, "fault": fault} for p, fault in kinds]
        for name in ("a", "default"):
            storm = {"kind": "storm", "seed": 7, "faults": chances, "times": None}
            there.sandbox(name).script.replace(parse_faults([storm]))
        there.sandbox("b").script.replace(parse_faults([BLOCKED]))
        flags = ("--routes", str(there.file), "--replica-label", "replica", "--replica-timeout", "60s")  # fmt: skip
        receiver = ReceiverProcess(tmp_path, there.connection_string("default"), *flags)
        seen: dict[str, dict[float, float]] = {"a": {}, "default": {}}
        downs: list[tuple[float, float]] = []
        async with receiver:
            replicas = [Replica(name, stream, receiver) for name in ("one", "two")]
            writing = [asyncio.create_task(replica.run(session)) for replica in replicas]
            looking = [asyncio.create_task(watch(there, name, found)) for name, found in seen.items()]  # fmt: skip
            for number in range(1, KILLS + 2):
                await until(lambda: min(each.written for each in replicas) >= number * REQUESTS, "requests", 40)  # fmt: skip # noqa: B023 - awaited here
                if number <= KILLS:
                    await asyncio.sleep(chance.uniform(0, 0.2))
                    down_at = time.monotonic()
                    await receiver.kill()
                    await receiver.start()
                    downs.append((down_at, time.monotonic()))
            for replica in replicas:
                replica.over = True
            await asyncio.gather(*writing)
            both = range(min(each.written for each in replicas) * A_REQUEST)
            wanted = {
                "a": {float(v) for v in both if MODELS[v % 6].startswith("a")},
                "b": {float(v) for v in both if MODELS[v % 6].startswith("b")},
                "default": {float(v) for v in both if MODELS[v % 6].startswith("x")},
            }
            for name in seen:
                await until(lambda: wanted[name] <= set(there.values(name)), f"all of {name}", 30)  # noqa: B023 - awaited here
            status = await read_status(session, receiver.url)
            assert there.values("b") == []
            assert route_of(status, "b")["pending"] >= len(wanted["b"])
            assert status["dropped"]["replica"] > 0
            assert any(each["line"].startswith("BLOCKED: route b: 403") for each in status["verdict"]["findings"])  # fmt: skip

            there.sandbox("b").script.replace([])
            await until(lambda: wanted["b"] <= set(there.values("b")), "all of b", 40)
            await until(lambda: all(wanted[name] <= found.keys() for name, found in seen.items()), "the watch")  # fmt: skip
            for task in looking:
                task.cancel()
            status = await read_status(session, receiver.url)
            for name in wanted:
                assert route_of(status, name)["adds_up"]

        print(f"{len(both)} samples, {KILLS} kills, {len(there.values('b'))} of b")
        late = {
            name: max(
                up_seconds(stream.acknowledged[value], found[value], downs)
                for value in wanted[name]
            )
            for name, found in seen.items()
        }
        print("latest", late)
        assert max(late.values()) < LATE_SECONDS
        for name in wanted:
            copies = Counter(there.values(name))
            again = sum(count - 1 for count in copies.values())
            batches = {(item.request) for item in there.sandbox(name).store.select() if copies[item.value] > 1}  # fmt: skip
            # A kill between an answer and its note sends that batch again: one or few a kill.
            assert len(batches) <= 2 * 4 * KILLS, f"{name}: {again} copies of {len(batches)} POSTs"
        assert len(delivered(there.sandbox("a"))) >= len(wanted["a"])
