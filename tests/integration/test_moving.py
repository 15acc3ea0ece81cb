"""An outbox moves to another machine: the real command, real receivers, and kill -9 amid it."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import aiohttp

from receiver.azure.limits import EXPIRY_MS
from receiver.outbox.gzip_body import compress_chunks, cut
from receiver.outbox.store import Outbox
from receiver.outbox.transfer_file import COMPLETE, MAGIC
from receiver.outbox.values import Submission
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess, delivered, read_status, script
from tests.integration.remote_write import Point, encode, numbered, post
from tests.integration.waiting import in_loop, until

KEY = "11111111-2222-3333-4444-555555555555"


async def outbox(action: str, directory: Path, *arguments: str) -> tuple[int, str]:
    """Run the command; returns its exit code and all that it says."""
    process = await begin(action, directory, *arguments)
    text, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, text.decode()


async def begin(action: str, directory: Path, *arguments: str) -> asyncio.subprocess.Process:
    """Start the command."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "receiver", "outbox", action, *arguments),
        *("--outbox-dir", str(directory)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(directory.parent)},
    )


@in_loop()
async def test_what_one_receiver_could_not_send_another_does(tmp_path: Path) -> None:
    """Items and open windows of a receiver that will not come back: each once, both ledgers add up."""
    entries = '{"customMetrics": ["nv_raw_*", "nv_i", {"name": "nv_c", "as": "delta"}]}'
    old_folder, new_folder, file = tmp_path / "old", tmp_path / "new", tmp_path / "outbox.export"
    for folder in (old_folder, new_folder):
        folder.mkdir()
        (folder / "metrics.json").write_text(entries)
    now_ms = int(time.time() * 1000)
    counter = [
        Point("nv_c", (("instance", "h:1"), ("job", "t")), now_ms - 30_000 + 10_000 * n, value)
        for n, value in enumerate((5.0, 12.0, 14.0))
    ]
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        script(server, {"kind": "status", "status": 503, "times": None})
        old = ReceiverProcess(old_folder, server.connection_string, "--drain-timeout", "0.2")
        new = ReceiverProcess(new_folder, server.connection_string, "--drain-fold", "yes")
        sent = [point._replace(name="nv_i") for point in numbered(0, 0, 2500, now_ms)]
        async with old:
            for first in range(0, 2500, 500):
                body = encode(sent[first : first + 500])
                assert (await post(session, old.url, body)).status == 204
            for sample in counter[:2]:
                assert (await post(session, old.url, encode([sample]))).status == 204
            await is_left_alone(old.outbox, file)
            old.signal(signal.SIGTERM)
            assert await old.ended() == 0
            assert (await old.event("items are left in the outbox"))["windows_open"] >= 1
            code, text = await outbox("export", old.outbox, str(file))
            assert (code, "2,500 items" in text) == (0, True), text
            code, text = await outbox("show", old.outbox, str(file), "--json")
            assert json.loads(text)["items"] == 2500
            assert json.loads(text)["series"] == 1
            code, text = await outbox("import", new.outbox, str(file))
            assert (code, "2,500 items wait there" in text) == (0, True), text
            code, text = await outbox("import", new.outbox, str(file))
            assert code == 1
            assert "was imported into this outbox before" in text
            script(server)
            await old.start()
            status = await read_status(session, old.url)
            assert (status["exported"], status["pending"]) == (2500, 0)
            async with new:
                assert (await post(session, new.url, encode(sent[:500]))).status == 204
                assert (await post(session, new.url, encode(counter[2:]))).status == 204
                await until(lambda: len(delivered(server.sandbox)) >= 2500, "the items")
                status = await read_status(session, new.url)
                assert status["imported"] == 2500
                assert status["requests"]["repeated"] == 1, "the digests came along"
                new.signal(signal.SIGTERM)
                assert await new.ended() == 0
        arrived = delivered(server.sandbox)
        assert sorted(point for point in arrived if point.name == "nv_i") == sorted(sent)
        assert sum(point.value for point in arrived if point.name == "nv_c") == 9.0


async def is_left_alone(directory: Path, file: Path) -> None:
    """Hold that a running receiver's outbox is not exported, but may be looked at."""
    code, text = await outbox("export", directory, str(file))
    assert (code, "is in use by another receiver" in text) == (1, True), text
    code, text = await outbox("show", directory)
    assert (code, "2,500 items" in text) == (0, True), text


def fill(directory: Path, first: int, count: int) -> set[bytes]:
    """Leave an outbox with many items that do not compress; returns their lines."""
    chance = random.Random(first)
    lines = [b"%d %s\n" % (first + n, chance.randbytes(300).hex().encode()) for n in range(count)]
    now_ms = int(time.time() * 1000)
    store = Outbox(directory, 1 << 30, KEY, EXPIRY_MS)
    store.apply(
        [compress_chunks(Submission(cut(lines), now_ms, now_ms, {("received", ""): count}))], []
    )
    store.close()
    return set(lines)


def complete_files(folder: Path) -> list[Path]:
    """List the exports that somebody would take."""
    files = folder.glob("outbox.export*")
    return [path for path in files if path.read_bytes()[len(MAGIC) :].startswith(COMPLETE)]


def totals(directory: Path) -> dict[str, int]:
    """Read the ledger of an outbox that nobody uses, and count what waits."""
    with closing(sqlite3.connect(directory / "outbox.db")) as database:
        found = dict(database.execute("SELECT outcome, samples FROM totals"))
        (waiting,) = database.execute("SELECT IFNULL(SUM(items), 0) FROM batches").fetchone()
    assert found.get("pending", 0) == waiting
    ends = found.get("exported", 0) + waiting
    assert found.get("rendered", 0) + found.get("imported", 0) == ends, found
    return found


async def killed_within(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Kill a program that has not ended by then; say whether that was needed."""
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        process.kill()
        return True
    else:
        return False
    finally:
        await process.communicate()


@in_loop()
async def test_a_kill_amid_a_move_moves_all_or_nothing(tmp_path: Path) -> None:
    """End it with SIGKILL at any moment of an export and of an import; the same command again ends it."""
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "outbox.export"
    count = 20_000
    fill(old, 0, count)
    chance = random.Random()
    began_at = time.monotonic()
    code, text = await outbox("export", old, str(file), "--copy")
    assert code == 0, text
    seconds = time.monotonic() - began_at
    file.unlink()
    kills = 0
    for _ in range(12):
        process = await begin("export", old, str(file))
        kills += await killed_within(process, chance.uniform(0.3, 1.0) * seconds)
        waiting = totals(old).get("pending", 0)
        assert waiting in {0, count}
        assert not (waiting and complete_files(tmp_path)), "in one place that delivers"
        if not waiting:
            break
    code, text = await outbox("export", old, str(file)) if not file.exists() else (0, "")
    assert code == 0, text
    assert totals(old)["pending"] == 0
    for _ in range(6):
        process = await begin("import", new, str(file))
        kills += await killed_within(process, chance.uniform(0.3, 1.0) * seconds)
        if not (new / "outbox.db").exists():
            continue
        store = Outbox(new, 1 << 30, KEY, EXPIRY_MS)
        store.open()
        store.close()
        assert totals(new).get("pending", 0) in {0, count}
    await outbox("import", new, str(file))
    assert totals(new)["pending"] == totals(new)["imported"] == count
    assert kills, "nothing was killed"
