"""Sends requests, as fast as they are answered or at a fixed rate, and takes the times.

In: an address and requests. Out: a `Load`: what was acknowledged, and how long each
answer took; at a fixed rate from the moment that the request was due. The clock starts
when each connection has carried one request, which counts but is not timed: a sender
keeps its connections for days.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.payloads import Request

CONNECTIONS = 4
_TYPES = {
    1: "application/x-protobuf",
    2: "application/x-protobuf;proto=io.prometheus.write.v2.Request",
}


@dataclass(slots=True)
class Load:
    """What was sent and acknowledged; `latencies` are in seconds."""

    samples: int = 0
    selected: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def quantile(self, share: float) -> float:
        """Return the latency in seconds that `share` of all requests keep to."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def send(
    port: int,
    path: str,
    requests: Iterator[Request],
    version: int,
    seconds: float,
    per_second: float = 0.0,
    limit: int = 0,
) -> Load:
    """Send over `CONNECTIONS` connections for `seconds`, or until `limit` requests are sent.

    With `per_second`, that many requests fall due in a second, answered or not.
    """
    load = Load()
    started, sent, taken = 0.0, 0, 0
    all_are_open = asyncio.Barrier(CONNECTIONS)

    async def sender() -> None:
        nonlocal started, sent, taken
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def one() -> None:
            nonlocal taken
            taken += 1
            request = next(requests)
            writer.write(request_head(path, version, len(request.body)) + request.body)
            status = await read_status(reader)
            load.statuses[status] += 1
            if status < 300:
                load.samples += request.samples
                load.selected += request.selected

        if not limit or taken < limit:
            await one()
        await all_are_open.wait()
        started = started or time.perf_counter()
        while time.perf_counter() < started + seconds and not (limit and taken >= limit):
            due = started + sent / per_second if per_second else time.perf_counter()
            sent += 1
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            await one()
            load.latencies.append(time.perf_counter() - due)
        writer.close()

    await asyncio.gather(*(sender() for _ in range(CONNECTIONS)))
    load.seconds = time.perf_counter() - started
    return load


def request_head(path: str, version: int, size: int, agent: str = "benchmark") -> bytes:
    """Make the head of a write request with so many bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Encoding: snappy\r\n"
        f"Content-Type: {_TYPES[version]}\r\nUser-Agent: {agent}\r\n"
        f"X-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


async def read_status(reader: asyncio.StreamReader) -> int:
    """Read an answer; return its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, after = head.partition(b"content-length:")
    if after and (size := int(after.split(b"\r\n", 1)[0])):
        await reader.readexactly(size)
    return int(head[9:12])
