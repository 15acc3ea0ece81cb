"""Measures this tree beside an earlier commit: python -m benchmarks.versions COMMIT.

Both receivers run at once, on one core, and get the same bodies in turns, a second each; load
and sinks are on the other core. What counts is a burst's CPU time, from its first request until its
sink holds every item: the median over the turns of one beside the other, so that what else the
machine does meets both. A process is faster or slower by some percent for as long as it lives,
by where its memory lies: so both are started several times. Needs Linux, two cores, taskset and git.
"""

import argparse
import asyncio
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import contestants
from benchmarks.load import send
from benchmarks.measure import drain
from benchmarks.payloads import Request, Workload, endless, make_requests
from benchmarks.processes import Program, two_cores

WORKLOADS = (
    Workload(per_request=500, selected=0),
    Workload(selected=0),
    Workload(selected=10),
    Workload(selected=100),
    Workload(kind="triton", per_request=500, selected=100),
)


@dataclass(slots=True)
class Side:
    """One of the two: its receiver, its sink, and what was sent to it."""

    program: Program
    sink: Program
    stream: Iterator[Request]
    expected: int = 0

    def burst(self, workload: Workload, seconds: float, limit: int = 0) -> float:
        """Send for so long; returns CPU microseconds a request."""
        before = self.program.cpu_seconds()
        path = contestants.RECEIVER_PATH
        done = asyncio.run(
            send(self.program.port, path, self.stream, workload.version, seconds, 0.0, limit)
        )
        self.expected += done.selected
        arrived = drain(self.sink.port, self.expected)
        if set(done.statuses) - {200, 204} or arrived["items"] != self.expected:
            raise RuntimeError(f"{dict(done.statuses)}, {arrived['items']} of {self.expected}")
        return (self.program.cpu_seconds() - before) / sum(done.statuses.values()) * 1e6


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Have a commit in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["git", "worktree", "add", "--quiet", "--detach", folder, commit], check=True
        )
        try:
            yield Path(folder)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", folder], check=True)


def compare(
    workload: Workload,
    commands: Sequence[Path],
    cores: tuple[int, int],
    starts: int,
    turns: int,
    seconds: float,
) -> None:
    """Let the two take turns, and print what came of it."""
    requests = make_requests(workload)
    spent = []
    for _ in range(starts):
        spent += _turns(workload, requests, commands, cores, turns, seconds)
    ratios = sorted(now / then for then, now in spent)
    then, now = (statistics.median(column) for column in zip(*spent, strict=True))
    quarter = len(ratios) // 4
    print(
        f"{workload.name}: {then:,.0f} us a request then, {now:,.0f} now: "
        f"{statistics.median(ratios):.3f} ({ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f})",
        flush=True,
    )


def _turns(
    workload: Workload,
    requests: Sequence[Request],
    commands: Sequence[Path],
    cores: tuple[int, int],
    turns: int,
    seconds: float,
) -> list[tuple[float, float]]:
    """Start both, and take the CPU microseconds of a request: then, now."""
    with ExitStack() as stack:
        sides = []
        for command in commands:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            sink = stack.enter_context(contestants.sink(cores[0]))
            program = stack.enter_context(
                contestants.receiver(cores[1], sink.port, folder, installed_at=command)
            )
            sides.append(Side(program, sink, endless(requests)))
        for side in sides:
            side.burst(workload, 60.0, len(requests))
            side.burst(workload, seconds)
        then, now = sides
        return [(then.burst(workload, seconds), now.burst(workload, seconds)) for _ in range(turns)]


def main() -> None:
    """Compare with a commit, workload by workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commit", help="what this tree is measured beside")
    parser.add_argument("--starts", type=int, default=5, help="how often both are started anew")
    parser.add_argument("--turns", type=int, default=5, help="bursts of each, every time")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a burst")
    parser.add_argument("--only", default="", help="workloads whose name holds this")
    given = parser.parse_args()
    cores = two_cores(parser)
    with checked_out(given.commit) as tree_before:
        then = contestants.installed(tree_before, Path(".parts/benchmark-before"))
    commands = (then, contestants.installed())
    for workload in WORKLOADS:
        if given.only in workload.name:
            compare(workload, commands, cores, given.starts, given.turns, given.seconds)


if __name__ == "__main__":
    main()
