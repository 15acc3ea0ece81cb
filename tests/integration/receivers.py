"""Receivers for tests: in this process, or one of their own that can be killed.

Either delivers to the connection string it is given and selects nv_*. All that is
waited for is asked for: /api/v1/status, the log, or the sandbox's record.
"""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

from demo.child import Child, last_lines
from receiver.config.settings import find_connection, resolve
from receiver.sandbox import Sandbox, Server
from receiver.sandbox.faults import parse as parse_faults
from receiver.service import running
from tests.integration.remote_write import Point
from tests.integration.waiting import until

RETRY_MAX = "0.1s"
"""The longest wait between attempts in tests; what the back-off does with it, its unit test shows."""

MANY_SERIES = {"metric_series_max": "10000000", "total_series_max": "10000000"}
"""Streams of tests have a series a sample; the guard against that has tests of its own."""


def metrics_json(folder: Path) -> Path:
    """Write a metrics.json that selects nv_*, unless there is one."""
    path = folder / "metrics.json"
    if not path.exists():
        path.write_text('{"customMetrics": ["nv_*"]}')
    return path


class Running:
    """A receiver in this process, and a session to talk to it."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        """Talk to the receiver at `url`."""
        self.url = url
        self.session = session

    async def status(self) -> dict[str, Any]:
        """Read /api/v1/status; the ledger in it must add up."""
        return await read_status(self.session, self.url)

    async def idle(self, within_seconds: float = 20.0) -> dict[str, Any]:
        """Wait until nothing is pending, and return the status."""

        async def settled() -> dict[str, Any] | None:
            found = await self.status()
            return None if found["pending"] else found

        found: dict[str, Any] = await until(settled, "nothing pending", within_seconds)
        return found


async def read_status(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Read /api/v1/status of the receiver at `url`; the ledger in it must add up."""
    async with session.get(f"{url}/api/v1/status") as response:
        found: dict[str, Any] = await response.json()
    assert response.status == 200, found
    dropped, rejected = sum(found["dropped"].values()), sum(found["rejected"].values())
    samples = found["unselected"] + dropped + found["folded"] + found["rendered"]
    items = found["accepted"] + rejected + found["expired"] + found["exported"] + found["pending"]
    assert found["received"] == samples, found
    assert found["rendered"] + found["flushed"] + found["imported"] == items, found
    assert found["adds_up"], found
    return found


@asynccontextmanager
async def receiving(folder: Path, connection_string: str, **flags: str) -> AsyncIterator[Running]:
    """Run a receiver in this process; `flags` are keyed by the settings' names."""
    given = {
        "connection_string": connection_string,
        "listen": "127.0.0.1:0",
        "metrics_json": str(metrics_json(folder)),
        "outbox_dir": str(folder / "outbox"),
        "retry_max_seconds": RETRY_MAX,
        "shutdown_seconds": "5",
        "drain_seconds": "0",  # a stop with a script that refuses waits for nothing
        **MANY_SERIES,
    }
    settings, _ = resolve(given | flags, {})
    connection, _ = find_connection(settings)
    assert connection
    async with (
        running(settings, connection) as receiver,
        aiohttp.ClientSession() as session,
    ):
        yield Running(receiver.url, session)


class ReceiverProcess:
    """`python -m receiver run` as a process of its own. It can be started again after its end."""

    def __init__(
        self,
        folder: Path,
        connection_string: str,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        outbox: Path | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """Describe it; its logs are `receiver-N.log` in `folder`. `prefix` is a program that starts it."""
        self._prefix = prefix
        self._folder = folder
        self._flags = flags
        self._metrics_json = metrics_json(folder)
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "APPLICATIONINSIGHTS_CONNECTION_STRING": connection_string,
            **{f"RECEIVER_{name.upper()}": value for name, value in MANY_SERIES.items()},
            **(environment or {}),
        }
        self.outbox = outbox or folder / "outbox"
        self.url = ""
        self.starts = 0
        self.child: Child | None = None

    @property
    def log(self) -> Path:
        """The log of the latest start."""
        return self._folder / f"receiver-{self.starts}.log"

    @property
    def running(self) -> Child:
        """The process. Raises: AssertionError before the first start."""
        assert self.child
        return self.child

    async def begin(self) -> None:
        """Start the process and wait for nothing. Once it has had an address it keeps it."""
        self.starts += 1
        listen = self.url.removeprefix("http://") or "127.0.0.1:0"
        command = [sys.executable, "-m", "receiver", "run", "--listen", listen]
        command += ["--metrics-json", str(self._metrics_json), "--outbox-dir", str(self.outbox)]
        command += ["--retry-max", RETRY_MAX]
        self.child = await Child.start(
            "The receiver",
            [*self._prefix, *command, *self._flags],
            log=self.log,
            environment=self._environment,
        )

    async def start(self) -> None:
        """Start the process, and wait until it listens."""
        await self.begin()
        event = await self.event("receiver listens")
        self.url = str(event["address"])

    def events(self) -> list[dict[str, Any]]:
        """Read the log of the latest start, as far as it is written."""
        lines = self.log.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.startswith("{")]

    async def event(self, name: str, within_seconds: float = 30.0) -> dict[str, Any]:
        """Wait for a line of the log. Raises: AssertionError if the process ends without it."""

        def look() -> dict[str, Any] | None:
            ended = self.running.process.returncode is not None
            found = next((each for each in self.events() if each.get("event") == name), None)
            assert found or not ended, f"it ended. {last_lines(self.log)}"
            return found

        found: dict[str, Any] = await until(look, f'"{name}" in {self.log}', within_seconds)
        return found

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal."""
        self.running.process.send_signal(number)

    async def ended(self, within_seconds: float = 20.0) -> int:
        """Wait for its end, and return its exit code."""

        def code() -> tuple[int] | None:
            found = self.running.process.returncode
            return None if found is None else (found,)

        (found,) = await until(code, "the end of the receiver", within_seconds)
        return int(found)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        if self.child:
            await self.child.kill()

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End it, however."""
        await self.kill()


def script(server: Server, *faults: dict[str, Any]) -> None:
    """Have a sandbox do these things wrong, in this order, and nothing after them."""
    server.sandbox.script.replace(parse_faults(list(faults)))


def delivered(sandbox: Sandbox) -> list[Point]:
    """List what a sandbox holds, in the order accepted."""
    return [
        Point(
            item.series.name,
            tuple(sorted(item.series.properties.items())),
            item.time_ms,
            item.value,
        )
        for item in sandbox.store.select()
    ]
