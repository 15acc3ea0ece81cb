"""Real Prometheus tells when a counter began, and the fold counts its growth to the last unit.

An exporter of OpenMetrics has `_created` times. Its counter begins anew between two scrapes and
has passed its old value at the next one; then a second target is added. What Prometheus writes
is kept, and folded here, so that no test waits for a window to be over.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
import snappy
import yaml
from aiohttp import web

from demo.parts import parts_dir
from demo.prometheus import PrometheusServer, install
from receiver.azure.envelope import Identity
from receiver.fold.events import BASELINE
from receiver.fold.fold import Fold
from receiver.fold.registry import Registry
from receiver.fold.selection import Selection
from receiver.intake.decode import Message
from receiver.intake.pipeline import Pipeline
from receiver.outbox.gzip_body import all_lines
from tests.integration.waiting import in_loop, until
from tests.unit.fold.folding import listed

pytestmark = pytest.mark.timeout(120)

TEXT = """\
# TYPE nv_work counter
nv_work_total {value}
nv_work_created {created}
# EOF
"""
KIND = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass
class Counter:
    """What the exporter shows, and how often it was scraped since it last changed."""

    value: float
    created: float
    scrapes: int = 0


@dataclass
class Written:
    """A server for both: counters by path, and the bodies of remote-write."""

    counters: dict[str, Counter] = field(default_factory=dict)
    bodies: list[tuple[bytes, Message]] = field(default_factory=list)

    async def metrics(self, request: web.Request) -> web.Response:
        """Show a counter."""
        counter = self.counters[request.match_info["target"]]
        counter.scrapes += 1
        text = TEXT.format(value=counter.value, created=counter.created)
        return web.Response(text=text, headers={"Content-Type": KIND})

    async def write(self, request: web.Request) -> web.Response:
        """Keep a body."""
        message = Message.V2 if "v2" in request.headers["Content-Type"] else Message.V1
        self.bodies.append((await request.read(), message))
        written = (
            {"X-Prometheus-Remote-Write-Samples-Written": "1"} if message is Message.V2 else {}
        )
        return web.Response(status=204, headers=written)


@asynccontextmanager
async def serving(written: Written) -> AsyncIterator[str]:
    """Listen; gives host:port."""
    application = web.Application()
    application.router.add_get("/{target}/metrics", written.metrics)
    application.router.add_post("/write", written.write)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


def jobs(address: str, *targets: str) -> list[dict[str, object]]:
    """Write a job for each target."""
    static = [{"targets": [address]}]
    return [{"job_name": target, "metrics_path": f"/{target}/metrics", "static_configs": static} for target in targets]  # fmt: skip


def folded(written: Written) -> tuple[dict[str, float], Fold]:
    """Fold all that was written, as a receiver does; returns the sums by job."""
    allowlist, registry = listed({"name": "nv_work_total", "as": "delta"}), Registry(1 << 20)
    registry.load([], 0)
    identity = Identity("key", "host")
    pipeline = Pipeline(allowlist, identity, 1 << 20, use_of=Selection(allowlist, registry).use_of)
    fold = Fold(allowlist, identity)
    for body, message in written.bodies:
        outcome = pipeline.process(bytes(snappy.uncompress(body)), message)
        for number, labels in registry.unsaved():
            fold.add_series(number, labels)
        registry.saved(len(registry.unsaved()))
        fold.take(outcome.folded, round(time.time() * 1000))
    sums: dict[str, float] = {}
    for line in all_lines(fold.close(round(time.time() * 1000) + 600_000)):
        item = orjson.loads(line)
        job = item["tags"]["ai.cloud.role"]
        sums[job] = sums.get(job, 0.0) + item["data"]["baseData"]["metrics"][0]["value"]
    return sums, fold


@pytest.mark.parametrize("message", ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"])
@in_loop(within_seconds=90)
async def test_prometheus_tells_when_a_counter_began(tmp_path: Path, message: str) -> None:
    """Prometheus 3.5 does it by a sample of 0 at the time of the start, over 1.0 and 2.0 alike."""
    written = Written({"old": Counter(5, time.time() - 30 * 86_400)})
    async with serving(written) as address:
        config = tmp_path / "prometheus.yml"
        text = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": jobs(address, "old"),
            "remote_write": [
                {
                    "url": f"http://{address}/write",
                    "protobuf_message": message,
                    "queue_config": {"batch_send_deadline": "1s"},
                }
            ],
        }
        config.write_text(yaml.safe_dump(text))
        features = "created-timestamp-zero-ingestion,metadata-wal-records"
        server = PrometheusServer(
            install("sid", parts_dir()),
            config,
            tmp_path / "prometheus",
            flags=[f"--enable-feature={features}"],
        )
        async with server:
            await until(lambda: written.counters["old"].scrapes >= 2, "scrapes", 30)
            written.counters["old"] = Counter(50, time.time())  # it began anew, and is past 5
            await until(lambda: written.counters["old"].scrapes >= 2, "scrapes", 30)
            written.counters["new"] = Counter(7, time.time())
            text["scrape_configs"] = jobs(address, "old", "new")
            config.write_text(yaml.safe_dump(text))
            await server.reload()
            await until(lambda: written.counters["new"].scrapes >= 2, "scrapes", 30)
            until_ms = len(written.bodies)
            await until(lambda: len(written.bodies) >= until_ms + 2, "what was scraped", 30)

    sums, fold = folded(written)
    assert sums == {"old": 50, "new": 7}
    assert fold.windows.counts[BASELINE] in {1, 2}  # the zero of a newcomer is one
