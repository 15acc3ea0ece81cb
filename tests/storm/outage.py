"""Real Prometheus through an outage of the service, and a kill -9 of the receiver amid it.

`python -m tests.storm.outage --minutes 10` runs it and prints what became of the samples.
Prometheus 2.42 scrapes a page of ours and evaluates the repository's own rules; the
sandbox goes away, the receiver is killed and started again halfway, the sandbox comes
back. Then each finite sample that Prometheus holds of the selected series must be there.
"""

import argparse
import asyncio
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from demo.parts import parts_dir
from demo.prometheus import PrometheusServer, install
from demo.prometheus_config import render_config
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess, delivered, read_status
from tests.integration.remote_write import Point
from tests.integration.waiting import until

CONFIG = Path(__file__).parent.parent.parent / "prometheus/prometheus.yml"
SELECTOR = '{__name__=~"nv_.*"}'


def page(seconds: float) -> str:
    """Write what Triton would after so many seconds: counters that grow, idle models, gauges."""
    lines = ["# TYPE nv_inference_request_success counter"]
    for number in range(5):
        labels = f'{{model="model_{number}",version="1"}}'
        count = int(seconds * number)  # model_0 stays idle: its summaries are 0/0
        lines += [
            f"nv_inference_request_success{labels} {count}",
            f"nv_inference_count{labels} {count * 2}",
            f"nv_inference_request_duration_us{labels} {count * 130 + 1}",
            f"nv_inference_queue_duration_us{labels} {count * 7}",
        ]
    lines += [
        f"nv_cpu_utilization {0.5 + 0.4 * math.sin(seconds)!r}",
        "nv_cpu_memory_used_bytes 1e9",
    ]
    lines += [f"go_something_else {seconds!r}"]
    return "\n".join(lines) + "\n"


@asynccontextmanager
async def scraped() -> AsyncIterator[str]:
    """Serve the page; gives its host:port."""
    begun_at = time.monotonic()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=page(time.monotonic() - begun_at))

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it, in samples unless its name says otherwise."""

    prometheus_version: str
    series: int
    held_by_prometheus: int
    delivered: int
    missing: int
    doubled: int
    pending_at_most: int
    outage_seconds: float
    catch_up_seconds: float
    receiver_starts: int

    def __str__(self) -> str:
        """One line an entry."""
        return "\n".join(
            f"{name.replace('_', ' '):<22} {getattr(self, name)}" for name in self.__slots__
        )


async def run(
    folder: Path, *, before_seconds: float, outage_seconds: float, retry_max: str
) -> Outcome:
    """Run it in `folder`; the outage lasts `outage_seconds`."""
    installed = install("bookworm", parts_dir())
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        target = await stack.enter_async_context(scraped())
        sandbox = Sandbox()
        up = await stack.enter_async_context(AsyncExitStack())
        server = await up.enter_async_context(serve(sandbox))
        receiver = await stack.enter_async_context(
            ReceiverProcess(folder, server.connection_string, "--retry-max", retry_max)
        )
        config = render_config(
            CONFIG,
            folder / "prometheus.yml",
            triton=target,
            receiver_url=f"{receiver.url}/api/v1/write",
            scrape_seconds=1,
            evaluation_seconds=5,
        )
        prometheus = await stack.enter_async_context(
            PrometheusServer(installed, config, folder / "prometheus")
        )
        await until(lambda: delivered(sandbox), "the first items", 30)
        await asyncio.sleep(before_seconds)  # the length of a phase, not a wait for a state

        await up.aclose()
        down_at = time.monotonic()
        await asyncio.sleep(outage_seconds / 2)
        await receiver.kill()
        await receiver.start()
        await asyncio.sleep(max(0.0, outage_seconds - (time.monotonic() - down_at)))
        pending = (await read_status(session, receiver.url))["pending"]
        cutoff = time.time()
        up = await stack.enter_async_context(AsyncExitStack())
        await up.enter_async_context(serve(sandbox, port=server.port))
        up_at = time.monotonic()

        window = f"{math.ceil(before_seconds + outage_seconds + 120)}s"
        held: Counter[Point] = Counter()
        for series in await prometheus.raw_samples(SELECTOR, window, cutoff):
            labels = dict(series.labels)
            name = labels.pop("__name__")
            for sample in series.samples:
                point = Point(
                    name, tuple(sorted(labels.items())), sample.timestamp_ms, sample.value
                )
                if point.is_finite:
                    held[point] += 1
        wanted = set(held)
        slowest = 1.5 * float(retry_max.rstrip("s")) + 60
        await until(lambda: wanted <= set(delivered(sandbox)), "all that Prometheus holds", slowest)
        caught_up_at = time.monotonic()
        arrived = Counter(delivered(sandbox))
        return Outcome(
            prometheus_version=installed.version,
            series=len({(point.name, point.labels) for point in wanted}),
            held_by_prometheus=len(wanted),
            delivered=len(wanted & set(arrived)),
            missing=len(wanted - set(arrived)),
            doubled=sum(arrived[point] - 1 for point in wanted),
            pending_at_most=pending,
            outage_seconds=round(up_at - down_at, 1),
            catch_up_seconds=round(caught_up_at - up_at, 1),
            receiver_starts=receiver.starts,
        )


def main() -> int:
    """Read the arguments, run, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm.outage")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the service is away")
    parser.add_argument("--retry-max", default="120s", help="the receiver's setting")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(
            asyncio.run(
                run(
                    Path(folder),
                    before_seconds=30,
                    outage_seconds=60 * given.minutes,
                    retry_max=given.retry_max,
                )
            )
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
