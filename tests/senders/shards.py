"""Several receivers share the targets of a real Prometheus out, are killed, and become more and fewer.

The story is the same for receivers that are processes and for containers: each starts, is killed and has an
address. All that Prometheus scrapes is served here, so the true growth of the counters is known.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import aiohttp
import yaml
from aiohttp import web

from demo.parts import parts_dir
from demo.prometheus import PrometheusServer, install
from receiver.cli.prometheus.check import check_prometheus
from receiver.cli.relabel import keep_rule, remote_write
from receiver.intake.metrics_json import parse
from tests.integration.waiting import until

TARGETS = 8
ENTRIES = {"customMetrics": [
    {"name": "nv_inference_count", "as": "delta"},
    {"name": "nv_inference_request_duration_us", "as": "mean", "per": "nv_inference_request_success"},
]}  # fmt: skip
PAGE = """\
nv_inference_count {count}
nv_inference_request_success {count}
nv_inference_request_duration_us {us}
"""


class Tritons:
    """Pages of several Tritons whose counters grow with each scrape, while they may."""

    def __init__(self) -> None:
        """Begin at numbers that no first sample may count."""
        self.counts = [1000 * (number + 1) for number in range(TARGETS)]
        self.begun = list(self.counts)
        self.scrapes = 0
        self.grows = False
        self.address = ""

    async def page(self, request: web.Request) -> web.Response:
        """Answer a scrape."""
        number = int(request.match_info["number"])
        self.scrapes += 1
        if self.grows:
            self.counts[number] += number + 1 + self.scrapes % 7
        count = self.counts[number]
        return web.Response(text=PAGE.format(count=count, us=500 * count))

    @property
    def grown(self) -> int:
        """What all of them have counted."""
        return sum(self.counts) - sum(self.begun)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve them."""
        application = web.Application()
        application.router.add_get("/{number}/metrics", self.page)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.address = "{}:{}".format(*runner.addresses[0][:2])
        try:
            yield
        finally:
            await runner.cleanup()

    def jobs(self) -> list[dict[str, Any]]:
        """Have Prometheus scrape each under an instance of its own."""
        return [
            {
                "job_name": "triton",
                "static_configs": [
                    {"targets": [self.address], "labels": {"instance": f"triton-{number}:8002", "__metrics_path__": f"/{number}/metrics"}}
                    for number in range(TARGETS)
                ],
            }
        ]  # fmt: skip


class Sums(NamedTuple):
    """What all items of the sandbox add up to: the counter, and the events and time of the mean."""

    counted: float
    events: float
    us: float

    @classmethod
    def of(cls, items: Iterable[tuple[str, float, float]]) -> "Sums":
        """Add up items: name, value, and how many values it stands for."""
        counted = events = us = 0.0
        for name, value, values in items:
            if name == "nv_inference_count":
                counted += value
            else:
                us += value
                events += values
        return cls(counted, events, us)


class Receiver(Protocol):
    """A receiver that keeps its address through its ends."""

    url: str

    async def kill(self) -> None:
        """End it with SIGKILL."""

    async def start(self) -> None:
        """Start it again, and return when it listens."""


async def held(session: aiohttp.ClientSession, receivers: Sequence[Receiver]) -> list[set[str]]:
    """List, for each receiver, the targets that it folds."""
    targets = []
    for receiver in receivers:
        async with session.get(f"{receiver.url}/api/v1/fold/series") as response:
            series = (await response.json())["series"]
        targets.append({one["labels"]["instance"] for one in series if one["labels"]["__name__"] == "nv_inference_count"})  # fmt: skip
    return targets


async def rescale(  # noqa: PLR0915 - one story
    folder: Path,
    receivers: Sequence[Receiver],
    hand_over: Callable[[int], int],
    sums: Callable[[], Sums],
) -> float:
    """Two receivers, three, and two again; each is killed with -9 meanwhile. The sums must be the growth.

    `receivers` are three that run. `hand_over` and `sums` are called in a thread: the first runs the
    verb for so many shards and returns its exit code, the second asks the sandbox. Returns the growth.
    """
    tritons, config = Tritons(), folder / "prometheus.yml"
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        await stack.enter_async_context(tritons.serving())

        def configure(shards: int) -> None:
            urls = [f"{receiver.url}/api/v1/write" for receiver in receivers[:shards]]
            text = {
                "global": {"scrape_interval": "1s"},
                "scrape_configs": tritons.jobs(),
                "remote_write": remote_write(urls, [keep_rule("nv_.*")]),
            }
            config.write_text(yaml.safe_dump(text))
            entries = parse(json.dumps(ENTRIES), "metrics.json").entries
            port = int(receivers[0].url.rpartition(":")[2])
            findings = check_prometheus(str(config), port, entries, "")
            assert [
                finding for finding in findings if finding.what == "shards" and finding.mark != "ok"
            ] == []

        async def both_have_all() -> bool:
            return len(set().union(*(await held(session, receivers))[:2])) == TARGETS

        async def third_has_some() -> bool:
            return bool((await held(session, receivers))[2])

        async def scraped(times: int) -> None:
            before = tritons.scrapes
            await until(lambda: tritons.scrapes >= before + times * TARGETS, "scrapes", 60)

        async def again(receiver: Receiver) -> None:
            """Kill it while no answer is on its way: one that is lost makes a copy (docs/folding.md)."""

            async def nothing_waits() -> bool:
                async with session.get(f"{receiver.url}/api/v1/status") as response:
                    return not (await response.json())["pending"]

            await until(nothing_waits, "nothing pending", 60)
            await receiver.kill()
            await receiver.start()

        configure(2)
        prometheus = PrometheusServer(install("bookworm", parts_dir()), config, folder / "data")
        await stack.enter_async_context(prometheus)
        await until(both_have_all, "both receivers have all targets", 60)
        assert all((await held(session, receivers))[:2]), "the hash gives one of two everything"
        tritons.grows = True
        await scraped(3)
        await again(receivers[0])
        await scraped(3)

        configure(3)
        await prometheus.reload()
        await until(third_has_some, "the third has its share", 60)
        await again(receivers[2])
        await scraped(3)
        assert await asyncio.to_thread(hand_over, 3) == 0
        await again(receivers[1])
        await scraped(3)

        configure(2)
        await prometheus.reload()
        await scraped(3)
        assert await asyncio.to_thread(hand_over, 2) == 0
        assert (await held(session, receivers))[2] == set()
        await scraped(2)
        tritons.grows = False

        grown = float(tritons.grown)

        async def all_arrived() -> bool:
            return await asyncio.to_thread(sums) == (grown, grown, 500 * grown)

        with contextlib.suppress(AssertionError):
            await until(all_arrived, "all", 150)
        arrived = await asyncio.to_thread(sums)
        assert arrived == (grown, grown, 500 * grown), f"{arrived}; the counters grew by {grown}"
        return grown
