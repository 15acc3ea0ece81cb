"""Run the whole path once and keep what each end of it has to say. Compares nothing.

One Triton under a known load. Two Prometheus scrape it, each remote-writing to three
receivers of its own, and each receiver delivers to a sandbox of its own:

- `whole` sends every series whose name starts with nv_
- `default` has no metrics.json and so sends the packaged three
- `killed` is as `whole`, killed (-9) at three moments of its choosing and started again

Prometheus reads the committed files, only faster: a scrape each second, the rules
every two. All are over when the recording is there.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import yaml

from demo.load import Account, GpuReading, Stream, drive, good, publish_gpu, tensor
from demo.parts import REPOSITORY
from demo.plan import MODELS
from demo.ports import free_ports
from demo.prometheus import PrometheusInstall, PrometheusServer, render_config
from demo.prometheus_api import Series
from demo.prometheus_config import merged
from demo.receiver_process import ReceiverProcess
from demo.triton import TritonInstall, TritonServer
from demo.triton_statistics import ModelStatistics, statistics
from receiver.sandbox import Sandbox, serve
from receiver.sandbox.faults import Delay, Status

CONFIG = REPOSITORY / "prometheus/prometheus.yml"
MORE_MODELS = Path(__file__).parent / "models"
NV = '{"customMetrics": ["nv_*"]}'
SELECTOR = '{__name__=~"nv_.*"}'
REMOTE_WRITE: Mapping[str, Mapping[str, Any]] = {
    "bookworm": {},  # 2.42 knows remote-write 1.0 only
    "sid": {"protobuf_message": "io.prometheus.write.v2.Request"},
}

SCRAPE_SECONDS = 1
EVALUATION_SECONDS = 2
LOAD_SECONDS = 24
GOOD_PER_SECOND = 20
BATCHES_PER_SECOND, BATCH = 5, 4
FAILING_PER_SECOND = 10
SLOW_PER_SECOND, SLOW_SECONDS = 4, 0.05
ENSEMBLES_PER_SECOND = 2
MODELS_LOADED = ("add_sub", "raiser", "slow", "ensemble", "gpufake")
GIB = 2.0**30
# Values that nothing else has, and that a page with 16 digits shows exactly.
GPU_BEFORE = GpuReading(0.375, 80 * GIB, 17 * GIB + 1, 211.25, 350.5, 1234.5)
GPU_AFTER = GpuReading(0.0625, 80 * GIB, 3 * GIB + 3, 71.75, 300.25, 98765.125)

# When to kill: whatever goes on; while a batch is under way that the service will not take;
# while one is under way that it has taken, and nobody heard it say so.
MOMENTS = ("any", "unanswered", "unheard")
KILL_SECONDS = (3.0, 9.0, 15.0)  # after the load has begun
HELD_SECONDS = 2.0  # how long the sandbox keeps a sender waiting who is to be killed then
DOWN_SECONDS = HELD_SECONDS + 0.5  # the sandbox lists a request when it is over
UNSETTLED_SECONDS = 0.5  # between an answer and the receiver's note of it, on a busy machine
WAIT_SECONDS = 100.0
POLL_SECONDS = 0.05


class NeverHappened(Exception):
    """What the recording waited for did not come."""


@dataclass(frozen=True)
class Kill:
    """One kill -9: when, in ms since 1970, and the sandbox's requests that it cut off.

    Those are the requests whose items the sandbox had and whose answer the receiver
    had not, or not for long enough to write it down.
    """

    moment: str
    at_ms: int
    cut_off: frozenset[int]


@dataclass(frozen=True)
class Delivered:
    """What one receiver did: the sandbox that holds it, and its own account at the end."""

    sandbox: Sandbox
    status: Mapping[str, Any]
    kills: tuple[Kill, ...] = ()


@dataclass(frozen=True)
class Watched:
    """One Prometheus: its version and configuration, the samples that it holds, its receivers."""

    version: str
    config: Mapping[str, Any]
    series: tuple[Series, ...]
    whole: Delivered
    default: Delivered
    killed: Delivered


@dataclass(frozen=True)
class Recording:
    """What each end says. Times are ms since 1970.

    `gpu_before` was published before the first scrape, `gpu_after` between `load_ended_ms`
    and `settled_ms`, from when on Triton had nothing to do. The series are complete up
    to `cut_ms`, and that is where they end.
    """

    load_began_ms: int
    load_ended_ms: int
    settled_ms: int
    cut_ms: int
    accounts: Mapping[str, Account]
    statistics: Mapping[str, ModelStatistics]
    watched: Mapping[str, Watched]


async def record(
    folder: Path, triton: TritonInstall, prometheus: Mapping[str, PrometheusInstall]
) -> Recording:
    """Run everything and return the recording; about 45 seconds.

    Raises: ChildFailed, PrometheusFailed, NeverHappened.
    """
    more = [f"--model-repository={MORE_MODELS}"]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(TritonServer(triton, MODELS, folder, flags=more))
        await publish_gpu(server.http, GPU_BEFORE)
        watches = [
            await stack.enter_async_context(watch(folder / suite, suite, installed, server.metrics))
            for suite, installed in prometheus.items()
        ]
        for each in watches:
            await each.sees("nv_gpu_utilization", 0)
        load_began_ms = now_ms()
        async with asyncio.TaskGroup() as group:
            load = group.create_task(put_under_load(server.http))
            for each in watches:
                group.create_task(each.kill_three_times())
        accounts = load.result()
        load_ended_ms = now_ms()
        await publish_gpu(server.http, GPU_AFTER)
        found = await settled_statistics(server.http, accounts)
        settled_ms = now_ms()
        for each in watches:
            await each.has_all_until(settled_ms)
        cut_ms = now_ms()
        for each in watches:
            await each.has_all_until(cut_ms)
        finished = await asyncio.gather(*(each.finish(cut_ms) for each in watches))
        watched = {each.suite: kept for each, kept in zip(watches, finished, strict=True)}
    return Recording(load_began_ms, load_ended_ms, settled_ms, cut_ms, accounts, found, watched)


async def put_under_load(url: str) -> dict[str, Account]:
    """Send all streams to Triton at their rates, and return the account of each model."""
    ones = tensor("INPUT", np.ones((1, 4), np.float32))
    pause = tensor("SECONDS", np.full((1, 1), SLOW_SECONDS, np.float32))
    return await drive(
        url,
        seconds=LOAD_SECONDS,
        good_per_second=GOOD_PER_SECOND,
        failing_per_second=FAILING_PER_SECOND,
        more=[
            good(BATCHES_PER_SECOND, BATCH),
            Stream("slow", [pause], SLOW_PER_SECOND),
            Stream("ensemble", [ones], ENSEMBLES_PER_SECOND),
        ],
    )


async def settled_statistics(
    url: str, accounts: Mapping[str, Account]
) -> dict[str, ModelStatistics]:
    """Return Triton's statistics; it adds up a request when its answer is already out."""
    ended = sum(account.answered + account.refused for account in accounts.values())
    ended += 2 * accounts["ensemble"].answered  # each asks add_sub twice
    ended += 2  # what the GPU's stand-in was told

    async def read() -> dict[str, ModelStatistics]:
        return {model: await statistics(url, model) for model in MODELS_LOADED}

    async def all_are_in() -> bool:
        found = await read()
        return sum(each.success.count + each.fail.count for each in found.values()) >= ended

    await until(all_are_in, f"all {ended} requests in Triton's statistics")
    return await read()


