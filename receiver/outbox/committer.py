"""Group commit: one thread writes the outbox for all requests.

In: submissions, settlements and queries from the event loop. Out: the result of each,
once it is on disk. The thread commits all waiting work in one transaction, so that under
load many requests share one sync to disk; it compresses them first, beside the event loop.

A transaction costs the same for one request and for several. So the event loop hands over
all work of one moment together, and after a transaction of several requests the thread waits
a moment for as many. While delivery is busy with earlier batches it waits some milliseconds
longer: a full batch costs little more to send than a small one. Between transactions the
thread flushes finished windows, which become batches too.

The thread also opens the outbox, since a disk can be slow. Until then counts are kept, and
all other work ends at once with NotCommitted.
"""

import asyncio
import math
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from receiver.errors import NotCommitted, ReceiverError
from receiver.events import Events, Kind
from receiver.ledger import Key, Totals
from receiver.outbox.folding import Flush
from receiver.outbox.gzip_body import BATCH_ITEMS, compress_chunks
from receiver.outbox.store import Outbox
from receiver.outbox.values import Settlement, Submission

LINGER_SECONDS = 0.005
TOGETHER_SECONDS = 0.002
"""Longest wait of a transaction for as many requests as the one before: senders answered
together send again together."""
COUNTS_SECONDS = 10.0
"""Longest wait of counts without items for a transaction to join."""
WINDOW_SECONDS = 10.0
"""Interval of flushes of finished windows."""

Result = TypeVar("Result")
Question = Callable[[Any], object]

OPENING = "the outbox is being opened"
ENDED = "the thread of the outbox has ended"
STOP_SECONDS = 5.0
"""Longest wait of a stop for the disk: acknowledged items are on it, the rest may be lost."""
WRITE_FAILED = Kind("outbox", "outbox cannot be written", 3600.0, "error")
READ_FAILED = Kind("outbox", "outbox cannot be read", 3600.0, "error")
"""Its end is not logged: single reads may succeed in between."""
READ_HINT = "The error says why; what waits in the outbox is sent when it can be read."
DISK_ERRORS = sqlite3.Error | OSError | ReceiverError
"""All other errors are defects, which are logged with their traceback."""


log = structlog.get_logger()


class Signal(Protocol):
    """A signal that there may be new batches, such as an asyncio.Event."""

    def set(self) -> None:
        """Set the signal."""


@dataclass(frozen=True, slots=True)
class _Job:
    work: Submission | Settlement | Question
    future: "asyncio.Future[object]"


