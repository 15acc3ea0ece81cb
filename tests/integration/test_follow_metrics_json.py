"""metrics.json is followed by a receiver that runs: by its date, and on SIGHUP."""

import signal
from pathlib import Path

import aiohttp

from receiver import sandbox
from tests.integration.receivers import ReceiverProcess
from tests.integration.waiting import in_loop, until


@in_loop()
async def test_a_new_list_is_in_force_and_a_broken_one_is_not(tmp_path: Path) -> None:
    """Edited, broken, and edited again: status and metrics say which list is in force."""
    async with sandbox.serve(sandbox.Sandbox()) as box, aiohttp.ClientSession() as session:
        process = ReceiverProcess(tmp_path, box.connection_string)
        await process.start()
        file = tmp_path / "metrics.json"

        async def names() -> list[str]:
            async with session.get(f"{process.url}/api/v1/status") as response:
                found: list[str] = (await response.json())["metrics_json"]["names"]
                return found

        async def metrics() -> str:
            async with session.get(f"{process.url}/metrics") as response:
                return await response.text()

        async def in_force(wanted: list[str]) -> bool:
            return await names() == wanted

        assert await in_force(["nv_*"])
        file.write_text('{"customMetrics": ["nv_cpu_utilization"]}')
        await until(lambda: in_force(["nv_cpu_utilization"]), "the new list")
        assert "receiver_config_last_reload_successful 1.0" in await metrics()

        file.write_text("{")
        process.signal(signal.SIGHUP)
        told = await process.event(
            "metrics.json cannot be used; the previous version stays in force"
        )
        assert "metrics.json:1:2" in told["error"]
        assert await in_force(["nv_cpu_utilization"])
        assert "receiver_config_last_reload_successful 0.0" in await metrics()

        file.write_text('{"customMetrics": ["nv_gpu_*"]}')
        await until(lambda: in_force(["nv_gpu_*"]), "the mended list")
        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
