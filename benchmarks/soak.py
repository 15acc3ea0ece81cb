"""Ten minutes of requests with newcomers in each, to see whether memory stays where it is.

Half of what is sent is selected, and one series of a hundred is new in each request and
never comes again, so that caches fill and forget. Latencies are not taken: the load makes its
requests as it goes, and is late with them. `python -m benchmarks.soak`, a part of
`make bench`.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from benchmarks import contestants
from benchmarks.load import send
from benchmarks.measure import STEP_SECONDS, Soak, counts
from benchmarks.payloads import Workload, churning
from benchmarks.report import write_soak

WORKLOAD = Workload(selected=50)
PER_SECOND = 8.0
CACHE = "24MiB"
"""Small enough to be full after two minutes, so that what it forgets is seen several times."""


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

        async def both() -> tuple[int, int, int]:
            watching = asyncio.create_task(watch())
            load = await send(
                program.port, contestants.RECEIVER_PATH, stream, 1, seconds, PER_SECOND
            )
            watching.cancel()
            return len(load.latencies), load.samples, load.selected

        requests, samples, selected = asyncio.run(both())
        deadline = time.monotonic() + 60
        while counts(sink.port)["items"] < selected and time.monotonic() < deadline:
            time.sleep(0.1)
        arrived = counts(sink.port)["items"]
    series = WORKLOAD.series + requests * newcomers
    return Soak(resident, requests, samples, series, selected, arrived)


def main() -> None:
    """Soak, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long")
    parser.add_argument("--into", type=Path, default=Path("docs"), help="where the report goes")
    given = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, {cores[0]})
    found = soak(given.seconds, (cores[0], cores[-1]))
    write_soak(given.into, found, time.gmtime())
    print(found)


if __name__ == "__main__":
    main()
