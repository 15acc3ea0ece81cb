"""The image, built once for all tests here; `make image-test` runs them.

Without IMAGE_TEST set nothing here is collected: these tests install Docker where
it is missing, and take minutes.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.parts import REPOSITORY, parts_dir
from tests.container import bases
from tests.container.containers import Box, Container, Docker, get, until
from tests.container.engine import docker_engine

collect_ignore_glob = [] if os.environ.get("IMAGE_TEST") else ["test_*.py"]

IMAGE = "appinsights-test/image"
RECEIVER = "appinsights-test/receiver"
VERSION = "0.0.1-test"

Build = Callable[..., str]
Start = Callable[..., Container]


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """Docker, the one that answers or our own."""
    with docker_engine(parts_dir() / "docker") as own:
        yield Docker(own)


@pytest.fixture(scope="session")
def build(docker: Docker) -> Build:
    """Run build.sh as a user would, on the base images made here."""
    made = bases.make_all(docker.environment)
    options = [text for name, image in made.items() for text in (f"--{name}", image)]

    def run(*names: str, target: str = "triton", more: tuple[str, ...] = ()) -> str:
        done = subprocess.run(
            ["./build.sh", *options, "--target", target, *names, "--", "--network=host", *more],
            cwd=REPOSITORY,
            env=docker.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def image(build: Build) -> str:
    """The image with all three."""
    build(IMAGE, VERSION)
    return IMAGE


@pytest.fixture(scope="session")
def receiver_image(build: Build) -> str:
    """The image with the receiver alone."""
    build(RECEIVER, VERSION, target="receiver")
    return RECEIVER


@pytest.fixture(scope="session")
def network(docker: Docker) -> Iterator[str]:
    """A network for the containers, where they know each other by name."""
    name = f"appinsights-test-{os.getpid()}"
    loopback = "com.docker.network.bridge.host_binding_ipv4=127.0.0.1"
    docker("network", "create", f"--opt={loopback}", name)
    yield name
    docker("network", "rm", name)


@pytest.fixture
def box(docker: Docker, network: str, receiver_image: str) -> Iterator[Box]:
    """An empty sandbox."""
    arguments = (f"--network={network}", "--no-healthcheck", "-p9202", receiver_image, "sandbox")
    with Container(docker, *arguments, "--listen", "0.0.0.0:9202") as container:
        found = Box(container)
        until(lambda: get(f"{found.url}/counters"), "the sandbox listens")
        yield found


@pytest.fixture
def started(docker: Docker, network: str, image: str, box: Box) -> Start:
    """Start the image so that it delivers to the sandbox; options first, then `flags`."""

    def start(*options: str, flags: tuple[str, ...] = ()) -> Container:
        return Container(
            docker,
            f"--network={network}",
            *("-p8000", "-p8001", "-p8002", "-p9090"),
            f"--env=APPLICATIONINSIGHTS_CONNECTION_STRING={box.connection_string}",
            *options,
            image,
            *flags,
        )

    return start


@pytest.fixture
def every_second(tmp_path: Path) -> str:
    """The option that mounts a prometheus.yml which scrapes each second, rules every two."""
    config = (REPOSITORY / "prometheus/prometheus.yml").read_text()
    config = config.replace("scrape_interval: 15s", "scrape_interval: 1s")
    config = config.replace("evaluation_interval: 60s", "evaluation_interval: 2s")
    path = tmp_path / "prometheus.yml"
    path.write_text(config)
    tmp_path.chmod(0o755)
    return f"--volume={path}:/etc/prometheus/prometheus.yml:ro"
