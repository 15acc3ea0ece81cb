"""Several resources on loopback: each item lands in one of them, and none waits for another."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from receiver.cli.top import to_rows
from receiver.sandbox import Sandbox, Server, serve
from tests.integration.receivers import (
    ReceiverProcess,
    Running,
    delivered,
    read_status,
    receiving,
    script,
)
from tests.integration.remote_write import Point, encode, post
from tests.integration.waiting import in_loop, until

KEYS = {name: f"{name[-1] * 8}-0000-0000-0000-000000000000" for name in ("default", "a", "b", "c")}
KEYS["default"] = "dddddddd-0000-0000-0000-000000000000"
BLOCKED = {"kind": "status", "status": 403, "times": None}


class Resources:
    """A sandbox a route, which takes its own key alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: dict[str, Server] = {}
        self.file = folder / "routes.json"

    def connection_string(self, name: str, key: str = "") -> str:
        return f"InstrumentationKey={key or KEYS[name]};IngestionEndpoint={self.servers[name].url}"

    def sandbox(self, name: str) -> Sandbox:
        return self.servers[name].sandbox

    def write(self, *names: str, more: dict[str, Any] | None = None, **file: Any) -> None:
        """Write routes.json: models that begin with a route's name take it."""
        for name in names:
            secret = self.folder / f"{name}.secret"
            if not secret.exists():
                secret.write_text(self.connection_string(name))
        routes = [
            {"name": name, "match": {"model": f"{name}_*"}, "connection_string_file": f"{name}.secret"} | (more or {})
            for name in names
        ]  # fmt: skip
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps({"routes": routes, **file}))
        fresh.replace(self.file)

    def values(self, name: str) -> list[float]:
        return sorted(point.value for point in delivered(self.sandbox(name)))


@asynccontextmanager
async def resources(folder: Path) -> AsyncIterator[Resources]:
    """Serve a sandbox for each name."""
    made = Resources(folder)
    async with AsyncExitStack() as stack:
        for name, key in KEYS.items():
            server = await stack.enter_async_context(serve(Sandbox(known_keys=[key])))
            made.servers[name] = server
        yield made


def points(values: range, models: str = "abx") -> list[Point]:
    """Make a point a value, of models that take turns."""
    now_ms = int(time.time() * 1000)
    return [
        Point("nv_count", (("model", f"{models[n % len(models)]}_{n % 5}"),), now_ms + n, float(n))
        for n in values
    ]


def of(model: str, sent: list[Point]) -> list[float]:
    return sorted(p.value for p in sent if p.labels[0][1].startswith(model))


def route_of(status: dict[str, Any], name: str) -> dict[str, Any]:
    """Find a route in a status; the ledger of each of them adds up."""
    assert all(each["adds_up"] for each in status["routes"]), status["routes"]
    total = sum(each["pending"] for each in status["routes"])
    assert total == status["pending"]
    return next(each for each in status["routes"] if each["name"] == name)


async def send(receiver: Running, sent: list[Point]) -> None:
    reply = await post(receiver.session, receiver.url, encode(sent))
    assert reply.status == 204, reply.text


async def answers(receiver: Running, path: str, method: str = "POST") -> tuple[int, str]:
    async with receiver.session.request(method, f"{receiver.url}{path}") as response:
        return response.status, await response.text()


@in_loop()
async def test_each_item_lands_in_its_resource(tmp_path: Path) -> None:
    """With its key: each sandbox refuses every other; and the ledger of each route adds up."""
    async with resources(tmp_path) as there:
        there.write("a", "b")
        string = there.connection_string("default")
        async with receiving(tmp_path, string, routes=str(there.file)) as receiver:
            sent = points(range(600))
            for first in range(0, 600, 100):
                await send(receiver, sent[first : first + 100])
            status = await receiver.idle()
            for name, model in (("a", "a"), ("b", "b"), ("default", "x")):
                assert there.values(name) == of(model, sent)
                assert route_of(status, name)["accepted"] == 200
                assert route_of(status, name)["state"] == "open"
                rows = to_rows(status, {"selected": {"rows": []}}, 60, 200)
                assert any(row.text.split()[:4] == [name, "open", "0", "0%"] for row in rows)
            text = (await answers(receiver, "/metrics", "GET"))[1]
            assert 'receiver_route_items_accepted_total{route="a"} 200.0' in text


