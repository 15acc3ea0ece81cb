"""The disk fails, fills up, or gives back something else than was written.

Full and read-only disks are small file systems in memory, mounted for the test; that
needs root and is skipped, with the reason, where it is not allowed.
"""

import os
import random
import resource
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest

from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import (
    ReceiverProcess,
    delivered,
    read_status,
    receiving,
    script,
)
from tests.integration.remote_write import Point, encode, numbered, post
from tests.integration.waiting import in_loop, until

REFUSING = {"kind": "status", "status": 503, "times": None}
SIZE_KIB = 32 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB, empty: 8 of them are the receiver's reserve."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_KIB}k", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def remount(path: Path, how: str) -> None:
    """Make a file system read-only (ro) or not (rw)."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(path)], check=True)


def fill(path: Path, spare_bytes: int = 0) -> Path:
    """Take all the space that is left but so much; return the file that has it."""
    filler = path / "filler"
    with filler.open("ab", buffering=0) as file:
        if spare_bytes:
            disk = os.statvfs(path)
            file.write(bytes(disk.f_bavail * disk.f_frsize - spare_bytes))
            return filler
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def points(first: int, count: int) -> list[Point]:
    return numbered(0, first, count, int(time.time() * 1000))


class Stream:
    """Writes numbered requests and remembers which were acknowledged."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, *, incompressible: bool = False
    ) -> None:
        self._session = session
        self._incompressible = incompressible
        self._url = url
        self._next = 0
        self.acknowledged: list[Point] = []

    async def write(self, count: int = 100) -> int:
        """Write a request of `count` samples; return the status."""
        sent = points(self._next, count)
        if self._incompressible:
            sent = [each._replace(labels=(("noise", os.urandom(100).hex()),)) for each in sent]
        reply = await post(self._session, self._url, encode(sent))
        assert reply.status in (204, 503), reply
        self._next += count
        if reply.status == 204:
            self.acknowledged += sent
        else:
            assert int(reply.headers["Retry-After"]) >= 1
        return reply.status

    async def write_until(self, status: int, count: int = 100) -> None:
        """Write until the answer is this."""

        async def answered() -> bool:
            return await self.write(count) == status

        await until(answered, f"{status}", within_seconds=60)


async def get(session: aiohttp.ClientSession, url: str) -> int:
    """Ask for the status of a page."""
    async with session.get(url) as response:
        return response.status


