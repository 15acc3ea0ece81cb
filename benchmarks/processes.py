"""Programs under measurement, each on the core that it is given, and what they use.

Linux alone: CPU time and memory are read from /proc, of a process and all below it.
"""

import argparse
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Program:
    """One that runs, and listens on `port`."""

    process: subprocess.Popen[bytes]
    port: int

    def cpu_seconds(self) -> float:
        """Add up user and system time of the process and its descendants that are alive."""
        return sum(map(_cpu_seconds, tree(self.process.pid)))

    def peak_bytes(self) -> int:
        """Add up the most that each process of the tree has held in memory."""
        return sum(_status_bytes(pid, "VmHWM:") for pid in tree(self.process.pid))

    def resident_bytes(self) -> int:
        """Add up what each process of the tree holds in memory."""
        return sum(_status_bytes(pid, "VmRSS:") for pid in tree(self.process.pid))


@contextmanager
def running(
    command: Sequence[str],
    port: int,
    ready: str,
    core: int | str,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
) -> Iterator[Program]:
    """Run a program on a core, or on several ("0,1"), from when it answers GET `ready`."""
    with (log or Path(os.devnull)).open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            env={**os.environ, **(environment or {})},
            stdout=output,
            stderr=output,
        )
        try:
            _wait(f"http://127.0.0.1:{port}{ready}", process)
            yield Program(process, port)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"no answer from {url}")


def two_cores(parser: argparse.ArgumentParser) -> tuple[int, int]:
    """Keep this process to the first of two cores; the second is for what is measured."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        parser.error("two cores are needed, one of them for load and sink")
    os.sched_setaffinity(0, cores[:1])
    return cores[0], cores[1]


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def tree(pid: int) -> list[int]:
    """List a process and its descendants."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def _cpu_seconds(pid: int) -> float:
    with suppress(OSError):
        return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid: nanoseconds, not ticks
    return 0.0


def _status_bytes(pid: int, name: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0
