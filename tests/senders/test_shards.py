"""A real Prometheus shares targets out among receivers: sums are exact through kills and another number of them."""

import contextlib
import json
from pathlib import Path

import pytest

from receiver.cli.main import main
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess
from tests.integration.waiting import in_loop
from tests.senders.shards import ENTRIES, Sums, rescale

pytestmark = pytest.mark.timeout(400)


@in_loop(380)
async def test_sums_are_exact_through_kills_and_another_number(tmp_path: Path) -> None:
    """Two receivers, three, and two again; each is killed with -9 meanwhile."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(Sandbox()))
        receivers = []
        for number in range(3):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "metrics.json").write_text(json.dumps(ENTRIES))
            process = ReceiverProcess(folder, server.connection_string)
            receivers.append(await stack.enter_async_context(process))

        def hand_over(shards: int) -> int:
            urls = ",".join(receiver.url for receiver in receivers)
            return main(["handover", "--shards", str(shards), "--receivers", "3", "--url", urls, "--settle", "4"])  # fmt: skip

        def sums() -> Sums:
            items = server.sandbox.store.select()
            return Sums.of((item.series.name, item.value, item.spread.count if item.spread else 1) for item in items)  # fmt: skip

        await rescale(tmp_path, receivers, hand_over, sums)
