"""The order of a stop, on a clock that jumps."""

import asyncio
from typing import Any

import pytest

from receiver import service
from receiver.errors import NotCommitted
from tests.unit.delivery.jumping import run


class Parts:
    """Stands in for a receiver's server, deliveries, committer and settings, and notes what a stop asks of them."""

    def __init__(self, drain_seconds: float, sends_for: float, *, drain_fold: bool = False) -> None:
        """Requests in flight take 3 s, waiting batches `sends_for`."""
        self.loop = asyncio.get_running_loop()
        self.began_at = self.loop.time()
        self.steps: list[tuple[str, float]] = []
        self.drain_seconds = drain_seconds
        self.shutdown_seconds = 10.0
        self.drain_fold = drain_fold
        self.disk_fails = False
        self.sending = asyncio.create_task(asyncio.sleep(sends_for))

    def note(self, step: str) -> None:
        self.steps.append((step, self.loop.time() - self.began_at))

    async def drain(self, seconds: float) -> None:
        assert seconds == self.shutdown_seconds
        self.note("drain")
        await asyncio.sleep(3)

    async def ask(self, _: object) -> None:
        self.note("flush")
        if self.disk_fails:
            raise NotCommitted("the disk fails")

    def stop(self) -> None:
        self.note("stop")

    def finish(self, within_seconds: float) -> None:
        self.note(f"finish within {within_seconds}")

    async def stopped(self) -> float:
        """Stop; returns how long it took."""
        stands_in: Any = self
        await service._stop(stands_in, stands_in, self.sending, stands_in, stands_in)
        return self.loop.time() - self.began_at


def test_a_stop_lets_waiting_batches_go_for_the_rest_of_the_drain_timeout() -> None:
    """Requests in flight first, whose batches are sent too; it ends as soon as nothing waits."""

    async def main() -> None:
        parts = Parts(drain_seconds=20, sends_for=5)
        assert await parts.stopped() == pytest.approx(5)
        assert parts.steps == [("drain", 0), ("finish within 17.0", 3)]

    run(main())


def test_without_a_drain_timeout_no_further_batch_begins() -> None:
    """From the signal on, and not only after the requests in flight."""

    async def main() -> None:
        parts = Parts(drain_seconds=0, sends_for=5)
        await parts.stopped()
        assert parts.steps == [("stop", 0), ("drain", 0), ("finish within 0.0", 3)]

    run(main())


@pytest.mark.parametrize("disk_fails", [False, True])
def test_windows_are_closed_before_the_rest_is_sent(disk_fails: bool) -> None:  # noqa: FBT001
    """After the last request, so that its samples are in them; a disk that fails ends no stop."""

    async def main() -> None:
        parts = Parts(drain_seconds=20, sends_for=5, drain_fold=True)
        parts.disk_fails = disk_fails
        await parts.stopped()
        assert [step for step, _ in parts.steps] == ["drain", "flush", "finish within 17.0"]

    run(main())


def test_a_batch_that_gets_no_answer_is_left_after_both_timeouts() -> None:
    """The drain timeout, then the shutdown timeout for what is in flight."""

    async def main() -> None:
        parts = Parts(drain_seconds=20, sends_for=3600)
        assert await parts.stopped() == pytest.approx(30)
        assert parts.sending.cancelled()

    run(main())
