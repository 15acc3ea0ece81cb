"""Send inference traffic to Triton at a steady rate, with an exact account of it.

A stream sends its requests by a timetable, whether or not the earlier ones
were answered; when it ends, each request that was sent has one end in the
account. Tests compare the account with Triton's own statistics.
"""

import asyncio
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace

import aiohttp
import numpy as np
from tritonclient.http import InferInput
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

GOOD_MODEL = "add_sub"
FAILING_MODEL = "raiser"
GPU_MODEL = "gpufake"
ANSWER_TIMEOUT_SECONDS = 30.0
VECTOR_LENGTH = 4


@dataclass(frozen=True)
class Stream:
    """Requests of one kind: so many a second, the same inputs each time."""

    model: str
    inputs: Sequence[InferInput]
    per_second: float
    inferences: int = 1  # a batch of n is n inferences


@dataclass(frozen=True)
class Account:
    """What became of the requests to one model: sent = answered + refused + unanswered."""

    sent: int = 0
    answered: int = 0
    refused: int = 0  # the server answered with an error
    unanswered: int = 0  # no answer came: it ended, or took too long
    inferences: int = 0  # in the requests that were answered

    def __add__(self, other: "Account") -> "Account":
        return Account(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class GpuReading:
    """What the stand-in for a GPU publishes."""

    utilization: float
    memory_total_bytes: float
    memory_used_bytes: float
    power_usage_watts: float
    power_limit_watts: float
    energy_joules: float  # since the start: it never goes down


def good(per_second: float, batch: int = 1) -> Stream:
    """Return requests that `add_sub` answers."""
    vectors = np.ones((batch, VECTOR_LENGTH), np.float32)
    inputs = [tensor("INPUT0", vectors), tensor("INPUT1", vectors)]
    return Stream(GOOD_MODEL, inputs, per_second, batch)


def failing(per_second: float) -> Stream:
    """Return requests that make `raiser` raise: reason="BACKEND"."""
    return Stream(FAILING_MODEL, [tensor("FAIL", np.ones(1, np.int32))], per_second)


async def drive(
    url: str,
    *,
    seconds: float = math.inf,
    stop: asyncio.Event | None = None,
    good_per_second: float = 10,
    failing_per_second: float = 1,
    batch: int = 1,
    more: Iterable[Stream] = (),
) -> dict[str, Account]:
    """Send traffic to `url` (host:port) and return the account of each model.

    It ends after `seconds`, in which each stream sends seconds * rate requests,
    or when `stop` is set; all that were sent have their answer then.
    """
    streams = [good(good_per_second, batch), failing(failing_per_second), *more]
    stop = stop or asyncio.Event()
    async with InferenceServerClient(url) as client, asyncio.TaskGroup() as group:
        running = [
            (stream.model, group.create_task(_send(client, stream, seconds, stop)))
            for stream in streams
            if stream.per_second > 0
        ]
    accounts: dict[str, Account] = {}
    for model, task in running:
        accounts[model] = accounts.get(model, Account()) + task.result()
    return accounts


async def publish_gpu(url: str, reading: GpuReading) -> None:
    """Make the stand-in for a GPU publish `reading`.

    Raises: InferenceServerException when it has no such model.
    """
    async with InferenceServerClient(url) as client:
        await client.infer(GPU_MODEL, [tensor("VALUES", np.array(astuple(reading), np.float64))])


def tensor(name: str, values: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> InferInput:
    """Return `values` as the input `name` of a request."""
    types = {"float32": "FP32", "float64": "FP64", "int32": "INT32"}
    made = InferInput(name, list(values.shape), types[values.dtype.name])
    return made.set_data_from_numpy(values)


async def _send(
    client: InferenceServerClient, stream: Stream, seconds: float, stop: asyncio.Event
) -> Account:
    now = asyncio.get_running_loop().time
    start, sent, requests = now(), 0, []
    async with asyncio.TaskGroup() as group:
        while sent < seconds * stream.per_second and not stop.is_set():
            requests.append(group.create_task(_request(client, stream)))
            sent += 1
            try:
                async with asyncio.timeout_at(start + sent / stream.per_second):
                    await stop.wait()
            except TimeoutError:
                pass  # time for the next request
    return sum((request.result() for request in requests), Account())


async def _request(client: InferenceServerClient, stream: Stream) -> Account:
    sent = Account(sent=1)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_SECONDS):
            await client.infer(stream.model, stream.inputs)
    except InferenceServerException:
        return replace(sent, refused=1)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return replace(sent, unanswered=1)
    return replace(sent, answered=1, inferences=stream.inferences)
