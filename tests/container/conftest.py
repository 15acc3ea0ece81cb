"""The image, built once for all tests here; `make image-test` runs them.

Without IMAGE_TEST set nothing here is collected: these tests install Docker where
it is missing, and take minutes.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from demo.parts import REPOSITORY, MissingPart, parts_dir
from tests.container import bases
from tests.container.containers import Box, Container, Docker, get, until
from tests.container.engine import NoDocker, docker_engine

collect_ignore_glob = [] if os.environ.get("IMAGE_TEST") else ["test_*.py"]

IMAGE = "appinsights-test/image"
RECEIVER = "appinsights-test/receiver"
VERSION = "0.0.1-test"

Build = Callable[..., str]
Start = Callable[..., Container]
Scraping = Callable[..., str]


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """Docker, the one that answers or our own; with neither, these tests fail in a sentence."""
    with ExitStack() as stack:
        try:
            engine = stack.enter_context(docker_engine(parts_dir() / "docker"))
        except (NoDocker, MissingPart) as error:
            pytest.exit(f"image-test: {error}", returncode=1)
        yield Docker(engine)


@pytest.fixture(scope="session")
def bases_made(docker: Docker) -> dict[str, str]:
    """The images that the Dockerfile is built upon, by build.sh's option."""
    try:
        return bases.make_all(docker.environment)
    except (NoDocker, MissingPart) as error:
        pytest.exit(f"image-test: {error}", returncode=1)


@pytest.fixture(scope="session")
def build(docker: Docker, bases_made: dict[str, str]) -> Build:
    """Run build.sh as a user would, on the base images made here."""
    options = [text for name, image in bases_made.items() for text in (f"--{name}", image)]

    def run(*names: str, target: str = "triton", more: tuple[str, ...] = (), kit: int = 0) -> str:
        done = subprocess.run(
            ["./build.sh", *options, "--target", target, *names, "--", "--network=host", *more],
            cwd=REPOSITORY,
            env={**docker.environment, "DOCKER_BUILDKIT": str(kit)},
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
    loopback = f"com.docker.network.bridge.host_binding_ipv4={docker.host}"
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
def scraping(tmp_path: Path) -> Scraping:
    """Make the option that mounts a prometheus.yml with these intervals."""

    def option(scrapes: str, rules: str = "2s") -> str:
        config = (REPOSITORY / "prometheus/prometheus.yml").read_text()
        for name, shipped, wanted in (("scrape", "15s", scrapes), ("evaluation", "60s", rules)):
            assert f"{name}_interval: {shipped}" in config
            config = config.replace(f"{name}_interval: {shipped}", f"{name}_interval: {wanted}")
        path = tmp_path / "prometheus.yml"
        path.write_text(config)
        tmp_path.chmod(0o755)
        return f"--volume={path}:/etc/prometheus/prometheus.yml:ro"

    return option


@pytest.fixture
def every_second(scraping: Scraping) -> str:
    """The option that mounts a prometheus.yml which scrapes each second, rules every two."""
    return scraping("1s")
