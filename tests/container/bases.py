"""Make the images that container/Dockerfile is built upon, where no registry is reached.

They are handed to the very same Dockerfile as build arguments:

    TRITON_IMAGE      for nvcr.io/nvidia/tritonserver: triton.Dockerfile, on Debian's root
    PROMETHEUS_IMAGE  for prom/prometheus: prometheus.Dockerfile, 3.5 of Debian sid's package
    RECEIVER_IMAGE    for debian:bookworm-slim: a minimal debootstrap root

The root carries this machine's CA bundle, so that apt and pip work inside a build as
they do outside. What is real in them and what is not, triton.Dockerfile says.
"""

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from demo.debian import debian_mirror
from demo.parts import REPOSITORY, parts_dir
from demo.prometheus import install as install_prometheus
from tests.container.engine import install

HERE = Path(__file__).parent / "images"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
SUITE = "bookworm"
ROOTS = "appinsights-test/root"
ROOT = f"{ROOTS}:{SUITE}"
TRITON = "appinsights-test/triton:2.51"


def make_all(environment: Mapping[str, str]) -> dict[str, str]:
    """Make what is not there yet; returns the images by build argument."""
    make_root(SUITE, environment)
    _run(
        [
            "docker",
            "build",
            "--quiet",
            "--network=host",
            f"--file={HERE}/triton.Dockerfile",
            f"--build-arg=ROOT={ROOT}",
            f"--tag={TRITON}",
            str(HERE),
        ],
        environment,
    )
    return {"triton": TRITON, "prometheus": _make_prometheus(environment), "receiver": ROOT}


def make_root(suite: str, environment: Mapping[str, str]) -> str:
    """Make a minimal root of one of Debian's suites, if it is not there; returns its image."""
    if not _exists(image := f"{ROOTS}:{suite}", environment):
        _make_root(suite, image, environment)
    return image


def _make_root(suite: str, image: str, environment: Mapping[str, str]) -> None:
    install(["debootstrap"])
    sources = subprocess.run(
        ["apt-get", "update", "--print-uris"], capture_output=True, text=True, check=True
    )
    mirror = debian_mirror(sources.stdout, suite)
    with tempfile.TemporaryDirectory(prefix="root-") as folder:
        root = Path(folder, "root")
        _run(
            ["debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(root)]
            + ([mirror] if mirror else []),
            environment,
        )
        if CA_BUNDLE.exists():
            (root / CA_BUNDLE.relative_to("/")).write_bytes(CA_BUNDLE.read_bytes())
            (root / "etc/pip.conf").write_text(f"[global]\ncert = {CA_BUNDLE}\n")
        archive = Path(folder, "root.tar")
        leave_out = [f"--exclude=./var/{name}" for name in ("cache/apt/*", "lib/apt/lists/*")]
        _run(
            ["tar", f"--directory={root}", *leave_out, "--create", f"--file={archive}", "."],
            environment,
        )
        _run(
            ["docker", "import", f"--change=ENV SSL_CERT_FILE={CA_BUNDLE}", str(archive), image],
            environment,
        )


def _make_prometheus(environment: Mapping[str, str]) -> str:
    found = install_prometheus("sid", parts_dir())
    image = f"appinsights-test/prometheus:{found.version}"
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(found.prometheus, "bin/prometheus")
        for name in ("LICENSE", "NOTICE"):
            tar.add(REPOSITORY / "LICENSE", name)
        tar.add(HERE / "prometheus.Dockerfile", "Dockerfile")
    _run(
        [
            "docker",
            "build",
            "--quiet",
            "--network=host",
            f"--build-arg=ROOT={ROOT}",
            f"--tag={image}",
            "-",
        ],
        environment,
        context.getvalue(),
    )
    return image


def _exists(image: str, environment: Mapping[str, str]) -> bool:
    command = ["docker", "image", "inspect", image]
    return not subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def _run(command: list[str], environment: Mapping[str, str], given: bytes | None = None) -> None:
    done = subprocess.run(
        command, env=environment, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}:\n{done.stdout.decode()[-3000:]}")
