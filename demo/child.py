"""Run a program as a child that never outlives us, its output in a file.

A child has a session of its own, so that Ctrl-C in a terminal reaches us alone
and we end our children in the order we choose; the kernel ends it when we die
without having had the chance.
"""

import asyncio
import ctypes
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import aiohttp

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1  # prctl(2)
POLL_SECONDS = 0.05


class ChildFailed(Exception):
    """A child ended, or did not get ready, when it should have run on."""

    def __init__(
        self, name: str, what: str, log: Path, noise: re.Pattern[str] | None = None
    ) -> None:
        super().__init__(f"{name} {what}. {last_lines(log, noise=noise)}")
        self.message = str(self)


class Child:
    """A running program."""

    def __init__(
        self,
        name: str,
        process: asyncio.subprocess.Process,
        log: Path,
        noise: re.Pattern[str] | None = None,
    ) -> None:
        self.name = name
        self.process = process
        self.log = log
        self._noise = noise

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        noise: re.Pattern[str] | None = None,
    ) -> Self:
        """Start `command`; its output goes to `log`, which is emptied first.

        Lines of it that match `noise` are left out of what an error quotes.

        Raises: ChildFailed when it cannot be executed at all.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *map(str, command),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=_end_with(os.getpid()),
                )
            except OSError as error:
                raise ChildFailed(name, f"can't be started ({error.strerror})", log) from error
        return cls(name, process, log, noise)

    async def ready(self, url: str, *, within_seconds: float) -> None:
        """Return when `url` answers 200.

        Raises: ChildFailed when the child ends first or the time is over.
        """
        ended = asyncio.create_task(self.ended())
        answered = asyncio.create_task(_answers(url))
        tasks = {ended, answered}
        try:
            done, _ = await asyncio.wait(
                tasks, timeout=within_seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        if ended in done:
            ended.result()
        if not done:
            raise self._failed(f"was not ready within {within_seconds:.0f} s")

    async def ended(self) -> None:
        """Wait for the child to end by itself.

        Raises: ChildFailed, always.
        """
        status = await self.process.wait()
        raise self._failed(f"ended {_manner(status)}")

    async def stop(self, *, within_seconds: float) -> int:
        """Ask the child to end, make it end when the time is over; return its status."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(within_seconds):
                    await self.process.wait()
            except TimeoutError:
                await self.kill()
        return await self.process.wait()

    async def kill(self) -> None:
        """End the child at once, and its own children, also those that outlived it."""
        with suppress(ProcessLookupError):  # nobody is left
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    def _failed(self, what: str) -> ChildFailed:
        return ChildFailed(self.name, what, self.log, self._noise)


def last_lines(log: Path, count: int = 12, *, noise: re.Pattern[str] | None = None) -> str:
    """Say what a log ends with, lines that match `noise` left out, and where it lies."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return f"It wrote no log ({log})."
    lines = [line for line in text.splitlines() if line.strip()]
    lines = ([line for line in lines if not (noise and noise.search(line))] or lines)[-count:]
    if not lines:
        return f"It wrote nothing to {log}."
    return "\n  ".join([f"Its last lines, of {log}:", *lines])


def _end_with(parent: int) -> Callable[[], None]:
    def set_death_signal() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return set_death_signal


async def _answers(url: str) -> None:
    """Return when `url` answers 200; a server that starts tells nobody, so ask."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(POLL_SECONDS)


def _manner(status: int) -> str:
    if status < 0:
        return f"by signal {signal.Signals(-status).name}"
    return f"with status {status}"
