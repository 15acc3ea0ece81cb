"""Ten minutes of requests with newcomers in each, to see whether memory stays where it is.

Half of what is sent is selected, and one series of a hundred is new in each request and
never comes again, so that caches fill and forget.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contestants
from benchmarks.load import send
from benchmarks.measure import counts
from benchmarks.payloads import Workload, churning

WORKLOAD = Workload(selected=50)
PER_SECOND = 8.0
STEP_SECONDS = 10.0
CACHE = "48MiB"
"""Small enough to be full after some minutes, so that what it forgets is seen."""


@dataclass(frozen=True, slots=True)
class Soak:
    """What was held in memory, every `STEP_SECONDS`, and what became of what was sent."""

    resident_mib: list[float]
    p99_ms: float
    requests: int
    samples: int
    series: int
    selected: int
    arrived: int


def soak(seconds: float, cores: tuple[int, int]) -> Soak:
    """Run it: the receiver on the second core, sink and load on the first."""
    newcomers = WORKLOAD.per_request // 100
    stream = churning(WORKLOAD, newcomers)
    resident: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        contestants.sink(cores[0]) as sink,
        contestants.receiver(
            cores[1], sink.port, Path(folder), ("--series-cache-bytes", CACHE)
        ) as program,
    ):

        async def watch() -> None:
            while True:
                resident.append(program.resident_bytes() / 2**20)
                await asyncio.sleep(STEP_SECONDS)

        async def both() -> tuple[float, int, int, int]:
            watching = asyncio.create_task(watch())
            load = await send(
                program.port, contestants.RECEIVER_PATH, stream, 1, seconds, PER_SECOND
            )
            watching.cancel()
            return load.quantile(0.99) * 1000, len(load.latencies), load.samples, load.selected

        p99_ms, requests, samples, selected = asyncio.run(both())
        deadline = time.monotonic() + 60
        while counts(sink.port)["items"] < selected and time.monotonic() < deadline:
            time.sleep(0.1)
        arrived = counts(sink.port)["items"]
    series = WORKLOAD.series + requests * newcomers
    return Soak(resident, p99_ms, requests, samples, series, selected, arrived)
