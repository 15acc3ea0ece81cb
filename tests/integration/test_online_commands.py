"""The commands that ask a running receiver, and a change of metrics.json while it runs."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import snappy
from aiohttp import web

from receiver import logs
from receiver.cli.main import main
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.sandbox import Sandbox, Server, serve
from tests.integration.receivers import Running, metrics_json, receiving
from tests.integration.remote_write import Point, encode, post
from tests.integration.waiting import in_loop, until


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Log as the command line does, and leave the state folder alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    logs.configure()


class Place:
    """A receiver with what around it the commands ask."""

    def __init__(self, folder: Path, running: Running, server: Server, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
        self.running = running
        self.folder = folder
        self._capsys = capsys
        self._settings = ["--metrics-json", str(folder / "metrics.json"), "--connection-string", server.connection_string]  # fmt: skip

    async def feed(self, *names: str, value: float = 1.5) -> None:
        now_ms = int(time.time() * 1000)
        points = [Point(name, (("model", "m"),), now_ms, value) for name in names]
        assert (await post(self.running.session, self.running.url, encode(points))).status == 204

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Type a command; give its exit code and what it printed."""
        self._capsys.readouterr()
        code = await asyncio.to_thread(main, [arguments[0], "--receiver", self.running.url, *self._settings, *arguments[1:]])  # fmt: skip
        return code, self._capsys.readouterr().out

    async def ask(self, *arguments: str) -> tuple[int, Any]:
        code, out = await self.run(*arguments, "--json")
        return code, json.loads(out)


@asynccontextmanager
async def place(folder: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Place]:
    async with serve(Sandbox()) as server, receiving(folder, server.connection_string) as running:
        yield Place(folder, running, server, capsys)


@asynccontextmanager
async def around(triton: str, recorded: str, ours: str) -> AsyncIterator[list[str]]:
    """Stand in for a Triton and a Prometheus that are well: what they say, and nothing more."""
    names = [line.split("{")[0] for line in triton.splitlines()]
    data: dict[str, Any] = {
        "/api/v1/targets": {"activeTargets": [{"health": "up"}]},
        "/api/v1/rules": {"groups": [{"rules": [{"name": recorded}]}]},
        "/api/v1/label/__name__/values": [*names, recorded],
    }

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/api/v1/query":
            name = request.query["query"].split('"')[1]
            found = [{"metric": {}, "value": [0, "1"]}] if name in names else []
            return web.json_response({"data": {"result": found}})
        if request.path in data:
            return web.json_response({"data": data[request.path]})
        if request.path == "/metrics":
            sent = f'prometheus_remote_storage_samples_total{{remote_name="x",url="{ours}"}} 10\n'
            return web.Response(text=sent)
        return web.Response(text=triton if request.path == "/triton" else "")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield ["--prometheus-url", url, "--triton", url, "--triton-metrics", f"{url}/triton"]
    finally:
        await runner.cleanup()


@in_loop()
async def test_doctor_finds_nothing_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With everything in its place each thing is looked at, and the exit code is 0."""
    async with place(tmp_path, capsys) as here:
        port = here.running.url.rpartition(":")[2]
        ours = f"http://127.0.0.1:{port}/api/v1/write"
        async with around('nv_a{model="m"} 1\n', "nv_a_irate", ours) as flags:
            await here.feed("nv_a")
            code, found = await here.ask("doctor", *flags, "--listen", f"127.0.0.1:{port}")
    assert code == 0, found
    assert found["cause"] is None
    looked_at = {each["what"] for each in found["findings"] if each["mark"] == "ok"}
    assert looked_at == {"metrics.json", "connection", "dns", "clock", "canary", "scrape", "remote_write", "triton", "triton metrics", "names", "receiver"}  # fmt: skip


@in_loop()
async def test_doctor_looks_for_the_receiver_that_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Its port, and its metrics.json: not those that happen to be set where `doctor` is typed."""
    async with (
        place(tmp_path, capsys) as here,
        around('nv_a{model="m"} 1\n', "nv_a_irate", f"{here.running.url}/api/v1/write") as flags,
    ):
        await here.feed("nv_a")
        _, found = await here.ask("doctor", "--no-canary", *flags, "--metrics-json", "/nonexistent")
    marks = {each["what"]: each["mark"] for each in found["findings"]}
    assert (marks["remote_write"], marks["metrics.json"], marks["names"]) == ("ok", "ok", "ok")


@in_loop()
async def test_doctor_without_the_receiver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """What does not answer is a finding with a fix, not a traceback."""
    async with place(tmp_path, capsys) as here:
        gone = here.running.url
        here.running.url = "http://127.0.0.1:9"
        code, out = await here.run("doctor", "--no-canary", "--prometheus-url", "", "--triton", "")
        here.running.url = gone
    assert code == 1
    assert out.startswith("FAIL: receiver: http://127.0.0.1:9/api/v1/status does not answer")


