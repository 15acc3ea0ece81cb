"""Answers that nobody reads, and memory limits: a refusal in the end, never a crash."""

import asyncio
import io
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.hostile.inputs import HOSTILE
from tests.hostile.siege import Siege, besieged, posted
from tests.integration.remote_write import HEADERS, Point, encode
from tests.integration.waiting import in_loop, until

MIB = 1 << 20
HONEST_SECONDS = 5.0
UNREAD_PEAK_MIB = 130
"""The budget of 32 MiB, the request that filled the tap, and one page that is made."""
LABEL = "v" * 60_000
LIMIT_MIB = 192
CGROUP = Path("/sys/fs/cgroup/memory")


async def fill_tap(siege: Siege) -> None:
    """Have items of 60 kB flow while somebody looks."""
    async with siege.session.get(f"{siege.receiver.url}/api/v1/tap") as response:
        assert response.status == 200
    now = int(time.time() * 1000)
    points = [Point("nv_large", (("a", f"{LABEL}{n}"),), now, 1.0) for n in range(400)]
    async with siege.session.post(
        f"{siege.receiver.url}/api/v1/write", data=io.BytesIO(encode(points)), headers=HEADERS[1]
    ) as response:
        assert response.status in {204, 503}

    async def tapped() -> bool:
        async with siege.session.get(f"{siege.receiver.url}/api/v1/tap?match=nv_large") as response:
            return response.status == 503 or len((await response.json())["items"]) > 0

    await until(tapped, "large items in the tap")


async def deaf(host: str, port: int) -> asyncio.StreamWriter:
    """Connect, and never read."""
    _, writer = await asyncio.open_connection(host, port)
    assert isinstance(writer.transport, asyncio.Transport)
    writer.transport.pause_reading()
    return writer


async def ask_and_not_read(siege: Siege, connections: int = 150) -> str:
    """Ask for pages over many connections, different ones and the same, and read nothing."""
    host, port = siege.receiver.url.removeprefix("http://").split(":")
    writers: list[asyncio.StreamWriter] = []
    for number in range(connections):
        writer = await deaf(host, int(port))
        for page in (f"/api/v1/tap?after={number % 50}", "/api/v1/tap", f"/?{number}"):
            writer.write(f"GET {page} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        writers.append(writer)
    await asyncio.sleep(2)
    for writer in writers:
        writer.transport.abort()
    return f"{connections} asked"


@in_loop(within_seconds=60)
async def test_unread_answers_are_bounded(tmp_path: Path) -> None:
    """In bytes, while honest senders write on; then pages are answered again."""
    async with besieged(tmp_path) as siege:
        await fill_tap(siege)
        row = await siege.row("answers that nobody reads", ask_and_not_read)
        print(row)
        assert row.peak_mib < UNREAD_PEAK_MIB, row
        assert row.honest_failures == [], row
        assert row.honest_seconds < HONEST_SECONDS, row

        async def answered() -> bool:
            async with siege.session.get(f"{siege.receiver.url}/api/v1/tap") as response:
                return response.status == 200

        await until(answered, "a page")


@in_loop(within_seconds=30)
async def test_an_answer_has_a_clock(tmp_path: Path) -> None:
    """Who does not read one is closed, and counted."""
    async with besieged(tmp_path, "--body-timeout", "0.5s") as siege:
        await fill_tap(siege)
        host, port = siege.receiver.url.removeprefix("http://").split(":")
        writer = await deaf(host, int(port))
        writer.write(b"GET /api/v1/tap HTTP/1.1\r\nHost: x\r\n\r\n")

        async def closed() -> bool:
            async with siege.session.get(f"{siege.receiver.url}/api/v1/status") as response:
                return bool((await response.json())["connections"]["closed"].get("answer_late"))

        await until(closed, "answer_late")
        writer.transport.abort()


@contextmanager
def under_ulimit(size: int) -> Iterator[list[str]]:
    """RLIMIT_DATA, as the image sets it."""
    yield ["sh", "-c", f'ulimit -d {size // 1024}; exec "$@"', "sh"]


@contextmanager
def under_cgroup(size: int) -> Iterator[list[str]]:
    """A cgroup of version 1 with a memory limit, no swap beside it."""
    own = [
        line for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line
    ]
    place = CGROUP / own[0].split(":", 2)[2].lstrip("/") if own else CGROUP
    group = place / f"receiver-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(size))
    except OSError as error:
        pytest.skip(f"no cgroup of version 1 can be made here: {error}")
    try:
        yield ["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"]
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


@asynccontextmanager
async def limited(folder: Path, prefix: list[str]) -> AsyncIterator[Siege]:
    """A receiver under a limit that its own settings alone would not keep to."""
    async with besieged(
        folder, "--answers-max-bytes", "1GiB", "--in-flight-max-bytes", "1GiB", prefix=prefix
    ) as siege:
        yield siege


@pytest.mark.parametrize("under", [under_ulimit, under_cgroup], ids=["ulimit -d", "cgroup"])
@in_loop(within_seconds=110)
async def test_a_memory_limit_ends_in_a_refusal(
    tmp_path: Path, under: Callable[[int], AbstractContextManager[list[str]]]
) -> None:
    """Bodies that take most, and unread answers past the limit: an answer for each; it lives."""
    with under(LIMIT_MIB * MIB) as prefix:
        async with limited(tmp_path, prefix) as siege:
            await fill_tap(siege)
            largest = [each for each in HOSTILE if "histogram" in each.name or "zeros" in each.name]
            attacks = [posted(each.make(), each.version) for each in largest * 3]
            answers: list[str] = []
            for _ in range(2):
                _, *answered = await asyncio.gather(
                    ask_and_not_read(siege), *(attack(siege) for attack in attacks)
                )
                answers += answered
            assert set(answers) <= {"400", "413", "503"}, answers

            async def refused() -> dict[str, int]:
                async with siege.session.get(f"{siege.receiver.url}/api/v1/status") as response:
                    found = await response.json() if response.status == 200 else {}
                counts: dict[str, int] = found.get("requests", {}).get("refused", {})
                return counts

            counts = await until(refused, "its status, once there is memory for a page")
            assert counts["memory_short"], counts
            [said, *_] = [e["error"] for e in siege.receiver.events() if e.get("reason") == "memory_short"]  # fmt: skip
            assert "are left of" in said, "refused before it ran out, and not since it did"
            assert siege.receiver.running.process.returncode is None
            siege.failures.clear()  # honest writes were refused too, and come again
            await asyncio.sleep(1)
            assert siege.failures == []
