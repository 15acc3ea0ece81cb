"""Three receivers in containers, a volume each, share a real Prometheus' targets out: sums stay exact.

The receivers are killed with `docker kill` and started again in turn, and become three and two again.
Prometheus runs beside Docker and reaches them at ports that are published; `handover` runs in one of
the containers and reaches them by name.
"""

import asyncio
import contextlib
import json
import uuid
from pathlib import Path

import aiohttp
import pytest

from demo.ports import free_ports
from tests.container.containers import Box, Container, Docker, get_json
from tests.integration.waiting import in_loop, until
from tests.senders.shards import ENTRIES, Sums, rescale

pytestmark = pytest.mark.timeout(600, func_only=True)

NAMES = ("nv_inference_count", "nv_inference_request_duration_us")


class ReceiverContainer:
    """A receiver whose container is killed and started again; its port stays."""

    def __init__(self, docker: Docker, container: Container, url: str) -> None:
        """Take a container that was run; `url` is its published port."""
        self._docker = docker
        self.container = container
        self.url = url

    async def kill(self) -> None:
        """End its first process, and so the container, with SIGKILL."""
        await asyncio.to_thread(self._docker, "kill", "--signal=KILL", self.container.name)
        assert await asyncio.to_thread(self._docker, "wait", self.container.name) == "137"

    async def start(self) -> None:
        """Start the same container again."""
        await asyncio.to_thread(self._docker, "start", self.container.name)
        await self.listens()

    async def listens(self) -> None:
        """Wait until it answers."""
        await until(self._answers, f"{self.container.name} listens", 60)

    async def _answers(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/-/ready") as response:  # fmt: skip
                return response.ok
        except aiohttp.ClientError:
            return False


@in_loop(580)
async def test_sums_are_exact_through_kills_and_another_number(
    docker: Docker, network: str, receiver_image: str, box: Box, tmp_path: Path
) -> None:
    """Two containers, three, and two again; each is killed meanwhile and finds its volume."""
    entries = tmp_path / "metrics.json"
    entries.write_text(json.dumps(ENTRIES))
    entries.chmod(0o644)
    volumes = [f"appinsights-test-{uuid.uuid4().hex[:8]}" for _ in range(3)]
    with contextlib.ExitStack() as stack:
        stack.callback(docker, "volume", "rm", "--force", *volumes)
        receivers = []
        for volume, port in zip(volumes, free_ports(3), strict=True):
            container = Container(
                docker,
                f"--network={network}",
                f"--publish={docker.host}:{port}:9201",
                f"--volume={volume}:/var/lib/receiver",
                f"--volume={entries}:/etc/receiver/metrics.json:ro",
                f"--env=APPLICATIONINSIGHTS_CONNECTION_STRING={box.connection_string}",
                receiver_image,
            )
            stack.enter_context(container)
            receiver = ReceiverContainer(docker, container, f"http://{docker.host}:{port}")
            receivers.append(receiver)
        for receiver in receivers:
            await receiver.listens()

        def hand_over(shards: int) -> int:
            urls = ",".join(f"http://{receiver.container.name}:9201" for receiver in receivers)
            command = ["appinsights-receiver", "handover", "--json", "--shards", str(shards), "--receivers", "3", "--url", urls, "--settle", "4"]  # fmt: skip
            answer = json.loads(receivers[0].container.run(*command))  # fails with its exit code
            print(f"handover to {shards}: {answer}")
            assert answer["moved"], "nothing was moved"
            return 0

        def sums() -> Sums:
            items = [item for name in NAMES for item in get_json(f"{box.url}/items?name={name}")]
            return Sums.of((item["name"], item["value"], item.get("count", 1)) for item in items)

        grown = await rescale(tmp_path, receivers, hand_over, sums)
        starts = [receiver.container.logs().count("receiver listens") for receiver in receivers]
        print(f"the counters grew by {grown:.0f}, and so did the sums; starts: {starts}")
        assert starts == [2, 2, 2]