class Committer:
    """The outbox, as the event loop sees it."""

    def __init__(
        self,
        outbox: Outbox,
        events: Events,
        batches_changed: Signal,
        counts_seconds: float = COUNTS_SECONDS,
        linger_seconds: float = LINGER_SECONDS,
        window_seconds: float = WINDOW_SECONDS,
        together_seconds: float = TOGETHER_SECONDS,
    ) -> None:
        """Take an outbox. `batches_changed` is set when there may be new batches.

        Counts wait at most `counts_seconds` for a transaction to join; finished windows are flushed
        every `window_seconds`.
        """
        self._outbox = outbox
        self._counts_seconds = counts_seconds
        self._linger_seconds = linger_seconds
        self._window_seconds = window_seconds
        self._together_seconds = together_seconds
        self._flushed_at = -math.inf
        self._wants_flush = False
        self._events = events
        self._batches_changed = batches_changed
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = self._loop.create_future()
        """Done when the outbox is open, or holds its OutboxError."""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the thread has ended, or holds the defect that ended it."""
        self.ended.add_done_callback(self._refuse_the_rest)
        self._condition = threading.Condition()
        self._gathered: list[_Job] = []
        self._jobs: list[_Job] = []
        self._jobs_in_work: list[_Job] = []
        self._waiting_requests = self._waiting_items = 0
        self._requests_before = 0
        self._inserted_before = 0
        self._is_enough: Callable[[], bool] = self._has_work
        self._unwritten: Counter[Key] = Counter()
        self._stopping = False
        self._failing = False
        self._flush_failed = False
        self._write_failed = False
        self.error = ""
        self.busy_lanes: set[str] = set()
        """The lanes with a batch in flight."""
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    @property
    def failing(self) -> bool:
        """Whether the last transaction failed."""
        return self._failing

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self, within_seconds: float = STOP_SECONDS) -> None:
        """Write all waiting work, close the outbox and end the thread; a hanging disk is left alone."""
        self._hand_over()
        with self._condition:
            self._stopping = True
            self._condition.notify()
        await asyncio.wait({self.ended}, timeout=within_seconds)
        if not self.ended.done():
            log.warning(
                "stopped while the outbox's disk does not answer",
                hint="What was acknowledged is on the disk. Is the disk slow, or failing?",
            )

    async def submit(self, submission: Submission) -> bytes | None:
        """Commit a request's items; returns when they are on disk.

        Returns the first answer if the request was committed before.

        Raises: NotCommitted, OutboxFull; then nothing of the request is kept.
        """
        result = await self._put(submission)
        assert result is None or isinstance(result, bytes)
        return result

    async def settle(self, settlement: Settlement) -> Sequence[int]:
        """Commit the outcome of a batch; returns the numbers of the batches put back.

        Raises: NotCommitted; the batch is then as before.
        """
        return await self._put(settlement)  # type: ignore[return-value]

    async def ask(self, question: Callable[[Outbox], Result]) -> Result:
        """Call `question` with the outbox, in the thread, after earlier work."""
        return await self._put(question)  # type: ignore[return-value]

    async def change_fold(self, change: Callable[[], tuple[Result, Flush]]) -> Result:
        """Call `change` on the fold, in the thread; returns when the state that it returns is on disk.

        Raises: NotCommitted; the fold is then as before.
        """
        answer = await self.ask(lambda outbox: outbox.change_fold(change))
        self._batches_changed.set()
        return answer

    def flush_soon(self) -> None:
        """Flush finished windows at once: metrics.json has changed."""
        with self._condition:
            self._wants_flush = True
            self._condition.notify()

    def count(self, totals: Totals) -> None:
        """Add the counts of a request without items to the ledger; they need no sync."""
        with self._condition:
            self._unwritten.update(totals)

    async def read(self, question: Callable[[Outbox], Result]) -> tuple[dict[Key, int], Result]:
        """Read the ledger, with unwritten counts, and the answer to a query at the same moment."""

        def read(outbox: Outbox) -> tuple[dict[Key, int], Result]:
            totals = Counter(outbox.totals())  # this thread alone changes them
            with self._condition:
                totals.update(self._unwritten)
            return dict(totals), question(outbox)

        return await self.ask(read)

    def _put(self, work: Submission | Settlement | Question) -> "asyncio.Future[object]":
        """Queue work for the thread; all work of one turn of the event loop is handed over together."""
        future: asyncio.Future[object] = self._loop.create_future()
        if self._stopping:
            future.set_exception(NotCommitted("the receiver is stopping"))
        elif not self.opened.done():
            future.set_exception(NotCommitted(OPENING))
        elif self.ended.done():
            future.set_exception(NotCommitted(ENDED))
        else:
            if not self._gathered:
                self._loop.call_soon(self._hand_over)
            self._gathered.append(_Job(work, future))
        return future

    def _hand_over(self) -> None:
        """Hand the gathered work to the thread, and wake it if it waits for work."""
        items = [job.work.items for job in self._gathered if isinstance(job.work, Submission)]
        with self._condition:
            self._jobs += self._gathered
            self._waiting_requests += len(items)
            self._waiting_items += sum(items)
            if self._is_enough():
                self._condition.notify()
        self._gathered = []

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._outbox.open()
            self._tell(self.opened)
            self._serve()
        except Exception as failure:  # noqa: BLE001 - it is the result of `opened`, or of `ended`
            error = failure
            self._tell(self.opened, error)
        try:
            self._outbox.close()
        finally:
            self._tell(self.ended, error)

    def _tell(self, future: "asyncio.Future[None]", error: Exception | None = None) -> None:
        """Finish a future of the event loop, unless it was cancelled."""

        def finish() -> None:
            if not future.done():
                future.set_exception(error) if error else future.set_result(None)

        with suppress(RuntimeError):  # the loop is closed: it did not wait for a slow disk
            self._loop.call_soon_threadsafe(finish)

    def _serve(self) -> None:
        while True:
            with self._condition:
                self._wait(self._has_work, min(self._counts_seconds, self._window_seconds))
                if self.busy_lanes:
                    self._wait(self._fills_a_batch, self._linger_seconds)
                elif self._jobs:
                    self._wait(self._has_requests_as_before, self._together_seconds)
                self._jobs_in_work, self._jobs = self._jobs, []
                unwritten, self._unwritten = self._unwritten, Counter()
                self._waiting_requests = self._waiting_items = 0
                last = self._stopping
            self._work(self._jobs_in_work, unwritten)
            if last:
                break
            self._flush()

    def _wait(self, is_enough: Callable[[], bool], seconds: float) -> None:
        """Wait until there is enough work, or `seconds` are over, or the thread is to stop."""
        self._is_enough = is_enough
        self._condition.wait_for(lambda: self._stopping or is_enough(), seconds)

    def _has_work(self) -> bool:
        return bool(self._jobs) or self._wants_flush

    def _fills_a_batch(self) -> bool:
        return self._waiting_items >= BATCH_ITEMS

    def _has_requests_as_before(self) -> bool:
        return self._waiting_requests >= self._requests_before

    def _work(self, jobs: list[_Job], unwritten: Counter[Key]) -> None:
        requests = [job for job in jobs if isinstance(job.work, Submission)]
        settled = [job for job in jobs if isinstance(job.work, Settlement)]
        self._requests_before = len(requests)
        writes = requests + settled
        results: list[tuple[_Job, object]] = []
        if writes or unwritten or self._failing:
            results += zip(writes, self._write(writes, unwritten), strict=True)
        for job in jobs:
            if not isinstance(job.work, Submission | Settlement):
                results.append((job, self._answer(job.work)))
        with suppress(RuntimeError):  # the loop is closed: it did not wait for a slow disk
            self._loop.call_soon_threadsafe(self._resolve, results)

    def _flush(self) -> None:
        """Flush finished windows when it is time; a failed flush is tried again at the next."""
        now = time.monotonic()
        is_time = now - self._flushed_at >= self._window_seconds
        if not (is_time or self._wants_flush or self._outbox.wants_flush):
            return
        self._wants_flush, self._flushed_at = False, now
        try:
            has_batches = self._outbox.flush()
        except Exception as error:  # noqa: BLE001 - the thread goes on, whatever the error
            self._flush_failed = True
            self._note_failure(error)
            return
        if self._flush_failed:
            self._flush_failed = False
            self._note_failure(None)
        if has_batches:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._batches_changed.set)

    def _write(self, writes: list[_Job], unwritten: Counter[Key]) -> Sequence[object]:
        """Commit requests, then settlements; returns their results."""
        works = [job.work for job in writes]
        counts = [Submission((), 0, 0, unwritten)] if unwritten else []
        try:
            submissions = [compress_chunks(work) for work in works if isinstance(work, Submission)]
            settlements = [work for work in works if isinstance(work, Settlement)]
            if self._failing:  # without work to write, only a probe shows the recovery
                self._outbox.probe()
            answers = self._outbox.apply(counts + submissions, settlements)
        except Exception as error:  # noqa: BLE001 - no caller may wait for ever, whatever the error
            with self._condition:
                self._unwritten.update(unwritten)
            self._note_failure(error)
            return [NotCommitted(f"the outbox cannot be written: {self.error}") for _ in writes]
        if not self._flush_failed:  # else the flush may still be too large for the disk
            self._note_failure(None)
        return answers[len(counts) :]

    def _note_failure(self, error: Exception | None) -> None:
        """Note that the last transaction failed, or None: that it succeeded."""
        if error:
            self._write_failed = True
            self._report(error, WRITE_FAILED, NotCommitted.hint)
        elif self._write_failed:
            self._write_failed = False
            self._events.is_over(WRITE_FAILED, "outbox can be written again")
        self.error = _words(error) if error else ""
        self._failing = error is not None

    def _report(self, error: Exception, kind: Kind, hint: str) -> None:
        defect = None if isinstance(error, DISK_ERRORS) else error
        self._events.happened(kind, type(error).__name__, _words(error), hint, defect=defect)

    def _answer(self, question: Question) -> object:
        try:
            return question(self._outbox)
        except NotCommitted as error:  # a refusal: the disk works
            return error
        except Exception as error:  # noqa: BLE001 - no caller may wait for ever, whatever the error
            self._report(error, READ_FAILED, READ_HINT)
            if isinstance(error, DISK_ERRORS):
                self.error, self._failing = _words(error), True
                with suppress(OSError):
                    self._outbox.replace_if_broken(error)
            return NotCommitted(f"the outbox cannot be read: {_words(error)}")

    def _refuse_the_rest(self, ended: "asyncio.Future[None]") -> None:
        """Refuse the work that the thread has left when it ended."""
        ended.exception()  # the service reports it, unless it stops at this moment
        left = [*self._jobs_in_work, *self._jobs, *self._gathered]
        self._resolve([(job, NotCommitted(ENDED)) for job in left])

    def _resolve(self, results: list[tuple[_Job, object]]) -> None:
        for job, result in results:
            if job.future.done():
                continue  # the caller was cancelled; committed work stays committed
            if isinstance(result, BaseException):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)
        if self._outbox.inserted != self._inserted_before:
            self._inserted_before = self._outbox.inserted
            self._batches_changed.set()


def _words(error: Exception) -> str:
    """Return an error's message; its class for one without, such as MemoryError."""
    return str(error) or type(error).__name__
