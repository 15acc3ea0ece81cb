"""Ten set-ups that are broken, each started for real: who names the true cause, and how.

The page's first line, the log's and `doctor`'s top line must each name it first. With
BROKEN_SETUPS=file what was said is written there; docs/runbook.md's table is made of it.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest

from demo.child import Child
from demo.parts import parts_dir
from demo.ports import free_ports
from demo.prometheus import PrometheusServer
from demo.prometheus import install as install_prometheus
from demo.prometheus_config import render_config
from demo.triton import TritonServer
from demo.triton import install as install_triton
from receiver.sandbox import Sandbox, Server, serve
from tests.integration.receivers import script
from tests.integration.remote_write import Point, encode, post
from tests.integration.waiting import in_loop, until

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9/"
CLIENT = "11111111-0000-0000-0000-000000000000"


class Setup:
    """A receiver that runs, and what is around it."""

    def __init__(self, folder: Path, connection_string: str, names: Iterable[str] = ("nv_*",)) -> None:  # fmt: skip
        self.folder = folder
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "receiver.log"
        self.outbox = folder / "outbox"
        self.connection_string = connection_string
        self.environment: dict[str, str] = {}
        self.metrics_json = folder / "metrics.json"
        self.metrics_json.write_text(json.dumps({"customMetrics": list(names)}))
        self.doctor_flags = ["--prometheus-url", "", "--triton", "", "--triton-metrics", ""]

    def command(self, verb: str) -> list[str]:
        flags = {"--listen": f"127.0.0.1:{self.port}", "--metrics-json": self.metrics_json, "--outbox-dir": self.outbox}  # fmt: skip
        module = ["tests.integration.hasty"] if verb == "run" else ["receiver", verb]
        return [sys.executable, "-m", *module, *(str(part) for pair in flags.items() for part in pair)]  # fmt: skip

    def variables(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return {**kept, "APPLICATIONINSIGHTS_CONNECTION_STRING": self.connection_string, **self.environment}  # fmt: skip

    @asynccontextmanager
    async def running(self) -> AsyncIterator[aiohttp.ClientSession]:
        child = await Child.start(
            "The receiver", self.command("run"), log=self.log, environment=self.variables()
        )
        try:
            await child.ready(f"{self.url}/-/healthy", within_seconds=30)
            async with aiohttp.ClientSession() as session:
                yield session
        finally:
            await child.kill()

    async def write(self, session: aiohttp.ClientSession, name: str = "nv_inference_count", count: int = 5) -> int:  # fmt: skip
        labels = (("model", "m"),)
        now_ms = int(time.time() * 1000)
        points = [Point(name, labels, now_ms - number, 1.0) for number in range(count)]
        return (await post(session, self.url, encode(points))).status

    async def verdict(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        async with session.get(f"{self.url}/api/v1/status") as response:
            found: dict[str, Any] = (await response.json())["verdict"]
            return found

    async def logged(self, state: str) -> str:
        """Wait for the log's word on a state; it looks every ten seconds."""

        def look() -> str | None:
            events = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))  # fmt: skip
            said = (str(each["verdict"]) for each in events if each.get("event") == "verdict")
            return next((line for line in said if line.startswith(f"{state}:")), None)

        found: str = await until(look, f"{state} in {self.log}", 30)
        return found

    async def doctor(self) -> dict[str, Any]:
        """Run it as a person would, in JSON."""
        process = await asyncio.create_subprocess_exec(
            *self.command("doctor"), "--json", *self.doctor_flags,
            env=self.variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 1, err.decode()
        found: dict[str, Any] = json.loads(out)["cause"]
        return found


async def names_it(
    setup: Setup,
    session: aiohttp.ClientSession,
    title: str,
    state: str,
    page: str,
    doctor: tuple[str, str],
    within_seconds: float = 30.0,
) -> None:
    """Wait for the page's verdict, and hold log and doctor to it."""

    async def arrived() -> dict[str, Any] | None:
        found = await setup.verdict(session)
        return found if found["state"] == state else None

    said = await until(arrived, f"the verdict {state}", within_seconds)
    assert page in said["line"], said
    assert said["hint"]
    assert said["severity"] == "bad"
    logged = await setup.logged(state)
    assert page in logged
    cause = await setup.doctor()
    assert cause["what"] == doctor[0], cause
    assert doctor[1] in cause["detail"], cause
    assert cause["fix"]
    top = f"{cause['mark'].upper()}: {cause['what']}: {cause['detail']}"
    record({"setup": title, "page": said["line"], "log": logged, "doctor": top})


def record(row: dict[str, str]) -> None:
    """Write down what was said, where that is asked for."""
    if path := os.environ.get("BROKEN_SETUPS"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def always(server: Server, status: int) -> None:
    script(server, {"kind": "status", "status": status, "times": None})


@in_loop(90)
async def test_wrong_key(tmp_path: Path) -> None:
    """The key is another resource's, or nobody's."""
    async with serve(Sandbox(known_keys=["99999999-2222-3333-4444-555555555555"])) as server:
        setup = Setup(tmp_path, server.connection_string)
        async with setup.running() as session:
            await setup.write(session)
            words = "Invalid instrumentation key"
            await names_it(setup, session, "wrong key", "BLOCKED", words, ("canary", words))


@in_loop(90)
async def test_wrong_endpoint(tmp_path: Path) -> None:
    """Something answers there, but no ingestion endpoint."""
    async with serve(Sandbox()) as server:
        setup = Setup(tmp_path, server.connection_string + "elsewhere/")
        async with setup.running() as session:
            await setup.write(session)
            await names_it(setup, session, "wrong endpoint", "BLOCKED", "404", ("canary", "404"))


@in_loop(90)
async def test_no_route(tmp_path: Path) -> None:
    """Nothing answers there."""
    key = "InstrumentationKey=11111111-2222-3333-4444-555555555555"
    setup = Setup(tmp_path, f"{key};IngestionEndpoint={NOWHERE}")
    async with setup.running() as session:
        await setup.write(session)
        words = "cannot connect"
        await names_it(setup, session, "no route", "UNREACHABLE", words, ("endpoint", words))


@in_loop(200)
async def test_prometheus_does_not_write(tmp_path: Path) -> None:
    """A real Prometheus that was never told of the receiver."""
    prometheus = install_prometheus("bookworm", parts_dir())
    config = tmp_path / "prometheus.yml"
    config.write_text("scrape_configs: []\n")
    async with serve(Sandbox()) as server, PrometheusServer(prometheus, config, tmp_path / "data") as around:  # fmt: skip
        setup = Setup(tmp_path, server.connection_string)
        own = f"[{{job_name: self, static_configs: [{{targets: ['127.0.0.1:{around.port}']}}]}}]"
        config.write_text(f"global: {{scrape_interval: 1s}}\nscrape_configs: {own}\n")
        await around.reload()
        await until(around.targets, "Prometheus' target")  # some seconds behind the reload
        setup.doctor_flags[1] = around.url
        async with setup.running() as session:
            await names_it(setup, session, "Prometheus does not write", "NOT RECEIVING", "no request since the start", ("remote_write", "there is no remote_write"), 90)  # fmt: skip


@in_loop(90)
async def test_name_misspelt(tmp_path: Path) -> None:
    """The one name listed has a letter too few."""
    async with serve(Sandbox()) as server:
        setup = Setup(tmp_path, server.connection_string, ["nv_inference_request_succes"])
        async with setup.running() as session:
            await setup.write(session, "nv_inference_request_success")
            words = "misspelt? Triton's metric is nv_inference_request_success"
            await names_it(setup, session, "name misspelt", "FILTERED OUT", words, ("receiver", words), 60)  # fmt: skip


class PlainTriton(TritonServer):
    """Triton as it is without a flag about summaries."""

    @property
    def command(self) -> list[str]:
        return [each for each in super().command if "summary_latencies" not in each]


@in_loop(200)
async def test_summaries_are_off(tmp_path: Path) -> None:
    """A real Triton that shows no summaries, under a real Prometheus, and only they are asked for."""
    prometheus, triton = install_prometheus("bookworm", parts_dir()), install_triton(parts_dir())
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(Sandbox()))
        inference = await stack.enter_async_context(PlainTriton(triton, ROOT / "demo/models", tmp_path))  # fmt: skip
        setup = Setup(tmp_path, server.connection_string, ["nv_inference_queue_summary_us"])
        session = await stack.enter_async_context(setup.running())
        config = render_config(
            ROOT / "prometheus/prometheus.yml",
            tmp_path / "prometheus.yml",
            triton=inference.metrics,
            receiver_url=f"{setup.url}/api/v1/write",
            scrape_seconds=1,
            evaluation_seconds=2,
        )
        around = await stack.enter_async_context(PrometheusServer(prometheus, config, tmp_path / "data"))  # fmt: skip
        setup.doctor_flags = [
            "--prometheus-url", around.url, "--triton", f"http://{inference.http}",
            "--triton-metrics", f"http://{inference.metrics}/metrics",
        ]  # fmt: skip
        words = "--metrics-config summary_latencies=true"
        await names_it(setup, session, "summaries off in Triton", "FILTERED OUT", words, ("name", words), 60)  # fmt: skip


@pytest.mark.parametrize("days", [3, -3])
@in_loop(90)
async def test_clock_is_off_by_three_days(tmp_path: Path, days: int) -> None:
    """As the service sees it, this machine lives three days later or earlier."""
    sandbox = Sandbox()
    sandbox.clock_offset_seconds = -days * 86400.0
    async with serve(sandbox) as server:
        setup = Setup(tmp_path, server.connection_string)
        async with setup.running() as session:
            await setup.write(session)
            words = f"this machine's clock is 3 days {'ahead of' if days > 0 else 'behind'}"
            await names_it(setup, session, f"clock {'ahead' if days > 0 else 'behind'} by three days", "CLOCK", words, ("clock", words))  # fmt: skip


@in_loop(90)
async def test_quota_is_used_up(tmp_path: Path) -> None:
    """The daily cap is reached."""
    async with serve(Sandbox()) as server:
        always(server, 439)
        setup = Setup(tmp_path, server.connection_string)
        async with setup.running() as session:
            await setup.write(session)
            await names_it(setup, session, "quota used up", "QUOTA", "439", ("canary", "439"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB, in memory."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path) -> None:
    """Take all the space there is."""
    with (path / "filler").open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


@in_loop(90)
async def test_disk_is_full(tmp_path: Path, small_disk: Path) -> None:
    """Somebody else's file has taken the outbox's disk."""
    async with serve(Sandbox()) as server:
        setup = Setup(tmp_path, server.connection_string)
        setup.outbox = small_disk / "outbox"
        async with setup.running() as session:
            fill(small_disk)

            async def refused() -> bool:
                return await setup.write(session, count=500) == 503

            await until(refused, "a 503")
            async with session.get(f"{setup.url}/-/ready") as response:
                assert (response.status, (await response.text())[:6]) == (503, "DISK: ")
            await names_it(setup, session, "disk full", "DISK", "full", ("receiver", "DISK: "))


@in_loop(90)
async def test_token_without_the_role(tmp_path: Path) -> None:
    """The machine's identity gets a token, and nobody gave it the role."""

    async def token(_: aiohttp.web.Request) -> aiohttp.web.Response:
        ends = int(time.time()) + 3600
        return aiohttp.web.json_response({"access_token": "roleless", "expires_on": str(ends), "resource": "r", "token_type": "Bearer"})  # fmt: skip

    application = aiohttp.web.Application()
    application.router.add_get("/msi/token", token)
    runner = aiohttp.web.AppRunner(application)
    await runner.setup()
    try:
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        async with serve(Sandbox(tokens=["right"], forbidden_tokens=["roleless"])) as server:
            setup = Setup(tmp_path, server.connection_string)
            setup.environment = {
                "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"Authorization=AAD;ClientId={CLIENT}",
                "IDENTITY_ENDPOINT": f"http://127.0.0.1:{runner.addresses[0][1]}/msi/token",
                "IDENTITY_HEADER": "secret",
            }
            async with setup.running() as session:
                await setup.write(session)
                words = "lacks the role Monitoring Metrics Publisher"
                await names_it(setup, session, "token without the role", "BLOCKED", words, ("canary", words))  # fmt: skip
    finally:
        await runner.cleanup()