async def idle(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until nothing is pending."""

    async def settled() -> bool:
        return not (await read_status(session, url))["pending"]

    await until(settled, "nothing pending", 30)


@in_loop()
async def test_a_full_disk_is_answered_503_until_there_is_space(
    tmp_path: Path, small_disk: Path
) -> None:
    """No crash, no loss: not ready, the ledger readable; then it goes on by itself."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, REFUSING)
        async with ReceiverProcess(
            tmp_path, server.connection_string, outbox=small_disk / "outbox"
        ) as receiver:
            stream = Stream(session, receiver.url)
            assert await stream.write() == 204
            filler = fill(small_disk)
            await stream.write_until(503)
            assert await stream.write() == 503
            assert await get(session, f"{receiver.url}/-/ready") == 503
            assert await get(session, f"{receiver.url}/-/healthy") == 200
            assert await get(session, f"{receiver.url}/metrics") == 200
            status = await read_status(session, receiver.url)
            assert status["pending"] == len(stream.acknowledged)
            filler.unlink()
            assert await stream.write() == 204
            assert await get(session, f"{receiver.url}/-/ready") == 200
            script(server)
            await idle(session, receiver.url)
            assert sorted(delivered(server.sandbox)) == sorted(stream.acknowledged)


@in_loop(110)
async def test_a_disk_full_of_our_own_data_empties_itself(tmp_path: Path, small_disk: Path) -> None:
    """The outbox has taken all the disk: delivering must free it, while senders keep knocking."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, REFUSING)
        async with ReceiverProcess(
            tmp_path, server.connection_string, outbox=small_disk / "outbox"
        ) as receiver:
            fill(small_disk, spare_bytes=15 << 20)
            stream = Stream(session, receiver.url, incompressible=True)
            await stream.write_until(503, 1000)
            waiting = len(stream.acknowledged)
            assert waiting > 1000
            script(server)
            await stream.write_until(204, 1000)
            await until(lambda: len(delivered(server.sandbox)) >= waiting, "what waited")
            await idle(session, receiver.url)
            held = delivered(server.sandbox)
            assert sorted(held) == sorted(stream.acknowledged)


@in_loop()
async def test_an_outcome_that_cannot_be_written_is_not_forgotten(
    tmp_path: Path, small_disk: Path
) -> None:
    """The disk fills up while a batch is under way: it is settled when there is space, not sent twice."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, {"kind": "delay", "delay_seconds": 1})
        async with ReceiverProcess(
            tmp_path, server.connection_string, outbox=small_disk / "outbox"
        ) as receiver:
            stream = Stream(session, receiver.url)
            assert await stream.write() == 204
            filler = fill(small_disk)
            await until(lambda: delivered(server.sandbox), "the batch")
            await stream.write_until(503)
            await until(
                lambda: server.sandbox.ledger.counters()["requests"] == 1, "the service's answer"
            )
            filler.unlink()
            await idle(session, receiver.url)
            assert sorted(delivered(server.sandbox)) == sorted(stream.acknowledged)


async def complaint(folder: Path, outbox: Path) -> str:
    """Start a receiver that cannot start; return what it says. Its exit code must be 1."""
    receiver = ReceiverProcess(
        folder,
        "InstrumentationKey=11111111-2222-3333-4444-555555555555;IngestionEndpoint=http://127.0.0.1:9/",
        outbox=outbox,
    )
    await receiver.begin()
    assert await receiver.ended() == 1
    said = receiver.log.read_text()
    assert "Traceback" not in said
    assert "traceback" not in said
    assert said.startswith("error: ")
    assert len(said.strip().splitlines()) <= 2, "what is wrong, and what to do"
    return said


@in_loop()
async def test_a_start_on_a_full_disk_says_so(tmp_path: Path, small_disk: Path) -> None:
    """One sentence and exit code 1, with an outbox there and without one."""
    outbox = small_disk / "outbox"
    fill(small_disk)
    assert "disk is full" in await complaint(tmp_path, outbox)
    (small_disk / "filler").unlink()
    async with (
        serve(Sandbox()) as server,
        ReceiverProcess(tmp_path, server.connection_string, outbox=outbox) as receiver,
        aiohttp.ClientSession() as session,
    ):
        script(server, REFUSING)
        stream = Stream(session, receiver.url)
        assert await stream.write() == 204
        await receiver.kill()
        for left in ("outbox.db-shm",):  # as after a reboot
            (outbox / left).unlink()
        filler = fill(small_disk)
        said = await complaint(tmp_path, outbox)
        assert "outbox" in said
        assert "full" in said or "disk I/O error" in said or "No space" in said
        filler.unlink()
        script(server)
        await receiver.start()
        await until(lambda: delivered(server.sandbox), "the items")
        assert sorted(delivered(server.sandbox)) == sorted(stream.acknowledged)


@in_loop()
async def test_a_read_only_directory_says_so(tmp_path: Path, small_disk: Path) -> None:
    """At the start: one sentence that names the setting, and exit code 1."""
    (small_disk / "outbox").mkdir()
    remount(small_disk, "ro")
    for outbox in (small_disk / "outbox", small_disk / "new"):
        said = await complaint(tmp_path, outbox)
        assert str(outbox) in said
        assert "read-only file system" in said
        assert "RECEIVER_OUTBOX_DIR" in said


@in_loop()
async def test_a_disk_that_refuses_all_writes_is_answered_503(tmp_path: Path) -> None:
    """Not even the log can be written: 503s, no crash, no loss; it may come back.

    The limit on the size of files makes each write fail, on a disk that has space.
    """
    async with (
        serve(Sandbox()) as server,
        aiohttp.ClientSession() as session,
        ReceiverProcess(tmp_path, server.connection_string) as receiver,
    ):
        script(server, REFUSING)
        stream = Stream(session, receiver.url)
        assert await stream.write() == 204
        pid = receiver.running.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
        for _ in range(3):
            assert await stream.write() == 503
        assert await get(session, f"{receiver.url}/-/ready") == 503
        status = await read_status(session, receiver.url)
        assert status["outbox"]["failing"]
        assert status["pending"] == 100
        script(server)
        await until(lambda: len(delivered(server.sandbox)) == 100, "what was on the disk")
        assert await stream.write() == 503
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert await stream.write() == 204
        assert await get(session, f"{receiver.url}/-/ready") == 200
        await receiver.event("outbox can be written again")
        await idle(session, receiver.url)
        assert sorted(delivered(server.sandbox)) == sorted(stream.acknowledged)


@in_loop()
async def test_a_full_disk_under_the_log_stops_nothing(tmp_path: Path, small_disk: Path) -> None:
    """Standard error goes to a file on a full disk: requests are taken and delivered all the same."""
    async with (
        serve(Sandbox()) as server,
        aiohttp.ClientSession() as session,
        ReceiverProcess(
            small_disk, server.connection_string, outbox=tmp_path / "outbox"
        ) as receiver,
    ):
        os.truncate(receiver.log, 0)  # else its last page has room
        fill(small_disk)
        script(server, {"kind": "status", "status": 503, "times": 2})
        stream = Stream(session, receiver.url)
        for _ in range(5):
            assert await stream.write() == 204
        assert (await post(session, receiver.url, b"nonsense")).status == 400
        await idle(session, receiver.url)
        assert sorted(delivered(server.sandbox)) == sorted(stream.acknowledged)


@in_loop()
async def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    """A directory in the database's place: a sentence, and exit code 1."""
    outbox = tmp_path / "outbox"
    (outbox / "outbox.db").mkdir(parents=True)
    said = await complaint(tmp_path, outbox)
    assert str(outbox) in said


@in_loop()
async def test_two_services_on_one_directory(tmp_path: Path) -> None:
    """The second says so and exits 1; the first does not notice."""
    async with (
        serve(Sandbox()) as server,
        ReceiverProcess(tmp_path, server.connection_string) as first,
        aiohttp.ClientSession() as session,
    ):
        (tmp_path / "second").mkdir()
        said = await complaint(tmp_path / "second", first.outbox)
        assert "in use by another receiver" in said
        assert str(first.running.process.pid) in said
        stream = Stream(session, first.url)
        assert await stream.write() == 204
        await idle(session, first.url)
        assert delivered(server.sandbox) == stream.acknowledged


async def _outbox_with_items(folder: Path) -> tuple[Path, list[Point]]:
    """Make an outbox in which 3,000 items wait, as kill -9 leaves it."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, REFUSING)
        async with ReceiverProcess(folder, server.connection_string) as receiver:
            stream = Stream(session, receiver.url)
            for _ in range(30):
                assert await stream.write() == 204
            await receiver.kill()
            return receiver.outbox, stream.acknowledged


def _fold(outbox: Path) -> None:
    """Fold the log into the database, as a clean stop does."""
    database = sqlite3.connect(outbox / "outbox.db")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    database.close()


async def _goes_on(folder: Path, outbox: Path, old: list[Point]) -> tuple[int, int]:
    """Run a receiver on a damaged outbox; new items must arrive or count as damaged, and the next arrive.

    Returns how many old items arrived, and how many databases were set aside.
    """
    async with (
        serve(Sandbox()) as server,
        receiving(folder, server.connection_string, outbox_dir=str(outbox)) as receiver,
    ):
        new = numbered(7, 0, 200, int(time.time() * 1000))
        reply = await post(receiver.session, receiver.url, encode(new))
        if reply.status == 503:  # the damage was found by this very request
            reply = await post(receiver.session, receiver.url, encode(new))
        assert reply.status == 204
        found = await receiver.idle()
        if found["outbox"]["set_aside"] and not set(new) & set(delivered(server.sandbox)):
            # The damage was found behind the acknowledgement: the items went with the database.
            assert found["rejected"] >= len(new)
            new = numbered(8, 0, 200, int(time.time() * 1000))
            assert (await post(receiver.session, receiver.url, encode(new))).status == 204
            found = await receiver.idle()
        held = delivered(server.sandbox)
        assert sorted(point for point in held if point not in set(old)) == sorted(new)
        return len(set(held) & set(old)), found["outbox"]["set_aside"]


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(50_000))


def _no_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(100))


def _no_schema(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(bytes(3996))


@pytest.mark.parametrize("damage", [_truncate, _garbage, _no_header, _no_schema])
@in_loop()
async def test_a_damaged_database_is_set_aside(tmp_path: Path, damage: object) -> None:
    """Under a name that says so, counted; the service goes on with a new one."""
    assert callable(damage)
    outbox, old = await _outbox_with_items(tmp_path)
    _fold(outbox)
    damage(outbox / "outbox.db")
    arrived, aside = await _goes_on(tmp_path, outbox, old)
    assert (arrived, aside) == (0, 1)
    assert len(list(outbox.glob("outbox.db.corrupt-*"))) == 1


@in_loop()
async def test_an_empty_database_is_a_new_one(tmp_path: Path) -> None:
    """A file without a byte is what a crash at the very first start leaves."""
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    (outbox / "outbox.db").touch()
    assert await _goes_on(tmp_path, outbox, []) == (0, 0)


@in_loop()
async def test_a_damaged_log_keeps_what_came_before(tmp_path: Path) -> None:
    """The write-ahead log is cut amid a frame: what was synced before it is delivered."""
    outbox, old = await _outbox_with_items(tmp_path)
    log = outbox / "outbox.db-wal"
    os.truncate(log, log.stat().st_size * 3 // 4)
    arrived, aside = await _goes_on(tmp_path, outbox, old)
    assert 0 < arrived < len(old)
    assert aside == 0


@pytest.mark.parametrize("seed", range(10))
@in_loop()
async def test_bytes_that_changed_on_the_disk_stop_nothing(tmp_path: Path, seed: int) -> None:
    """Whatever byte of the database is wrong, new items are taken and delivered."""
    outbox, old = await _outbox_with_items(tmp_path)
    _fold(outbox)
    chance = random.Random(seed)
    path = outbox / "outbox.db"
    with path.open("r+b") as file:
        for _ in range(3):
            file.seek(chance.randrange(path.stat().st_size))
            file.write(chance.randbytes(20))
    arrived, aside = await _goes_on(tmp_path, outbox, old)
    print(f"{arrived} of {len(old)} old items arrived; {aside} databases set aside")


def _break(outbox: Path) -> None:
    """Write noise over a database that is in use; both files are open before, as they may be set aside amid it."""
    with ExitStack() as stack:
        names = ("outbox.db", "outbox.db-wal")
        files = [stack.enter_context((outbox / name).open("r+b")) for name in names]
        for file in files:
            size = os.fstat(file.fileno()).st_size
            file.write(random.Random(2).randbytes(size))


async def _more_than_is_cached(stream: Stream) -> None:
    """Write more than SQLite keeps in memory, so that it must read it from the disk again."""
    for _ in range(14):
        assert await stream.write(2000) == 204


@in_loop()
async def test_a_database_that_breaks_while_it_runs_is_set_aside(tmp_path: Path) -> None:
    """Found when it is read or written next; senders get 503 once, and it goes on."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        script(server, REFUSING)
        stream = Stream(receiver.session, receiver.url, incompressible=True)
        await _more_than_is_cached(stream)
        _break(tmp_path / "outbox")
        script(server)

        async def aside() -> bool:
            return bool((await receiver.status())["outbox"]["set_aside"])

        await until(aside, "the database set aside")
        before = len(stream.acknowledged)
        await stream.write_until(204)
        new = stream.acknowledged[before:]
        await receiver.idle()
        held = delivered(server.sandbox)
        assert set(new) <= set(held)
        assert len(held) == len(set(held))


@in_loop(within_seconds=110)
async def test_a_batch_of_the_broken_database_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    """Under way when the database broke, it must not settle the new one's batch of its number."""
    async with (
        serve(Sandbox()) as server,
        receiving(
            tmp_path, server.connection_string, senders="1", send_timeout_seconds="60s"
        ) as receiver,
    ):
        script(server, {"kind": "delay", "delay_seconds": 35})
        stream = Stream(receiver.session, receiver.url, incompressible=True)
        assert await stream.write() == 204
        await until(lambda: delivered(server.sandbox), "a batch under way")
        await _more_than_is_cached(stream)
        _break(tmp_path / "outbox")
        before = len(stream.acknowledged)

        async def aside() -> bool:
            await get(receiver.session, f"{receiver.url}/-/ready")  # it looks at the outbox
            return any((tmp_path / "outbox").glob("*corrupt*"))

        await until(aside, "the database set aside")
        await stream.write_until(204)
        requests = server.sandbox.ledger.requests
        assert not any(each["fault"] == "delay" for each in requests(999)), "still under way"
        await until(
            lambda: any(each["fault"] == "delay" for each in requests(999)),
            "the first answer",
            within_seconds=60,
        )
        await receiver.idle()
        assert set(stream.acknowledged[before:]) <= set(delivered(server.sandbox))
