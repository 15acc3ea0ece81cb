"""Every answer of docs/answers.md over a real socket: a running receiver does what the table says."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from receiver.delivery.backoff import JITTER
from receiver.sandbox import INSTRUMENTATION_KEY
from receiver.status.verdicts import State
from tests.golden.answers import ROWS, Row, expected
from tests.integration.receivers import receiving
from tests.integration.remote_write import encode, numbered, post
from tests.integration.waiting import in_loop, until

ABOUT_DELIVERY = {
    State.BLOCKED, State.QUOTA, State.THROTTLED, State.UNREACHABLE, State.FAILING, State.REJECTED,
    State.DROPPING, State.UNCONFIRMED, State.SET_BACK,
}  # fmt: skip


class Scripted:
    """A server that gives one answer, and from then on none."""

    def __init__(self, row: Row) -> None:
        self._wire = row.wire()
        self._ends = bool(row.cut) or row.encoding == "until the end"
        self.requests = 0
        self.over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                await reader.readexactly(size)
                self.requests += 1
                if self.requests > 1:
                    await self.over.wait()
                    break
                writer.write(self._wire)
                await writer.drain()
                if self._ends:
                    break
        writer.close()


@asynccontextmanager
async def answering(row: Row) -> AsyncIterator[tuple[Scripted, str]]:
    """Give a server and the connection string that leads to it."""
    scripted = Scripted(row)
    server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield (
            scripted,
            f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint=http://127.0.0.1:{port}",
        )
    finally:
        scripted.over.set()
        server.close()


def test_the_table_is_large_enough_and_no_row_stands_twice() -> None:
    """Sixty at least, of the service's and of others."""
    assert len(ROWS) >= 60
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
@in_loop(30)
async def test_an_answer_has_the_outcome_of_the_table(tmp_path: Path, row: Row) -> None:
    """The items' ends, the verdict on the page, and when the next batch may go."""
    want = expected(row, time.time())
    async with (
        answering(row) as (_, connection),
        receiving(tmp_path, connection, retry_max_seconds="120s", send_timeout_seconds="25s") as receiver,
    ):  # fmt: skip
        points = numbered(0, 0, row.items, int(time.time() * 1000))
        reply = await post(receiver.session, receiver.url, encode(points))
        assert reply.status == 204

        left = row.items - want.accepted - want.expired - sum(want.rejected.values())

        async def judged() -> dict[str, Any] | None:
            found = await receiver.status()
            ended = found["pending"] == left and (left < row.items or found["delivery"]["failures"])
            split = found["outbox"]["batches"] == max(want.batches, 1) or not found["pending"]
            return found if found["delivery"]["attempts"].get(str(row.status)) and ended and split else None  # fmt: skip

        found = await until(judged, "the answer's outcome", 20)
        assert found["accepted"] == want.accepted
        assert found["rejected"] == want.rejected
        assert found["expired"] == want.expired
        assert found["delivery"]["unconfirmed"] == want.unconfirmed
        assert found["outbox"]["batches"] == want.batches
        states = {line.partition(":")[0] for line in (found["verdict"]["line"], *found["verdict"]["also"])}  # fmt: skip
        assert states & ABOUT_DELIVERY == set(want.states)
        wait = found["delivery"]["wait_seconds"]
        assert wait <= want.wait_seconds * (1 + JITTER) + 0.1
        assert wait >= min(want.wait_seconds * (1 - JITTER), want.wait_seconds - 1) - 5
