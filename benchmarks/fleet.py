"""One receiver before many Tritons, at Prometheus' own pace: python -m benchmarks.fleet.

Each Triton shows a recorded page of metrics and is scraped every `--interval` seconds, at its
own moment; what is scraped goes out as Prometheus sends it: series by series to a few shards,
each a connection, up to 2,000 samples a request or what there is after a second. The receiver
has its own defaults and both cores; load and sink share them. Rows: folded and raw entries, with the
service answering and with nobody listening where it should be. `--limits` drives the receiver
into its limits instead, one after the other. Linux alone.
"""

import argparse
import asyncio
import json
import os
import shutil
import struct
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import snappy

from benchmarks import contestants
from benchmarks.load import read_status, request_head
from benchmarks.measure import counts
from benchmarks.payloads import varint, wire_field
from benchmarks.processes import Program, free_port
from receiver.cli.scene import read_page

PAGE = Path("tests/data/triton-metrics/h200.txt")
"""Of a Triton with two models on one GPU, summaries included: 107 series."""
FOLDED = Path("receiver/config/folded_metrics.json")
SHARDS = 4
SAMPLES_PER_SEND = 2_000
DEADLINE_SECONDS = 1.0
BACKOFF_SECONDS = (0.25, 5.0)
WARM_SECONDS = 30.0
LAST_SECONDS = 10.0
"""How long the last requests are waited for, where the receiver refuses them."""
DEFAULTS = ("--items-per-second", "30000", "--metric-series-max", "20000", "--total-series-max", "200000")  # fmt: skip
"""What `contestants.receiver` lifts; here the limits are part of what is measured."""


@dataclass(frozen=True, slots=True)
class Run:
    """One row: what is selected, whether the service answers, what the receiver is told besides."""

    name: str
    seconds: float
    tritons: int = 1_000
    interval: float = 15.0
    is_folded: bool = False
    is_away: bool = False
    more: tuple[str, ...] = ()


@dataclass(slots=True)
class Tally:
    """What the load saw. `latencies` are of POSTs that were answered, in seconds."""

    samples: int = 0
    requests: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    first_refusal: float = 0.0
    behind_seconds: float = 0.0


class Fleet:
    """The Tritons' series, each spelt up to its value, by the shard that sends it."""

    def __init__(self, tritons: int) -> None:
        """Spell all of them."""
        page = read_page(PAGE.read_text(encoding="utf-8"), str(PAGE))
        self.tritons = tritons
        self.series_per_triton = len(page)
        self._spelt: list[list[list[tuple[bytes, float, float]]]] = []
        for triton in range(tritons):
            shards: list[list[tuple[bytes, float, float]]] = [[] for _ in range(SHARDS)]
            instance = f"10.1.{triton // 250}.{triton % 250}:8002"
            for number, seen in enumerate(page):
                labels = {**seen.labels, "instance": instance}
                if "gpu_uuid" in labels:
                    labels["gpu_uuid"] = f"GPU-{triton:08x}"
                step = 0.0 if number % 4 == 0 else float(1 + number % 900)
                spelt = (_section(labels), max(seen.value, 1.0), step)
                shards[(triton * len(page) + number) % SHARDS].append(spelt)
            self._spelt.append(shards)

    def scrape(self, triton: int, shard: int, time_ms: int, scrape: int) -> list[bytes]:
        """Make the part of a scrape that one shard sends."""
        tail = b"\x10" + varint(time_ms)
        return [
            section + struct.pack("<d", value + scrape * step) + tail
            for section, value, step in self._spelt[triton][shard]
        ]


def _section(labels: dict[str, str]) -> bytes:
    pairs = [("__name__", labels["__name__"]), *sorted((k, v) for k, v in labels.items() if k != "__name__")]  # fmt: skip
    section = b"".join(
        wire_field(1, wire_field(1, name.encode()) + wire_field(2, value.encode()))
        for name, value in pairs
    )
    sample = 16  # a double with its tag, a time of 6 bytes with its own
    size = len(section) + 2 + sample
    return b"\x0a" + varint(size) + section + b"\x12" + varint(sample) + b"\x09"


