"""Show the whole path on real parts: Triton, Prometheus, the receiver and where it delivers.

The program of `make run`. It gets what is missing, starts everything on
loopback, sends inference traffic and says what arrives, until Ctrl-C or
SIGTERM ends all of it. What can be asked for: --help, and plan.py.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from demo.child import ChildFailed
from demo.parts import MissingPart
from demo.plan import BadPlan, Plan, plan_from
from demo.ports import LOOPBACK, BadPorts, refuse_taken
from demo.prometheus import PrometheusFailed
from demo.prometheus import install as install_prometheus
from demo.stack import Installed, running
from demo.triton import install as install_triton
from demo.watch import send_traffic, tell_arrivals, tell_deliveries

T = TypeVar("T")


def say(text: str) -> None:
    """Print at once, also into a pipe; when nobody reads it any more, end."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until we end
        signal.raise_signal(signal.SIGTERM)


def main() -> int:
    """Run until told to end; return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):  # until serve() takes them over
        signal.signal(number, signal.default_int_handler)
    try:
        plan = plan_from(os.environ | asked_for(sys.argv[1:]))
        refuse_taken(plan.ports)
        installed = set_up(plan)
        return asyncio.run(serve(plan, installed))
    except (BadPlan, BadPorts, MissingPart) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        say("\nEnded before it was set up; the next start goes on from here.")
        return 0
    except OSError as error:  # a full disk, a closed terminal
        sys.stderr.write(f"Ended: {error}\n")
        return 1


def asked_for(arguments: list[str]) -> dict[str, str]:
    """Read the command line, as the environment variables that say the same."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.run",
        description="Run Triton, Prometheus and the receiver on this machine, until Ctrl-C.",
        epilog="It delivers to the sandbox; with APPLICATIONINSIGHTS_CONNECTION_STRING or "
        "INSTRUMENTATION_KEY set, to Application Insights. PARTS_DIR: where to keep what it fetches.",
    )
    parser.add_argument("--models", metavar="DIR", help="your own model repository [MODELS]")
    parser.add_argument("--port-offset", metavar="N", help="added to all ports [PORT_OFFSET]")
    parsed = parser.parse_args(arguments)
    given = {"MODELS": parsed.models, "PORT_OFFSET": parsed.port_offset}
    return {name: value for name, value in given.items() if value is not None}


def set_up(plan: Plan) -> Installed:
    """Return the programs to run, fetched into the parts folder if need be.

    Raises: MissingPart.
    """
    # Bookworm's needs no more than glibc 2.34.
    prometheus = timed(
        "Prometheus", lambda: install_prometheus("bookworm", plan.parts, progress=say)
    )
    triton = timed("Triton", lambda: install_triton(plan.parts, progress=say))
    if triton.python.numpy_is_misread and not plan.sends_load:
        say(
            f"Note: Python {triton.python.name} has only numpy 2, whose arrays this Triton "
            "misreads: models that use as_numpy() answer wrong. Install Python 3.12 beside it."
        )
    return Installed(triton, prometheus)


def timed(name: str, install: Callable[[], T]) -> T:
    """Say which version of a part is there, and how long getting it took."""
    began = time.monotonic()
    installed = install()
    version, seconds = getattr(installed, "version", ""), time.monotonic() - began
    say(f"{name} {version} is installed ({seconds:.1f} s).")
    return installed


async def serve(plan: Plan, installed: Installed) -> int:
    """Run everything until a signal comes (0) or a part fails (1)."""
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, told_to_end.set)
    failures: list[str] = []
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_run(plan, installed, failures))
        waiting = group.create_task(told_to_end.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if told_to_end.is_set():
            say("\nEnding all of it.")
        task.cancel()
        waiting.cancel()
    return 1 if failures else 0


async def _run(plan: Plan, installed: Installed, failures: list[str]) -> None:
    try:
        async with running(plan, installed, say) as parts:
            say(introduction(plan))
            try:
                async with asyncio.TaskGroup() as group:
                    for part in parts:
                        group.create_task(part.ended())
                    if plan.sends_load:
                        group.create_task(send_traffic(f"{LOOPBACK}:{plan.ports.triton_http}"))
                    group.create_task(_tell(plan))
            except* ChildFailed as group_failed:
                failures += map(str, group_failed.exceptions)
                say("\n" + "\n".join(failures))
    except (ChildFailed, PrometheusFailed) as error:  # at the start
        failures.append(str(error))
        say(str(error))
        if "unable to find backend library" in failures[0]:
            say("This Triton has only the Python backend; other models need NVIDIA's own image.")


async def _tell(plan: Plan) -> None:
    if plan.destination:
        await tell_deliveries(f"http://{LOOPBACK}:{plan.ports.receiver}", say)
    else:
        await tell_arrivals(f"http://{LOOPBACK}:{plan.ports.sandbox}", say)


def introduction(plan: Plan) -> str:
    """Say what to open and what to expect."""
    ports = plan.ports
    pages = {
        "what has arrived, as Application Insights would hold it": f"{ports.sandbox}/",
        "the receiver": f"{ports.receiver}/",
        "Prometheus": f"{ports.prometheus}/",
        "Triton's metrics": f"{ports.triton_metrics}/metrics",
    }
    if plan.destination:
        pages.pop(next(iter(pages)))
    traffic = (
        "Sending 10 requests a second to the model add_sub and 1 a second to raiser, which fails.\n"
        "The nv_gpu_* values come from the model gpufake, a stand-in for a GPU."
        if plan.sends_load
        else f"Serving {plan.models}. Send it requests at http://{LOOPBACK}:{ports.triton_http}."
    )
    if plan.destination:
        traffic += f"\nDelivering to the Application Insights of {plan.destination}."
    return "\n".join(
        [
            "",
            *(f"  http://{LOOPBACK}:{page:<13} {what}" for what, page in pages.items()),
            f"  {_short(plan.folder)}/*.log",
            "",
            traffic,
            "First values come within 20 seconds, their _irate within 90. Ctrl-C ends it all.",
            "",
        ]
    )


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


if __name__ == "__main__":
    sys.exit(main())
