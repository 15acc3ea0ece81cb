"""Measures the receiver beside vmagent and the plain pipeline, and writes what it found.

`make bench`, or `make bench QUICK=1`: python -m benchmarks.run [--quick]. Needs Linux,
two cores, and taskset. The contestants take turns, so that what else the machine does
meets them all alike; what counts is CPU time, and the median of the runs. A run whose
sink has not exactly what was selected is void, and shown as such.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import contestants
from benchmarks.measure import Result, run, run_plain
from benchmarks.payloads import Workload, make_requests
from benchmarks.processes import two_cores
from benchmarks.report import write
from benchmarks.stages import measure_stages

QUICK = (
    Workload(selected=0),
    Workload(selected=10),
    Workload(selected=100),
    Workload(selected=10, version=2),
)
ALL = (
    *QUICK,
    Workload(selected=0, version=2),
    Workload(selected=100, version=2),
    Workload(selected=10, churn=1),
    Workload(selected=100, churn=1),
    *(Workload(per_request=count, selected=share) for count in (500, 10_000) for share in (0, 100)),
    *(Workload(kind="triton", per_request=500, selected=share) for share in (0, 10, 100)),
    Workload(kind="triton", selected=100),
)
SERIES = (1_000, 20_000, 50_000, 100_000, 200_000)
"""How many series there are in all, for the plot of cost over series."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run everything; `--quick` in some minutes, with the figures that matter most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer workloads, shorter runs")
    parser.add_argument("--seconds", type=float, help="length of a run")
    parser.add_argument("--repeats", type=int, help="runs of each contestant")
    parser.add_argument("--into", type=Path, default=Path("docs"), help="where the report goes")
    given = parser.parse_args(arguments)
    seconds = given.seconds or (3.0 if given.quick else 10.0)
    repeats = given.repeats or 3
    cores = two_cores(parser)
    results: list[Result] = []
    for workload in QUICK if given.quick else ALL:
        results += _turns(workload, seconds, repeats, cores)
    results += _half_rate(seconds, cores)
    growth = [] if given.quick else _growth(seconds, cores)
    stages = measure_stages()
    write(given.into, results, growth, stages, time.gmtime(), f"{repeats} runs of {seconds:g} s")


def _turns(
    workload: Workload, seconds: float, repeats: int, cores: tuple[int, int]
) -> list[Result]:
    requests = make_requests(workload)
    found = []
    for _ in range(repeats):
        found.append(run("receiver", contestants.receiver, workload, requests, seconds, cores))
        if (
            workload.version == 1
        ):  # vmagent knows no 2.0, and the plain pipeline was not written for it
            found.append(run("vmagent", contestants.vmagent, workload, requests, seconds, cores))
            found.append(run_plain(workload, requests, seconds / 2, cores[1]))
    for name in dict.fromkeys(each.contestant for each in found):
        rates = [each.samples_per_cpu_second for each in found if each.contestant == name]
        print(
            f"{workload.name}: {name}: {statistics.median(rates) / 1000:,.0f} k samples a CPU-second"
        )
    return found


def _half_rate(seconds: float, cores: tuple[int, int]) -> list[Result]:
    """Take the latencies at half the rate that saturates, with everything selected."""
    workload = Workload(selected=100)
    requests = make_requests(workload)
    made = run(
        "receiver at half its rate",
        contestants.receiver,
        workload,
        requests,
        seconds,
        cores,
        load_share=0.5,
    )
    cold = run(
        "receiver, cold start",
        contestants.receiver,
        workload,
        requests,
        60.0,
        cores,
        cold=True,
    )
    return [made, cold]


def _growth(seconds: float, cores: tuple[int, int]) -> list[tuple[int, Result]]:
    found = []
    for series in SERIES:
        for selected in (0, 100):
            workload = Workload(series=series, per_request=min(series, 2000), selected=selected)
            requests = make_requests(workload)
            name = f"{selected} % selected"
            made = run(name, contestants.receiver, workload, requests, seconds, cores)
            found.append((series, made))
            print(
                f"{workload.name}: {made.samples_per_cpu_second / 1000:,.0f} k, {made.peak_mib:.0f} MiB"
            )
    return found


if __name__ == "__main__":
    main()
