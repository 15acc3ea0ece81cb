"""The program of `make run`: it shows values arriving, and Ctrl-C leaves nothing behind."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Self

import pytest

from demo.parts import REPOSITORY, parts_dir
from demo.plan import plan_from
from demo.ports import Ports, is_free
from tests.e2e.recording import bare_environment

# The rules run once a minute; the first run fetches Triton and Prometheus before that.
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

SET_UP_SECONDS = 300
# The first scrape is done when it says so. The rules need two, 15 s apart, and run each
# minute: if just before the second, then a minute later. README promises 20 and 90; the first may be late on a busy machine.
VALUES_SECONDS = 30
IRATES_SECONDS = 90
END_SECONDS = 30


class Run:
    """`python -m demo.run` in a process of its own, as a terminal starts it."""

    def __init__(self, offset: int) -> None:
        self.ports = Ports().moved(offset)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo.run", "--port-offset", str(offset)],
            cwd=REPOSITORY,
            env=bare_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.told: list[str] = []
        self._lines: Queue[str | None] = Queue()  # None: it says no more
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End what is left, in order if it can."""
        self.process.terminate()
        try:
            self.process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as output:
            for line in output:
                self._lines.put(line)
        self._lines.put(None)

    def says(self, pattern: str, within_seconds: float) -> str:
        """Return the next line in which `pattern` is found; fail with all lines without one."""
        until = time.monotonic() + within_seconds
        with suppress(Empty):
            while line := self._lines.get(timeout=max(0, until - time.monotonic())):
                self.told.append(line)
                if re.search(pattern, line):
                    return line
        return pytest.fail(f"no {pattern} within {within_seconds} s:\n{''.join(self.told)}")

    def children(self) -> set[int]:
        """Return the process itself and all that descend from it, in whatever session."""
        found = {self.process.pid}
        while more := {pid for pid, parent in parents() if parent in found} - found:
            found |= more
        return found


def parents() -> Iterator[tuple[int, int]]:
    """Yield each process of this machine with its parent."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        yield int(status.parent.name), int(fields[1])


def alive(pid: int) -> bool:
    """Say whether a process is there, and more than its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def run() -> Iterator[Run]:
    """Provide a run at ports that are free; leave nothing of it, on disk either."""
    offsets = range(1000 + os.getpid() % 1000, 40_000, 10)
    offset = next(o for o in offsets if all(map(is_free, Ports().moved(o).named().values())))
    with Run(offset) as found:
        yield found
    asked = {"PORT_OFFSET": str(offset), "PARTS_DIR": str(parts_dir())}
    shutil.rmtree(plan_from(asked).folder, ignore_errors=True)


def test_values_and_irates_are_shown_and_ctrl_c_ends_all(run: Run) -> None:
    """What README promises of it, once from start to end."""
    run.says(r"Ctrl-C ends it all", SET_UP_SECONDS)
    began = time.monotonic()
    values = run.says(r'^nv_inference_request_success\{model="add_sub"\} \d+ ', VALUES_SECONDS)
    assert int(values.split()[1]) > 0
    run.says(r'^nv_inference_request_failure\{model="raiser", reason="BACKEND"\} \d+', 5)
    run.says(r"^nv_cpu_utilization ", 5)

    left_seconds = began + IRATES_SECONDS - time.monotonic()
    irate = run.says(r'^nv_inference_request_success_irate\{model="add_sub"\} ', left_seconds)
    # 10 requests a second, between two scrapes 15 s apart: a busy machine may be late with some.
    assert float(irate.split()[1]) == pytest.approx(10, rel=0.2)
    failing = run.says(r'^nv_inference_request_failure_irate\{model="raiser"', 5)
    assert float(failing.split()[2]) == pytest.approx(1, rel=0.2)

    family = run.children()
    assert len(family) > 4  # Triton, one stub for each model, Prometheus and the receiver
    run.process.send_signal(signal.SIGINT)

    assert run.process.wait(timeout=END_SECONDS) == 0, "".join(run.told)
    for name in ("Triton", "Prometheus", "The receiver"):
        run.says(rf"^{name} has ended", 5)
    assert not {pid for pid in family if alive(pid)}
    assert all(map(is_free, run.ports.named().values()))


def test_ctrl_c_before_it_is_up_ends_all_as_well(run: Run) -> None:
    """At the first word that it says."""
    run.says(r"is installed|Fetching", SET_UP_SECONDS)
    family = run.children()
    run.process.send_signal(signal.SIGINT)

    assert run.process.wait(timeout=END_SECONDS) == 0, "".join(run.told)
    assert not {pid for pid in family if alive(pid)}


def test_a_taken_port_is_reported_in_one_sentence(run: Run) -> None:
    """And the way round it; nothing is started."""
    run.says(r"The receiver is up", SET_UP_SECONDS)
    offset = run.ports.receiver - Ports().receiver

    with Run(offset) as second:
        assert second.process.wait(timeout=END_SECONDS) == 1
        assert "PORT_OFFSET=" in second.says("is taken by another program", 5)
        assert len(second.told) == 1
