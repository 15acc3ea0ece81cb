"""The receiver as a process of its own, as its users run it."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.child import Child
from demo.ports import LOOPBACK, free_ports

STOP_TIMEOUT_SECONDS = 20.0  # it gives batches under way 10 s


class ReceiverProcess:
    """Start `python -m receiver run` on entry, ready to be written to; stop it on exit."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        flags: Sequence[str | Path] = (),
        environment: Mapping[str, str] = os.environ,
        ready_within_seconds: float = 30.0,
    ) -> None:
        """Describe a receiver whose log is in `folder`. Without `port` the system picks one."""
        self.port = port or free_ports(1)[0]
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.log = folder / "receiver.log"
        self._flags = tuple(flags)
        self._environment = environment
        self._ready_within_seconds = ready_within_seconds
        self._child: Child | None = None

    @property
    def write_url(self) -> str:
        """Where Prometheus writes to."""
        return f"{self.url}/api/v1/write"

    @property
    def child(self) -> Child:
        """The receiver's process. Raises RuntimeError before the start."""
        if self._child is None:
            raise RuntimeError("the receiver was not started")
        return self._child

    async def start(self) -> None:
        """Return when it is ready.

        Raises: ChildFailed with the end of its log.
        """
        command = [sys.executable, "-m", "receiver", "run", "--listen", f"{LOOPBACK}:{self.port}"]
        self._child = await Child.start(
            "The receiver",
            [*command, *self._flags],
            log=self.log,
            environment=self._environment,
        )
        try:
            await self._child.ready(
                f"{self.url}/-/ready", within_seconds=self._ready_within_seconds
            )
        except BaseException:
            await self.kill()
            raise

    async def ended(self) -> None:
        """Wait for it to end by itself.

        Raises: ChildFailed, always.
        """
        await self.child.ended()

    async def stop(self) -> int:
        """End it, what is under way first; return its exit status."""
        try:
            return await self.child.stop(within_seconds=STOP_TIMEOUT_SECONDS)
        finally:  # we may be cancelled
            await self.kill()

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        await self.child.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