@dataclass
class Lane:
    """One receiver and its sandbox."""

    receiver: ReceiverProcess
    sandbox: Sandbox
    kills: list[Kill] = field(default_factory=list)

    async def delivered(self) -> Delivered:
        """Keep what has come of it."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.receiver.url}/api/v1/status") as answer,
        ):
            status = await answer.json()
        return Delivered(self.sandbox, status, tuple(self.kills))

    async def kill(self, moment: str) -> None:
        """Kill the receiver, note what that cut off, and start it again."""
        at_ms = now_ms()
        await self.receiver.kill()
        await asyncio.sleep(DOWN_SECONDS)
        since_ms = at_ms - UNSETTLED_SECONDS * 1000
        asked = self.sandbox.ledger.requests(limit=1000)
        cut_off = [each["number"] for each in asked if ms_of(each["time"]) >= since_ms]
        self.kills.append(Kill(moment, at_ms, frozenset(cut_off)))
        await self.receiver.start()

    async def reach(self, moment: str) -> None:
        """Wait until it is that moment."""
        store, script = self.sandbox.store, self.sandbox.script
        before = store.sequence
        if moment == "unanswered":
            script.append([Status(status=503, delay_seconds=HELD_SECONDS)])
        if moment == "unheard":
            script.append([Delay(delay_seconds=HELD_SECONDS)])

        async def reached() -> bool:
            return not script.listing() and (moment != "unheard" or store.sequence > before)

        await until(reached, f"{self.receiver.log} to send a batch")

    async def has_ended_until(self, cut_ms: int) -> None:
        """Wait until nothing up to `cut_ms` comes any more.

        Prometheus sends each series in order, but from several shards after an
        outage: so first something newer has to come, then nothing old for a while.
        """
        store = self.sandbox.store

        def count() -> int:
            return sum(item.time_ms <= cut_ms for item in store.select())

        async def is_past() -> bool:
            return count() < store.items

        async def is_still() -> bool:
            before = count()
            await asyncio.sleep(2 * SCRAPE_SECONDS)
            return before == count()

        await until(is_past, f"{self.receiver.log} to send what came after")
        await until(is_still, f"{self.receiver.log} to have sent all")


@dataclass
class Watch:
    """One Prometheus and its three receivers, running."""

    suite: str
    installed: PrometheusInstall
    server: PrometheusServer
    whole: Lane
    default: Lane
    killed: Lane

    async def sees(self, name: str, after_ms: int) -> None:
        """Wait until Prometheus holds a sample of `name` that is newer than `after_ms`."""

        async def newer() -> bool:
            found = await self.server.raw_samples(name, "10s")
            return any(each.samples[-1].timestamp_ms > after_ms for each in found)

        await until(newer, f"Prometheus {self.installed.version} to hold {name}")

    async def has_all_until(self, at_ms: int) -> None:
        """Wait for the next scrape and the next evaluation: what is older is in by then."""
        await self.sees("nv_cpu_utilization", at_ms)
        await self.sees("nv_inference_count_irate", at_ms)

    async def kill_three_times(self) -> None:
        """Kill one receiver at moments that differ in what is under way."""
        began = time.monotonic()
        for moment, seconds in zip(MOMENTS, KILL_SECONDS, strict=True):
            await asyncio.sleep(began + seconds - time.monotonic())
            await self.killed.reach(moment)
            await self.killed.kill(moment)

    async def finish(self, cut_ms: int) -> Watched:
        """Wait until all up to `cut_ms` is delivered, and keep it."""
        series = await self.server.raw_samples(SELECTOR, "10m", cut_ms / 1000)
        lanes = (self.whole, self.default, self.killed)
        await asyncio.gather(*(each.has_ended_until(cut_ms) for each in lanes))
        whole, default, killed = [await each.delivered() for each in lanes]
        config = await self.server.config()
        return Watched(self.installed.version, config, tuple(series), whole, default, killed)


@asynccontextmanager
async def watch(
    folder: Path, suite: str, installed: PrometheusInstall, triton: str
) -> AsyncIterator[Watch]:
    """Run one Prometheus with its three receivers and their sandboxes."""
    async with AsyncExitStack() as stack:
        lanes = {
            name: await stack.enter_async_context(lane(folder / name, metrics_json))
            for name, metrics_json in (("whole", NV), ("default", None), ("killed", NV))
        }
        config = write_config(folder, triton, lanes, REMOTE_WRITE[suite])
        server = PrometheusServer(installed, config, folder / "prometheus")
        await stack.enter_async_context(server)
        yield Watch(suite, installed, server, **lanes)


@asynccontextmanager
async def lane(folder: Path, metrics_json: str | None) -> AsyncIterator[Lane]:
    """Run a sandbox and the receiver that delivers to it."""
    flags = receiver_flags(folder, metrics_json)
    sandbox = Sandbox()
    async with serve(sandbox) as served:
        flags += ["--connection-string", served.connection_string]
        async with ReceiverProcess(
            folder, port=free_ports(1)[0], flags=flags, environment=bare_environment()
        ) as receiver:
            yield Lane(receiver, sandbox)


def receiver_flags(folder: Path, metrics_json: str | None) -> list[str | Path]:
    """Make the receiver's folder and say what is in it."""
    folder.mkdir(parents=True)
    flags: list[str | Path] = ["--outbox-dir", folder / "outbox"]
    if metrics_json:
        (folder / "metrics.json").write_text(metrics_json)
        flags += ["--metrics-json", folder / "metrics.json"]
    return flags


