"""The whole path of one run: the receiver, Prometheus and Triton.

In: a plan and the installed parts. Each part is started when the one that it
sends to is ready, and they are stopped the other way round.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from demo.parts import REPOSITORY
from demo.plan import Plan
from demo.ports import LOOPBACK, Ports
from demo.prometheus import PrometheusInstall, PrometheusServer, render_config
from demo.prometheus_api import PrometheusApi, PrometheusFailed
from demo.receiver_process import ReceiverProcess
from demo.triton import TritonInstall, TritonPorts, TritonServer

PROMETHEUS_YML = REPOSITORY / "prometheus/prometheus.yml"
# Those of prometheus.yml, for the copy that other ports need.
SCRAPE_SECONDS = 15
EVALUATION_SECONDS = 60

Say = Callable[[str], object]


@dataclass(frozen=True)
class Installed:
    """The programs that are not ours."""

    triton: TritonInstall
    prometheus: PrometheusInstall


class Part(Protocol):
    """One of the three, between its start and its stop."""

    async def ended(self) -> None:
        """Wait for it to end by itself. Raises: ChildFailed, always."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...


@asynccontextmanager
async def running(plan: Plan, installed: Installed, say: Say) -> AsyncIterator[list[Part]]:
    """Run all three, from the last receiver of data to its first sender.

    Raises: ChildFailed, PrometheusFailed.
    """
    empty(plan)
    prometheus = _prometheus(plan, installed.prometheus)
    parts: dict[str, Part] = {
        "The receiver": _receiver(plan),
        "Prometheus": prometheus,
        "Triton": _triton(plan, installed.triton),
    }
    async with AsyncExitStack() as stack:
        for name, part in parts.items():
            await stack.enter_async_context(_told(name, part, say))
        await _scraped(prometheus, say)
        yield list(parts.values())


async def _scraped(prometheus: PrometheusApi, say: Say) -> None:
    """Wait for the first scrape that finds Triton: what is said from then on comes in time.

    It comes within an interval; who sees none by then has a reason to look at, and may.
    """
    began = time.monotonic()
    with suppress(TimeoutError, PrometheusFailed):
        async with asyncio.timeout(2 * SCRAPE_SECONDS):
            while not any(  # noqa: ASYNC110 - Prometheus tells nobody
                target.health == "up" for target in await prometheus.targets()
            ):
                await asyncio.sleep(0.25)
        say(f"Prometheus has scraped Triton ({time.monotonic() - began:.1f} s).")


def empty(plan: Plan) -> None:
    """Make the run's folder, without what an earlier run left for nobody."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(plan.folder / "prometheus", ignore_errors=True)
    shutil.rmtree(plan.folder / "sandbox-outbox", ignore_errors=True)


@asynccontextmanager
async def _told(name: str, part: Part, say: Say) -> AsyncIterator[None]:
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(part)
        say(f"{name} is up ({time.monotonic() - began:.1f} s).")
        try:
            yield
        finally:
            began = time.monotonic()
            await stack.aclose()
            say(f"{name} has ended ({time.monotonic() - began:.1f} s).")


def _receiver(plan: Plan) -> ReceiverProcess:
    flags: list[str] = []
    if plan.metrics_json:
        flags += ["--metrics-json", str(plan.metrics_json)]
    if plan.outbox:
        flags += ["--outbox-dir", str(plan.outbox)]
    if plan.destination is None:
        flags += ["--sandbox", "--sandbox-listen", f"{LOOPBACK}:{plan.ports.sandbox}"]
    return ReceiverProcess(plan.folder, port=plan.ports.receiver, flags=flags)


def _prometheus(plan: Plan, installed: PrometheusInstall) -> PrometheusServer:
    config = PROMETHEUS_YML
    if plan.ports != Ports():
        config = render_config(
            PROMETHEUS_YML,
            plan.folder / "prometheus.yml",
            triton=f"{LOOPBACK}:{plan.ports.triton_metrics}",
            receiver_url=f"http://{LOOPBACK}:{plan.ports.receiver}/api/v1/write",
            scrape_seconds=SCRAPE_SECONDS,
            evaluation_seconds=EVALUATION_SECONDS,
        )
    return PrometheusServer(
        installed,
        config,
        plan.folder / "prometheus",
        port=plan.ports.prometheus,
        log_path=plan.folder / "prometheus.log",
    )


def _triton(plan: Plan, installed: TritonInstall) -> TritonServer:
    ports = TritonPorts(plan.ports.triton_http, plan.ports.triton_grpc, plan.ports.triton_metrics)
    return TritonServer(
        installed, plan.models, plan.folder, ports=ports, ready_within_seconds=600.0
    )
