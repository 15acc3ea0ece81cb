"""When the outbox's thread writes and flushes: an outbox that counts, and times that are arguments."""

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Self

import pytest
from structlog.testing import capture_logs

from receiver.errors import NotCommitted, OutboxFull
from receiver.events import Events
from receiver.outbox.committer import (
    COUNTS_SECONDS,
    ENDED,
    LINGER_SECONDS,
    READ_FAILED,
    READ_HINT,
    STOP_SECONDS,
    WINDOW_SECONDS,
    WRITE_FAILED,
    Committer,
)
from receiver.outbox.folding import Flush
from receiver.outbox.values import Chunk, Settlement, Submission
from tests.integration.waiting import in_loop, until

LONG = 3600.0
NO_FLUSH = Flush((), b"")


class CountingOutbox:
    """Notes what it is asked for; `error` is raised by a flush."""

    def __init__(self) -> None:
        self.applied: list[list[int]] = []
        self.totals: Counter[tuple[str, str]] = Counter()
        self.flushes = self.probes = self.inserted = 0
        self.has_batches = False
        self.wants_flush = False
        self.error: Exception | None = None
        self.cannot_replace: OSError | None = None
        self.apply_error: Exception | None = None

    def open(self) -> None: ...

    def apply(
        self, submissions: Sequence[Submission], settlements: Sequence[Settlement]
    ) -> list[None]:
        if self.apply_error:
            raise self.apply_error
        self.applied.append([submission.items for submission in submissions])
        for submission in submissions:
            self.totals.update(submission.totals)
            self.inserted += bool(submission.items)
        return [None] * (len(submissions) + len(settlements))

    def flush(self) -> bool:
        self.flushes += 1
        if self.error:
            raise self.error
        return self.has_batches

    def probe(self) -> None:
        self.probes += 1

    def change_fold(self, change: Callable[[], tuple[int, Flush]]) -> int:
        return change()[0]

    def replace_if_broken(self, _: BaseException) -> bool:
        if self.cannot_replace:
            raise self.cannot_replace
        return False

    def close(self) -> None: ...


def request(items: int = 1) -> Submission:
    """Make a request of so many items."""
    return Submission([Chunk(b"x\n" * items, items)], 1, 2, {("received", ""): items})


class Desk:
    """A committer, its outbox, and how it waits."""

    def __init__(self, **seconds: float) -> None:
        self.outbox, self.events, self.changed = CountingOutbox(), Events(), asyncio.Event()
        usual = {"counts_seconds": LONG, "linger_seconds": LONG, "window_seconds": LONG}
        stands_in: Any = self.outbox
        self.committer = Committer(stands_in, self.events, self.changed, **usual | seconds)

    async def __aenter__(self) -> Self:
        self.committer.start()
        await self.committer.opened
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.committer.stop()

    async def flushed(self, times: int) -> None:
        """Wait until so many flushes were tried."""
        await until(lambda: self.outbox.flushes >= times, f"{times} flushes")


def test_the_usual_times() -> None:
    """Milliseconds for company, seconds for counts and windows; a stop waits for a slow disk."""
    assert (LINGER_SECONDS, COUNTS_SECONDS, WINDOW_SECONDS, STOP_SECONDS) == (0.005, 10, 10, 5)


@in_loop(20)
async def test_windows_are_looked_for_at_their_time() -> None:
    """Without a request; delivery is woken where there are batches, and not where there are none."""
    async with Desk(window_seconds=0.01) as desk:
        await desk.flushed(3)
        assert not desk.changed.is_set()
        desk.outbox.has_batches = True
        await desk.changed.wait()


@in_loop(20)
async def test_windows_are_not_looked_for_with_each_request() -> None:
    """Once at the start, and then when it is time, when it is asked for, or when the log is long."""
    async with Desk() as desk:
        for _ in range(5):
            await desk.committer.submit(request())
        await desk.committer.ask(lambda _: None)
        assert desk.outbox.flushes == 1
        desk.committer.flush_soon()
        await desk.flushed(2)
        for _ in range(5):
            await desk.committer.submit(request())
        await desk.committer.ask(lambda _: None)
        assert desk.outbox.flushes == 2, "asked for once, done once"
        desk.outbox.wants_flush = True
        await desk.committer.submit(request())
        await desk.flushed(3)
        desk.outbox.wants_flush = False
        await desk.committer.ask(lambda _: None)
        assert desk.outbox.flushes <= 4


