"""What goes on while all parts run: traffic into Triton, and a look at where it comes out."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import aiohttp
from tritonclient.utils import InferenceServerException

from demo.arrivals import key, read_latest, tell, tell_counters
from demo.load import GpuReading, drive, publish_gpu

LOOK_SECONDS = 3.0
GPU_SECONDS = 5.0
GIB = 2.0**30

Say = Callable[[str], object]


async def send_traffic(url: str) -> None:
    """Send good and failing requests, and move the stand-in GPU's values, until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(drive(url, good_per_second=10, failing_per_second=1))
        group.create_task(_pretend_a_gpu(url))


async def tell_arrivals(sandbox_url: str, say: Say) -> None:
    """Say what is new in the sandbox, until cancelled."""
    told: dict[str, datetime] = {}
    async with aiohttp.ClientSession() as session:
        while True:
            if (latest := await _ask(session, f"{sandbox_url}/latest")) is not None:
                arrivals = read_latest(latest)
                if lines := list(tell(arrivals, told)):
                    say("\n".join(lines) + "\n")
                told = {key(arrival): arrival.time for arrival in arrivals}
            await asyncio.sleep(LOOK_SECONDS)


async def tell_deliveries(receiver_url: str, say: Say) -> None:
    """Say what has become of the samples when it changes, until cancelled."""
    last = ""
    async with aiohttp.ClientSession() as session:
        while True:
            if (status := await _ask(session, f"{receiver_url}/api/v1/status")) is not None:
                line = tell_counters(status)
                if line != last:
                    say(f"{datetime.now().astimezone():%H:%M:%S}  {line}")
                last = line
            await asyncio.sleep(LOOK_SECONDS)


async def _ask(session: aiohttp.ClientSession, url: str) -> Any:
    with suppress(aiohttp.ClientError, TimeoutError):  # its end is told by whoever waits for it
        async with session.get(url) as response:
            if response.ok:
                return await response.json(content_type=None)
    return None


async def _pretend_a_gpu(url: str) -> None:
    energy, seconds = 0.0, 0.0
    while True:
        load = 0.5 - 0.4 * math.cos(seconds / 30)
        watts = 40 + 200 * load
        with suppress(InferenceServerException, aiohttp.ClientError, TimeoutError):
            await publish_gpu(
                url, GpuReading(round(load, 2), 16 * GIB, (1 + 8 * load) * GIB, watts, 300, energy)
            )
        await asyncio.sleep(GPU_SECONDS)
        seconds += GPU_SECONDS
        energy += watts * GPU_SECONDS
