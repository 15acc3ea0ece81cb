"""A worker: it takes requests, and has the front commit them.

In: two sockets, and over one of them what it has to know. Out: answers to requests, and
to what the front asks. It ends when the front says so, or is gone. Signals are the
front's business.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import structlog

from receiver import logs, memory
from receiver.allowlist import Allowlist, Entry
from receiver.commit import Committer
from receiver.desk import Desk
from receiver.errors import ReceiverError
from receiver.reception import Reception
from receiver.selecting import selector
from receiver.workers.backstage import PassOn
from receiver.workers.link import FRONTS_SIGNALS
from receiver.workers.remote import RemoteOutbox
from receiver.workers.report import Witness
from receiver.workers.share import from_document
from receiver.workers.sockets import Frames, receive
from receiver.workers.wire import Frame

FLUSH_SECONDS = 1.0
"""How long counts of requests that had nothing to commit wait to be handed to the front."""
REPORT_SECONDS = 0.5
"""How long a report waits for these counts to be handed over; they do not while the disk hangs."""

log = structlog.get_logger()


def main(arguments: list[str]) -> int:
    """Work until told to end; `arguments` are the numbers of the two sockets."""
    for number in FRONTS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    talk, commits = (socket.socket(fileno=int(each)) for each in arguments)
    try:
        welcome = receive(talk).head
        logs.configure(worker=welcome["worker"])
        memory.settle()
        return asyncio.run(_serve(welcome, talk, commits))
    except (EOFError, OSError):  # the front is gone
        return 1
    except Exception:
        log.exception("worker failed", hint="A defect of the receiver: please report it.")
        return 1


async def _serve(welcome: dict[str, Any], talk: socket.socket, commits: socket.socket) -> int:
    frames = await Frames.over(talk)
    try:
        worker = Worker(welcome, commits)
        await worker.open()
    except ReceiverError as error:
        await frames.send(Frame({"number": 0, "failed": str(error)}))
        return 2
    memory.settle_garbage()
    await frames.send(Frame({"number": 0}))
    await worker.obey(frames)
    return 0


class Worker:
    """The parts of one worker."""

    def __init__(self, welcome: dict[str, Any], commits: socket.socket) -> None:
        """Wire them; `welcome` is what the front says first. Raises: SettingsError."""
        settings = from_document(welcome["settings"])
        self._witness = Witness(settings.workers)
        self._select = selector(settings, welcome["key"], self._witness.metadata)
        self._committer = Committer(RemoteOutbox(commits), FLUSH_SECONDS)
        self._committer.on_trouble = self._witness.note
        self._reception = Reception(self._select(_allowlist(welcome["names"])), self._committer)
        self._reception.on_request = self._witness.saw
        self._desk = Desk(settings, self._reception)
        self._pass_on = PassOn(welcome["pages"])

    async def open(self) -> None:
        """Begin to take requests. Raises: SettingsError."""
        self._committer.start()
        await self._desk.open(self._pass_on.answer, self._witness.note, shared=True)

    async def obey(self, frames: Frames) -> None:
        """Do what the front asks, until it asks for the end."""
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(self._listen(frames, tasks, ended))
            await ended.wait()
            listening.cancel()

    async def _listen(self, frames: Frames, tasks: asyncio.TaskGroup, ended: asyncio.Event) -> None:
        while True:
            try:
                order = (await frames.receive()).head
            except (EOFError, OSError):
                log.warning(
                    "worker ends: the receiver that started it is gone",
                    hint="Start the receiver again; what was acknowledged is in the outbox.",
                )
                os._exit(1)  # what was acknowledged is on disk
            tasks.create_task(self._answer(order, frames, ended))

    async def _answer(self, order: dict[str, Any], frames: Frames, ended: asyncio.Event) -> None:
        answer = await self._do(order)
        with suppress(OSError):  # the front is gone, and `_listen` will see it
            await frames.send(Frame(answer.head | {"number": order["number"]}, answer.tail))
        if order["do"] == "end":
            ended.set()

    async def _do(self, order: dict[str, Any]) -> Frame:
        match order["do"]:
            case "report":
                with suppress(TimeoutError):
                    async with asyncio.timeout(REPORT_SECONDS):
                        await self._committer.ask(_nothing)  # what is counted goes before it
                return await self._report(look=order["look"], body=order["body"])
            case "use":
                self._reception.selection = self._select(_allowlist(order["names"]))
            case "drain":
                await self._desk.drain(order["seconds"])
            case "end":
                await self._desk.close()
                await self._pass_on.close()
                await self._committer.stop()
                return await self._report(look=True, body=False)
        return Frame({})

    async def _report(self, *, look: bool, body: bool) -> Frame:
        allowlist = self._reception.selection.allowlist
        arrivals = await self._desk.arrivals()
        return self._witness.report(arrivals, allowlist, look=look, body=body)


def _allowlist(names: Iterable[str]) -> Allowlist:
    return Allowlist([Entry(name) for name in names])


def _nothing(_: object) -> None:
    """Ask nothing of an outbox."""
