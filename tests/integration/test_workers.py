"""`--workers 2`: two processes on one port, and all that is shown, counted and promised is one's.

Real processes, killed with -9 where it says so. Most requests go over a connection of
their own, so that the kernel spreads them over the workers.
"""

import asyncio
import os
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess, delivered, read_status, script
from tests.integration.remote_write import Point, Reply, encode, half_sent, numbered, post
from tests.integration.waiting import in_loop, until
from tests.storm.sender import Sender

TWO = ("--workers", "2")


def points(first: int, count: int) -> list[Point]:
    return numbered(0, first, count, int(time.time() * 1000))


def spreading() -> aiohttp.ClientSession:
    """Make a session that has a new connection for each request."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))


async def text_of(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        assert response.status == 200
        return await response.text()


def shares(status: dict[str, Any]) -> dict[int, int]:
    """Say how many write requests each worker has answered."""
    return {each["worker"]: each["requests"] for each in status["workers"]}


def pids(status: dict[str, Any]) -> list[int]:
    """List the workers' processes, those that are there."""
    return [each["pid"] for each in status["workers"] if each["pid"]]


async def all_delivered(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async def idle() -> dict[str, Any] | None:
        status = await read_status(session, url)
        return None if status["pending"] else status

    found: dict[str, Any] = await until(idle, "nothing pending", 40)
    return found


async def post_to_both(
    session: aiohttp.ClientSession, url: str, make: Callable[[int], bytes], version: int = 1
) -> list[Reply]:
    """POST what `make` makes of 0, 1, 2, … until each worker has answered one of them."""
    before = shares(await read_status(session, url))
    replies: list[Reply] = []
    while True:
        replies.append(await post(session, url, make(len(replies)), version))
        found = shares(await read_status(session, url))
        assert sum(found.values()) - sum(before.values()) == len(replies), "told at once"
        if all(found[worker] > before[worker] for worker in before):
            return replies
        assert len(replies) < 100, "one worker gets all"


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode()


def children(pid: int) -> list[str]:
    return [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def abstract_sockets() -> list[str]:
    names = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()]
    return [name[1:] for name in names if name.startswith("@appinsights-receiver-")]


def no_traceback(receiver: ReceiverProcess) -> None:
    assert "Traceback" not in receiver.log.read_text()


@in_loop()
async def test_one_worker_is_the_process_itself(tmp_path: Path) -> None:
    """The default: no other process is started."""
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(tmp_path, server.connection_string) as receiver,
    ):
        assert (await post(session, receiver.url, encode(points(0, 1)))).status == 204
        pid = receiver.running.process.pid
        assert (await read_status(session, receiver.url))["workers"] == [
            {"worker": 1, "pid": pid, "requests": 1, "restarts": 0}
        ]
        assert children(pid) == []


@in_loop()
async def test_two_workers_deliver_everything_once(tmp_path: Path) -> None:
    """Both take requests, one ledger counts them, whatever protocol; each item arrives once."""
    sent: list[Point] = []

    def make(version: int) -> Callable[[int], bytes]:
        def body(number: int) -> bytes:
            new = points(100 * len(sent), 100)
            sent.extend(new)
            others = [each._replace(name="other") for each in new[: number % 7]]
            return encode([*new, *others], version)

        return body

    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(tmp_path, server.connection_string, *TWO) as receiver,
    ):
        replies = await post_to_both(session, receiver.url, make(1))
        replies += await post_to_both(session, receiver.url, make(2), 2)
        assert {reply.status for reply in replies} == {204}
        status = await all_delivered(session, receiver.url)
        assert sorted(delivered(server.sandbox)) == sorted(sent)
        assert status["accepted"] == len(sent)
        assert status["requests"]["replies"] == {"204": len(replies)}


