"""One run of one contestant: warmed up, loaded, and held to the sink's exact count."""

import asyncio
import itertools
import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import contestants
from benchmarks.load import Load, send
from benchmarks.payloads import Request, Workload, endless
from benchmarks.processes import Program

DRAIN_SECONDS = 60.0
STEP_SECONDS = 10.0
"""Between two looks at what a soak holds in memory."""

Start = Callable[[Any, int, Path], AbstractContextManager[Program]]


@dataclass(frozen=True, slots=True)
class Result:
    """What one run came to. `void` says why it does not count; empty where it does."""

    contestant: str
    workload: str
    samples_per_cpu_second: float
    samples_per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    peak_mib: float = 0.0
    bytes_per_item: float = 0.0
    items_per_post: float = 0.0
    void: str = ""


@dataclass(frozen=True, slots=True)
class Soak:
    """What was held in memory, every `STEP_SECONDS`, and what became of what was sent."""

    resident_mib: list[float]
    requests: int
    samples: int
    series: int
    selected: int
    arrived: int


def run(
    name: str,
    start: Start,
    workload: Workload,
    requests: Sequence[Request],
    seconds: float,
    cores: tuple[int, int],
    *,
    load_share: float = 0.0,
    cold: bool = False,
    on_both: bool = False,
) -> Result:
    """Run a contestant on the second core, or `on_both`; sink and load on the first.

    With `load_share`, a saturated run is followed by the one that counts, at that
    share of its rate. `cold` leaves the warm-up out.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        contestants.sink(cores[0]) as sink,
        start(
            f"{cores[0]},{cores[1]}" if on_both else cores[1], sink.port, Path(folder)
        ) as program,
    ):
        stream = endless(requests)
        expected = 0

        def load(wanted_seconds: float, per_second: float = 0.0, limit: int = 0) -> Load:
            nonlocal expected
            done = asyncio.run(
                send(
                    program.port,
                    contestants.RECEIVER_PATH,
                    stream,
                    workload.version,
                    wanted_seconds,
                    per_second,
                    limit,
                )
            )
            expected += done.selected
            return done

        if not cold:
            load(60.0, limit=len(requests))
            load(0.15 * seconds)
            drain(sink.port, expected)
        rate = 0.0
        if load_share:
            tried = load(seconds / 2)
            drain(sink.port, expected)
            rate = load_share * len(tried.latencies) / tried.seconds
        before, cpu_before = counts(sink.port), program.cpu_seconds()
        done = load(seconds, rate, limit=len(requests) if cold else 0)
        arrived = drain(sink.port, expected)
        cpu = program.cpu_seconds() - cpu_before
        items = arrived["items"] - before["items"]
        posts = max(1, arrived["requests"] - before["requests"])
        void = ""
        if set(done.statuses) - {200, 204}:
            void = f"statuses {dict(done.statuses)}"
        elif arrived["items"] != expected:
            void = f"the sink has {arrived['items']} of {expected} items"
        return Result(
            name,
            workload.name,
            done.samples / max(cpu, 0.01),
            done.samples / done.seconds,
            done.quantile(0.5) * 1000,
            done.quantile(0.99) * 1000,
            program.peak_bytes() / 2**20,
            (arrived["size_bytes"] - before["size_bytes"]) / max(1, items),
            items / posts,
            void,
        )


def run_plain(workload: Workload, requests: Sequence[Request], seconds: float, core: int) -> Result:
    """Run the plain pipeline, which sends nothing: its CPU alone."""
    with tempfile.TemporaryDirectory() as folder:
        found = contestants.plain(core, requests, seconds, Path(folder))
    each = found["size_bytes"] / max(1.0, found["samples"] * workload.selected / 100)
    return Result(
        "plain Python",
        workload.name,
        found["samples"] / found["cpu_seconds"],
        bytes_per_item=each,
    )


def counts(port: int) -> dict[str, int]:
    """Ask a sink what it has seen."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/count") as answer:
        found: dict[str, int] = json.load(answer)
    return found


def drain(port: int, expected: int) -> dict[str, int]:
    """Wait until the sink holds what it shall, and a little longer: it may be too much."""
    deadline = time.monotonic() + DRAIN_SECONDS
    for _ in itertools.count():
        found = counts(port)
        if found["items"] >= expected or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    time.sleep(0.1)
    return counts(port)
