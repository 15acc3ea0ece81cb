"""A Docker to test with: the one that answers, or one of our own.

Our own is Debian's docker.io with its data in the parts folder, so that images are
there at the next run. It has a socket and a folder of its own, no bridge that it would
share with another daemon, and ends with whoever started it, killed or not. Ports are
published on an address picked from 127.0.0.0/8, so that even 8000 is free there.
"""

import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from demo.debian import fetch
from demo.parts import parts_dir

PACKAGES = {"dockerd": "docker.io", "docker": "docker.io", "iptables": "iptables", "setpriv": "util-linux", "debootstrap": "debootstrap"}  # fmt: skip
PLUGINS = ("docker-compose", "docker-buildx")
PLUGINS_SUITE = "trixie"  # bookworm's compose is the first, which knows no inline configs
START_LIMIT_SECONDS = 120
STOP_LIMIT_SECONDS = 60


class NoDocker(Exception):
    """There is no Docker, and none could be started; the message says why."""


@dataclass(frozen=True)
class Engine:
    """Where Docker answers, and where the ports of its containers are to be."""

    environment: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"


@contextmanager
def docker_engine(folder: Path) -> Iterator[Engine]:
    """Yield a Docker that answers. Our own daemon keeps its data in `folder`.

    Raises: NoDocker, MissingPart.
    """
    host = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(1, 254)}"
    if shutil.which("docker") and _answers(os.environ):
        yield Engine({}, host)
        return
    if os.geteuid():
        raise NoDocker(
            "no Docker answers, and one of our own needs root. Start Docker, or become root"
        )
    install(["dockerd", "docker", "iptables", "setpriv"])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dockerd-", ignore_cleanup_errors=True) as short:
        own = {"DOCKER_HOST": f"unix://{short}/docker.sock", "DOCKER_CONFIG": f"{short}/config"}
        _write_config(Path(own["DOCKER_CONFIG"]))
        limits = Path(short, "daemon.json")
        limits.write_text(
            json.dumps({"builder": {"gc": {"enabled": True, "defaultKeepStorage": "4GB"}}})
        )
        log = folder.with_name(f"{folder.name}.log")
        # The daemon hears of our end by itself, and takes its containers with it.
        command = ["setpriv", "--pdeathsig=TERM", "dockerd", f"--config-file={limits}", f"--data-root={folder}", f"--exec-root={short}/exec", f"--host={own['DOCKER_HOST']}", f"--pidfile={short}/docker.pid", "--bridge=none", f"--ip={host}"]  # fmt: skip
        with log.open("w") as output:
            daemon = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + START_LIMIT_SECONDS
            while not _answers({**os.environ, **own}):
                if daemon.poll() is not None or time.monotonic() > deadline:
                    last = "\n".join(log.read_text().splitlines()[-5:])
                    raise NoDocker(f"dockerd doesn't run here; the end of {log}:\n{last}")
                time.sleep(0.2)
            yield Engine(own, host)
            # What earlier days' builds left behind.
            subprocess.run(
                ["docker", "image", "prune", "--force", "--filter=until=48h"],
                env={**os.environ, **own},
                stdout=subprocess.DEVNULL,
                check=False,
            )
        finally:
            daemon.terminate()
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(STOP_LIMIT_SECONDS)
            daemon.kill()
            daemon.wait()
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
        raise NoDocker(
            f"{' and '.join(missing)} can't be installed here: that needs root, on Debian or its kin"
        )
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "-oAcquire::Retries=3", "update"],
        ["apt-get", "-oAcquire::Retries=3", "install", "--yes", "--no-install-recommends", *missing],
    ):  # fmt: skip
        done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoDocker(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")


def _write_config(folder: Path) -> None:
    """Give the docker command its plugins, whoever made it."""
    found = fetch(PLUGINS, PLUGINS_SUITE, parts_dir()) / "usr/libexec/docker/cli-plugins"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(found)]}))


def _answers(environment: Mapping[str, str]) -> bool:
    asked = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        env=dict(environment),
        capture_output=True,
        check=False,
    )
    return asked.returncode == 0
