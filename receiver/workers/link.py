"""One worker, as the front has it: a process, and the front's ends of two pairs of sockets.

In: what the worker has to know, and the committer that writes for all. Out: answers to
what the front asks, and the worker's end when it comes. A worker gets its settings over
the socket: its command line holds nothing but the sockets' numbers.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from receiver.batch import Submission
from receiver.commit import Committer
from receiver.errors import NotCommitted, ReceiverError, SettingsError
from receiver.workers.sockets import Frames
from receiver.workers.wire import Answer, Frame, pack_answers, unpack_submissions

MODULE = "receiver.workers"
FRONTS_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that the front alone heeds, though a whole process group or service gets them."""
REPORTS_AT_ONCE = 8

log = structlog.get_logger()


class WorkerGone(ReceiverError):
    """The worker has ended."""


class Link:
    """A worker that runs, or is about to."""

    def __init__(
        self, welcome: Mapping[str, Any], committer: Committer, on_report: Callable[[Frame], None]
    ) -> None:
        """Start a process and tell it `welcome`. Raises: OSError where none can be made."""
        self._talk, their_talk = socket.socketpair()
        self._commits, their_commits = socket.socketpair()
        with their_talk, their_commits:
            try:
                self._process = _start(their_talk, their_commits)
            except OSError:
                self._talk.close()
                self._commits.close()
                raise
        self._committer = committer
        self._on_report = on_report
        self._number = 0
        self._asked: dict[int, asyncio.Future[Frame]] = {0: self._future()}
        self._reports: list[asyncio.Future[Frame]] = []
        self._frames: asyncio.Future[Frames] = asyncio.get_running_loop().create_future()
        self._talking = asyncio.create_task(self._listen(welcome), name="worker talk")
        self._committing = asyncio.create_task(self._commit_groups(), name="worker commits")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def ready(self) -> None:
        """Wait until it takes requests. Raises: WorkerGone; SettingsError where it cannot."""
        found = await asyncio.shield(self._asked[0])
        if "failed" in found.head:
            raise SettingsError(found.head["failed"])

    async def ask(self, what: str, **more: Any) -> Frame:
        """Have the worker do something; returns its answer. Raises: WorkerGone."""
        self._number += 1
        number, future = self._number, self._future()
        self._asked[number] = future
        frames = await asyncio.shield(self._frames)
        try:
            await frames.send(Frame({"number": number, "do": what, **more}))
        except OSError as error:
            self._asked.pop(number, None)
            raise WorkerGone("the worker has ended") from error
        return await future

    async def report(self, **more: Any) -> None:
        """Have it report, and wait for that; a worker that is slow is not asked ever again."""
        self._reports = [each for each in self._reports if not each.done()]
        if len(self._reports) < REPORTS_AT_ONCE:
            self._reports.append(asyncio.ensure_future(self.ask("report", **more)))
            self._reports[-1].add_done_callback(_look_at)
        await asyncio.shield(self._reports[-1])

    async def ended(self) -> str:
        """Wait for its end, and say how it ended."""
        await self._talking
        self._process.kill()  # where it has closed its sockets, and nothing else
        code = await asyncio.to_thread(self._process.wait)
        await self._committing
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"

    async def close(self) -> None:
        """End it at once, if it has not ended yet."""
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        for task in (self._talking, self._committing):
            task.cancel()
        await asyncio.gather(self._talking, self._committing, return_exceptions=True)

    def _future(self) -> "asyncio.Future[Frame]":
        future = asyncio.get_running_loop().create_future()
        future.add_done_callback(_look_at)
        return future

    async def _listen(self, welcome: Mapping[str, Any]) -> None:
        frames = await Frames.over(self._talk)
        try:
            await frames.send(Frame(welcome))
            self._frames.set_result(frames)
            while True:
                found = await frames.receive()
                if "arrivals" in found.head:
                    self._on_report(found)
                future = self._asked.get(found.head["number"])
                if future and not future.done():
                    future.set_result(found)
                if found.head["number"]:
                    self._asked.pop(found.head["number"], None)
        except (EOFError, OSError):
            pass
        finally:
            frames.close()
            gone = WorkerGone("the worker has ended")
            if not self._frames.done():
                self._frames.set_exception(gone)
                self._frames.exception()
            for future in self._asked.values():
                if not future.done():
                    future.set_exception(gone)

    async def _commit_groups(self) -> None:
        """Commit what the worker's committer sends, group by group, each with those of others."""
        frames = await Frames.over(self._commits)
        try:
            while True:
                submissions = unpack_submissions(await frames.receive())
                answers = await asyncio.gather(*map(self._commit, submissions))
                await frames.send(pack_answers(answers))
        except (EOFError, OSError):
            pass
        except Exception:
            log.exception(
                "worker's requests failed", hint="A defect of the receiver: please report it."
            )
            self._process.kill()  # it would wait for ever
        finally:
            frames.close()

    async def _commit(self, submission: Submission) -> Answer:
        if not submission.items:
            self._committer.count(submission.totals)
            return None
        try:
            return await self._committer.submit(submission)
        except NotCommitted as error:
            return error


def _look_at(future: "asyncio.Future[Frame]") -> None:
    """Take note of an error, also where nobody waits for it any more."""
    if not future.cancelled():
        future.exception()


def _here() -> str:
    """Name the directory that Python's -m looks for modules in; nothing where it is gone."""
    try:
        return os.getcwd()  # noqa: PTH109 - sys.path has texts
    except OSError:
        return ""


def _start(talk: socket.socket, commits: socket.socket) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter, one that finds the same modules as this one.

    It starts with the front's signals blocked, so that none can end it amid its start.
    """
    isolated = [] if _here() in sys.path else ["-P"]  # a script of ours does not look there
    numbers = talk.fileno(), commits.fileno()
    command = [sys.executable, *isolated, "-m", MODULE, *map(str, numbers)]
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FRONTS_SIGNALS)
    try:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=numbers)  # noqa: S603 - ourselves
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
