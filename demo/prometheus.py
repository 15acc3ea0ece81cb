"""Fetch Prometheus from a Debian package and run it.

It runs on loopback, as a child (child.py), with the configuration it is given.
What it is told is in prometheus_config.py; what it can be asked, in
prometheus_api.py.
"""

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from demo.child import Child, ChildFailed
from demo.debian import fetch
from demo.parts import MissingPart
from demo.ports import LOOPBACK, free_ports, is_free
from demo.prometheus_api import PrometheusApi, PrometheusFailed
from demo.prometheus_config import render_config

__all__ = ["PrometheusFailed", "PrometheusInstall", "PrometheusServer", "install", "render_config"]

# Bookworm's package holds promtool; later suites have it in one of its own.
PACKAGES = {"bookworm": ("prometheus",), "sid": ("prometheus", "promtool")}
PORT_ATTEMPTS = 5
# What a receiver that is gone may delay the end; Prometheus' own default is a minute.
FLUSH_DEADLINE_SECONDS = 5


@dataclass(frozen=True)
class PrometheusInstall:
    """The programs of one Prometheus release; `version` is like 3.5.3."""

    prometheus: Path
    promtool: Path
    version: str


def install(
    suite: Literal["bookworm", "sid"],
    root: Path,
    *,
    progress: Callable[[str], object] = lambda _line: None,
) -> PrometheusInstall:
    """Return the Prometheus of a Debian suite, fetched into `root` if need be.

    Bookworm has 2.42 (remote-write 1.0 only), sid 3.5 or later (2.0 too).

    Raises: MissingPart, also if what was fetched doesn't run here.
    """
    programs = fetch(PACKAGES[suite], suite, root, progress=progress) / "usr/bin"
    prometheus, promtool = programs / "prometheus", programs / "promtool"
    try:
        printed = subprocess.run(
            [str(prometheus), "--version"], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingPart(
            f"Debian {suite}'s Prometheus doesn't run on this system ({error}). "
            f"Run it on Debian 12, or put another release's programs into {programs}."
        ) from error
    # 2.42 prints it to stderr, 3.x to stdout.
    return PrometheusInstall(prometheus, promtool, version_of(printed.stdout + printed.stderr))


def version_of(printed: str) -> str:
    """Read the version number from what `prometheus --version` prints."""
    found = re.search(r"prometheus, version (\d+(?:\.\d+)*)", printed)
    return found[1] if found else "unknown"


class PrometheusServer(PrometheusApi):
    """A Prometheus of our own; `async with` starts and stops it.

    `data_dir` is made if it isn't there; the log of the last start is
    `log_path`, by default beside it. Port 0 has the system pick one. After
    stop() or kill(), start() runs it again at the same port on the same data.
    """

    def __init__(
        self,
        installed: PrometheusInstall,
        config: Path,
        data_dir: Path,
        *,
        port: int = 0,
        flags: Sequence[str] = (),
        log_path: Path | None = None,
        ready_timeout_seconds: float = 60.0,
        stop_timeout_seconds: float = 20.0,
    ) -> None:
        super().__init__(f"http://{LOOPBACK}:{port}")
        self.port = port
        self.log_path = log_path or data_dir.with_name(f"{data_dir.name}.log")
        self._data_dir = str(data_dir.absolute())
        self._command = (
            str(installed.prometheus),
            f"--config.file={config}",
            f"--storage.tsdb.path={self._data_dir}",
            f"--storage.remote.flush-deadline={FLUSH_DEADLINE_SECONDS}s",
            "--web.enable-lifecycle",  # for reload()
            *flags,
        )
        self._ready_timeout_seconds = ready_timeout_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._child: Child | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and return when it serves.

        Raises: ChildFailed with the end of its log; PrometheusFailed if the port is taken.
        """
        for _attempt in range(PORT_ATTEMPTS):
            port = self.port or free_ports(1)[0]
            if is_free(port) and await self._serves_at(port):
                self.port, self.url = port, f"http://{LOOPBACK}:{port}"
                return
            if self.port:
                break
        raise PrometheusFailed(
            f"Port {port} on {LOOPBACK} is taken. Stop what listens there or choose another port."
        )

    async def stop(self) -> None:
        """End it in order: SIGTERM, and SIGKILL if it takes too long."""
        if self._child:
            try:
                await self._child.stop(within_seconds=self._stop_timeout_seconds)
            finally:  # we may be cancelled
                await self.kill()

    async def kill(self) -> None:
        """End it at once, as kill -9 does."""
        if self._child:
            await self._child.kill()

    async def ended(self) -> None:
        """Wait for it to end by itself.

        Raises: ChildFailed, always.
        """
        if self._child:
            await self._child.ended()

    async def _serves_at(self, port: int) -> bool:
        """Start it at `port`; False says that somebody else has it."""
        address = f"{LOOPBACK}:{port}"
        command = (*self._command, f"--web.listen-address={address}")
        self._child = await Child.start(
            "Prometheus", command, log=self.log_path, environment=os.environ
        )
        try:
            await self._child.ready(
                f"http://{address}/-/ready", within_seconds=self._ready_timeout_seconds
            )
            # Another Prometheus may have come to that port before ours.
            flags = await PrometheusApi(f"http://{address}").flags()
        except ChildFailed:
            await self.kill()
            if b"address already in use" in self.log_path.read_bytes():
                return False
            raise
        except BaseException:
            await self.kill()
            raise
        if flags["storage.tsdb.path"] == self._data_dir:
            return True
        await self.kill()
        return False
