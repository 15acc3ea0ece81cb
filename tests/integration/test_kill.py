"""kill -9 at any moment: what a 2xx covered is on disk, and arrives.

The storm (tests/storm) does this at random; here are the moments that matter, one by one.
"""

import asyncio
import random
import sqlite3
import time
from collections import Counter
from pathlib import Path

import aiohttp

from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess, delivered, read_status, script
from tests.integration.remote_write import encode, numbered, post
from tests.integration.waiting import in_loop, until
from tests.storm.sender import Sender


@in_loop()
async def test_a_restart_finds_the_outbox(tmp_path: Path) -> None:
    """Killed with everything pending: the next start delivers it, and the ledger goes on."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, {"kind": "status", "status": 503, "times": None})
        sent = numbered(0, 0, 600, int(time.time() * 1000))
        async with ReceiverProcess(tmp_path, server.connection_string) as receiver:
            for first in range(0, 600, 100):
                body = encode(sent[first : first + 100])
                assert (await post(session, receiver.url, body)).status == 204
            await receiver.kill()
            script(server)
            await receiver.start()
            await until(lambda: len(delivered(server.sandbox)) >= 600, "the items")
            assert sorted(delivered(server.sandbox)) == sorted(sent)
            again = await post(session, receiver.url, encode(sent[:100]))
            assert again.status == 204, "the request is remembered over the restart"
            status = await read_status(session, receiver.url)
            assert status["received"] == status["accepted"] == 600
            assert status["requests"]["repeated"] == 1


@in_loop()
async def test_a_kill_between_the_services_200_and_the_delete_doubles(tmp_path: Path) -> None:
    """The items are stored, the receiver dies before it knows: sent again, so doubled, not lost."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, {"kind": "delay", "delay_seconds": 30})
        sent = numbered(0, 0, 100, int(time.time() * 1000))
        async with ReceiverProcess(tmp_path, server.connection_string) as receiver:
            assert (await post(session, receiver.url, encode(sent))).status == 204
            await until(lambda: len(delivered(server.sandbox)) == 100, "the items stored")
            await receiver.kill()
            await receiver.start()
            await until(lambda: len(delivered(server.sandbox)) >= 200, "the items again")
            assert Counter(delivered(server.sandbox)) == Counter(sent * 2)
            status = await read_status(session, receiver.url)
            assert status["received"] == 100


@in_loop()
async def test_a_kill_between_commit_and_answer_commits_once(tmp_path: Path) -> None:
    """The sender sees a broken connection and comes again: the request is known, and counts once.

    The kill comes as soon as the batch is in the database, often before the answer is out.
    """
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, {"kind": "status", "status": 503, "times": None})
        async with ReceiverProcess(tmp_path, server.connection_string) as receiver:
            committed = 0
            broken = 0
            for attempt in range(5):
                sent = numbered(0, 1000 * attempt, 1000, int(time.time() * 1000))
                body = encode(sent)
                request = asyncio.create_task(post(session, receiver.url, body))
                while not request.done() and _batches(receiver.outbox) == committed:
                    await asyncio.sleep(0)
                await receiver.kill()
                broken += isinstance(
                    (await asyncio.gather(request, return_exceptions=True))[0], aiohttp.ClientError
                )
                await receiver.start()
                assert (await post(session, receiver.url, body)).status == 204
                committed = _batches(receiver.outbox)
            script(server)
            status = await _all_delivered(session, receiver)
            assert status["received"] == 5000
            assert len(delivered(server.sandbox)) == len(set(delivered(server.sandbox))) == 5000
            print(f"{broken} of 5 answers were lost")


def _batches(outbox: Path) -> int:
    """Count the batches in the database of a receiver that runs."""
    database = sqlite3.connect(f"{(outbox / 'outbox.db').as_uri()}?mode=ro", uri=True)
    try:
        return int(database.execute("SELECT COUNT(*) FROM batches").fetchone()[0])
    finally:
        database.close()


async def _all_delivered(
    session: aiohttp.ClientSession, receiver: ReceiverProcess
) -> dict[str, int]:
    async def idle() -> dict[str, int] | None:
        status = await read_status(session, receiver.url)
        return None if status["pending"] else status

    found: dict[str, int] = await until(idle, "nothing pending", 40)
    return found


@in_loop(100)
async def test_killed_at_random_moments_under_load(tmp_path: Path) -> None:
    """A sender that behaves as Prometheus does loses nothing to ten kills, starts included."""
    chance = random.Random(20261122)
    async with (
        serve(Sandbox()) as server,
        aiohttp.ClientSession() as session,
        ReceiverProcess(tmp_path, server.connection_string) as receiver,
    ):
        sender = Sender(lambda: receiver.url, shard=0, samples_per_request=100, chance=chance)
        writing = asyncio.create_task(sender.run())
        for _ in range(10):
            acknowledged = len(sender.acknowledged)
            await until(
                lambda: len(sender.acknowledged) > acknowledged,  # noqa: B023
                "a request acknowledged",
            )
            await asyncio.sleep(chance.uniform(0, 0.1))  # the moment is random
            await receiver.kill()
            await receiver.begin()
            await asyncio.sleep(chance.uniform(0, 0.2))
            if chance.random() < 0.3:
                await receiver.kill()  # amid the start
                await receiver.begin()
        sender.stop()
        await asyncio.wait_for(writing, 20)
        status = await _all_delivered(session, receiver)
        held = Counter(delivered(server.sandbox))
        assert set(held) == set(sender.acknowledged)
        assert status["received"] == len(sender.acknowledged), "no request was committed twice"
