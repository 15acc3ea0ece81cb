"""What the status page costs: CPU and memory of the receiver without it and with it, and its time to open.

50,000 series arrive every 15 s, of which 2,000 are selected: 500 metrics. Receiver, load, sink
and a Chromium share the machine's cores. `python -m benchmarks.page` prints the table of
docs/http-api.md, and how busy the machine was: CPU seconds stand a busy machine, times do not.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import aiohttp

from benchmarks import contestants
from benchmarks.processes import Program
from tests.integration.browser import Page, browsing
from tests.integration.remote_write import Point, encode, post

SERIES, SELECTED, METRICS = 50_000, 2_000, 500
PER_REQUEST = 2_000
SCRAPE_SECONDS = 15.0
WARM_SCRAPES = 3
OPENINGS = 5
ROWS = "document.querySelectorAll('#rows tr:not(.group):not(:has(.empty))').length == 50"
LIST = "/api/v1/metrics?match=&limit=50&each=category"
"""The request of the open page."""


def scrape(number: int) -> Iterator[bytes]:
    """Make the requests of one scrape."""
    now_ms = int(time.time() * 1000)
    points = (
        Point(
            f"{'nv' if series < SELECTED else 'app'}_metric_{series % METRICS}",
            (("instance", "triton:8002"), ("job", "triton"), ("series", str(series))),
            now_ms,
            float(series + number),
        )
        for series in range(SERIES)
    )
    for _ in range(0, SERIES, PER_REQUEST):
        yield encode(islice(points, PER_REQUEST))


async def load(session: aiohttp.ClientSession, url: str) -> None:
    """Send scrapes for ever, each spread over its interval."""
    started = time.monotonic()
    for number in count():
        requests = list(scrape(number))
        for index, body in enumerate(requests):
            due = started + SCRAPE_SECONDS * (number + index / len(requests))
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            reply = await post(session, url, body)
            assert reply.status == 204, reply


async def use(program: Program, seconds: float) -> str:
    """Measure CPU over a while, and memory at its end; the event loop is the main thread."""
    before, loop_before, began = program.cpu_seconds(), loop_seconds(program), time.monotonic()
    await asyncio.sleep(seconds)
    passed = time.monotonic() - began
    share = (program.cpu_seconds() - before) / passed
    of_loop = (loop_seconds(program) - loop_before) / passed
    return f"{share:.1%} of a core, {of_loop:.1%} in the event loop, {program.resident_bytes() / 2**20:.0f} MiB"


def loop_seconds(program: Program) -> float:
    """Read the CPU time of the main thread."""
    pid = program.process.pid
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def open_page(page: Page, url: str) -> float:
    """Open the page; return the seconds until its table is there."""
    await page.look("about:blank")
    began = time.perf_counter()
    await page.look(url)
    await page.wait_for(ROWS)
    return time.perf_counter() - began


async def ask_list(session: aiohttp.ClientSession, url: str) -> tuple[float, int]:
    """Request the list of metrics; return seconds and bytes."""
    began = time.perf_counter()
    async with session.get(url + LIST) as answer:
        size = len(await answer.read())
    return time.perf_counter() - began, size


async def measure(program: Program, folder: Path, seconds: float) -> list[tuple[str, str]]:
    """Measure without the page, then with it."""
    url = f"http://127.0.0.1:{program.port}"
    async with aiohttp.ClientSession() as session:
        loading = asyncio.create_task(load(session, url))
        await asyncio.sleep(WARM_SCRAPES * SCRAPE_SECONDS)
        closed = await use(program, seconds)
        async with browsing(folder) as page:
            openings = [await open_page(page, url) for _ in range(OPENINGS)]
            opened = await use(program, seconds)
            lists = [await ask_list(session, url) for _ in range(OPENINGS)]
        loading.cancel()
        if loading.done() and not loading.cancelled():
            loading.result()  # it ended early
    asked = statistics.median(taken for taken, _ in lists)
    return [
        ("the page opens, with its table", f"{statistics.median(openings):.2f} s"),
        ("the receiver, page closed", closed),
        ("the receiver, page open", opened),
        ("one list of metrics, which the open page requests", f"{lists[-1][1] / 1000:.0f} kB, {asked * 1000:.0f} ms"),
    ]  # fmt: skip


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement of CPU")
    given = parser.parse_args()
    busy = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as name, contestants.sink(0) as sink:
        folder = Path(name)
        metrics = folder / "page.json"
        metrics.write_text(json.dumps({"customMetrics": ["nv_*"]}))
        here = Path(sys.executable).with_name("appinsights-receiver")
        more = ("--metrics-json", str(metrics))
        with contestants.receiver("0,1", sink.port, folder, more, here) as program:
            rows = asyncio.run(measure(program, folder, given.seconds))
    busy.append(os.getloadavg()[0])
    for what, figure in rows:
        print(f"| {what} | {figure} |")
    print(f"load average {busy[0]:.1f} before, {busy[1]:.1f} after, of {os.cpu_count()} cores; the measurement itself is part of it")  # fmt: skip


if __name__ == "__main__":
    main()
