"""What the telemetry takes from the machine while Triton is busy; `-s` prints the table of docs/."""

import asyncio
import json
import sys

import pytest

from demo.load import GOOD_MODEL, drive
from demo.parts import REPOSITORY
from tests.container.conftest import Start
from tests.container.containers import Box, Container, Docker, get, until

pytestmark = pytest.mark.timeout(400, func_only=True)

SECONDS = 45
PER_SECOND = 100

# Prints, by part, the processor's ticks and the resident bytes of its processes.
LOOK = """
import collections, json, os
parts = collections.defaultdict(lambda: [0, 0])
for pid in filter(str.isdecimal, os.listdir("/proc")):
    try:
        command = open(f"/proc/{pid}/cmdline").read()
        ticks = open(f"/proc/{pid}/stat").read().rpartition(") ")[2].split()[11:13]
        pages = open(f"/proc/{pid}/statm").read().split()[1]
    except OSError:
        continue
    program = command.split("\\0")[0].rpartition("/")[2]
    part = ("triton" if program.startswith("triton")
        else "prometheus" if program == "prometheus"
        else "receiver" if "appinsights-receiver" in command
        else "s6" if program.startswith("s6-") else None)
    if part:
        parts[part][0] += sum(map(int, ticks))
        parts[part][1] += int(pages) * os.sysconf("SC_PAGE_SIZE")
print(json.dumps([os.sysconf("SC_CLK_TCK"), parts]))
"""


def look(container: Container) -> dict[str, tuple[float, float]]:
    """Seconds of CPU and MB of resident memory, by part."""
    ticks_per_second, parts = json.loads(
        container.run("/opt/receiver/bin/python", "-I", "-S", "-c", LOOK)
    )
    return {name: (ticks / ticks_per_second, size / 1e6) for name, (ticks, size) in parts.items()}


def test_telemetry_takes_little_beside_a_busy_triton(started: Start, box: Box) -> None:
    """Less than a quarter of what Triton takes in CPU, and 250 MB, as it is shipped."""
    with started(f"--volume={REPOSITORY}/demo/models:/models:ro") as container:
        url = container.at(8000)
        until(lambda: get(f"http://{url}/v2/health/ready") == b"", "Triton is ready")
        until(box.items, "samples arrive")
        before = look(container)
        accounts = asyncio.run(
            drive(url, seconds=SECONDS, good_per_second=PER_SECOND, failing_per_second=0)
        )
        after = look(container)
        answered = accounts[GOOD_MODEL].answered
        print(
            f"\n{answered / SECONDS:.0f} answers a second over {SECONDS} s; Python {sys.version.split()[0]} drives"
        )
        percent = {name: 100 * (after[name][0] - before[name][0]) / SECONDS for name in after}
        for name, (_, megabytes) in after.items():
            print(f"| {name} | {percent[name]:.2f} % | {megabytes:.0f} MB |")
        assert answered == SECONDS * PER_SECOND
        telemetry = sum(value for name, value in percent.items() if name != "triton")
        assert telemetry < percent["triton"] / 4
        assert sum(size for name, (_, size) in after.items() if name != "triton") < 250


def test_layers_sizes(docker: Docker, image: str, receiver_image: str) -> None:
    """What each layer of ours adds: together less than 165 MB on Triton's image."""
    for name in (image, receiver_image):
        print(f"\n{name}")
        print(docker("history", "--no-trunc", "--format={{.Size}}\t{{.CreatedBy}}", name))
    size = {
        each: int(docker("image", "inspect", "--format={{.Size}}", each))
        for each in (image, "appinsights-test/triton:2.51")
    }
    assert size[image] - size["appinsights-test/triton:2.51"] < 165e6