def write_config(
    folder: Path, triton: str, lanes: Mapping[str, Lane], extra: Mapping[str, Any]
) -> Path:
    """Write the committed configuration for these ports, with a remote_write for each lane."""
    path = render_config(
        CONFIG,
        folder / "prometheus.yml",
        triton=triton,
        receiver_url="",
        scrape_seconds=SCRAPE_SECONDS,
        evaluation_seconds=EVALUATION_SECONDS,
        remote_write_extra=extra,
    )
    config = yaml.safe_load(path.read_text())
    (committed,) = config["remote_write"]
    config["remote_write"] = [
        merged(committed, {"name": name, "url": each.receiver.write_url})
        for name, each in lanes.items()
    ]
    path.write_text(yaml.safe_dump(config))
    return path


def bare_environment() -> dict[str, str]:
    """Return our environment without what the developer has set for other runs."""
    ours = ("RECEIVER_", "APPLICATIONINSIGHTS_", "INSTRUMENTATION_KEY", "MODELS")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Ask until the answer is yes: other processes tell nobody.

    Raises: NeverHappened.
    """
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await condition():
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise NeverHappened(f"waited {WAIT_SECONDS:.0f} s for {what}") from error


def now_ms() -> int:
    """Return the time as samples have it."""
    return int(time.time() * 1000)


def ms_of(text: str) -> int:
    """Read a time as the sandbox writes it."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
