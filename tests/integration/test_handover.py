"""`handover` over HTTP: two receivers become three and two again, and each one's growth is in one item's sum."""

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from receiver.cli import handover as verb
from receiver.cli.fetch import get_json
from receiver.cli.findings import Mark
from receiver.cli.handover import shard_of
from receiver.cli.main import main
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess, Running, receiving
from tests.integration.remote_write import Point, encode, post
from tests.integration.waiting import in_loop, until

LABELS = ("job", "instance")
HOSTS = [f"h{number}:8002" for number in range(8)]
STEP_MS = 15_000
ENTRIES = [{"name": "c", "as": "delta"}, {"name": "us", "as": "mean", "per": "n"}, {"name": "g", "as": "aggregate"}]  # fmt: skip


async def scrape(receivers: Sequence[Running], shards: int, at_ms: int, step: int) -> None:
    """Send a scrape of all hosts to the receivers whose shards they are, as Prometheus would."""
    shares: list[list[Point]] = [[] for _ in receivers]
    for place, host in enumerate(HOSTS):
        labels = (("instance", host), ("job", "triton"))
        owner = shard_of(dict(labels), LABELS, shards)
        values = {"c": (place + 1) * step, "us": 500 * (place + 1) * step, "n": 5 * step, "g": step}
        shares[owner] += [Point(name, labels, at_ms, float(value)) for name, value in values.items()]  # fmt: skip
    for receiver, points in zip(receivers, shares, strict=True):
        if points:
            assert (await post(receiver.session, receiver.url, encode(points))).status == 204


async def hand_over(receivers: Sequence[Running], shards: int, *flags: str) -> int:
    """Run the verb, beside what runs here."""
    urls = ",".join(receiver.url for receiver in receivers)
    given = ["handover", "--shards", str(shards), "--receivers", str(len(receivers)), "--url", urls, "--settle", "0.1", *flags]  # fmt: skip
    return await asyncio.to_thread(main, given)