@in_loop()
async def test_each_worker_shows_the_same(tmp_path: Path) -> None:
    """Counts, names, the last values and the page are those of all, over any connection."""
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(tmp_path, server.connection_string, *TWO) as receiver,
    ):
        url = receiver.url

        def body(number: int) -> bytes:
            at = int(time.time() * 1000)
            names = [f"nv_a{number}", f"nv_b{number}", f"other_{number}"]
            return encode([Point(name, (), at, float(number)) for name in names])

        count = len(await post_to_both(session, url, body))
        for _ in range(10):
            text = await text_of(session, f"{url}/metrics")
            assert f'receiver_requests_total{{code="204"}} {count}.0' in text
            assert f"receiver_samples_received_total {3 * count}.0" in text
            assert f"receiver_samples_unselected_total {count}.0" in text
            assert "receiver_workers 2.0" in text
            assert "receiver_worker_restarts_total 0.0" in text
            assert f"receiver_request_duration_seconds_count {count}.0" in text
            assert "<html" in await text_of(session, f"{url}/")
            assert await text_of(session, f"{url}/-/ready") == "OK\n"

        async def all_seen() -> bool:
            async with session.get(f"{url}/api/v1/metrics?limit=1000") as response:
                found = await response.json()
            rows = {row["name"]: row["last_value"] for row in found["selected"]["rows"]}
            wanted = {f"nv_{kind}{n}": float(n) for kind in "ab" for n in range(count)}
            assert found["share_seen"] == 1.0
            names = {row["name"] for row in found["unselected"]["rows"]}
            return rows == wanted and names == {f"other_{n}" for n in range(count)}

        await until(all_seen, "every metric with its last value")
        async with session.get(f"{url}/api/v1/nothing") as response:
            assert response.status == 404
        async with session.put(f"{url}/api/v1/write") as response:
            assert response.status == 405


@in_loop()
async def test_the_tap_shows_what_every_worker_commits(tmp_path: Path) -> None:
    """Through whichever worker it is asked for."""
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(tmp_path, server.connection_string, *TWO) as receiver,
    ):
        url = f"{receiver.url}/api/v1/tap"
        await text_of(session, url)
        count = len(await post_to_both(session, receiver.url, lambda n: encode(points(n, 1))))
        seen: list[float] = []
        after = 0

        async def all_tapped() -> bool:
            nonlocal after
            async with session.get(f"{url}?after={after}") as response:
                found = await response.json()
            after = found["after"]
            seen.extend(item["value"] for item in found["items"])
            return len(seen) >= count

        await until(all_tapped, "every item")
        assert sorted(seen) == [float(n) for n in range(count)]


@in_loop()
async def test_a_request_that_two_workers_see_counts_once(tmp_path: Path) -> None:
    """Promise 4, by any worker: the second one gives the answer that the first one gave."""
    sent = points(0, 50)
    body = encode(sent, 2)
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(tmp_path, server.connection_string, *TWO) as receiver,
    ):
        replies = await post_to_both(session, receiver.url, lambda _: body, 2)
        written = "X-Prometheus-Remote-Write-Samples-Written"
        assert {(reply.status, reply.headers[written]) for reply in replies} == {(204, "50")}
        status = await all_delivered(session, receiver.url)
        assert status["received"] == 50
        assert status["requests"]["repeated"] == len(replies) - 1
        assert sorted(delivered(server.sandbox)) == sorted(sent)


@in_loop()
async def test_a_full_outbox_is_told_by_every_worker(tmp_path: Path) -> None:
    """503, Retry-After and the reason; when there is room again all is taken."""
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(
            tmp_path, server.connection_string, *TWO, "--outbox-max-bytes", "1000"
        ) as receiver,
    ):
        script(server, {"kind": "status", "status": 503, "times": None})
        sent = points(0, 2000)
        assert (await post(session, receiver.url, encode(sent))).status == 204
        more = encode(points(2000, 10))
        replies = await post_to_both(session, receiver.url, lambda _: more)
        assert {reply.status for reply in replies} == {503}
        assert all("the limit is 1000" in reply.text for reply in replies)
        assert all(int(reply.headers["Retry-After"]) >= 1 for reply in replies)
        status = await read_status(session, receiver.url)
        assert status["requests"]["refused"] == {"outbox_full": len(replies)}
        assert any("the limit is 1000" in each["words"] for each in status["errors"])
        script(server)
        await all_delivered(session, receiver.url)
        assert (await post(session, receiver.url, more)).status == 204


