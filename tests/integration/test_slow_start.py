"""A start listens and heeds signals whatever the outbox's disk, a name server or an identity does."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest

from receiver.outbox.schema import open_database
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess, delivered, metrics_json
from tests.integration.remote_write import encode, numbered, post
from tests.integration.waiting import in_loop, until

KEY = "InstrumentationKey=11111111-2222-3333-4444-555555555555"


def _held(outbox: Path) -> sqlite3.Connection:
    """Make an outbox, and keep SQLite's lock on it: opening it takes as long as that is kept."""
    outbox.mkdir()
    open_database(outbox).close()
    database = sqlite3.connect(outbox / "outbox.db", isolation_level=None)
    database.execute("PRAGMA locking_mode=EXCLUSIVE")
    database.execute("BEGIN EXCLUSIVE")
    return database


@in_loop()
async def test_listening_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    """Requests are answered 503 while the outbox is being opened, and the log says that it is."""
    async with serve(Sandbox()) as server, aiohttp.ClientSession() as session:
        receiver = ReceiverProcess(tmp_path, server.connection_string)
        with closing(_held(receiver.outbox)):
            await receiver.start()
            assert await receiver.event("outbox is being opened")
            now_ms = int(time.time() * 1000)
            sent = numbered(0, 0, 40, now_ms)
            refused = await post(session, receiver.url, encode(sent))
            assert refused.status == 503
            assert int(refused.headers["Retry-After"]) >= 1
            for path, status in (("/-/healthy", 200), ("/-/ready", 503)):
                async with session.get(f"{receiver.url}{path}") as answer:
                    assert answer.status == status
        await receiver.event("outbox is open")
        assert (await post(session, receiver.url, encode(sent))).status == 204
        await until(lambda: sorted(delivered(server.sandbox)) == sorted(sent), "delivery")
        receiver.signal(signal.SIGTERM)
        assert await receiver.ended() == 0


@in_loop()
async def test_a_signal_ends_a_start_that_waits_for_the_disk(tmp_path: Path) -> None:
    """Within the time that a stop may take, and not when the disk is done."""
    receiver = ReceiverProcess(tmp_path, f"{KEY};IngestionEndpoint=http://127.0.0.1:9/")
    with closing(_held(receiver.outbox)):
        await receiver.start()
        receiver.signal(signal.SIGTERM)
        assert await receiver.ended(8.0) == 0


@in_loop()
async def test_an_outbox_that_cannot_be_opened_ends_it_with_a_sentence(tmp_path: Path) -> None:
    """Also when that shows late: SQLite waits ten seconds for a lock."""
    receiver = ReceiverProcess(tmp_path, f"{KEY};IngestionEndpoint=http://127.0.0.1:9/")
    with closing(_held(receiver.outbox)):
        await receiver.begin()
        assert await receiver.ended(40.0) == 1
    [line] = [each for each in receiver.events() if each["event"] == "the receiver cannot continue"]
    assert "cannot be opened" in line["error"]
    assert "local disk" in line["error"]
    assert "Traceback" not in receiver.log.read_text()


@asynccontextmanager
async def deaf_name_server(folder: Path) -> AsyncIterator[tuple[list[str], socket.socket]]:
    """Listen where names are asked for, and say nothing; gives what makes a command use it, and where it is asked."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server:
        server.settimeout(0)
        server.bind(("127.0.0.99", 53))
        resolv = folder / "resolv.conf"
        resolv.write_text("nameserver 127.0.0.99\noptions timeout:30 attempts:2\n")
        script = f'mount --bind {resolv} /etc/resolv.conf && exec "$@"'
        yield ["unshare", "--mount", "sh", "-c", script, "sh"], server


def _may_mount() -> bool:
    if os.geteuid() or not shutil.which("unshare"):
        return False
    command = ["unshare", "--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.skipif(not _may_mount(), reason="it takes root to change where names are asked for")
@in_loop()
async def test_a_signal_does_not_wait_for_a_name_server(tmp_path: Path) -> None:
    """A batch waits for a name that never comes: the stop takes the time that it may, and no more."""
    async with (
        deaf_name_server(tmp_path) as (prefix, name_server),
        aiohttp.ClientSession() as session,
    ):
        command = [*prefix, sys.executable, "-m", "receiver", "run", "--listen", "127.0.0.1:0"]
        command += ["--metrics-json", str(metrics_json(tmp_path)), "--shutdown-timeout", "2"]
        command += ["--outbox-dir", str(tmp_path / "outbox")]
        connection = f"{KEY};IngestionEndpoint=https://silent.test/"
        environment = {**os.environ, "APPLICATIONINSIGHTS_CONNECTION_STRING": connection}
        log = tmp_path / "log"
        with log.open("w") as file:
            process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=file)

        def listens() -> str:
            lines = [json.loads(line) for line in log.read_text().split("\n")[:-1]]
            return next(
                (each["address"] for each in lines if each["event"] == "receiver listens"), ""
            )

        url = await until(listens, "the address")
        sent = encode(numbered(0, 0, 40, int(time.time() * 1000)))
        assert (await post(session, url, sent)).status == 204
        asked = await asyncio.get_running_loop().sock_recv(name_server, 512)
        assert b"silent" in asked
        began_at = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        assert time.monotonic() - began_at < 10.0, "the resolver is patient for a minute"


@in_loop()
async def test_an_identity_that_is_silent_is_named(tmp_path: Path) -> None:
    """A token that never comes: UNREACHABLE, with where it was asked for, in the log and the status."""

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/msi/token"
    environment = {
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD;ClientId=11111111-0000-0000-0000-000000000000",
        "IDENTITY_ENDPOINT": address,
        "IDENTITY_HEADER": "x",
    }
    async with (
        silent,
        serve(Sandbox(tokens={"token"})) as server,
        aiohttp.ClientSession() as session,
    ):
        flags = ("--send-timeout", "2s")
        receiver = ReceiverProcess(
            tmp_path, server.connection_string, *flags, environment=environment
        )
        async with receiver:
            sent = encode(numbered(0, 0, 40, int(time.time() * 1000)))
            assert (await post(session, receiver.url, sent)).status == 204
            event = await receiver.event("delivery waits")
            assert f"{address} did not answer in 1 s" in event["error"]
            async with session.get(f"{receiver.url}/api/v1/status") as answer:
                verdict = (await answer.json())["verdict"]
            assert verdict["state"].lower() == "unreachable"
            assert address in verdict["line"]
            receiver.signal(signal.SIGTERM)
            assert await receiver.ended() == 0
