"""What real Prometheus sent, 2.42 in remote-write 1.0 and 3.5 in 2.0, arrives as it was."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import delivered, receiving
from tests.integration.remote_write import Point, decode, post
from tests.integration.waiting import in_loop

CAPTURES = Path(__file__).parent.parent / "data/remote-write"
CAPTURED_AT = 1_795_345_000.0
"""Minutes after the captures, 2026-11-22: the service refuses what is older than two days."""


def clock() -> Callable[[], float]:
    """Make a clock for the sandbox that runs from the day of the captures."""
    begun_at = asyncio.get_running_loop().time()
    return lambda: CAPTURED_AT + asyncio.get_running_loop().time() - begun_at


def wanted(version: int) -> list[Point]:
    """List what must arrive of the captures, in a fixed order."""
    points = [point for path in bodies(version) for point in decode(path.read_bytes(), version)]
    return sorted(each for each in points if each.name.startswith("nv_") and each.is_finite)


def bodies(version: int) -> list[Path]:
    """List the captured bodies in the order sent."""
    return sorted((CAPTURES / f"v{version}").glob("*.bin"))


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("version", [1, 2])
@in_loop()
async def test_each_finite_selected_sample_arrives_once(
    tmp_path: Path, version: int, times: int
) -> None:
    """Name, labels, time and value of every nv_ sample, each once; also if all is sent twice."""
    async with (
        serve(Sandbox(now=clock())) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        for path in bodies(version):
            sent = json.loads(path.with_suffix(".json").read_text())["h"]
            headers = {name: sent[name] for name in ("Content-Type", "User-Agent")}
            for _ in range(times):
                reply = await post(
                    receiver.session, receiver.url, path.read_bytes(), version, headers
                )
                assert (reply.status, reply.text) == (204, "")
        status = await receiver.idle()
        assert sorted(delivered(server.sandbox)) == wanted(version)
        assert status["accepted"] == len(wanted(version)) > 2000
        assert status["rejected"] == {}
        assert status["expired"] == 0


@in_loop()
async def test_labels_keep_their_order_and_roles_are_set(tmp_path: Path) -> None:
    """What users slice by comes first; job and instance, from Prometheus, name the role."""
    async with (
        serve(Sandbox(now=clock())) as server,
        receiving(tmp_path, server.connection_string, cloud_role_instance="here") as receiver,
    ):
        for path in bodies(1)[:20]:
            await post(receiver.session, receiver.url, path.read_bytes())
        await receiver.idle()
        series = [
            each
            for each in server.sandbox.store.latest("nv_inference_*")
            if "model" in each.properties
        ]
        assert series
        for each in series:
            names = list(each.properties)
            assert names[:2] == ["model", "version"], names
            assert names[-2:] == ["job", "instance"], names
            assert each.tags["ai.cloud.role"] == each.properties["job"]
            assert each.tags["ai.cloud.roleInstance"] == "here"
