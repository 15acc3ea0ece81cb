"""Replicas of one Prometheus, as the whole receiver tells them apart: kill -9, pages, pairs unnoticed."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess, delivered, read_status, receiving, script
from tests.integration.remote_write import Point, encode, post
from tests.integration.waiting import in_loop, until

LABEL = {"RECEIVER_REPLICA_LABEL": "replica", "RECEIVER_REPLICA_TIMEOUT": "60s"}


def scrape(replica: str, at_ms: int, value: float) -> list[Point]:
    """One scrape of three series by a replica."""
    more = (("replica", replica),) if replica else ()
    return [Point(f"nv_{n}", (("job", "triton"), *more), at_ms, value + n) for n in range(3)]


@in_loop(within_seconds=150)
async def test_a_killed_receiver_neither_doubles_nor_flaps(tmp_path: Path) -> None:
    """Who leads is in the transaction of the items; a request that comes again gets its answer again."""
    now_ms = int(time.time() * 1000)
    async with (
        serve(Sandbox()) as box,
        aiohttp.ClientSession() as session,
        ReceiverProcess(tmp_path, box.connection_string, environment=LABEL) as receiver,
    ):

        async def send(replica: str, second: int, version: int) -> None:
            body = encode(scrape(replica, now_ms + 1000 * second, second), version)
            assert (await post(session, receiver.url, body, version)).status == 204

        for second in range(20):
            first, second_to_come = ("a", "b") if second % 5 else ("b", "a")
            if second == 0:
                first, second_to_come = "a", "b"
            for replica in (first, second_to_come):
                await send(replica, second, 1 + second % 2)
                await send(replica, second, 1 + second % 2)  # its answer was lost
            if second % 5 == 4:  # not between the service's answer and its note: that is a copy
                await until(
                    partial(_all_accepted, session, receiver, 3 * (second + 1)), "the items"
                )
                await receiver.kill()
                await receiver.start()
        status = await until(partial(_all_accepted, session, receiver, 60), "the items")
        assert sorted(delivered(box.sandbox)) == sorted(
            point for second in range(20) for point in scrape("", now_ms + 1000 * second, second)
        )
        dropped = status["dropped"]["replica"]
        assert 60 <= dropped <= 2 * 60, "those of the last seconds before a kill are not written"
        (cluster,) = status["replicas"]
        assert (cluster["cluster"], cluster["leader"], cluster["changes"]) == ("", "a", 0)
        assert cluster["counts_after"] == ""


async def _all_accepted(
    session: aiohttp.ClientSession, receiver: ReceiverProcess, items: int
) -> dict[str, Any] | None:
    status = await read_status(session, receiver.url)
    return status if status["accepted"] == items else None


@in_loop()
async def test_followers_are_accepted_while_the_outbox_is_full(tmp_path: Path) -> None:
    """They have nothing to commit; the leader is told to come again, and leads."""
    async with (
        serve(Sandbox()) as box,
        receiving(
            tmp_path,
            box.connection_string,
            replica_label="replica",
            replica_timeout_seconds="60s",
            outbox_max_bytes="1",
        ) as receiver,
    ):
        script(box, {"kind": "status", "status": 503, "times": None})
        now_ms = int(time.time() * 1000)
        answers = []
        for second in range(3):
            for replica in "ab":
                body = encode(scrape(replica, now_ms + second, second))
                answers.append((await post(receiver.session, receiver.url, body)).status)
        assert answers == [204, 204, 503, 204, 503, 204]
        (cluster,) = (await receiver.status())["replicas"]
        assert cluster["leader"] == "a"


@in_loop()
async def test_a_change_is_shown_everywhere(tmp_path: Path) -> None:
    """On the status, in the metrics, among the last errors."""
    async with (
        serve(Sandbox()) as box,
        receiving(
            tmp_path,
            box.connection_string,
            replica_label="replica",
            cluster_label="job",
            replica_timeout_seconds="0.1s",
        ) as receiver,
    ):
        now_ms = int(time.time() * 1000)
        await post(receiver.session, receiver.url, encode(scrape("a", now_ms, 1)))

        async def changed() -> bool:
            body = encode(scrape("b", int(time.time() * 1000), 2))
            await post(receiver.session, receiver.url, body)
            (cluster,) = (await receiver.status())["replicas"]
            return bool(cluster["leader"] == "b")

        await until(changed, "the other one leads")
        status = await receiver.status()
        (cluster,) = status["replicas"]
        assert cluster["cluster"] == "triton"
        assert cluster["counts_after"] > "2026"
        assert [(each["replica"], each["leads"]) for each in cluster["replicas"]] == [("a", False), ("b", True)]  # fmt: skip
        (error,) = [each for each in status["errors"] if each["where"] == "replicas"]
        assert error["words"].startswith("triton: b leads; the last request of a was ")
        async with receiver.session.get(f"{receiver.url}/metrics") as answer:
            text = await answer.text()
        assert 'receiver_replica_leader{cluster="triton",replica="b"} 1.0' in text
        assert 'receiver_replica_leader{cluster="triton",replica="a"} 0.0' in text
        assert 'receiver_replica_changes_total{cluster="triton"} 1.0' in text