@in_loop(20)
async def test_a_flush_that_fails_is_logged_and_tried_again() -> None:
    """Once an hour, though requests are small enough for the disk; its end is a flush that succeeds."""
    async with Desk(window_seconds=0.01) as desk:
        with capture_logs() as logs:
            desk.outbox.error = sqlite3.OperationalError("disk is full")
            await desk.flushed(desk.outbox.flushes + 3)
            await until(lambda: desk.committer.failing, "the failure")
            await desk.committer.submit(request())
            assert desk.committer.failing
            assert desk.committer.error == "disk is full"
            desk.outbox.error = None
            await until(lambda: not desk.committer.failing, "the end of it")
        assert desk.committer.error == ""
        assert desk.outbox.probes >= 1
    told = [(line["event"], line["log_level"], "exc_info" in line) for line in logs]
    assert told == [
        ("outbox cannot be written", "error", False),
        ("outbox can be written again", "info", False),
    ]
    [event] = desk.events.latest()
    assert (event.where, event.reason, event.words) == (
        "outbox",
        "OperationalError",
        "disk is full",
    )
    assert event.hint == NotCommitted.hint
    assert event.count >= 2


@in_loop(20)
async def test_a_defect_is_logged_with_its_traceback() -> None:
    """What is no failure of the disk's is ours."""
    async with Desk(window_seconds=0.01) as desk:
        with capture_logs() as logs:
            desk.outbox.error = defect = RuntimeError("a defect")
            await until(lambda: desk.committer.failing, "the failure")
            desk.outbox.error = None
        assert next(line for line in logs if "exc_info" in line)["exc_info"] is defect


@in_loop(20)
async def test_a_query_that_fails_is_logged_once_an_hour() -> None:
    """Delivery asks each second: a write that succeeds in between, or another read, is not its end."""
    async with Desk() as desk:
        error = sqlite3.OperationalError("disk I/O error")

        def fail(_: object) -> None:
            raise error

        with capture_logs() as logs:
            for _ in range(5):
                with pytest.raises(NotCommitted, match="cannot be read: disk I/O error"):
                    await desk.committer.ask(fail)
                assert desk.committer.failing
                assert desk.committer.error == "disk I/O error"
                await desk.committer.submit(request())
                assert not desk.committer.failing
        [told] = logs
        assert (told["event"], told["error"]) == ("outbox cannot be read", "disk I/O error")
        assert told["hint"] == READ_HINT
        assert desk.events.counts(READ_FAILED) == {"OperationalError": 5}


