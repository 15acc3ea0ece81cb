"""A Docker to test with: the one that answers, or one of our own.

Our own is Debian's docker.io with its data in the parts folder, so that images are
there at the next run; it publishes ports on loopback alone, and ends with the tests.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PACKAGES = {"dockerd": "docker.io", "docker": "docker.io", "iptables": "iptables", "debootstrap": "debootstrap", "shellcheck": "shellcheck"}  # fmt: skip
START_LIMIT_SECONDS = 60


class NoDocker(Exception):
    """There is no Docker, and none could be started; the message says why."""


@contextmanager
def docker_engine(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which `docker` works. Our own daemon keeps its data in `folder`.

    Raises: NoDocker.
    """
    if shutil.which("docker") and _answers(os.environ):
        yield {}
        return
    install(["dockerd", "docker", "iptables"])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dockerd-") as short:
        own = {"DOCKER_HOST": f"unix://{short}/docker.sock"}
        log = folder.with_name(f"{folder.name}.log")
        command = ["dockerd", f"--data-root={folder}", f"--exec-root={short}/exec", f"--host={own['DOCKER_HOST']}", f"--pidfile={short}/docker.pid", "--ip=127.0.0.1"]  # fmt: skip
        with log.open("w") as output:
            daemon = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + START_LIMIT_SECONDS
            while not _answers({**os.environ, **own}):
                if daemon.poll() is not None or time.monotonic() > deadline:
                    last = "\n".join(log.read_text().splitlines()[-5:])
                    raise NoDocker(f"dockerd doesn't run here:\n{last}")
                time.sleep(0.2)
            yield own
        finally:
            daemon.terminate()
            daemon.wait(60)
            # It leaves the host's network mounted there, where a container or a build had that.
            mounted = Path(short, "exec/netns/default")
            if mounted.exists():
                subprocess.run(["umount", str(mounted)], capture_output=True, check=False)


def install(programs: Sequence[str]) -> None:
    """Install those of `programs` that are missing, from Debian's packages.

    Raises: NoDocker.
    """
    missing = sorted({PACKAGES[name] for name in programs if not shutil.which(name)})
    if not missing:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise NoDocker(f"install {', '.join(missing)} first: only root on Debian can do it here")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update"],
        ["apt-get", "install", "--yes", "--no-install-recommends", *missing],
    ):
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoDocker(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")


def _answers(environment: "os._Environ[str] | dict[str, str]") -> bool:
    asked = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        env=dict(environment),
        capture_output=True,
        check=False,
    )
    return asked.returncode == 0
