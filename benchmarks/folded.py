"""Measures folded entries beside vmagent's stream aggregation: python -m benchmarks.folded.

Both get the same bodies, all of whose series are folded: the receiver as `delta` or `mean`,
with its disk, vmagent as `increase` over 60 s, in memory. Times are fresh and rise from body
to body, since a sample that is not newer than its series' last costs next to nothing. A run
whose receiver has not folded each sample is void. Needs two cores and taskset.
"""

import argparse
import asyncio
import json
import random
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import snappy

from benchmarks import contestants
from benchmarks.load import send
from benchmarks.measure import Result, Start
from benchmarks.payloads import SELECTED_PREFIX, Request, Workload, encode_v1, make_labels
from benchmarks.processes import Program, free_port, running, two_cores
from benchmarks.report import write_folded
from demo.debian import fetch

STEP_MS = 100
SHOWN_SECONDS = 20.0
"""The page looks at 2,000 items a second."""
AHEAD = 8
"""Requests that are kept back: each connection looks one ahead."""
ENTRIES = {
    "delta": {"name": f"{SELECTED_PREFIX}*", "as": "delta"},
    "mean": {
        "name": f"{SELECTED_PREFIX}nv_*",
        "as": "mean",
        "per": f"{SELECTED_PREFIX}nv_inference_request_success",
    },
}
ROWS = (
    ("delta", Workload(selected=100)),
    ("delta", Workload(kind="triton", selected=100)),
    ("delta", Workload(kind="triton", per_request=500, selected=100, series=5_000)),
    ("mean", Workload(kind="triton", per_request=500, selected=100, series=5_000)),
)


def make_requests(workload: Workload, scrapes: int) -> list[Request]:
    """Make scrapes of all series, a tenth of a second apart; counters grow, a quarter stays at 0."""
    chance = random.Random(1)
    series = [make_labels(workload, number, chance) for number in range(workload.series)]
    begun_ms = int(time.time() * 1000)
    requests = []
    for scrape in range(scrapes):
        for start in range(0, len(series), workload.per_request):
            part = series[start : start + workload.per_request]
            at_ms = begun_ms + scrape * STEP_MS
            samples = [
                (0.0 if number * 61 % 100 < 25 else float(scrape * (1000 + number % 1000)), at_ms)
                for number in range(start, start + len(part))
            ]
            body = bytes(snappy.compress(encode_v1(part, samples)))
            requests.append(Request(body, len(part), len(part)))
    return requests


@contextmanager
def vmagent(core: int, sink_port: int, folder: Path) -> Iterator[Program]:
    """Run Debian's vmagent with stream aggregation of everything."""
    part = fetch(["victoria-metrics"], "sid", Path(".parts"), progress=print)
    port, rules = free_port(), folder / "aggregate.yml"
    rules.write_text("- interval: 60s\n  outputs: [increase]\n")
    command = [str(part / "usr/bin/vmagent"), f"-httpListenAddr=127.0.0.1:{port}"]
    command += [f"-remoteWrite.url=http://127.0.0.1:{sink_port}/", "-remoteWrite.forcePromProto"]
    command += [f"-remoteWrite.streamAggr.config={rules}"]
    command += [f"-remoteWrite.tmpDataPath={folder / 'queue'}"]
    environment = {"GOMAXPROCS": "1"}
    log = folder / "vmagent.log"
    with running(command, port, "/health", core, environment, log) as program:
        yield program


@contextmanager
def receiver(entry: object, core: int, sink_port: int, folder: Path) -> Iterator[Program]:
    """Run the receiver with one folded entry."""
    names = folder / "folded.json"
    names.write_text(json.dumps({"customMetrics": [entry]}))
    more = ("--metrics-json", str(names))
    with contestants.receiver(core, sink_port, folder, more) as program:
        yield program


def measure(
    name: str,
    start: Start,
    workload: str,
    requests: Sequence[Request],
    warm: int,
    seconds: float,
    cores: tuple[int, int],
) -> Result:
    """Run a contestant once; the first `warm` requests are not measured."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contestants.sink(cores[0]) as sink,
        start(cores[1], sink.port, Path(folder)) as program,
    ):
        stream = iter(requests)
        path = contestants.RECEIVER_PATH
        first = asyncio.run(send(program.port, path, stream, 1, 60.0, 0.0, warm))
        before = program.cpu_seconds()
        limit = len(requests) - warm - AHEAD
        done = asyncio.run(send(program.port, path, stream, 1, seconds, 0.0, limit))
        cpu = program.cpu_seconds() - before
        void = "" if set(done.statuses) <= {200, 204} else f"statuses {dict(done.statuses)}"
        if start is not vmagent:
            status = _status(program)
            if status["folded"] != first.samples + done.samples or not status["adds_up"]:
                void = f"folded {status['folded']} of {first.samples + done.samples}"
        return Result(
            name,
            workload,
            done.samples / cpu,
            done.samples / done.seconds,
            done.quantile(0.5) * 1000,
            done.quantile(0.99) * 1000,
            program.peak_bytes() / 2**20,
            void=void,
        )


def measure_memory(workload: Workload, cores: tuple[int, int]) -> None:
    """Print the peak of memory with so many series, from their first samples to their shown items."""
    requests = make_requests(workload, 3)
    with (
        tempfile.TemporaryDirectory() as folder,
        contestants.sink(cores[0]) as sink,
        receiver(ENTRIES["delta"], cores[1], sink.port, Path(folder)) as program,
    ):
        idle = program.peak_bytes()
        path = contestants.RECEIVER_PATH
        asyncio.run(send(program.port, path, iter(requests), 1, 600.0, 0.0, len(requests) - AHEAD))
        took = program.peak_bytes()
        while _status(program)["flushed"] < workload.series:  # two minutes behind the window
            time.sleep(1)
        time.sleep(SHOWN_SECONDS)
        peaks = [size / 2**20 for size in (idle, took, program.peak_bytes())]
        print("{}: peak MiB: idle {:.0f}, taken {:.0f}, shown {:.0f}".format(workload.name, *peaks))


def _status(program: Program) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{program.port}/api/v1/status") as answer:
        status: dict[str, Any] = json.load(answer)
    return status


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all rows, the two in turns, and write the table into docs/performance.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a run")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each")
    parser.add_argument("--scrapes", type=int, default=100, help="scrapes that are made")
    parser.add_argument("--into", type=Path, default=Path("docs"), help="where the report goes")
    parser.add_argument("--memory", type=int, help="print the peak of memory with so many series")
    given = parser.parse_args(arguments)
    cores = two_cores(parser)
    if given.memory:
        for name in ("triton", "kubernetes"):
            workload = Workload(kind=name, series=given.memory, selected=100)
            measure_memory(workload, cores)
        return
    results: list[Result] = []
    for kind, workload in ROWS:
        requests = make_requests(workload, given.scrapes)
        warm, title = 2 * workload.series // workload.per_request, f"{workload.name}, as {kind}"
        for _ in range(given.repeats):
            for name, start in (
                ("receiver", partial(receiver, ENTRIES[kind])),
                ("vmagent", vmagent),
            ):
                made = measure(name, start, title, requests, warm, given.seconds, cores)
                results.append(made)
                rate = made.samples_per_cpu_second / 1000
                print(
                    f"{title}: {name}: {rate:,.0f} k samples a CPU-second {made.void}", flush=True
                )
    how = f"{given.repeats} runs of {given.scrapes} scrapes"
    write_folded(given.into, results, time.gmtime(), how)


if __name__ == "__main__":
    main()
