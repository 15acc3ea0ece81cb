"""How often an endpoint that refuses is asked: a handful of times a minute, never in a loop.

Longer waits, on a clock that jumps: tests/unit/delivery/test_sender.py.
"""

import time
from pathlib import Path
from typing import Any

from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import delivered, receiving, script
from tests.integration.remote_write import Point, encode, numbered, post
from tests.integration.waiting import in_loop, until


async def requests_while_refused(
    folder: Path, fault: dict[str, Any], seconds: float, **flags: str
) -> int:
    """Write twice a second for `seconds` to a receiver whose service refuses; count its requests.

    Afterwards the service accepts, and all must arrive.
    """
    async with (
        serve(Sandbox()) as server,
        receiving(folder, server.connection_string, **flags) as receiver,
    ):
        script(server, fault | {"times": None})
        begun_at = time.monotonic()
        sent: list[Point] = []
        while time.monotonic() - begun_at < seconds:
            part = numbered(0, len(sent), 20, int(time.time() * 1000))
            assert (await post(receiver.session, receiver.url, encode(part))).status == 204
            sent += part
            next_at = begun_at + len(sent) / 40
            await until(lambda: time.monotonic() >= next_at, "the next request")  # noqa: B023
        count = len(server.sandbox.ledger.requests(10_000))
        script(server)
        await receiver.idle(90)
        assert sorted(delivered(server.sandbox)) == sorted(sent)
        return count


@in_loop(60)
async def test_retry_after_of_three_seconds_for_ten(tmp_path: Path) -> None:
    """The first batches and one attempt for every Retry-After that has passed, no more."""
    fault = {"kind": "status", "status": 429, "retry_after": 3}
    count = await requests_while_refused(tmp_path, fault, 10, retry_max_seconds="3s")
    print(f"429 with Retry-After: 3, for 10 s: {count} requests")
    assert 2 <= count <= 8


@in_loop(60)
async def test_refused_without_retry_after_for_ten_seconds(tmp_path: Path) -> None:
    """With the default waits, which grow: 1 s, 3 s, 9 s."""
    fault = {"kind": "status", "status": 503}
    count = await requests_while_refused(tmp_path, fault, 10, retry_max_seconds="5s")
    print(f"503 for 10 s: {count} requests")
    assert 2 <= count <= 8
