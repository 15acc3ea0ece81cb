"""Who is measured: the receiver, vmagent, and the plain pipeline; each does its own work.

The receiver writes Application Insights' items, committed to disk and gzipped. vmagent
writes remote-write again: no JSON, no gzip, and it answers before anything is on disk.
Both keep the series whose name begins with `selected_`. The plain pipeline does the
receiver's rendering alone, on one thread, and sends nothing.
"""

import functools
import json
import pickle
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.payloads import SELECTED_PREFIX, Request
from benchmarks.processes import Program, free_port, running
from demo.debian import fetch

KEY = "00000000-0000-0000-0000-000000000000"
RECEIVER_PATH = VMAGENT_PATH = "/api/v1/write"


@contextmanager
def sink(core: int) -> Iterator[Program]:
    """Run the sink."""
    port = free_port()
    with running([sys.executable, "-m", "benchmarks.sink", str(port)], port, "/", core) as program:
        yield program


@functools.cache
def installed(source: Path = Path(), folder: Path = Path(".parts/benchmark")) -> Path:
    """Install the receiver from its lock, and nothing else: what developers need is not measured."""
    lock, seen = source / "requirements-receiver.lock", folder / "lock"
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install"]
    pip += ["--quiet", "--disable-pip-version-check", "--no-deps"]
    if not seen.exists() or seen.read_bytes() != lock.read_bytes():
        venv.create(folder, clear=True)
        subprocess.run([*pip, "--require-hashes", "-r", str(lock)], check=True)
        seen.write_bytes(lock.read_bytes())
    with tempfile.TemporaryDirectory() as wheels:
        build = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
        ]
        subprocess.run([*build, "--wheel-dir", wheels, str(source)], check=True)
        subprocess.run([*pip, "--force-reinstall", *map(str, Path(wheels).iterdir())], check=True)
    return folder / "bin/appinsights-receiver"


@functools.cache
def _flags(binary: str) -> str:
    """Ask a receiver for its flags: earlier ones have fewer."""
    made = subprocess.run([binary, "run", "--help"], capture_output=True, text=True, check=True)
    return made.stdout


@contextmanager
def receiver(
    core: int | str,
    sink_port: int,
    folder: Path,
    more: Sequence[str] = (),
    installed_at: Path | None = None,
) -> Iterator[Program]:
    """Run a receiver as it is installed, this tree's if no other is given.

    What it may deliver a second, and how many series it may know, is not limited.
    """
    port = free_port()
    names = folder / "metrics.json"
    names.write_text(json.dumps({"customMetrics": [f"{SELECTED_PREFIX}*"]}))
    environment = {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};"
        f"IngestionEndpoint=http://127.0.0.1:{sink_port}/"
    }
    binary = str(installed_at or installed())
    command = [binary, "run", "--listen", f"127.0.0.1:{port}"]
    command += ["--metrics-json", str(names), "--outbox-dir", str(folder / "outbox")]
    command += ["--items-per-second", "100000000", *more]
    for limit in ("--metric-series-max", "--total-series-max"):
        command += [limit, "10000000"] if limit in _flags(binary) else []
    log = folder / "receiver.log"
    with running(command, port, "/-/ready", core, environment, log) as program:
        yield program


@contextmanager
def vmagent(core: int, sink_port: int, folder: Path) -> Iterator[Program]:
    """Run Debian's vmagent, which is fetched where it is not there."""
    part = fetch(["victoria-metrics"], "sid", Path(".parts"), progress=print)
    port = free_port()
    relabel = folder / "relabel.yml"
    relabel.write_text(
        f"- action: keep\n  source_labels: [__name__]\n  regex: '{SELECTED_PREFIX}.*'\n"
    )
    command = [str(part / "usr/bin/vmagent"), f"-httpListenAddr=127.0.0.1:{port}"]
    command += [f"-remoteWrite.url=http://127.0.0.1:{sink_port}/", "-remoteWrite.forcePromProto"]
    command += [f"-remoteWrite.urlRelabelConfig={relabel}"]
    command += [f"-remoteWrite.tmpDataPath={folder / 'queue'}"]
    with running(command, port, "/health", core, log=folder / "vmagent.log") as program:
        yield program


def plain(core: int, requests: Sequence[Request], seconds: float, folder: Path) -> dict[str, float]:
    """Run the plain pipeline; returns `samples`, `cpu_seconds`, `size_bytes`."""
    file = folder / "requests.pickle"
    file.write_bytes(pickle.dumps(list(requests)))
    command = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.plain"]
    made = subprocess.run(
        [*command, str(file), str(seconds)], capture_output=True, check=True, text=True
    )
    found: dict[str, float] = json.loads(made.stdout)
    return found
