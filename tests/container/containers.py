"""Talk to containers as a person does: with the docker command, and from outside."""

import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from typing import Any, Self, TypeVar

from tests.container.engine import Engine

KEY = "11111111-2222-3333-4444-555555555555"
POLL_SECONDS = 0.1

Sample = tuple[str, str, int]
"""A metric's name, the model it is about or nothing, its time in ms."""

T = TypeVar("T")


class Docker:
    """The docker command in one environment."""

    def __init__(self, engine: Engine) -> None:
        """Add the engine's environment to this process'."""
        self.environment = {**os.environ, **engine.environment}
        self.host = engine.host

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """Run `docker ARGUMENTS` and return what it printed, errors included."""
        done = subprocess.run(
            ["docker", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said = done.stdout.decode(errors="replace").strip()
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}\n{said}"
        return said


class Container:
    """One container, removed on exit with its anonymous volumes."""

    def __init__(self, docker: Docker, *arguments: str) -> None:
        """Take what would stand behind `docker run`."""
        self._docker = docker
        self._arguments = arguments
        self.name = f"appinsights-test-{uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Self:
        self._docker("run", "--detach", f"--name={self.name}", *self._arguments)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:  # pytest shows what is printed when a test fails
            print(f"{self.name} said:\n{self._docker('logs', '--tail=60', self.name, check=False)}")
        self._docker("rm", "--force", "--volumes", self.name, check=False)

    def at(self, inside: int) -> str:
        """The address and port of this host that lead to `inside`."""
        return self._docker("port", self.name, str(inside)).splitlines()[0]

    def run(self, *command: str, check: bool = True) -> str:
        """Run a program in it."""
        return self._docker("exec", self.name, *command, check=check)

    def recorded(self, *names: str) -> set[Sample]:
        """What the container's Prometheus has of these metrics, to the millisecond."""
        query = urllib.parse.quote(f'{{__name__=~"{"|".join(names)}",job="triton"}}[1h]')
        answer = get_json(f"http://{self.at(9090)}/api/v1/query?query={query}")
        return {
            (series["metric"]["__name__"], series["metric"].get("model", ""), round(at * 1000))
            for series in answer["data"]["result"]
            for at, _ in series["values"]
        }

    def logs(self) -> str:
        """All that it said."""
        return self._docker("logs", self.name)

    def inspect(self, what: str) -> Any:
        """Ask with a Go template, without its braces."""
        return json.loads(self._docker("inspect", f"--format={{{{json {what}}}}}", self.name))

    def stop(self) -> float:
        """`docker stop`, with its 10 s; returns the seconds it took."""
        began = time.monotonic()
        self._docker("stop", self.name)
        return time.monotonic() - began

    def processes(self) -> dict[str, int]:
        """The process ids of the services, in the container's own count."""
        found: dict[str, int] = {}
        for line in self.run("sh", "-c", LIST_PROCESSES).splitlines():
            pid, _, command = line.partition(" ")
            for name, part in PROGRAMS.items():
                if part in command.split("\0")[0] or part in command:
                    found.setdefault(name, int(pid))
        return found


PROGRAMS = {
    "triton": "bin/tritonserver",
    "prometheus": "bin/prometheus",
    "receiver": "appinsights-receiver",
}
LIST_PROCESSES = """
for folder in /proc/[0-9]*; do
    printf '%s %s\\n' "${folder#/proc/}" "$(tr '\\0' ' ' <"$folder/cmdline")"
done 2>/dev/null | sort -n"""


def get(url: str) -> bytes:
    """GET a page. Raises: OSError."""
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - ours
        body: bytes = response.read()
        return body


def get_json(url: str) -> Any:
    """GET a JSON document. Raises: OSError."""
    return json.loads(get(url))


def until(ask: Callable[[], T], what: str, within_seconds: float = 120) -> T:
    """Return the first answer that is true; an OSError is no answer yet."""
    deadline = time.monotonic() + within_seconds
    problem: object = None
    while time.monotonic() < deadline:
        try:
            if answer := ask():
                return answer
        except OSError as error:
            problem = error
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"not in {within_seconds} s: {what} ({problem})")


class Box:
    """The sandbox in a container of its own: where things arrive."""

    def __init__(self, container: Container) -> None:
        """Take a container that runs `sandbox`."""
        self.container = container
        self.connection_string = (
            f"InstrumentationKey={KEY};IngestionEndpoint=http://{container.name}:9202"
        )

    @property
    def url(self) -> str:
        """Where this host asks it."""
        return f"http://{self.container.at(9202)}"

    def items(self, name: str = "*") -> list[dict[str, Any]]:
        """All items of the metrics so called, oldest first."""
        found: list[dict[str, Any]] = get_json(f"{self.url}/items?name={name}")
        return sorted(found, key=lambda item: int(item["time_ms"]))

    def samples(self, *names: str) -> list[Sample]:
        """All that arrived of these metrics, twice what arrived twice."""
        return [
            (name, item["properties"].get("model", ""), item["time_ms"])
            for name in names
            for item in self.items(name)
        ]

    def values(self, name: str, **labels: str) -> list[float]:
        """The values of one series."""
        return [
            item["value"]
            for item in self.items(name)
            if labels.items() <= item["properties"].items()
        ]