@in_loop()
async def test_one_that_is_blocked_holds_no_other_back(tmp_path: Path) -> None:
    """Neither in delivery nor at intake: what it has no room for is dropped, and the verdict names it."""
    async with resources(tmp_path) as there:
        there.write("a", "b", more={"outbox_max_bytes": 3000})
        script(there.servers["a"], BLOCKED)
        string = there.connection_string("default")
        async with receiving(tmp_path, string, routes=str(there.file)) as receiver:
            sent = points(range(3000))
            for first in range(0, 3000, 100):
                await send(receiver, sent[first : first + 100])
                await until(lambda: len(there.values("b")) >= first // 3, "what b has", 3)  # noqa: B023 - awaited here
            await until(lambda: there.values("b") == of("b", sent), "all of b")
            await until(lambda: there.values("default") == of("x", sent), "all of the rest")
            status = await receiver.status()
            blocked = route_of(status, "a")
            assert blocked["state"] == "blocked"
            assert blocked["outbox"]["full"]
            assert blocked["route_full"] > 0
            assert blocked["pending"] + blocked["route_full"] == 1000
            assert status["dropped"] == {"route_full": blocked["route_full"]}
            lines = [each["line"] for each in status["verdict"]["findings"]]
            assert lines[0].startswith("BLOCKED: route a: 403")
            assert any(line.startswith("ROUTE FULL: route a holds") for line in lines)

            script(there.servers["a"])
            assert (await answers(receiver, "/-/retry?route=nobody"))[0] == 404
            assert (await answers(receiver, "/-/retry?route=a"))[0] == 200
            await receiver.idle()
            assert len(there.values("a")) == blocked["pending"]


@in_loop()
async def test_the_verdict_has_what_a_route_s_resource_says(tmp_path: Path) -> None:
    """Its clock and its message, also where the receiver's own route is never used."""
    async with resources(tmp_path) as there:
        there.write("a", unmatched="drop")
        there.sandbox("a").clock_offset_seconds = -3600.0
        words = "100: Field 'x' is refused"
        script(there.servers["a"], {"kind": "items", "every": 2, "status_code": 400, "message": words, "times": None})  # fmt: skip
        string = there.connection_string("default")
        async with receiving(tmp_path, string, routes=str(there.file)) as receiver:
            await send(receiver, points(range(10), "a"))
            status = await receiver.idle()
            findings = {each["state"]: each["line"] for each in status["verdict"]["findings"]}
            assert "60 min ahead of Application Insights" in findings["CLOCK"]
            assert findings["REJECTED"].endswith(f": {words}")


@in_loop()
async def test_a_changed_file_moves_nothing_that_waits(tmp_path: Path) -> None:
    """A rotated key is followed; a route that is taken out is delivered to the end, where it led."""
    async with resources(tmp_path) as there:
        there.write("a", "b")
        for name in ("a", "b"):
            script(there.servers[name], BLOCKED)
        string = there.connection_string("default")
        async with receiving(tmp_path, string, routes=str(there.file)) as receiver:
            sent = points(range(60))
            await send(receiver, sent)
            rotated = "cccccccc-1111-1111-1111-111111111111"
            there.sandbox("a").known_keys = frozenset([rotated])
            script(there.servers["a"])
            fresh = tmp_path / "a.secret.new"
            fresh.write_text(there.connection_string("a", rotated))
            fresh.replace(tmp_path / "a.secret")
            await until(lambda: there.values("a") == of("a", sent), "what waited, with the new key")

            there.write("a")
            await until(lambda: in_force(receiver, "b", wanted=False), "the list without b")
            later = points(range(60, 90))
            await send(receiver, later)
            script(there.servers["b"])
            await answers(receiver, "/-/retry")
            await receiver.idle()
            assert there.values("b") == of("b", sent)
            assert there.values("default") == sorted(of("x", sent + later) + of("b", later))
            assert (await receiver.status())["verdict"]["severity"] == "good"

            there.file.write_text('{"routes": [{"nam": "a"}]}')
            assert (await answers(receiver, "/-/reload"))[0] == 422
            await send(receiver, points(range(90, 93)))
            await receiver.idle()
            assert 90.0 in there.values("a")


async def in_force(receiver: Running, name: str, *, wanted: bool) -> bool:
    found = [each for each in (await receiver.status())["routes"] if each["name"] == name]
    return bool(found) and found[0]["in_force"] is wanted


@in_loop(90)
async def test_a_killed_receiver_keeps_each_route_s_items_apart(tmp_path: Path) -> None:
    """Kill -9 while one is blocked; a route that is gone at the start is held, and delivered when it is back."""
    async with resources(tmp_path) as there, aiohttp.ClientSession() as session:
        there.write("a", "b")
        script(there.servers["a"], BLOCKED)
        process = ReceiverProcess(tmp_path, there.connection_string("default"), "--routes", str(there.file))  # fmt: skip
        async with process:
            sent = points(range(300))
            assert (await post(session, process.url, encode(sent))).status == 204
            await process.kill()
            there.write("b")
            script(there.servers["a"])
            await process.start()
            # Some may have arrived before the kill, without their outcome, and arrive again.
            await until(lambda: set(there.values("b")) == set(of("b", sent)), "all of b")
            await until(lambda: set(there.values("default")) == set(of("x", sent)), "the rest")
            status = await read_status(session, process.url)
            assert route_of(status, "a")["state"] == "held"
            assert route_of(status, "a")["pending"] == 100
            assert any(each["line"].startswith("ROUTE HELD: 100 items of route a") for each in status["verdict"]["findings"])  # fmt: skip
            assert there.values("a") == []
            there.write("a", "b")
            process.signal(signal.SIGHUP)
            await until(lambda: there.values("a") == of("a", sent), "what was held")
            status = await read_status(session, process.url)
            assert route_of(status, "a")["accepted"] == 100


FOLDED = {"customMetrics": [{"name": "nv_count", "as": "delta", "keep": []}, "nv_other"]}


@in_loop(90)
async def test_windows_are_delivered_to_their_resource(tmp_path: Path) -> None:
    """Though all labels are taken off: each route's sum is in its own resource."""
    (tmp_path / "metrics.json").write_text(json.dumps(FOLDED))
    async with resources(tmp_path) as there:
        there.write("a", "b")
        string = there.connection_string("default")
        async with receiving(tmp_path, string, routes=str(there.file)) as receiver:
            begun_ms = int(time.time() // 60 * 60_000) - 600_000
            for step in range(3):
                now_ms = begun_ms + step * 15_000
                await send(receiver, [
                    Point("nv_count", (("model", model),), now_ms, float(step * grown))
                    for model, grown in (("a_1", 1), ("a_2", 2), ("b_1", 10), ("x", 100))
                ])  # fmt: skip
            await send(receiver, [Point("nv_count", (("model", m),), begun_ms + 120_000, 1000.0) for m in ("a_1", "a_2", "b_1", "x")])  # fmt: skip
            expected = {"a": 6.0, "b": 20.0, "default": 200.0}
            for name, total in expected.items():
                await until(lambda: there.values(name)[:1] == [total], f"{name}'s window", 40)  # noqa: B023 - awaited here
            status = await receiver.status()
            assert all(route_of(status, name)["flushed"] >= 1 for name in expected)


Change = Callable[[Resources], None]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda there: (there.folder / "a.secret").unlink(), "a.secret: No such file or directory; connection_string_file of"),
        (lambda there: (there.folder / "a.secret").write_text(" \n"), "a.secret: the file is empty;"),
        (lambda there: (there.folder / "a.secret").write_text("nonsense"), 'a.secret: part 1 is not "Key=value"'),
        (lambda there: there.write("a", more={"outbox_max_bytes": "9GiB"}), "the routes' outbox_max_bytes are 9663676416 together"),
        (lambda there: there.write("a", more={"proxy": "socks5://h"}), "a socks5 proxy is not supported"),
        (lambda there: there.write("a", more={"authentication_string": "x"}), 'routes[0], a: authentication_string: "x" is not Key=value'),
    ],
)  # fmt: skip
def test_a_mistake_in_a_secret_is_said_at_the_start(
    tmp_path: Path, change: Change, words: str
) -> None:
    """By `check` and by `run`, with the file that it is in."""

    async def run() -> tuple[int | None, str]:
        async with resources(tmp_path) as there:
            there.write("a")
            change(there)
            command = ["-m", "receiver", "check", "--routes", str(there.file), "--outbox-dir", str(tmp_path / "o")]  # fmt: skip
            command += ["--connection-string", there.connection_string("default")]
            child = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await child.communicate()
            return child.returncode, out.decode()

    code, out = asyncio.run(run())
    assert code == 2, out
    assert words in " ".join(out.split()), out