class Shard:
    """One connection of Prometheus': what waits for it, and what is sent again until it is taken."""

    def __init__(self, port: int, tally: Tally) -> None:
        """Wait for samples."""
        self._port = port
        self._tally = tally
        self._samples: list[bytes] = []
        self._oldest = 0.0
        self._changed = asyncio.Event()
        self._waiting: list[tuple[float, bytes, int]] = []
        self._is_sending = False

    @property
    def is_idle(self) -> bool:
        """Whether all that was put is acknowledged."""
        return not (self._samples or self._waiting or self._is_sending)

    def put(self, samples: list[bytes], now: float) -> None:
        """Take samples; a request is cut when there are enough, or when the oldest waited long enough."""
        if not self._samples:
            self._oldest = now
        self._samples += samples
        self.cut(now)

    def cut(self, now: float) -> None:
        """Make requests of what is due."""
        while len(self._samples) >= SAMPLES_PER_SEND or (
            self._samples and now - self._oldest >= DEADLINE_SECONDS
        ):
            part, self._samples = self._samples[:SAMPLES_PER_SEND], self._samples[SAMPLES_PER_SEND:]
            self._waiting.append((now, bytes(snappy.compress(b"".join(part))), len(part)))
            self._oldest = now
            self._changed.set()

    async def send(self, began: float) -> None:
        """Send for ever, one request after the other."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while True:
            self._is_sending = False
            while not self._waiting:
                self._changed.clear()
                await self._changed.wait()
            self._is_sending = True
            cut, body, samples = self._waiting.pop(0)
            pause = BACKOFF_SECONDS[0]
            while True:
                started = time.perf_counter()
                writer.write(request_head("/api/v1/write", 1, len(body), "Prometheus/3.5.3") + body)
                status = await read_status(reader)
                ended = time.perf_counter()
                self._tally.latencies.append(ended - started)
                self._tally.statuses[status] += 1
                self._tally.behind_seconds = ended - cut
                if status < 500:
                    break
                self._tally.first_refusal = self._tally.first_refusal or ended - began
                await asyncio.sleep(pause)
                pause = min(2 * pause, BACKOFF_SECONDS[1])
            self._tally.requests += 1
            self._tally.samples += samples


async def drive(fleet: Fleet, run: Run, port: int, seconds: float, first: int, tally: Tally) -> int:
    """Scrape for so long and send what was scraped; returns the number of the next scrape."""
    began = time.perf_counter()
    shards = [Shard(port, tally) for _ in range(SHARDS)]
    sending = [asyncio.create_task(shard.send(began)) for shard in shards]
    number = first
    end = first + int(seconds / run.interval * fleet.tritons)
    while number < end:
        due = began + (number - first) / fleet.tritons * run.interval
        now = time.perf_counter()
        if due > now:
            for shard in shards:
                shard.cut(now)
            await asyncio.sleep(min(due - now, 0.1))
            continue
        triton, scrape = number % fleet.tritons, number // fleet.tritons
        time_ms = int(time.time() * 1000)
        for place, shard in enumerate(shards):
            shard.put(fleet.scrape(triton, place, time_ms, scrape), now)
        number += 1
        if number % 16 == 0:
            await asyncio.sleep(0)
    deadline = time.perf_counter() + LAST_SECONDS
    while not all(shard.is_idle for shard in shards) and (now := time.perf_counter()) < deadline:
        for shard in shards:
            shard.cut(now)
        await asyncio.sleep(0.05)
    for task in sending:
        task.cancel()
    tally.seconds = time.perf_counter() - began
    return number


@contextmanager
def _service(run: Run) -> Iterator[int]:
    """Give the port where the service answers, or where nobody does."""
    if run.is_away:
        yield free_port()
        return
    with contestants.sink("0,1") as sink:  # type: ignore[arg-type]
        yield sink.port


def measure(run: Run) -> str:
    """Do one run, and say in a table's row what came of it."""
    fleet = Fleet(run.tritons)
    with tempfile.TemporaryDirectory() as name, _service(run) as service:
        folder = Path(name)
        metrics = folder / "fleet.json"
        if run.is_folded:
            shutil.copy(FOLDED, metrics)
        else:
            metrics.write_text(json.dumps({"customMetrics": ["nv_*"]}))
        more = ("--metrics-json", str(metrics), *DEFAULTS, *run.more)
        with contestants.receiver("0,1", service, folder, more) as program:
            warm, tally = Tally(), Tally()
            warm_seconds = max(WARM_SECONDS, run.interval)
            following = asyncio.run(drive(fleet, run, program.port, warm_seconds, 0, warm))
            before, size = program.cpu_seconds(), _size(folder / "outbox")
            arrived = {} if run.is_away else counts(service)
            asyncio.run(drive(fleet, run, program.port, run.seconds, following, tally))
            return _row(run, program, tally, before, size, folder, arrived, service)


