"""A real Prometheus shares targets out among receivers: sums are exact through kills and another number of them."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from demo.parts import parts_dir
from demo.prometheus import PrometheusServer, install
from receiver.cli.main import main
from receiver.cli.prometheus.check import check_prometheus
from receiver.cli.relabel import keep_rule, remote_write
from receiver.intake.metrics_json import parse
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess
from tests.integration.waiting import in_loop, until

pytestmark = pytest.mark.timeout(400)

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


async def held(session: aiohttp.ClientSession, receivers: Sequence[ReceiverProcess]) -> list[dict[str, float]]:  # fmt: skip
    """List, for each receiver, the last count of each target that it folds."""
    found = []
    for receiver in receivers:
        async with session.get(f"{receiver.url}/api/v1/fold/series") as response:
            series = (await response.json())["series"]
        found.append({each["labels"]["instance"]: each["value"] for each in series if each["labels"]["__name__"] == "nv_inference_count"})  # fmt: skip
    return found


@in_loop(380)
async def test_sums_are_exact_through_kills_and_another_number(tmp_path: Path) -> None:  # noqa: C901, PLR0915 - one story
    """Two receivers, three, and two again; each is killed with -9 meanwhile."""
    tritons, config = Tritons(), tmp_path / "prometheus.yml"
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(Sandbox()))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        await stack.enter_async_context(tritons.serving())
        receivers = []
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "metrics.json").write_text(json.dumps(ENTRIES))
            process = ReceiverProcess(folder, server.connection_string)
            receivers.append(await stack.enter_async_context(process))

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
            found = check_prometheus(str(config), port, entries, "")
            assert [each for each in found if each.what == "shards" and each.mark != "ok"] == []

        async def hand_over(shards: int) -> int:
            urls = ",".join(receiver.url for receiver in receivers)
            given = ["handover", "--shards", str(shards), "--receivers", "3", "--url", urls, "--settle", "4"]  # fmt: skip
            return await asyncio.to_thread(main, given)

        async def has(shards: int) -> bool:
            """Whether the receivers of these shards have all targets, each at its newest count but one scrape."""
            found = await held(session, receivers)
            return len({name for each in found[:shards] for name in each}) == TARGETS

        async def scraped(times: int) -> None:
            before = tritons.scrapes
            await until(lambda: tritons.scrapes >= before + times * TARGETS, "scrapes", 60)

        async def again(receiver: ReceiverProcess) -> None:
            await receiver.kill()
            await receiver.start()

        configure(2)
        prometheus = PrometheusServer(install("bookworm", parts_dir()), config, tmp_path / "data")
        await stack.enter_async_context(prometheus)
        await until(lambda: has(2), "both receivers have all targets", 60)
        assert all((await held(session, receivers))[:2]), "the hash gives one of two everything"
        tritons.grows = True
        await scraped(3)
        await again(receivers[0])
        await scraped(3)

        configure(3)
        await prometheus.reload()

        async def third_has_some() -> bool:
            return bool((await held(session, receivers))[2])

        await until(third_has_some, "the third has its share", 60)
        await again(receivers[2])
        await scraped(3)
        assert await hand_over(3) == 0
        await again(receivers[1])
        await scraped(3)

        configure(2)
        await prometheus.reload()
        await scraped(3)
        assert await hand_over(2) == 0
        assert (await held(session, receivers))[2] == {}
        await scraped(2)
        tritons.grows = False

        def sums() -> tuple[float, float, float]:
            count = events = us = 0.0
            for item in server.sandbox.store.select():
                if item.series.name == "nv_inference_count":
                    count += item.value
                else:
                    us += item.value
                    events += item.spread.count if item.spread else 1
            return count, events, us

        grown = float(tritons.grown)
        with contextlib.suppress(AssertionError):
            await until(lambda: sums() == (grown, grown, 500 * grown), "all", 150)
        assert sums() == (grown, grown, 500 * grown)
