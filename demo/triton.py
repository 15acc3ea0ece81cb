"""A real Triton server on loopback, for as long as a `with` block lasts.

    async with TritonServer(install(parts_dir()), models, folder) as triton:
        ...  # triton.http, triton.grpc and triton.metrics are its host:port

Flags: `tritonserver --help` of 2.51; latencies as counters and as summaries.
"""

import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from demo.child import Child
from demo.ports import LOOPBACK, free_ports
from demo.triton_wheel import TritonInstall, install

__all__ = ["TritonInstall", "TritonPorts", "TritonServer", "install"]

EXIT_TIMEOUT_SECONDS = 5  # with an ensemble it may use all of it (its default is 30)
STOP_TIMEOUT_SECONDS = EXIT_TIMEOUT_SECONDS + 5.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where shm_open(3) puts it
# Its log's tables, notes and warnings, and an error that it logs whenever there is no GPU.
NOISE = re.compile(r"^([+|]|[IW]\d{4} )|CudaDriverHelper")
METRICS_FLAGS = (
    "--allow-metrics=true",
    "--allow-cpu-metrics=true",
    "--metrics-interval-ms=1000",
    "--metrics-config=summary_latencies=true",
    "--metrics-config=counter_latencies=true",
)


class TritonPorts(NamedTuple):
    """The ports of one server, on loopback."""

    http: int
    grpc: int
    metrics: int


class TritonServer:
    """Start Triton on entry, ready to answer; stop it on exit."""

    def __init__(
        self,
        installed: TritonInstall,
        models: Path,
        folder: Path,
        *,
        ports: TritonPorts | None = None,
        flags: Sequence[str] = (),
        ready_within_seconds: float = 60.0,
    ) -> None:
        """Describe a server of the model repository `models`, its log in `folder`.

        Without `ports` the system picks them. `flags` come last and win.
        """
        self.ports = ports or TritonPorts(*free_ports(3))
        self.models = models.absolute()
        self.log = folder / "triton.log"
        self._installed = installed
        self._flags = tuple(flags)
        self._ready_within_seconds = ready_within_seconds
        self._child: Child | None = None
        # A killed server leaves its shared memory behind: by this name it is known as ours.
        self._shared_memory = f"triton_demo_{os.getpid()}_{secrets.token_hex(4)}_"

    @property
    def http(self) -> str:
        """Where tritonclient.http connects: host:port."""
        return f"{LOOPBACK}:{self.ports.http}"

    @property
    def grpc(self) -> str:
        """Where tritonclient.grpc connects: host:port."""
        return f"{LOOPBACK}:{self.ports.grpc}"

    @property
    def metrics(self) -> str:
        """What Prometheus scrapes: host:port."""
        return f"{LOOPBACK}:{self.ports.metrics}"

    @property
    def child(self) -> Child:
        """The server's process. Raises RuntimeError before the start."""
        if self._child is None:
            raise RuntimeError("Triton was not started")
        return self._child

    @property
    def command(self) -> list[str]:
        """The command line that starts the server."""
        return [
            str(self._installed.server),
            *self._installed.flags,
            f"--model-repository={self.models}",
            f"--exit-timeout-secs={EXIT_TIMEOUT_SECONDS}",
            f"--backend-config=python,shm-region-prefix-name={self._shared_memory}",
            *(f"--{name}-address={LOOPBACK}" for name in TritonPorts._fields),
            *(f"--{name}-port={port}" for name, port in self.ports._asdict().items()),
            *METRICS_FLAGS,
            *self._flags,
        ]

    async def ended(self) -> None:
        """Wait for the server to end by itself.

        Raises: ChildFailed, always.
        """
        await self.child.ended()

    async def start(self) -> None:
        """Return when the server and all its models are ready.

        Raises: ChildFailed with the end of the log.
        """
        # Without it every start looks for a GPU's management library, in vain.
        environment = {**self._installed.environment(), "TRITON_SERVER_CPU_ONLY": "1"}
        self._child = await Child.start(
            "Triton", self.command, log=self.log, environment=environment, noise=NOISE
        )
        try:
            await self._child.ready(
                f"http://{self.http}/v2/health/ready", within_seconds=self._ready_within_seconds
            )
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> int:
        """End the server, requests in flight first; return its exit status."""
        try:
            return await self.child.stop(within_seconds=STOP_TIMEOUT_SECONDS)
        finally:  # we may be cancelled
            await self.kill()

    async def kill(self) -> None:
        """End the server at once, as a crash would."""
        await self.child.kill()
        self._remove_shared_memory()

    def _remove_shared_memory(self) -> None:
        for left in SHARED_MEMORY.glob(f"{self._shared_memory}*"):
            with suppress(FileNotFoundError):
                left.unlink()

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
