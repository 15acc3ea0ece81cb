"""Group commit: who waits together is written together, and nobody waits for ever."""

import asyncio
import hashlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import structlog

from receiver.azure.limits import EXPIRY_MS
from receiver.errors import NotCommitted, OutboxError, OutboxFull
from receiver.events import Events
from receiver.ledger import read_ledger
from receiver.outbox.committer import LINGER_SECONDS, OPENING, TOGETHER_SECONDS, Committer
from receiver.outbox.gzip_body import cut, unpack
from receiver.outbox.schema import FILE_NAME
from receiver.outbox.store import Outbox
from receiver.outbox.values import Batch, Settlement, Submission
from tests.integration.waiting import in_loop

KEY = "11111111-2222-3333-4444-555555555555"
NOW_MS = 1_800_000_000_000


@dataclass
class Bench:
    """A committer on a real outbox, the statements that it runs, and a way to hold its thread."""

    directory: Path
    committer: Committer
    changed: asyncio.Event
    statements: list[str] = field(default_factory=list)

    @property
    def transactions(self) -> int:
        """Count what was begun."""
        return self.statements.count("BEGIN IMMEDIATE")

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keep the thread busy, so that all that is handed in meanwhile waits together."""
        go, began = threading.Event(), threading.Event()

        def hold(_: Outbox) -> None:
            began.set()
            assert go.wait(10)

        held = asyncio.create_task(self.committer.ask(hold))
        await asyncio.to_thread(began.wait, 10)
        try:
            yield
            await asyncio.sleep(0)  # what was begun inside is handed in
        finally:
            go.set()
        await held

    async def disk(self, *, full: bool) -> None:
        """Let SQLite find no more room, or room again."""

        def limit(outbox: Outbox) -> None:
            (pages,) = outbox._database.execute("PRAGMA page_count").fetchone()
            outbox._database.execute(f"PRAGMA max_page_count={pages if full else 1 << 30}")

        await self.committer.ask(limit)

    async def writable(self, *, yes: bool) -> None:
        """Let SQLite refuse every write, or take them again."""
        pragma = f"PRAGMA query_only={0 if yes else 1}"
        await self.committer.ask(lambda outbox: outbox._database.execute(pragma))

    def on_disk(self) -> list[bytes]:
        """Read the waiting lines past the committer, as a process would after a crash."""
        database = sqlite3.connect(self.directory / FILE_NAME)
        bodies = database.execute("SELECT body FROM batches ORDER BY id").fetchall()
        database.close()
        return [line for (body,) in bodies for line in unpack(body)]


def run(
    directory: Path,
    test: Callable[[Bench], Coroutine[Any, Any, None]],
    max_bytes: int = 1 << 30,
    linger_seconds: float = LINGER_SECONDS,
    together_seconds: float = TOGETHER_SECONDS,
) -> None:
    """Run a test in a loop of its own, on an outbox of its own."""

    async def main() -> None:
        outbox = Outbox(directory, max_bytes, KEY, EXPIRY_MS)
        changed = asyncio.Event()
        committer = Committer(
            outbox,
            Events(),
            changed,
            linger_seconds=linger_seconds,
            together_seconds=together_seconds,
        )
        bench = Bench(directory, committer, changed)
        outbox._database.set_trace_callback(bench.statements.append)
        committer.start()
        await committer.opened
        try:
            async with asyncio.timeout(30):
                await test(bench)
        finally:
            await committer.stop()

    asyncio.run(main())


def items(mark: str, count: int = 1) -> list[bytes]:
    """Make lines."""
    return [f"{mark}{number}\n".encode() for number in range(count)]


def submission(lines: Sequence[bytes], digest: bytes = b"", answer: bytes = b"") -> Submission:
    """Submit lines with their account."""
    return Submission(cut(lines), NOW_MS, NOW_MS, {("received", ""): len(lines)}, digest, answer)


async def first_batch(bench: Bench) -> Batch:
    """Fetch the oldest batch."""
    [batch] = await bench.committer.ask(lambda outbox: outbox.next_batches([], 0, 1))
    assert batch
    return batch


def test_submit_returns_when_it_is_on_disk(tmp_path: Path) -> None:
    """A reader beside us sees it at once: a crash after this moment loses nothing."""

    async def test(bench: Bench) -> None:
        assert await bench.committer.submit(submission(items("a", 3))) is None
        assert bench.on_disk() == items("a", 3)
        assert bench.changed.is_set()

    run(tmp_path, test)


def test_who_waits_together_shares_one_transaction_in_order(tmp_path: Path) -> None:
    """Fifty requests, one sync to disk, one batch."""

    async def test(bench: Bench) -> None:
        async with bench.held():
            before = bench.transactions
            waiting = [
                asyncio.create_task(bench.committer.submit(submission(items(f"{n}-", 2))))
                for n in range(50)
            ]
        assert await asyncio.gather(*waiting) == [None] * 50
        assert bench.transactions == before + 1
        assert bench.on_disk() == [line for n in range(50) for line in items(f"{n}-", 2)]
        assert (await first_batch(bench)).items == 100

    run(tmp_path, test)


def test_each_gets_its_own_answer(tmp_path: Path) -> None:
    """A repeat among newcomers, in the order asked, settlements between them."""

    async def test(bench: Bench) -> None:
        await bench.committer.submit(submission(items("a"), b"1", b"one"))
        batch = await first_batch(bench)
        async with bench.held():
            before = bench.transactions
            waiting = asyncio.gather(
                bench.committer.submit(submission(items("b"), b"2", b"two")),
                bench.committer.settle(Settlement(batch, accepted=1)),
                bench.committer.submit(submission(items("a"), b"1", b"again")),
                bench.committer.submit(submission(items("c"), b"2", b"again")),
            )
        assert tuple(await waiting) == (None, [], b"one", b"two")
        assert bench.transactions == before + 1
        assert bench.on_disk() == items("b")

    run(tmp_path, test)


def test_a_full_outbox_refuses_only_what_does_not_fit(tmp_path: Path) -> None:
    """Counts and repeats need no room."""

    async def test(bench: Bench) -> None:
        await bench.committer.submit(submission(items("a"), b"1", b"one"))
        async with bench.held():
            waiting = asyncio.gather(
                bench.committer.submit(submission(items("b"))),
                bench.committer.submit(submission(items("a"), b"1")),
                return_exceptions=True,
            )
        full, known = await waiting
        assert isinstance(full, OutboxFull)
        assert known == b"one"
        assert not bench.committer.failing

    run(tmp_path, test, max_bytes=1)


def test_a_disk_that_fails_refuses_all_and_costs_no_count(tmp_path: Path) -> None:
    """NotCommitted for each that waited; what was counted meanwhile is written when it works again."""

    async def test(bench: Bench) -> None:
        await bench.committer.submit(submission(items("a", 5)))
        batch = await first_batch(bench)
        await bench.disk(full=True)
        bench.committer.count({("received", ""): 7, ("unselected", ""): 7})
        large = submission([bytes([n % 9 + 65]) * 90_000 + b"%d\n" % (n**9) for n in range(99)])
        async with bench.held():
            waiting = asyncio.gather(
                bench.committer.submit(large),
                bench.committer.submit(submission(items("b"))),
                bench.committer.settle(Settlement(batch, accepted=5)),
                return_exceptions=True,
            )
        assert [type(each) for each in await waiting] == [NotCommitted] * 3
        assert bench.committer.failing
        assert bench.on_disk() == items("a", 5)

        await bench.disk(full=False)
        bench.committer.count({("received", ""): 1, ("unselected", ""): 1})
        await bench.committer.settle(Settlement(batch, accepted=5))

        totals = await bench.committer.ask(Outbox.totals)
        assert totals["received", ""] == 13
        assert totals["unselected", ""] == 8
        assert read_ledger(totals).adds_up
        assert bench.committer.failing is False

    run(tmp_path, test)


def test_counts_are_read_before_they_are_written(tmp_path: Path) -> None:
    """The ledger adds up at any moment, without a disk access for each request."""

    async def test(bench: Bench) -> None:
        before = bench.transactions
        bench.committer.count({("received", ""): 4, ("unselected", ""): 4})
        bench.committer.count({("received", ""): 1, ("dropped", "nan"): 1})

        for _ in range(2):
            totals, waiting = await bench.committer.read(lambda outbox: outbox.statistics().items)
            assert (totals["received", ""], totals["dropped", "nan"], waiting) == (5, 1, 0)
            assert read_ledger(totals).adds_up
        assert bench.transactions <= before + 1

    run(tmp_path, test)


def test_counts_outlive_a_disk_that_fails(tmp_path: Path) -> None:
    """They are in every reading, and on disk as soon as it takes them, once."""

    async def test(bench: Bench) -> None:
        bench.committer.count({("received", ""): 2, ("unselected", ""): 2})
        await bench.writable(yes=False)
        for received in (3, 4, 5):
            bench.committer.count({("received", ""): 1, ("unselected", ""): 1})
            totals, _ = await bench.committer.read(lambda _: None)
            assert totals["received", ""] == totals["unselected", ""] == received
            assert bench.committer.failing
        with pytest.raises(NotCommitted):
            await bench.committer.submit(submission(items("a")))

        await bench.writable(yes=True)
        await bench.committer.submit(submission(items("b")))
        totals, _ = await bench.committer.read(lambda _: None)
        assert (totals["received", ""], totals["unselected", ""]) == (6, 5)
        assert await bench.committer.ask(Outbox.totals) == totals

    run(tmp_path, test)


def test_a_disk_that_works_again_is_noticed_without_a_request(tmp_path: Path) -> None:
    """A look at readiness is enough: a receiver that nobody sends to would never be ready again."""

    async def test(bench: Bench) -> None:
        await bench.writable(yes=False)
        with pytest.raises(NotCommitted):
            await bench.committer.submit(submission(items("a")))
        failing = []
        for writable in (False, True):
            await bench.writable(yes=writable)
            await bench.committer.read(Outbox.statistics)
            failing.append(bench.committer.failing)
        assert failing == [True, False]
        assert await bench.committer.submit(submission(items("a"))) is None

    run(tmp_path, test)


def test_a_question_that_raises_is_an_answer_too(tmp_path: Path) -> None:
    """Who asked hears of it, the thread lives, and the others get what is theirs."""

    def burst(_: Outbox) -> None:
        message = "disk I/O error"
        raise sqlite3.OperationalError(message)

    async def test(bench: Bench) -> None:
        async with bench.held():
            waiting = asyncio.gather(
                bench.committer.submit(submission(items("a"))),
                bench.committer.ask(burst),
                bench.committer.ask(Outbox.newest_id),
                return_exceptions=True,
            )
        done, failed, number = await waiting
        assert done is None
        assert isinstance(failed, NotCommitted)
        assert "disk I/O error" in str(failed)
        assert number == 1
        await bench.committer.submit(submission(items("b")))
        assert not bench.committer.failing

    run(tmp_path, test)


def test_a_defect_is_an_answer_too(tmp_path: Path) -> None:
    """An exception that nobody thought of ends neither the thread nor the wait."""

    async def test(bench: Bench) -> None:
        with pytest.raises(NotCommitted, match="cannot be written"):
            await bench.committer.submit(Submission(cut(items("a")), 2**70, 2**70, {}))
        assert await bench.committer.submit(submission(items("b"))) is None
        assert bench.on_disk() == items("b")

    run(tmp_path, test)


def test_damage_found_by_a_question_is_set_aside(tmp_path: Path) -> None:
    """The next request is committed to a new file."""

    async def test(bench: Bench) -> None:
        await bench.committer.submit(submission(items("a")))

        def find_damage(_: Outbox) -> None:
            odd = tmp_path / "odd.db"
            odd.write_bytes(b"no database at all" * 100)
            database = sqlite3.connect(odd)
            try:
                database.execute("SELECT * FROM x")
            finally:
                database.close()

        with pytest.raises(NotCommitted):
            await bench.committer.ask(find_damage)
        await bench.committer.submit(submission(items("b")))
        assert bench.on_disk() == items("b")
        assert (await bench.committer.ask(Outbox.statistics)).set_aside == 1

    run(tmp_path, test)


def test_who_goes_away_takes_nothing_along(tmp_path: Path) -> None:
    """A sender that hangs up amid its commit: the rest is written, and so is its own."""

    async def test(bench: Bench) -> None:
        async with bench.held():
            gone = asyncio.create_task(bench.committer.submit(submission(items("a"))))
            stays = asyncio.create_task(bench.committer.submit(submission(items("b"))))
            await asyncio.sleep(0)
            gone.cancel()
        assert await stays is None
        assert gone.cancelled()
        assert bench.on_disk() == items("a") + items("b")

    run(tmp_path, test)


def test_stopping_writes_what_waits_and_refuses_what_comes(tmp_path: Path) -> None:
    """Counts without a transaction of their own are not lost either."""

    async def test(bench: Bench) -> None:
        bench.committer.count({("received", ""): 3, ("unselected", ""): 3})
        async with bench.held():
            last = asyncio.create_task(bench.committer.submit(submission(items("a"))))
            await asyncio.sleep(0)
            stopping = asyncio.create_task(bench.committer.stop())
            await asyncio.sleep(0)
            with pytest.raises(NotCommitted, match="stopping"):
                await bench.committer.submit(submission(items("b")))
        assert await last is None
        await stopping

        assert bench.on_disk() == items("a")
        again = Outbox(tmp_path, 1, KEY, EXPIRY_MS)
        assert again.totals()["received", ""] == 4
        assert read_ledger(again.totals()).adds_up
        again.close()

    run(tmp_path, test)


def test_only_new_items_wake_delivery(tmp_path: Path) -> None:
    """A settlement brings nothing to send."""

    async def test(bench: Bench) -> None:
        await bench.committer.submit(submission(items("a")))
        batch = await first_batch(bench)
        assert bench.changed.is_set()
        bench.changed.clear()
        await bench.committer.settle(Settlement(batch, accepted=1))
        assert not bench.changed.is_set()
        await bench.committer.submit(replace(submission(items("b")), digest=b"b", answer=b"{}"))
        assert bench.changed.is_set()
        bench.changed.clear()
        await bench.committer.submit(replace(submission(items("b")), digest=b"b", answer=b"{}"))
        assert not bench.changed.is_set(), "it was committed before"

    run(tmp_path, test)


def test_delivery_is_woken_after_a_failed_transaction(tmp_path: Path) -> None:
    """The numbers of its batches are given again."""

    async def test(bench: Bench) -> None:
        await bench.committer.submit(submission(items("a")))
        await bench.writable(yes=False)
        with pytest.raises(NotCommitted):
            await bench.committer.submit(submission(items("b")))
        await bench.writable(yes=True)
        bench.changed.clear()
        await bench.committer.submit(submission(items("c")))
        assert bench.changed.is_set()

    run(tmp_path, test)


def test_a_full_batch_waits_for_no_other_request(tmp_path: Path) -> None:
    """While delivery is busy the thread waits for more, but not when a thousand items wait."""

    async def test(bench: Bench) -> None:
        bench.committer.busy_lanes.add("")
        await bench.committer.submit(submission(items("a", 1000)))
        waiting = [
            asyncio.create_task(bench.committer.submit(submission(items(f"{n}-", 250))))
            for n in range(4)
        ]
        await asyncio.gather(*waiting)
        assert len(bench.on_disk()) == 2000

    run(tmp_path, test, linger_seconds=3600.0)


@dataclass
class SlowOutbox:
    """An outbox on a disk that takes its time, or fails in the end."""

    go: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    closed: threading.Event = field(default_factory=threading.Event)
    applied: list[Submission] = field(default_factory=list)

    def open(self) -> None:
        assert self.go.wait(10)
        if self.error:
            raise self.error

    def apply(
        self, submissions: Sequence[Submission], _settlements: Sequence[Settlement]
    ) -> list[None]:
        self.applied += submissions
        return [None] * len(submissions)

    wants_flush: bool = False
    inserted: int = 0

    def flush(self) -> bool:
        return False

    def probe(self) -> None: ...

    def replace_if_broken(self, _: BaseException) -> bool:
        return False

    def close(self) -> None:
        self.closed.set()


@in_loop()
async def test_a_slow_disk_delays_no_other_task() -> None:
    """While the outbox is being opened requests are refused at once, and counts are kept."""
    outbox: Any = SlowOutbox()
    committer = Committer(outbox, Events(), asyncio.Event())
    committer.start()
    committer.count({("received", ""): 3})
    for attempt in (committer.submit(submission(items("a"))), committer.ask(Outbox.totals)):
        with pytest.raises(NotCommitted, match=OPENING):
            await attempt
    outbox.go.set()
    await committer.opened
    await committer.submit(submission(items("a")))
    await committer.stop()
    assert [one.totals["received", ""] for one in outbox.applied] == [3, 1]
    assert outbox.closed.is_set()


@in_loop()
async def test_an_outbox_that_cannot_be_opened_fails_those_that_wait_for_it() -> None:
    """And it is closed: the directory is free again."""
    outbox: Any = SlowOutbox(error=OutboxError("made by a newer receiver"))
    committer = Committer(outbox, Events(), asyncio.Event())
    committer.start()
    outbox.go.set()
    with pytest.raises(OutboxError, match="newer"):
        await committer.opened
    await committer.stop()
    assert outbox.closed.is_set()


@in_loop()
async def test_a_disk_that_hangs_does_not_hold_up_the_stop() -> None:
    """The thread is left behind, and what it says later disturbs nobody."""
    outbox: Any = SlowOutbox()
    committer = Committer(outbox, Events(), asyncio.Event())
    committer.start()
    with structlog.testing.capture_logs() as log:
        await committer.stop(within_seconds=0.05)
    assert [line["event"] for line in log] == ["stopped while the outbox's disk does not answer"]
    assert not outbox.closed.is_set()
    outbox.go.set()
    assert await asyncio.to_thread(outbox.closed.wait, 10)


def one(mark: str) -> Submission:
    """Make a request with one item."""
    return Submission(cut(items(mark)), NOW_MS, NOW_MS, {("received", ""): 1}, digest=mark.encode())


async def take(bench: Bench, mark: str) -> None:
    """Work as long as on a request, in which the outbox's thread has its turns; then hand it in."""
    for _ in range(20):
        hashlib.sha256(bytes(1 << 20))  # lets other threads run
    await bench.committer.submit(one(mark))


