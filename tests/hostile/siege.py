"""What each hostile input costs, and how honest writes beside it fare.

    python -m tests.hostile.siege [--connections 10000]

Starts a receiver as a process of its own, sends each input in turn while an honest
sender writes on, and prints a table: input, answer, its time, the process's peak
memory, the slowest honest write meanwhile. `tests/hostile/test_siege.py` holds it to
the same.
"""

import argparse
import asyncio
import contextlib
import io
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from receiver.sandbox import Sandbox, serve
from tests.hostile.inputs import HOSTILE, MIB
from tests.integration.receivers import ReceiverProcess
from tests.integration.remote_write import HEADERS, encode, numbered

HONEST_PAUSE_SECONDS = 0.05


@dataclass
class Row:
    """A line of the table. Times in seconds, memory in MiB above what the idle process has."""

    name: str
    answer: str
    seconds: float
    peak_mib: float
    honest_seconds: float
    honest_failures: list[str]


@dataclass
class Siege:
    """A receiver under siege, and the honest sender beside."""

    receiver: ReceiverProcess
    session: aiohttp.ClientSession
    idle_mib: float = 0.0
    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The receiver's process."""
        return int(self.receiver.running.process.pid)

    def memory_mib(self, key: str) -> float:
        """Read the process's memory: VmRSS now, VmHWM at its peak."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith(key)]
        return int(line.split()[1]) / 1024

    def forget_peak(self) -> None:
        """Begin to look for a new peak."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    async def write_honestly(self) -> None:
        """Write small requests, one after the other, over a connection that is kept."""
        number = 0
        while True:
            body = encode(numbered(1, number, 20, int(time.time() * 1000) - 10_000_000))
            number += 20
            began = time.perf_counter()
            try:
                async with self.session.post(f"{self.receiver.url}/api/v1/write", data=body, headers=HEADERS[1]) as response:  # fmt: skip
                    if response.status != 204:
                        self.failures.append(str(response.status))
            except (aiohttp.ClientError, OSError) as error:
                self.failures.append(type(error).__name__)
            self.times.append(time.perf_counter() - began)
            await asyncio.sleep(HONEST_PAUSE_SECONDS)

    async def row(self, name: str, attack: Callable[["Siege"], Awaitable[str]]) -> Row:
        """Attack, and measure."""
        self.forget_peak()
        before = self.memory_mib("VmRSS")
        self.times.clear()
        self.failures.clear()
        began = time.perf_counter()
        answer = await attack(self)
        seconds = time.perf_counter() - began
        count = len(self.times)
        while len(self.times) < count + 2:  # a write that was under way, and one after
            await asyncio.sleep(0.01)
        peak = self.memory_mib("VmHWM") - before
        return Row(name, answer, seconds, peak, max(self.times), list(self.failures))


@asynccontextmanager
async def besieged(folder: Path, *flags: str, prefix: Sequence[str] = ()) -> AsyncIterator[Siege]:
    """Start a receiver, and the honest sender."""
    async with (
        serve(Sandbox()) as server,
        ReceiverProcess(folder, server.connection_string, *flags, prefix=prefix) as receiver,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session,
    ):
        siege = Siege(receiver, session)
        honest = asyncio.create_task(siege.write_honestly())
        try:
            yield siege
        finally:
            honest.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await honest


def posted(body: bytes, version: int) -> Callable[[Siege], Awaitable[str]]:
    """Attack with one body."""

    async def attack(siege: Siege) -> str:
        async with aiohttp.ClientSession() as session, session.post(f"{siege.receiver.url}/api/v1/write", data=io.BytesIO(body), headers=HEADERS[version]) as response:  # fmt: skip
            await response.read()
            return str(response.status)

    return attack


async def crowd(siege: Siege, count: int, send: bytes) -> str:
    """Connect many times, send the beginning of a request, and hold on for two seconds."""
    host, port = siege.receiver.url.removeprefix("http://").split(":")
    writers: list[asyncio.StreamWriter] = []
    refused = 0
    for _ in range(count):
        try:
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(send)
            writers.append(writer)
        except OSError:
            refused += 1
    await asyncio.sleep(2)
    for writer in writers:
        writer.transport.abort()
    return f"{count} came, {refused} refused"


async def huge(siege: Siege, size: int) -> str:
    """Send a body of unknown length until the answer comes."""
    sent = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < size:
            yield bytes(MIB)
            sent += MIB

    try:
        async with aiohttp.ClientSession() as session, session.post(f"{siege.receiver.url}/api/v1/write", data=parts(), headers=HEADERS[1]) as response:  # fmt: skip
            return f"{response.status} after {sent // MIB} MiB"
    except aiohttp.ClientError as error:
        return f"closed ({type(error).__name__}) after {sent // MIB} MiB"


async def declared(siege: Siege, size: int) -> str:
    """Declare a large body, and send nothing of it."""
    host, port = siege.receiver.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode())  # fmt: skip
    line = await reader.readline()
    writer.close()
    return line.split()[1].decode()


SLOW_HEAD = b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nX-A: "
SLOW_BODY = b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 15000000\r\n\r\n" + bytes(900_000)  # fmt: skip


def attacks(connections: int) -> list[tuple[str, Callable[[Siege], Awaitable[str]]]]:
    """List the attacks on the connections themselves."""
    return [
        ("1 GiB declared", lambda siege: declared(siege, 1 << 30)),
        ("1 GiB in chunks", lambda siege: huge(siege, 1 << 30)),
        (f"{connections} silent connections", lambda siege: crowd(siege, connections, b"")),
        (f"{connections} slow heads", lambda siege: crowd(siege, connections, SLOW_HEAD)),
        (
            f"{connections // 20} slow bodies of 1 MB",
            lambda siege: crowd(siege, connections // 20, SLOW_BODY),
        ),
    ]


def print_row(row: Row) -> None:
    """Print a line."""
    failures = f", failed: {row.honest_failures}" if row.honest_failures else ""
    print(
        f"{row.name:45} {row.answer:28} {row.seconds:7.2f} s {row.peak_mib:8.0f} MiB "
        f"{row.honest_seconds:6.2f} s{failures}",
        flush=True,
    )


async def main(connections: int) -> None:
    """Print the table."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, 65_536), files))
    print(f"{'input':45} {'answer':28} {'time':>9} {'peak RSS':>12} {'honest':>8}")
    with tempfile.TemporaryDirectory() as folder:
        async with besieged(Path(folder)) as siege:
            for each in HOSTILE:
                print_row(await siege.row(each.name, posted(each.make(), each.version)))
            for name, attack in attacks(connections):
                print_row(await siege.row(name, attack))
            print(f"memory at the end: {siege.memory_mib('VmRSS'):.0f} MiB")
            async with siege.session.get(f"{siege.receiver.url}/metrics") as response:
                lines = (await response.text()).splitlines()
            print(*(line for line in lines if "refused_total{" in line or "closed_total{" in line), sep="\n")  # fmt: skip
            print(f"lines of log: {len(siege.receiver.events())}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=10_000)
    asyncio.run(main(parser.parse_args().connections))