@in_loop()
async def test_explain_follows_a_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each station says what it knows; one that nobody names stops at the selection."""
    async with place(tmp_path, capsys) as here, around('nv_a{model="m"} 1\ngo_b{model="m"} 2\n', "nv_a_irate", "") as flags:  # fmt: skip
        await here.feed("nv_a", "go_b")

        async def arrived() -> Any:
            found = await here.ask("explain", "nv_a", *flags)
            return found if found[0] == 0 and "1 series" in str(found[1]) else None

        _, well = await until(arrived, "nv_a is seen")
        lost_code, lost = await here.ask("explain", "go_b", *flags)
        _, never = await here.ask("explain", "nv_aa", *flags)
        path = here.folder / "metrics.json"
        path.write_text('{"customMetrics": ["nv_a", "nv_aa"]}')
        await here.running.session.post(f"{here.running.url}/-/reload")
        alone = ["--prometheus-url", "", "--triton", "", "--triton-metrics", ""]

        async def known() -> Any:
            await here.feed("nv_a", "go_b")
            _, found = await here.ask("explain", "nv_aa", *alone)
            return found if "misspelt" in found["findings"][-1]["detail"] else None

        told = await until(known, "the receiver knows what is near")
        other = ["--metrics-json", "/nonexistent", *alone]
        _, running = await here.ask("explain", "nv_a", *other)
        _, idle = await here.ask("explain", "nv_a_irate", *flags)
    stations = {each["what"]: each["detail"] for each in well["findings"]}
    assert list(stations) == ["triton", "prometheus", "selection", "receiver", "delivery"]
    assert "selects it by nv_*" in stations["selection"]
    assert lost_code == 1
    assert lost["cause"]["what"] == "selection"
    assert "does not name it" in lost["cause"]["detail"]
    assert (
        never["cause"]["detail"]
        == told["cause"]["detail"]
        == "unknown name; the nearest metric is nv_a"
    )
    assert told["findings"][-1]["detail"] == "it has never arrived: misspelt? nv_a arrives"
    assert told["findings"][-1]["fix"] == "Nearest: nv_a."
    selection = {each["what"]: each["detail"] for each in running["findings"]}["selection"]
    assert "metrics.json selects it by nv_a: " in selection, "what runs counts"
    assert idle["cause"]["what"] == "prometheus"
    assert "has no value now" in idle["cause"]["detail"]


@in_loop()
async def test_what_senders_tell_of_a_metric_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Type, unit and help of a metric that is not Triton's: in the list, and in `explain`."""
    async with place(tmp_path, capsys) as here:
        told = WriteRequest()
        told.metadata.add(metric_family_name=b"nv_mine", type=1, help=b"What mine does.", unit=b"s")
        session, url = here.running.session, here.running.url
        assert (await post(session, url, snappy.compress(told.SerializeToString()))).status == 204
        await here.feed("nv_mine_total")
        async with session.get(f"{url}/api/v1/metrics") as response:
            (row,) = (await response.json())["selected"]["rows"]
        _, found = await here.ask("explain", "nv_mine_total", "--prometheus-url", "", "--triton", "", "--triton-metrics", "")  # fmt: skip
    assert (row["type"], row["unit"], row["help"]) == ("counter", "s", "What mine does.")
    assert {"what": "meaning", "mark": "ok", "detail": "What mine does. [s]", "fix": ""} in found[
        "findings"
    ]


@in_loop()
async def test_tap_shows_what_flows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items that come while one looks, of the names asked for, with their labels."""
    async with place(tmp_path, capsys) as here:
        tapping = asyncio.create_task(here.run("tap", "nv_b*", "--count", "2", "--json"))

        async def fed() -> bool:
            await here.feed("nv_a", "nv_bc", value=float(time.monotonic()))
            return tapping.done()

        await until(fed, "two items tapped")
        code, out = await tapping
        missing, _ = await here.run("tap", "nothing", "--seconds", "0.1")
    items = [json.loads(line) for line in out.splitlines() if line.startswith('{"time"')]
    assert code == 0
    assert [(each["name"], each["labels"]) for each in items] == [("nv_bc", {"model": "m"})] * 2
    assert missing == 1


@in_loop()
async def test_top_is_one_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal one moment is shown: the verdict, the flow, the metrics."""
    async with place(tmp_path, capsys) as here:
        await here.feed("nv_a", "go_b")
        await here.running.idle()
        code, out = await here.run("top")
        _, document = await here.ask("top")
    assert code == 0
    lines = [line for line in out.splitlines() if not line.startswith("{")]
    assert lines[0].startswith(("OK: ", "WAITING: "))
    assert any(line.split()[:2] == ["received", "2"] for line in lines)
    assert document["metrics"]["selected"]["rows"][0]["name"] == "nv_a"


@in_loop()
async def test_metrics_json_is_changed_while_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """A broken list is refused with its place and the verdict says so; a good one holds at once."""
    async with place(tmp_path, capsys) as here:
        session, url = here.running.session, here.running.url
        await here.feed("nv_a", "go_b")
        await here.running.idle()
        path = metrics_json(tmp_path)
        path.write_text('{"customMetrics": [}')
        async with session.post(f"{url}/-/reload") as response:
            assert (response.status, "not JSON" in await response.text()) == (422, True)
        status = await here.running.status()
        assert status["verdict"]["state"] == "CONFIG"
        assert status["errors"][0]["where"] == "metrics.json"
        await here.feed("nv_a")
        path.write_text('{"customMetrics": ["go_*"]}')
        headers = {"Sec-Fetch-Site": "cross-site"}
        async with session.post(f"{url}/-/reload", headers=headers) as response:
            assert response.status == 403
        async with session.post(f"{url}/-/reload") as response:
            assert response.status == 200
        await here.feed("nv_a", "go_b")
        found = await here.running.idle()
    assert found["metrics_json"]["names"] == ["go_*"]
    assert (found["accepted"], found["unselected"]) == (3, 2)
    assert found["verdict"]["state"] in {"OK", "WAITING"}
