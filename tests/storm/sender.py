"""A sender that behaves as Prometheus' remote write does, one shard of it.

It writes a numbered stream, one request at a time, in order. 5xx, a broken
connection and no answer in time: the same body again, after a back-off that
doubles. 2xx: acknowledged. Any other answer: dropped, for good.
Source: Prometheus, storage/remote/queue_manager.go and client.go.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable

import aiohttp

from tests.integration.remote_write import Point, encode, numbered, post

MIN_BACKOFF_SECONDS = 0.03
MAX_BACKOFF_SECONDS = 0.5
"""Prometheus' is 5 s; shorter, so that more happens in a storm."""


class Sender:
    """One shard. Lists of points say what became of each."""

    def __init__(
        self,
        url: Callable[[], str],
        *,
        shard: int,
        samples_per_request: int,
        chance: random.Random,
        make: Callable[[int, int, int, int], list[Point]] = numbered,
        last: Callable[[], Iterable[list[Point]]] = list,
        pause_seconds: float = 0.0,
        timeout_seconds: float = 3.0,
        labels: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Write what `make` makes to the receiver that `url` names; `chance` varies the requests.

        `last` makes the requests that are written when it is stopped. `labels` are this sender's own:
        they are written with each point.
        """
        self._url = url
        self._shard = shard
        self._samples_per_request = samples_per_request
        self._chance = chance
        self._make = make
        self._last = last
        self._pause_seconds = pause_seconds
        self._labels = labels
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._stopping = asyncio.Event()
        self.posting = asyncio.Event()
        self._begun_at_ms = int(time.time() * 1000)
        self._next = 0
        self.acknowledged: list[Point] = []
        self.dropped: list[Point] = []
        self.sent_twice: set[Point] = set()
        self.requests = 0
        self.attempts: Counter[str] = Counter()

    def stop(self) -> None:
        """Begin no further request but the last ones; each is tried until it is answered."""
        self._stopping.set()

    async def run(self) -> None:
        """Write until stopped."""
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            while not self._stopping.is_set():
                count = self._chance.randint(1, self._samples_per_request)
                points = self._make(self._shard, self._next, count, self._begun_at_ms)
                self._next += count
                await self._write(session, points, self._chance.choice((1, 2)))
                if self._pause_seconds:
                    await self._pause(self._chance.uniform(0, 2 * self._pause_seconds))
            for points in self._last():
                await self._write(session, points, self._chance.choice((1, 2)))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _write(
        self, session: aiohttp.ClientSession, points: list[Point], version: int
    ) -> None:
        labelled = [each._replace(labels=(*each.labels, *self._labels)) for each in points]
        body = encode(labelled, version)
        backoff_seconds = MIN_BACKOFF_SECONDS
        self.requests += 1
        for attempt in range(1_000_000):
            if attempt:
                self.sent_twice.update(points)
                await asyncio.sleep(backoff_seconds)
                backoff_seconds = min(2 * backoff_seconds, MAX_BACKOFF_SECONDS)
            self.posting.set()
            try:
                reply = await post(session, self._url(), body, version)
            except TimeoutError:
                self.attempts["no answer in time"] += 1
                continue
            except (aiohttp.ClientError, OSError):
                self.attempts["connection broke"] += 1
                continue
            self.attempts[str(reply.status)] += 1
            if reply.status < 300:
                self.acknowledged += points
                return
            if reply.status < 500:
                self.dropped += points
                return