async def said_by(verb: str, *arguments: str) -> str:
    """Run a verb of the command line, and return what it prints."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", verb, *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await child.communicate()
    return " ".join(out.decode().split())


@in_loop(90)
async def test_doctor_tries_each_resource_and_explain_says_which_is_taken(tmp_path: Path) -> None:
    """One that refuses is named; the route is that of the labels that Prometheus has."""
    (tmp_path / "metrics.json").write_text(json.dumps({"customMetrics": ["nv_count"]}))
    series = [{"__name__": "nv_count", "model": model, "job": "t"} for model in ("a_1", "a_2", "x")]

    async def query(request: web.Request) -> web.Response:
        is_series = "nv_count" in request.query.get("query", "")
        rows = [{"metric": each, "value": [1.0, "2"]} for each in series] if is_series else []
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": rows}})  # fmt: skip

    app = web.Application()
    app.router.add_get("/api/v1/query", query)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    async with resources(tmp_path) as there:
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            there.write("a", "b")
            script(there.servers["b"], BLOCKED)
            away = ["--receiver", "http://127.0.0.1:9", "--triton", "", "--triton-metrics", ""]
            common = [*away, "--routes", str(there.file)]
            files = ["--metrics-json", str(tmp_path / "metrics.json")]
            text = await said_by(
                "doctor", *common, *files, "--prometheus-url", "", "--connection-string", there.connection_string("default")
            )  # fmt: skip
            assert f"a: canary {there.servers['a'].url} accepted an item" in text
            assert "b: canary 403" in text
            assert len(there.values("a")) == 1
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            text = await said_by("explain", "nv_count", *common, *files, "--prometheus-url", url)
            assert "2 of its series take a, like job=t, model=a_1" in text
            assert "1 of its series take default, like job=t, model=x" in text
        finally:
            await runner.cleanup()