@in_loop(150)
async def test_the_number_of_receivers_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From two to three and back: handed over before the first samples, after them, and twice."""
    start_ms = int(time.time() * 1000) // 60_000 * 60_000 - 20 * 60_000
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(Sandbox()))
        receivers = []
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "metrics.json").write_text(json.dumps({"customMetrics": ENTRIES}))
            receivers.append(await stack.enter_async_context(receiving(folder, server.connection_string)))  # fmt: skip
        step = 0
        for shards, is_late in ((2, False), (3, True), (2, False), (3, False), (2, True)):
            if not is_late:
                assert await hand_over(receivers, shards) == 0
            for _ in range(3):
                step += 1
                await scrape(receivers, shards, start_ms + STEP_MS * step, step)
            assert await hand_over(receivers, shards) == 0
            assert await hand_over(receivers, shards) == 0
        step += 10  # the last windows are over
        await scrape(receivers, 2, start_ms + STEP_MS * step, step)

        def sums() -> dict[str, float]:
            found: dict[str, float] = {}
            for item in server.sandbox.store.select():
                name = item.series.name
                found[name] = found.get(name, 0) + item.value
                if name == "us":
                    assert item.spread
                    found["n"] = found.get("n", 0) + item.spread.count
            return found

        grown = 14  # the first of 15 scrapes is the baseline; the last one's window is open
        expected = {"c": 36.0 * grown, "us": 500.0 * 36 * grown, "n": 5.0 * 8 * grown}
        with contextlib.suppress(AssertionError):
            await until(lambda: {name: sums().get(name) for name in expected} == expected, "all", 60)  # fmt: skip
        assert {name: sums().get(name) for name in expected} == expected
        for receiver in receivers:
            await receiver.idle()
    out = capsys.readouterr().out
    assert "went from receiver 0 to receiver 2" in out
    assert "OK: each series is at its receiver." in out


@in_loop()
async def test_what_still_arrives_is_left(tmp_path: Path) -> None:
    """Prometheus has not loaded its new shards: nothing moves, and that is said."""
    (tmp_path / "metrics.json").write_text(json.dumps({"customMetrics": ENTRIES}))
    at_ms = int(time.time() * 1000)
    loop = asyncio.get_running_loop()
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
        receiving(tmp_path, server.connection_string, outbox_dir=str(tmp_path / "b")) as other,
    ):
        both = (receiver, other)
        await scrape(both, 1, at_ms, 1)
        lists = 0

        def ask(url: str, *keys: str, document: Any = None) -> dict[str, Any]:
            nonlocal lists
            lists += url.endswith("series?after=0") and url.startswith(receiver.url)
            if lists == 2:  # between the two looks samples come
                lists += 1
                again = scrape(both, 1, at_ms + 1000, 2)
                asyncio.run_coroutine_threadsafe(again, loop).result()
            return get_json(url, *keys, document=document)

        urls = [each.url for each in both]
        would = await asyncio.to_thread(verb.hand_over, get_json, urls, 2, LABELS, 0.0, dry=True)
        moves = await asyncio.to_thread(verb.hand_over, ask, urls, 2, LABELS, 0.0, dry=False)
    assert would.moved[0, 1] > 0
    assert not +moves.moved
    assert moves.arriving == {0: would.moved[0, 1]}
    [cause, *_] = verb.findings(moves, dry=False)
    assert cause.mark is Mark.FAIL
    assert "still arrive at receiver 0" in cause.detail


@in_loop()
async def test_what_is_no_request_of_it_is_refused(tmp_path: Path) -> None:
    """400 with the reason; nothing changes."""
    wrong: list[Any] = [
        {},
        {"series": 5},
        {"series": [{}]},
        {"series": [{"labels": {}, "time_ms": 1, "value": 1}]},
        {"series": [{"labels": {"__name__": 5}, "time_ms": 1, "value": 1}]},
        {"series": [{"labels": {"__name__": "c"}, "time_ms": 1e300, "value": 1}]},
        [1],
    ]
    (tmp_path / "metrics.json").write_text(json.dumps({"customMetrics": ENTRIES}))
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        for document in wrong:
            for verb in ("take", "release"):
                url = f"{receiver.url}/api/v1/fold/{verb}"
                async with receiver.session.post(url, json=document) as response:
                    assert response.status == 400, (verb, document)
                    assert (await response.json())["error"]
        async with receiver.session.get(f"{receiver.url}/api/v1/fold/series?after=-1") as response:
            assert response.status == 400
        taken = [{"labels": {"__name__": "x"}, "time_ms": 1, "value": 1}]
        async with receiver.session.post(f"{receiver.url}/api/v1/fold/take", json={"series": taken}) as response:  # fmt: skip
            assert (await response.json())["outcomes"] == ["not_folded"]


@in_loop()
async def test_series_with_long_labels_move(tmp_path: Path) -> None:
    """A thousand of them are more than one request may have."""
    (tmp_path / "metrics.json").write_text(json.dumps({"customMetrics": ENTRIES}))
    at_ms = int(time.time() * 1000)
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
        receiving(tmp_path, server.connection_string, outbox_dir=str(tmp_path / "b")) as other,
    ):
        host = next(h for h in HOSTS if shard_of({"job": "triton", "instance": h}, LABELS, 2) == 1)
        labels = (("instance", host), ("job", "triton"), ("long", "x" * 2000))
        points = [Point("c", (*labels, ("n", str(n))), at_ms, 1.0) for n in range(1000)]
        assert (await post(receiver.session, receiver.url, encode(points))).status == 204
        urls = [receiver.url, other.url]
        moves = await asyncio.to_thread(verb.hand_over, get_json, urls, 2, LABELS, 0.0, dry=False)
    assert (dict(moves.moved), dict(moves.refused)) == ({(0, 1): 1000}, {})


@in_loop()
async def test_a_kill_after_the_answer_loses_nothing(tmp_path: Path) -> None:
    """What was taken over, and what was let go, is on disk when it is answered."""
    (tmp_path / "metrics.json").write_text(json.dumps({"customMetrics": ENTRIES}))
    at_ms = int(time.time() * 1000)
    series = {"labels": {"__name__": "c", "job": "triton", "instance": "h:1"}, "time_ms": at_ms, "value": 7.0}  # fmt: skip
    async with (
        serve(Sandbox()) as server,
        ReceiverProcess(tmp_path, server.connection_string) as process,
        aiohttp.ClientSession() as session,
    ):

        async def ask(verb: str, document: Any) -> Any:
            url = f"{process.url}/api/v1/fold/{verb}"
            async with session.post(url, json=document) as response:
                return await response.json()

        async def held() -> list[Any]:
            async with session.get(f"{process.url}/api/v1/fold/series") as response:
                found: list[Any] = (await response.json())["series"]
                return found

        async def again() -> None:
            await process.kill()
            await process.start()

        assert await ask("take", {"series": [series]}) == {"outcomes": ["taken"]}
        await again()
        [mine] = await held()
        assert {key: mine[key] for key in series} == series
        assert await ask("take", {"series": [series]}) == {"outcomes": ["same"]}
        assert await ask("release", {"series": [[mine["number"], at_ms]]}) == {"newer": []}
        await again()
        assert await held() == []