@in_loop(20)
async def test_the_end_of_a_failure_to_write_is_logged_though_a_query_failed_too() -> None:
    """Once; the next failure at once, though it is within the hour."""
    async with Desk() as desk:

        def fail(_: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        with capture_logs() as logs:
            for _ in range(2):
                desk.outbox.apply_error = sqlite3.OperationalError("disk is full")
                for _ in range(2):
                    with pytest.raises(NotCommitted, match="disk is full"):
                        await desk.committer.submit(request())
                with pytest.raises(NotCommitted):
                    await desk.committer.ask(fail)
                desk.outbox.apply_error = None
                await desk.committer.submit(request())
                await desk.committer.submit(request())
        assert [line["event"] for line in logs] == [
            "outbox cannot be written",
            "outbox cannot be read",
            "outbox can be written again",
            "outbox cannot be written",
            "outbox can be written again",
        ]
        assert desk.events.counts(WRITE_FAILED)["OperationalError"] >= 4


@in_loop(20)
async def test_damage_that_cannot_be_set_aside_is_an_answer_too() -> None:
    """The thread goes on: the disk may let it the next time."""
    async with Desk() as desk:

        def fail(_: object) -> None:
            raise sqlite3.DatabaseError("malformed")

        desk.outbox.cannot_replace = PermissionError("read-only")
        with pytest.raises(NotCommitted, match="malformed"):
            await desk.committer.ask(fail)
        assert await desk.committer.ask(lambda _: 5) == 5


@in_loop(20)
async def test_a_change_of_the_fold_wakes_delivery() -> None:
    """It may have made batches; one that fails has made none."""
    async with Desk() as desk:
        desk.changed.clear()
        assert await desk.committer.change_fold(lambda: (5, NO_FLUSH)) == 5
        assert desk.changed.is_set()
        desk.changed.clear()
        with pytest.raises(NotCommitted):
            await desk.committer.change_fold(lambda: (1 // 0, NO_FLUSH))
        assert not desk.changed.is_set()


@in_loop(20)
async def test_a_request_that_comes_alone_lingers_shortly() -> None:
    """While delivery is busy; else not at all."""
    async with Desk(linger_seconds=0.01) as desk:
        desk.committer.busy_lanes.add("")
        await desk.committer.submit(request())
    async with Desk() as desk:
        await desk.committer.submit(request())
    assert desk.outbox.applied == [[1]]


@in_loop(20)
async def test_further_requests_are_waited_for_up_to_a_batch() -> None:
    """Three requests, the third of which fills it: one transaction; then it begins anew."""
    async with Desk() as desk:
        desk.committer.busy_lanes.add("")
        for _ in range(2):
            tasks = [asyncio.create_task(desk.committer.submit(request(400))) for _ in range(2)]
            await asyncio.sleep(0.02)  # the thread could have taken them
            await asyncio.gather(desk.committer.submit(request(200)), *tasks)
        assert desk.outbox.applied == [[400, 400, 200]] * 2


@in_loop(20)
async def test_a_stop_ends_the_wait_for_further_requests() -> None:
    """What waits is written."""
    desk = Desk()
    await desk.__aenter__()
    desk.committer.busy_lanes.add("")
    task = asyncio.create_task(desk.committer.submit(request()))
    await asyncio.sleep(0)
    await desk.committer.stop()
    await task
    assert desk.outbox.applied == [[1]]


@in_loop(20)
async def test_counts_wait_for_a_transaction_and_not_longer() -> None:
    """Those of requests of which nothing is selected."""
    async with Desk(counts_seconds=0.01) as desk:
        desk.committer.count({("unselected", ""): 7})
        await until(lambda: desk.outbox.totals, "the counts")
        assert desk.outbox.totals == {("unselected", ""): 7}
    async with Desk() as desk:
        desk.committer.count({("unselected", ""): 7})
        await desk.committer.submit(request(2))
        assert desk.outbox.totals == {("unselected", ""): 7, ("received", ""): 2}
        assert len(desk.outbox.applied) == 1


@in_loop(20)
async def test_the_thread_is_named_and_holds_up_no_exit() -> None:
    """As the others of the process are."""
    before = set(threading.enumerate())  # the last test's may be about to end
    async with Desk():
        [thread] = [thread for thread in set(threading.enumerate()) - before if thread.name == "outbox"]  # fmt: skip
        assert thread.daemon


@in_loop(20)
async def test_a_request_of_folded_series_wakes_no_delivery() -> None:
    """Its items come with a flush, a minute later."""
    async with Desk() as desk:
        await desk.committer.submit(request(0))
        assert not desk.changed.is_set()
        await desk.committer.submit(request())
        assert desk.changed.is_set()


@in_loop(20)
async def test_a_request_that_cannot_be_compressed_is_refused() -> None:
    """Memory may run out in the thread: the sender is told so at once, and the next request is committed."""
    async with Desk() as desk:
        no_text: Any = None
        with pytest.raises(NotCommitted, match="cannot be written"):
            await desk.committer.submit(Submission([Chunk(no_text, 1)], 1, 2, {}))
        assert desk.committer.failing
        await desk.committer.submit(request())
        assert not desk.committer.failing


@in_loop(20)
async def test_memory_that_runs_out_has_a_message() -> None:
    """MemoryError comes without one: the verdict says more than nothing."""
    async with Desk() as desk:
        desk.outbox.apply_error = MemoryError()
        with pytest.raises(NotCommitted, match="cannot be written: MemoryError"):
            await desk.committer.submit(request())
        assert desk.committer.error == "MemoryError"
        desk.outbox.apply_error = None


@in_loop(20)
async def test_a_defect_that_ends_the_thread_is_the_result_of_its_end() -> None:
    """Nobody waits for ever: neither for what it had begun, nor for what comes later."""
    desk = Desk()
    await desk.__aenter__()
    defect = RuntimeError("a defect")

    def fail(*_: object, **__: object) -> None:
        raise defect

    desk.events.happened = fail  # type: ignore[method-assign]
    desk.outbox.apply_error = OSError("disk is full")
    for _ in range(2):
        with pytest.raises(NotCommitted, match=ENDED):
            await desk.committer.submit(request())
    with pytest.raises(RuntimeError, match="a defect"):
        desk.committer.ended.result()
    await desk.committer.stop()


@in_loop(20)
async def test_a_refusal_is_no_failure_of_the_disk() -> None:
    """A handover to a full outbox: the one who asks is told, and no operator is sent to the disk."""
    async with Desk() as desk:

        def refuse() -> tuple[int, Flush]:
            raise OutboxFull("10 bytes wait for delivery")

        with capture_logs() as logs, pytest.raises(OutboxFull, match="10 bytes"):
            await desk.committer.change_fold(refuse)
        assert (desk.committer.failing, desk.committer.error, logs) == (False, "", [])


@in_loop(20)
async def test_a_defect_in_a_query_is_no_failure_of_the_disk() -> None:
    """It is logged with its traceback, and the receiver stays ready."""
    async with Desk() as desk:
        with capture_logs() as logs, pytest.raises(NotCommitted, match="by zero"):
            await desk.committer.ask(lambda _: 1 // 0)
        assert not desk.committer.failing
        assert isinstance(logs[0]["exc_info"], ZeroDivisionError)


@in_loop(20)
async def test_a_slow_query_does_not_hold_up_the_event_loop() -> None:
    """The ledger is read from a disk that takes its time: counts are added meanwhile."""
    async with Desk() as desk:
        began, go = threading.Event(), threading.Event()

        def totals() -> dict[tuple[str, str], int]:
            began.set()
            assert go.wait(10)
            return {}

        outbox: Any = desk.outbox
        outbox.totals = totals
        reading = asyncio.create_task(desk.committer.read(lambda _: None))
        await asyncio.to_thread(began.wait, 10)
        desk.committer.count({("received", ""): 3})
        go.set()
        read, _ = await reading
        assert read == {("received", ""): 3}