@in_loop(100)
async def test_a_killed_worker_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    """Killed amid numbered streams: all that was acknowledged arrives, and no count goes down."""
    chance = random.Random(20261126)
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(tmp_path, server.connection_string, *TWO) as receiver,
    ):
        url = receiver.url
        senders = [
            Sender(lambda: url, shard=shard, samples_per_request=200, chance=chance, make=make)
            for shard, make in enumerate((numbered, numbered, unwanted))
        ]
        looks = Looks(session, url)
        async with asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(sender.run()) for sender in senders]
            looking = tasks.create_task(looks.run())
            for kills in range(1, 4):
                acknowledged = len(senders[0].acknowledged)
                await until(
                    lambda: len(senders[0].acknowledged) > acknowledged + 500,  # noqa: B023
                    "more that is acknowledged",
                )
                status = await read_status(session, url)
                os.kill(chance.choice(pids(status)), signal.SIGKILL)
                await until(lambda: looks.are(2, kills), "another worker", 40)  # noqa: B023
            for sender in senders:
                sender.stop()
            await asyncio.wait(writing, timeout=20)
            looking.cancel()
        status = await all_delivered(session, url)
        known = [point for sender in senders[:2] for point in sender.acknowledged]
        assert not any(sender.dropped for sender in senders)
        held = Counter(delivered(server.sandbox))
        assert set(held) == set(known)
        assert max(held.values()) == 1
        assert status["accepted"] == len(known), "no request was committed twice"
        assert looks.count > 20
        text = await text_of(session, f"{url}/metrics")
        assert "receiver_worker_restarts_total 3.0" in text
        ended = [each for each in receiver.events() if each["event"] == "worker ended"]
        assert len(ended) == 3
        assert all(each["how"] == "by SIGKILL" and each["hint"] for each in ended)
        no_traceback(receiver)


def unwanted(shard: int, first: int, count: int, timestamp_ms: int) -> list[Point]:
    """Make a numbered stream that nobody selects."""
    return [each._replace(name="other") for each in numbered(shard, first, count, timestamp_ms)]


