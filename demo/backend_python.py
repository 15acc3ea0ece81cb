"""Choose the Python that Triton's Python backend runs models with, and give it numpy.

The backend starts one small program (the stub) per model instance. It is
built once per Python minor version, links libpython3.X.so.1.0 and takes its
packages from the first `python3` on PATH: a virtual environment of our own.
Only the stub for 3.13 brings its libpython along.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.debian import fetch
from demo.parts import MissingPart
from demo.pip import run_pip

# Triton 2.51 was built against numpy 1: as_numpy() and Tensor(name, array) misread
# the arrays of numpy 2, which is all that exists for Python 3.13.
NUMPY = {
    11: ("1.26.4", "666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5"),
    12: ("1.26.4", "675d61ffbfa78604709862923189bad94014bef562cc35cf61d3a07bba02a7ed"),
    13: ("2.2.6", "1bc23a79bfabc5d056d106f9befb8d50c31ced2fbc70eedb8155aec74a45798f"),
}
BRINGS_LIBPYTHON = 13
LIBRARY_DIRS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
PROBE = """
import sys, sysconfig
print(sys.version_info[1], sysconfig.get_config_var("LIBDIR"), sys._base_executable, sep="\\n")
"""


@dataclass(frozen=True)
class BackendPython:
    """A Python that the stub of its minor version can run."""

    executable: Path
    minor: int
    library_dir: Path | None  # None: the stub brings its own libpython

    @property
    def name(self) -> str:
        """The version as people say it."""
        return f"3.{self.minor}"

    @property
    def numpy_is_misread(self) -> bool:
        """Whether models that use `as_numpy()` get wrong values (see NUMPY)."""
        return self.minor == BRINGS_LIBPYTHON


def choose(root: Path, progress: Callable[[str], object]) -> BackendPython:
    """Return the Python to use: this one where possible, else another of this machine.

    Raises: MissingPart.
    """
    candidates = []
    for executable, minor, library_dir in _candidates():
        if minor != BRINGS_LIBPYTHON and (found := _library_dir(minor, library_dir)):
            return BackendPython(executable, minor, found)
        candidates.append((executable, minor))
    this, running = candidates[0]
    # Debian's python3 is linked statically and its libpython is a package apart.
    if running in NUMPY and running != BRINGS_LIBPYTHON and (suite := _debian_suite()):
        unpacked = fetch((f"libpython3.{running}",), suite, root, progress=progress)
        if found := _library_dir(running, unpacked / LIBRARY_DIRS[0].lstrip("/")):
            return BackendPython(this, running, found)
    for executable, minor in candidates:
        if minor == BRINGS_LIBPYTHON:
            return BackendPython(executable, minor, None)
    if running in NUMPY:
        raise MissingPart(
            f"Triton's Python backend needs libpython3.{running}.so.1.0, which is not on this "
            f"machine. Install it (apt-get install libpython3.{running}) and run it again."
        )
    raise MissingPart(
        f"Triton's Python backend runs on Python 3.11, 3.12 or 3.13, and this is 3.{running}. "
        "Install one of them (as python3.12, say) and run it again."
    )


def make_venv(python: BackendPython, folder: Path) -> None:
    """Make the virtual environment whose `python3` Triton will find first on PATH.

    Raises: MissingPart.
    """
    made = subprocess.run(
        # Debian's python3 can do this without its python3-venv package.
        [python.executable, "-m", "venv", "--without-pip", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise MissingPart(
            f"{python.executable} can't make a virtual environment "
            f"({(made.stderr or made.stdout).strip().splitlines()[-1]}). "
            f"Install its venv module (apt-get install python{python.name}-venv) and run it again."
        )
    version, sha256 = NUMPY[python.minor]
    requirement = folder / "requirements.txt"
    requirement.write_text(f"numpy=={version} --hash=sha256:{sha256}\n")
    site = folder / f"lib/python{python.name}/site-packages"
    options = (
        "--quiet --no-deps --require-hashes --only-binary :all: --platform manylinux2014_x86_64"
    )
    run_pip(
        [
            *("install", *options.split(), "--python-version", python.name),
            *("--requirement", str(requirement), "--target", str(site)),
        ],
        what="numpy",
    )


def _candidates() -> Iterator[tuple[Path, int, Path | None]]:
    """Yield executable, minor version and LIBDIR: of the running Python first."""
    base = Path(getattr(sys, "_base_executable", sys.executable))
    yield base, sys.version_info.minor, _path(sysconfig.get_config_var("LIBDIR"))
    for minor in NUMPY:
        for found in (shutil.which(f"python3.{minor}"), f"/usr/bin/python3.{minor}"):
            if found and os.access(found, os.X_OK):
                probe = subprocess.run(
                    [found, "-c", PROBE], capture_output=True, text=True, check=False
                )
                if probe.returncode == 0 and (said := probe.stdout.splitlines())[0] == str(minor):
                    yield Path(said[2]), minor, _path(said[1])


def _path(text: object) -> Path | None:
    return Path(text) if isinstance(text, str) and text != "None" else None


def _library_dir(minor: int, first: Path | None) -> Path | None:
    name = f"libpython3.{minor}.so.1.0"
    dirs = [*([first] if first else []), *map(Path, LIBRARY_DIRS), *_ldconfig_dirs(name)]
    return next((folder for folder in dirs if (folder / name).exists()), None)


def _ldconfig_dirs(name: str) -> list[Path]:
    ldconfig = shutil.which("ldconfig") or "/sbin/ldconfig"
    if not os.access(ldconfig, os.X_OK):
        return []
    known = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=False).stdout
    return [Path(path).parent for path in re.findall(rf"{re.escape(name)} .*=> (\S+)", known)]


def _debian_suite() -> str | None:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return None
    return release.get("VERSION_CODENAME") if release["ID"] == "debian" else None