def test_what_comes_at_one_moment_is_one_transaction(tmp_path: Path) -> None:
    """Requests that the event loop has together are handed over together."""

    async def test(bench: Bench) -> None:
        for round_number in range(3):
            marks = [f"{round_number} {number}" for number in range(4)]
            await asyncio.gather(*(take(bench, mark) for mark in marks))
        assert bench.transactions == 3

    run(tmp_path, test)


def test_a_transaction_waits_for_as_many_requests_as_the_one_before_had(tmp_path: Path) -> None:
    """Senders that are answered together send again together, a moment apart; one alone is not kept."""

    async def test(bench: Bench) -> None:
        await asyncio.gather(*(bench.committer.submit(one(mark)) for mark in ("a", "b")))
        third = asyncio.create_task(bench.committer.submit(one("c")))
        together = bench.committer._has_requests_as_before
        while bench.committer._is_enough != together and not third.done():
            await asyncio.sleep(0)
        assert not third.done()
        await asyncio.gather(third, bench.committer.submit(one("d")))
        assert bench.transactions == 2

    run(tmp_path, test, together_seconds=20)


def test_a_sender_that_does_not_come_again_is_waited_for_once(tmp_path: Path) -> None:
    """Then the others go on without."""

    async def test(bench: Bench) -> None:
        await asyncio.gather(*(bench.committer.submit(one(mark)) for mark in ("a", "b")))
        await bench.committer.submit(one("c"))
        await bench.committer.submit(one("d"))
        assert bench.transactions == 3

    run(tmp_path, test, together_seconds=0.01)


def test_a_stop_commits_what_was_not_handed_over_yet(tmp_path: Path) -> None:
    """It came before the stop, so it is on disk after it, though the thread ends before the loop's next turn."""

    async def test(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        thread = bench.committer._thread
        loop.call_soon(lambda: loop.call_soon(thread.join, 10))  # before what hands over
        submitted = asyncio.create_task(bench.committer.submit(one("a")))
        await asyncio.sleep(0)
        await bench.committer.stop()
        assert not thread.is_alive()
        assert submitted.done()
        assert await submitted is None

    run(tmp_path, test)
    outbox = Outbox(tmp_path, 1 << 30, KEY, EXPIRY_MS)
    assert outbox.totals()["pending", ""] == 1
    outbox.close()