def _row(
    run: Run, program: Program, tally: Tally, cpu: float, size: int, folder: Path,
    arrived: dict[str, int], service: int,
) -> str:  # fmt: skip
    latencies = sorted(tally.latencies)
    grown = max(0, _size(folder / "outbox") - size)
    with urllib.request.urlopen(f"http://127.0.0.1:{program.port}/api/v1/status") as answer:
        status = json.load(answer)
    items = 0 if run.is_away else counts(service)["items"] - arrived["items"]
    dropped = {reason: count for reason, count in status.get("dropped", {}).items() if count}
    cells = [
        run.name,
        f"{tally.samples / tally.seconds:,.0f}",
        f"{items / tally.seconds:,.0f}",
        f"{100 * (program.cpu_seconds() - cpu) / tally.seconds:.0f}",
        f"{program.resident_bytes() / 2**20:.0f}",
        f"{program.peak_bytes() / 2**20:.0f}",
        *(f"{1000 * latencies[int(share * (len(latencies) - 1))]:.1f}" for share in (0.5, 0.99, 1.0)),
        f"{grown / 2**20 * 3600 / tally.seconds:,.0f}",
        " ".join(f"{code}: {count}" for code, count in sorted(tally.statuses.items())),
        ", ".join(
            [f"dropped {reason} {count:,}" for reason, count in dropped.items()]
            + [f"503 after {tally.first_refusal:.0f} s"] * bool(tally.first_refusal)
            + [f"{status['pending']:,} items wait"] * bool(status.get("pending"))
            + [f"last request {tally.behind_seconds:.1f} s behind"] * (tally.behind_seconds > 2)
            + ["does not add up"] * (not status["adds_up"])
        ),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


HEAD = (
    "| run | samples/s | items/s | CPU % of a core | RSS MiB | peak MiB | p50 ms | p99 ms | max ms "
    "| disk MiB an hour | answers | besides |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|---|"
)


def plain_runs(seconds: float, tritons: int, interval: float) -> Sequence[Run]:
    """Fold or not, with and without a service."""
    return [
        Run(
            f"{'folded' if is_folded else 'raw'}, service {'away' if is_away else 'answering'}",
            seconds, tritons, interval, is_folded=is_folded, is_away=is_away,
        )
        for is_folded in (True, False)
        for is_away in (False, True)
    ]  # fmt: skip


def limit_runs(seconds: float, tritons: int) -> Sequence[Run]:
    """Reach each limit in turn."""
    return [
        Run("outbox of 2 MiB, raw, service away", seconds, tritons, is_away=True, more=("--outbox-max-bytes", "2MiB")),
        Run("fold of 32 MiB", seconds, tritons, is_folded=True, more=("--fold-max-bytes", "32MiB")),
        Run("50,000 series in all", seconds, tritons, is_folded=True, more=("--total-series-max", "50000")),
        Run("raw, every 2 s: more than 30,000 items a second", seconds, tritons, 2.0),
        Run("folded, every 0.5 s", seconds, tritons, 0.5, is_folded=True),
    ]  # fmt: skip


def main() -> None:
    """Run all rows, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="length of a run")
    parser.add_argument("--tritons", type=int, default=1_000, help="how many")
    parser.add_argument("--interval", type=float, default=15.0, help="seconds between scrapes")
    parser.add_argument("--limits", action="store_true", help="drive into the limits")
    parser.add_argument("--only", default="", help="only the runs whose name has this")
    given = parser.parse_args()
    runs = limit_runs(given.seconds, given.tritons) if given.limits else plain_runs(given.seconds, given.tritons, given.interval)  # fmt: skip
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(HEAD, flush=True)
    for run in runs:
        if given.only in run.name:
            print(measure(run), flush=True)


if __name__ == "__main__":
    main()