class Looks:
    """Reads the status again and again; what is counted must never go down."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._before: Counter[str] = Counter()
        self._latest: dict[str, Any] = {}
        self.count = 0

    def are(self, workers: int, restarts: int) -> bool:
        """Whether so many workers are there, after so many restarts."""
        found: list[dict[str, int]] = self._latest.get("workers", [])
        return sum(each["pid"] > 0 for each in found) == workers and restarts == sum(
            each["restarts"] for each in found
        )

    async def run(self) -> None:
        while True:
            try:
                found = await read_status(self._session, self._url)
            except (aiohttp.ClientError, OSError):  # of the worker that was killed
                continue
            self.count += 1
            self._latest = found
            now = Counter(found["requests"]["replies"])
            now["received"], now["unselected"] = found["received"], found["unselected"]
            now["accepted"] = found["accepted"]
            now["connections"] = found["connections"]["accepted"]
            for worker, requests in shares(found).items():
                now[f"worker {worker}"] = requests
            fallen = {name: (n, now[name]) for name, n in self._before.items() if now[name] < n}
            assert not fallen
            self._before = now
            await asyncio.sleep(0.02)


@in_loop()
async def test_a_worker_that_dies_again_and_again_is_replaced_more_slowly(tmp_path: Path) -> None:
    """At once the first time; the other one takes the requests in the meantime."""
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(tmp_path, server.connection_string, *TWO) as receiver,
    ):
        for deaths in range(1, 4):

            async def first() -> int:
                try:
                    status = await read_status(session, receiver.url)
                except (aiohttp.ClientError, OSError):
                    return 0
                [worker] = [each for each in status["workers"] if each["worker"] == 1]
                return int(worker["pid"]) if worker["restarts"] == deaths - 1 else 0  # noqa: B023

            os.kill(await until(first, "the worker", 30), signal.SIGKILL)

            def told() -> bool:
                events = [each["event"] for each in receiver.events()]
                return events.count("worker ended") == deaths  # noqa: B023

            await until(told, "its end in the log")
        ended = [each for each in receiver.events() if each["event"] == "worker ended"]
        assert [each["replaced_in_seconds"] for each in ended] == [0.0, 0.5, 1.0]
        assert {(await post(session, receiver.url, encode(points(n, 1)))).status for n in range(5)} == {204}  # fmt: skip


@in_loop()
async def test_without_the_front_the_workers_end(tmp_path: Path) -> None:
    """The front alone is killed: its workers go at once; the next start delivers what they took."""
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(tmp_path, server.connection_string, *TWO) as receiver,
    ):
        script(server, {"kind": "status", "status": 503, "times": None})
        sent = points(0, 600)
        for first in range(0, 600, 100):
            body = encode(sent[first : first + 100])
            assert (await post(session, receiver.url, body)).status == 204
        workers = pids(await read_status(session, receiver.url))
        assert len(workers) == 2
        os.kill(receiver.running.process.pid, signal.SIGKILL)
        assert await receiver.ended() == -signal.SIGKILL
        await until(lambda: all(map(is_gone, workers)), "the end of the workers", 5)
        no_traceback(receiver)
        script(server)
        await receiver.start()
        again = await post(session, receiver.url, encode(sent[:100]))
        assert again.status == 204, "the request is remembered over the restart"
        status = await all_delivered(session, receiver.url)
        assert status["received"] == status["accepted"] == 600
        assert sorted(delivered(server.sandbox)) == sorted(sent)


@in_loop()
async def test_a_new_metrics_json_reaches_every_worker(tmp_path: Path) -> None:
    """When the answer to a reload is there all select by it, as they do after SIGHUP; a replacement too."""
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(tmp_path, server.connection_string, *TWO) as receiver,
    ):
        url, file = receiver.url, tmp_path / "metrics.json"

        async def selected(name: str) -> str:
            before = await read_status(session, url)
            at = int(time.time() * 1000)
            replies = await post_to_both(
                session, url, lambda n: encode([Point(name, (("n", str(n)),), at + n, 1.0)])
            )
            after = await read_status(session, url)
            unselected = after["unselected"] - before["unselected"]
            assert after["received"] - before["received"] == len(replies)
            return {0: "all", len(replies): "none"}.get(unselected, "some")

        assert await selected("other") == "none"
        file.write_text('{"customMetrics": ["other"]}')
        async with session.post(f"{url}/-/reload") as response:
            assert response.status == 200
        assert await selected("other") == "all"
        file.write_text('{"customMetrics": [')
        async with session.post(f"{url}/-/reload") as response:
            assert response.status == 422
            assert "The list before is kept" in await response.text()
        file.write_text('{"customMetrics": ["third"]}')
        receiver.signal(signal.SIGHUP)

        async def named() -> bool:
            found = await read_status(session, url)
            return bool(found["metrics_json"]["names"] == ["third"])

        await until(named, "the third list")
        async with session.post(f"{url}/-/reload") as response:
            assert response.status == 200
        assert await selected("third") == "all"
        status = await read_status(session, url)
        os.kill(pids(status)[0], signal.SIGKILL)

        async def replaced() -> bool:
            try:
                found = await read_status(session, url)
            except (aiohttp.ClientError, OSError):
                return False
            return len(pids(found)) == 2 and pids(found) != pids(status)

        await until(replaced, "the replacement", 30)
        assert await selected("third") == "all"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@in_loop()
async def test_a_stop_finishes_what_every_worker_has_in_flight(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Half of the bodies had come: they are committed. Newcomers get 503; the exit code is 0.

    The signal goes to the whole process group, as Ctrl-C does, and SIGTERM of a service manager.
    """
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(tmp_path, server.connection_string, *TWO) as receiver,
    ):
        sent = points(0, 800)
        bodies = [encode(sent[first : first + 100]) for first in range(0, 800, 100)]
        halves = [await half_sent(receiver.url, body) for body in bodies]
        workers = pids(await read_status(session, receiver.url))
        os.killpg(receiver.running.process.pid, number)
        await receiver.event("receiver stops")

        async def refused() -> bool:
            reply = await post(session, receiver.url, encode(points(5000, 1)))
            return reply.status == 503 and int(reply.headers["Retry-After"]) >= 1

        await until(refused, "newcomers sent away")
        async with session.get(f"{receiver.url}/-/ready") as response:
            assert response.status == 503
            assert "is stopping" in await response.text()
        for body, (reader, writer) in zip(bodies, halves, strict=True):
            writer.write(body[len(body) // 2 :])
            assert b" 204 " in await reader.readline()
            writer.close()
        assert await receiver.ended() == 0
        assert all(map(is_gone, workers))
        no_traceback(receiver)
        await receiver.start()
        await all_delivered(session, receiver.url)
        assert set(sent) <= set(delivered(server.sandbox))


@in_loop()
async def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    """Front and workers; what was acknowledged is on disk."""
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(
            tmp_path, server.connection_string, *TWO, "--shutdown-timeout", "30"
        ) as receiver,
    ):
        script(server, {"kind": "delay", "delay_seconds": 30})
        sent = points(0, 100)
        assert (await post(session, receiver.url, encode(sent))).status == 204
        await until(lambda: len(delivered(server.sandbox)) == 100, "a batch under way")
        workers = pids(await read_status(session, receiver.url))
        receiver.signal(signal.SIGTERM)
        await receiver.event("receiver stops")
        receiver.signal(signal.SIGTERM)
        assert await receiver.ended() == 1
        await until(lambda: all(map(is_gone, workers)), "the end of the workers", 5)


@in_loop()
async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """By another program, or by another receiver with workers, which would share it unasked."""
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    async with (
        serve(Sandbox()) as server,
        ReceiverProcess(folders[0], server.connection_string, *TWO) as one,
    ):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            program = f"http://127.0.0.1:{taken.getsockname()[1]}"
            for folder, url in zip(folders[1:], (program, one.url), strict=True):
                other = ReceiverProcess(folder, server.connection_string, *TWO)
                other.url = url
                await other.begin()
                try:
                    assert await other.ended() == 2
                finally:
                    await other.kill()
                text = other.log.read_text()
                assert f"cannot listen on {url.removeprefix('http://')}" in text
                assert "--listen" in text
                no_traceback(other)


@in_loop()
async def test_pages_are_for_those_who_may(tmp_path: Path) -> None:
    """Each worker asks for the token; to the front itself nobody but a worker can speak."""
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    async with (
        serve(Sandbox()) as server,
        spreading() as session,
        ReceiverProcess(
            tmp_path, server.connection_string, *TWO, "--bearer-token-file", str(token)
        ) as receiver,
    ):
        headers = {"Authorization": "Bearer secret-token"}
        for path in ("/metrics", "/", "/api/v1/status", "/anything"):
            for _ in range(4):
                async with session.get(f"{receiver.url}{path}") as response:
                    assert response.status == 401
                    assert response.headers["WWW-Authenticate"] == "Bearer"
        async with session.get(f"{receiver.url}/metrics", headers=headers) as response:
            assert response.status == 200
        async with session.get(f"{receiver.url}/-/ready") as response:
            assert response.status == 200
        names = abstract_sockets()
        assert names
        for name in names:
            reader, writer = await asyncio.open_unix_connection(f"\0{name}")
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            with suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        ready = [each["pid"] for each in receiver.events() if each["event"] == "worker ready"]
        command_lines = [command_line(pid) for pid in ready]
        assert len(command_lines) == 2
        assert all("receiver.workers" in each and "Key" not in each for each in command_lines)


@in_loop()
async def test_what_each_worker_would_lack_is_told(tmp_path: Path) -> None:
    """Too many workers for the bytes that may be under way: exit 2, and what to set."""
    async with serve(Sandbox()) as server:
        receiver = ReceiverProcess(
            tmp_path, server.connection_string, "--workers", "64", "--in-flight-max-bytes", "64MiB"
        )
        await receiver.begin()
        try:
            assert await receiver.ended() == 2
        finally:
            await receiver.kill()
        text = receiver.log.read_text()
        assert "RECEIVER_IN_FLIGHT_MAX_BYTES" in text
        no_traceback(receiver)
