"""Folded entries from the request to the service: exact, whatever the process goes through."""

import asyncio
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess, read_status, receiving
from tests.integration.remote_write import Point, encode, post
from tests.integration.waiting import in_loop, until

MINUTE_MS = 60_000
TARGET = (("instance", "h:8002"), ("job", "triton"))


def write_list(folder: Path, *entries: object) -> None:
    """Write the metrics.json of a test."""
    (folder / "metrics.json").write_text(json.dumps({"customMetrics": entries}))


def scrape(at_ms: int, **values: float) -> list[Point]:
    """Make the samples of one scrape; a name's `__` stands before its model."""
    points = []
    for key, value in values.items():
        name, _, model = key.partition("__")
        labels = (*TARGET, ("model", model)) if model else TARGET
        points.append(Point(name, tuple(sorted(labels)), at_ms, value))
    return points


def said(sandbox: Sandbox) -> list[dict[str, Any]]:
    """List what the service has, in the order of time."""
    return [
        {"at": item.time_ms, "name": item.series.name, "value": item.value, "count": item.spread.count if item.spread else 1, **item.series.properties}
        for item in sorted(sandbox.store.select(), key=lambda item: (item.time_ms, item.series.name))
    ]  # fmt: skip


@in_loop()
async def test_a_minute_is_one_item_with_the_mean(tmp_path: Path) -> None:
    """Eight scrapes of three counters and a gauge, raw and folded: one item a window."""
    write_list(
        tmp_path,
        {"name": "us", "as": "mean", "per": "n"},
        {"name": "c", "as": "delta"},
        "c2",
        {"name": "c2", "as": "delta", "rename": "c2_grown"},
    )
    start_ms = int(time.time() * 1000) // MINUTE_MS * MINUTE_MS - 3 * MINUTE_MS
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        for step in range(9):
            points = scrape(start_ms + 15_000 * step, us__a=500 * step, n__a=10 * step, c=step, c2=step, other=1)  # fmt: skip
            assert (await post(receiver.session, receiver.url, encode(points))).status == 204
        await until(lambda: len(said(server.sandbox)) >= 9 + 2 * 3, "the items", 30)
        status = await receiver.idle()
        items = [item for item in said(server.sandbox) if item["name"] != "c2"]

    assert status["received"] == 9 * 5
    assert (status["unselected"], status["rendered"], status["folded"]) == (9, 9, 27)
    assert status["flushed"] == 6
    # The first scrape is the baseline; the third window is still open.
    assert [(item["name"], item["value"], item["count"]) for item in items] == [
        ("c", 3, 1),
        ("c2_grown", 3, 1),
        ("us", 1500, 30),
        ("c", 4, 1),
        ("c2_grown", 4, 1),
        ("us", 2000, 40),
    ]
    assert {item["at"] for item in items} == {start_ms, start_ms + MINUTE_MS}
    assert {item.get("model") for item in items if item["name"] == "us"} == {"a"}
    assert not any("job" in item or "instance" in item for item in items)


COUNTERS = ("c__a", "c__b", "us__a", "us__b", "n__a", "n__b")
STEPS_IN_CLOSED_WINDOWS = 56
"""Of 60 scrapes: the last window stays open for two minutes, which no test waits for."""


async def insist(receiver: ReceiverProcess, session: aiohttp.ClientSession, body: bytes) -> None:
    """Send a request until it is answered, as senders do; a receiver that was killed is started."""
    while True:
        try:
            if (await post(session, receiver.url, body)).status == 204:
                return
        except (aiohttp.ClientError, OSError):
            await receiver.running.process.wait()
        if receiver.running.process.returncode is not None:
            await receiver.start()
        await asyncio.sleep(0.05)


def sums_of(items: list[dict[str, Any]]) -> Counter[str]:
    """Add up what the items say; copies of an item whose answer was lost count once.

    There is one item a series and window, so two that are not equal are a fault.
    """
    once = {(item["at"], item["name"], item.get("model")): item for item in items}
    assert all(item == once[item["at"], item["name"], item.get("model")] for item in items)
    sums: Counter[str] = Counter()
    for item in once.values():
        sums[f"{item['name']} {item.get('model')}"] += item["value"]
        if item["name"] == "us":
            sums["n None"] += item["count"]
    return sums


@in_loop(110)
async def test_sums_are_exact_over_kills(tmp_path: Path) -> None:
    """The process is killed amid requests, again and again; nothing is lost, nothing counts twice."""
    mean = {"name": "us", "as": "mean", "per": "n", "keep": []}
    write_list(tmp_path, {"name": "c", "as": "delta"}, mean)
    chance = random.Random(14)
    start_ms = int(time.time() * 1000) // MINUTE_MS * MINUTE_MS - 30 * MINUTE_MS
    grown = in_windows = dict.fromkeys(COUNTERS, 0)
    async with (
        serve(Sandbox()) as server,
        aiohttp.ClientSession() as session,
        ReceiverProcess(tmp_path, server.connection_string) as receiver,
    ):
        for step in range(60):
            if step:
                grown = {key: value + chance.randrange(100) for key, value in grown.items()}
            if step < STEPS_IN_CLOSED_WINDOWS:
                in_windows = grown
            if step % 6 == 4:
                kill = receiver.running.process.kill
                asyncio.get_running_loop().call_later(chance.uniform(0, 0.02), kill)
            body = encode(scrape(start_ms + 15_000 * step, **grown))
            await insist(receiver, session, body)
        await asyncio.sleep(0.05)  # the last kill may still be due
        await insist(receiver, session, body)
        await until(
            lambda: len({item["at"] for item in said(server.sandbox)}) >= 14, "the items", 40
        )

        async def nothing_pending() -> bool:
            return not (await read_status(session, receiver.url))["pending"]

        await until(nothing_pending, "nothing pending", 20)
        items = said(server.sandbox)
    assert sums_of(items) == {
        "c a": in_windows["c__a"],
        "c b": in_windows["c__b"],
        "us None": in_windows["us__a"] + in_windows["us__b"],
        "n None": in_windows["n__a"] + in_windows["n__b"],
    }
