"""Get a real Triton server from PyPI: NVIDIA's pytriton wheel carries the whole of it.

Of the wheel only the server, its Python backend, its cache and the libraries
are kept, where they were: they find one another by relative paths. What comes
out is a folder that needs no installation and no network from then on.
"""

import hashlib
import os
import platform
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from demo.backend_python import BackendPython, choose, make_venv
from demo.parts import MissingPart, make_once
from demo.pip import run_pip

VERSION = "2.51.0"  # as GET /v2 says; NGC's 24.10
WHEEL = "nvidia-pytriton==0.7.0"
WHEEL_SHA256 = "21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df"
MIN_GLIBC = (2, 35)  # the wheel's tag: manylinux_2_35_x86_64
TREE = "pytriton/tritonserver"
STUB = "triton_python_backend_stub"
NEEDED = (f"{TREE}/bin/", f"{TREE}/backends/", f"{TREE}/caches/", "nvidia_pytriton.libs/")


@dataclass(frozen=True)
class TritonInstall:
    """A Triton server that can be started."""

    folder: Path
    python: BackendPython
    version: str = VERSION

    @property
    def server(self) -> Path:
        """The server's program."""
        return self.folder / TREE / "bin/tritonserver"

    @property
    def flags(self) -> tuple[str, ...]:
        """Where the server finds its own parts."""
        tree = self.folder / TREE
        return (f"--backend-directory={tree}/backends", f"--cache-directory={tree}/caches")

    def environment(self, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Return the environment to start the server in."""
        environment = {**inherited, "PATH": f"{self.folder}/venv/bin:{inherited.get('PATH', '')}"}
        # Both would lead the stub away from its own virtual environment.
        environment.pop("PYTHONHOME", None)
        environment.pop("PYTHONPATH", None)
        if self.python.library_dir:
            paths = [str(self.python.library_dir), inherited.get("LD_LIBRARY_PATH")]
            environment["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
        return environment


def install(root: Path, *, progress: Callable[[str], object] = lambda _line: None) -> TritonInstall:
    """Return a Triton server, from `root` if it is there already.

    `progress` gets a line for a person when something is downloaded.

    Raises: MissingPart.
    """
    _refuse_other_platforms()
    python = choose(root, progress)
    part = root.absolute() / f"triton-{VERSION}-python{python.name}"
    if part.is_dir() and not (part / "venv/bin/python3").exists():
        shutil.rmtree(part)  # the Python that it was made for is gone

    def build(unfinished: Path) -> None:
        progress(f"Fetching Triton {VERSION} ({WHEEL}, 55 MB) and numpy for Python {python.name}")
        with tempfile.TemporaryDirectory(dir=unfinished) as downloads:
            _unpack(_download(Path(downloads)), python, unfinished)
        make_venv(python, unfinished / "venv")

    return TritonInstall(make_once(part, build), python)


def _refuse_other_platforms() -> None:
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64":
        raise MissingPart(
            f"Triton's wheel runs on x86-64 Linux only, and this is {machine}. Run it there "
            "(a debian:bookworm container will do), or run the receiver beside your own Triton."
        )
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split(".")[:2])) < MIN_GLIBC:
        raise MissingPart(
            f"Triton's wheel needs glibc 2.35 or newer, and this system has "
            f"{name or 'another libc'} {version}. Run it on Debian 12, Ubuntu 22.04 or newer."
        )


def _download(folder: Path) -> Path:
    arguments = [
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--dest",
        str(folder),
    ]
    run_pip([*arguments, WHEEL], what=f"Triton {VERSION}")
    (wheel,) = folder.glob("*.whl")
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WHEEL_SHA256:
        raise MissingPart(
            f"{wheel.name} has sha256 {digest}, but the good one has {WHEEL_SHA256}. "
            f"Check the index of pip ({sys.executable} -m pip config list), and run it again."
        )
    return wheel


def _unpack(wheel: Path, python: BackendPython, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in _wanted(archive.namelist(), python.minor):
            archive.extract(name, folder)
    if python.libpython:
        for brought in folder.glob("nvidia_pytriton.libs/libpython3-*"):
            shutil.copyfile(python.libpython, brought)  # the stub looks nowhere else
    tree = folder / TREE
    stub = (tree / f"python_backend_stubs/3.{python.minor}/{STUB}").rename(
        tree / f"backends/python/{STUB}"
    )
    for program in (tree / "bin/tritonserver", stub):
        program.chmod(0o755)  # zipfile keeps no mode
    shutil.rmtree(tree / "python_backend_stubs")


def _wanted(names: list[str], minor: int) -> Iterator[str]:
    for name in names:
        if "/libpython3-" in name:
            if f".{minor}.so" in name:
                yield name
        elif name.startswith((*NEEDED, f"{TREE}/python_backend_stubs/3.{minor}/")):
            yield name
