"""Two real Prometheus scrape one target, their clocks apart: one counts, whatever dies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import snappy
import yaml
from aiohttp import web

from demo.parts import parts_dir
from demo.prometheus import PrometheusServer, install
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess, delivered, read_status
from tests.integration.remote_write import Point
from tests.integration.waiting import in_loop, until

pytestmark = pytest.mark.timeout(400)

TIMEOUT_SECONDS = 6
AHEAD_MS = 4_000
"""How far the second clock is ahead: less than the timeout."""
NAME, GROWN = "nv_requests_total", "requests_grown"
V2 = "io.prometheus.write.v2.Request"
SETTINGS = {
    "RECEIVER_REPLICA_LABEL": "prometheus_replica",
    "RECEIVER_CLUSTER_LABEL": "prometheus",
    "RECEIVER_REPLICA_TIMEOUT": f"{TIMEOUT_SECONDS}s",
}


@asynccontextmanager
async def serving(routes: web.RouteTableDef) -> AsyncIterator[str]:
    """Serve on loopback; gives host:port."""
    application = web.Application(client_max_size=1 << 26)
    application.router.add_routes(routes)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


class Target:
    """Counters that grow with each scrape, whoever scrapes; they begin high."""

    def __init__(self, models: int = 1) -> None:
        """Begin as a process does that has been there for long."""
        self.count = 1_000_000
        self._models = models
        self.routes = web.RouteTableDef()
        self.routes.get("/metrics")(self._metrics)

    async def _metrics(self, _: web.Request) -> web.Response:
        self.count += 7
        rows = (f'{NAME}{{model="m{number}"}} {self.count}\n' for number in range(self._models))
        return web.Response(text=f"# TYPE {NAME} counter\n{''.join(rows)}")


class Relay:
    """Passes requests on, their times set ahead: a Go program does not see another clock (libfaketime)."""

    def __init__(
        self, receiver: ReceiverProcess, session: aiohttp.ClientSession, ahead_ms: int = AHEAD_MS
    ) -> None:
        """Pass on to the receiver, wherever it listens by then."""
        self._ahead_ms = ahead_ms
        self._receiver = receiver
        self._session = session
        self.routes = web.RouteTableDef()
        self.routes.post("/api/v1/write")(self._write)

    async def _write(self, request: web.Request) -> web.Response:
        raw = snappy.uncompress(await request.read())
        made = Request if V2 in request.headers["Content-Type"] else WriteRequest
        message = made.FromString(raw)
        for series in message.timeseries:
            for sample in series.samples:
                sample.timestamp += self._ahead_ms
        kept = ("Content-Type", "Content-Encoding", "X-Prometheus-Remote-Write-Version")
        try:
            async with self._session.post(
                f"{self._receiver.url}/api/v1/write",
                data=snappy.compress(message.SerializeToString()),
                headers={name: request.headers[name] for name in kept},
            ) as answer:
                headers = {name: text for name, text in answer.headers.items() if name.startswith("X-")}  # fmt: skip
                return web.Response(status=answer.status, text=await answer.text(), headers=headers)
        except aiohttp.ClientError:
            return web.Response(status=503)


def prometheus(
    folder: Path, suite: str, replica: str, target: str, url: str, label: str = "prometheus_replica"
) -> PrometheusServer:
    """Describe one replica, with its label; without it if `label` is empty."""
    config = folder / f"{replica}.yml"
    own = {label: replica} if label else {}
    message = {"protobuf_message": V2} if suite == "sid" else {}
    queue = {"batch_send_deadline": "1s", "max_backoff": "1s"}
    text = {
        "global": {
            "scrape_interval": "1s",
            "external_labels": {"prometheus": "triton", **own},
        },
        "scrape_configs": [{"job_name": "triton", "static_configs": [{"targets": [target]}]}],
        "remote_write": [{"url": url, "queue_config": queue, **message}],
    }
    config.write_text(yaml.safe_dump(text))
    installed = install("sid" if suite == "sid" else "bookworm", parts_dir())
    return PrometheusServer(installed, config, folder / replica)


@in_loop(within_seconds=380)
async def test_of_two_replicas_one_counts_whatever_dies(tmp_path: Path) -> None:
    """The leader dies and comes back, the receiver dies, the other dies: no double, and exact sums."""
    (tmp_path / "metrics.json").write_text(
        f'{{"customMetrics": ["{NAME}", {{"name": "{NAME}", "as": "delta", "rename": "{GROWN}"}}]}}'
    )
    target = Target()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        box = await stack.enter_async_context(serve(Sandbox()))
        receiver = ReceiverProcess(tmp_path, box.connection_string, environment=SETTINGS)
        await stack.enter_async_context(receiver)
        relay = await stack.enter_async_context(serving(Relay(receiver, session).routes))
        address = await stack.enter_async_context(serving(target.routes))
        write = f"{receiver.url}/api/v1/write"
        a = prometheus(tmp_path, "bookworm", "a", address, write)
        b = prometheus(tmp_path, "sid", "b", address, f"http://{relay}/api/v1/write")

        async def leader() -> str:
            (cluster,) = (await read_status(session, receiver.url))["replicas"] or [{"leader": ""}]
            return str(cluster["leader"])

        async def items(more: int) -> None:
            count = len(raw(box.sandbox)) + more
            await until(lambda: len(raw(box.sandbox)) >= count, f"{more} items more", 60)

        await stack.enter_async_context(a)
        await until(leader_is("a", leader), "the first that comes leads")
        await stack.enter_async_context(b)
        await items(8)
        await a.kill()
        await until(leader_is("b", leader), "the follower leads")
        await items(8)
        await a.start()
        await items(8)
        assert await leader() == "b", "one that returns follows"

        await receiver.kill()
        await asyncio.sleep(TIMEOUT_SECONDS / 3)
        await receiver.start()
        await items(4)
        assert await leader() == "b", "a restart that is shorter than the timeout changes nothing"

        await receiver.kill()
        await asyncio.sleep(2 * TIMEOUT_SECONDS)  # both keep what they scrape meanwhile
        await receiver.start()
        await items(8)
        last = await leader()
        leading, following = (a, b) if last == "a" else (b, a)
        await leading.kill()
        await until(leader_is("b" if last == "a" else "a", leader), "the other one leads")
        await items(4)
        window_ms = delivered_until(box.sandbox) // 60_000 * 60_000 + 60_000
        await until(lambda: delivered_until(box.sandbox) > window_ms + 3_000, "the next minute", 90)
        await until(
            lambda: any(point.timestamp_ms == window_ms - 60_000 for point in grown(box.sandbox)),
            "its window",
            60,
        )
        status = await read_status(session, receiver.url)
        await following.kill()

    assert status["dropped"]["replica"] > 20
    assert status["replicas"][0]["changes"] >= 2
    hold_to_what_counted(box.sandbox, window_ms)


@pytest.mark.parametrize(
    ("label", "line", "hint"),
    [
        ("prometheus_replica", "differ only in prometheus_replica (a, b): every item exists 2 times", "Set RECEIVER_REPLICA_LABEL=prometheus_replica:"),
        ("", "two senders send the same series with the same labels", "Give each Prometheus an external label of its own"),
    ],
    ids=["labelled", "alike"],
)  # fmt: skip
@in_loop(within_seconds=200)
async def test_a_pair_without_a_replica_label(
    tmp_path: Path, label: str, line: str, hint: str
) -> None:
    """Without the setting both count, and the verdict says what to set; one alone is no pair."""
    (tmp_path / "metrics.json").write_text(f'{{"customMetrics": ["{NAME}"]}}')
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        box = await stack.enter_async_context(serve(Sandbox()))
        receiver = ReceiverProcess(tmp_path, box.connection_string)
        await stack.enter_async_context(receiver)
        relay = await stack.enter_async_context(serving(Relay(receiver, session, 300).routes))
        address = await stack.enter_async_context(serving(Target(models=8).routes))
        a = prometheus(tmp_path, "bookworm", "a", address, f"{receiver.url}/api/v1/write", label)
        b = prometheus(tmp_path, "sid", "b", address, f"http://{relay}/api/v1/write", label)

        async def pair() -> dict[str, str] | None:
            findings = (await read_status(session, receiver.url))["verdict"]["findings"]
            return next((each for each in findings if each["state"] == "REPLICAS"), None)

        await stack.enter_async_context(a)
        await until(lambda: len(raw(box.sandbox)) >= 8 * 15, "what one alone sends", 60)
        assert await pair() is None
        await stack.enter_async_context(b)
        verdict = await until(pair, "the pair is noticed", 120)
    assert line in verdict["line"]
    assert verdict["hint"].startswith(hint)
    assert verdict["runbook"] == "/runbook#replicas"


def hold_to_what_counted(sandbox: Sandbox, until_ms: int) -> None:
    """Hold the items, and the sums of the windows that are over, to one counter that only grows."""
    samples = sorted(raw(sandbox), key=lambda point: point.timestamp_ms)
    assert len({point.timestamp_ms for point in samples}) == len(samples), "none is doubled"
    values = [point.value for point in samples]
    assert values == sorted(values), "no earlier moment counts after a later one"
    assert {point.labels for point in samples} == {samples[0].labels}, "they are one series"
    assert "prometheus_replica" not in dict(samples[0].labels)
    inside = [point.value for point in samples if point.timestamp_ms < until_ms]
    sums = [point for point in grown(sandbox) if point.timestamp_ms < until_ms]
    assert len({point.timestamp_ms for point in sums}) == len(sums)
    assert sum(point.value for point in sums) == inside[-1] - inside[0]


def leader_is(name: str, ask: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[bool]]:
    """Make what waits for a leader."""

    async def is_so() -> bool:
        return await ask() == name

    return is_so


def raw(sandbox: Sandbox) -> list[Point]:
    """List the raw items."""
    return [point for point in delivered(sandbox) if point.name == NAME]


def grown(sandbox: Sandbox) -> list[Point]:
    """List the items of windows."""
    return [point for point in delivered(sandbox) if point.name == GROWN]


def delivered_until(sandbox: Sandbox) -> int:
    """Give the time of the latest raw item."""
    return max(point.timestamp_ms for point in raw(sandbox))
