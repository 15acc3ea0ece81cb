"""Choose the Python that Triton's Python backend runs models with, and give it numpy.

The backend starts one small program (the stub) per model instance. It is
built once per Python minor version, links libpython3.X.so.1.0 and takes its
packages from the first `python3` on PATH: a virtual environment of our own.

Only the stub for 3.13 brings a libpython along, and that is for Pythons whose
math, _struct and the like are files of the standard library. Debian's and uv's
have them inside libpython, and no files: those need their own libpython.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
LIBPYTHON = "libpython3.{}.so.1.0"
LIBRARY_DIRS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
PROBE = """
import sys, sysconfig
print(sys.version_info[1], sysconfig.get_config_var("LIBDIR"), sys._base_executable, sep="\\n")
print("math" in sys.builtin_module_names)
"""


@dataclass(frozen=True)
class BackendPython:
    """A Python that the stub of its minor version can run."""

    executable: Path
    minor: int
    library_dir: Path | None  # where its libpython is; None: it has none
    has_modules_inside: bool = True

    @property
    def name(self) -> str:
        """The version as people say it."""
        return f"3.{self.minor}"

    @property
    def numpy_is_misread(self) -> bool:
        """Whether models that use `as_numpy()` get wrong values (see NUMPY)."""
        return self.minor == BRINGS_LIBPYTHON

    @property
    def libpython(self) -> Path | None:
        """Its libpython, for the stub to load; None: the one that the stub brings."""
        return self.library_dir / LIBPYTHON.format(self.minor) if self.library_dir else None

    @property
    def can_run_stub(self) -> bool:
        """Whether the stub finds a libpython that fits."""
        if self.library_dir:
            return True
        return self.minor == BRINGS_LIBPYTHON and not self.has_modules_inside


def choose(root: Path, progress: Callable[[str], object]) -> BackendPython:
    """Return the Python to use: this one where possible, else another of this machine.

    Raises: MissingPart.
    """
    this = base_executable()
    # 3.13 comes last: see NUMPY.
    for python in sorted(_candidates(this), key=lambda each: each.minor == BRINGS_LIBPYTHON):
        if python.can_run_stub:
            return python
        # Debian's python3 is linked statically and its libpython is a package apart.
        if python.executable == this and (suite := _debian_suite()):
            unpacked = fetch((f"libpython{python.name}",), suite, root, progress=progress)
            if found := _library_dir(python.minor, unpacked / LIBRARY_DIRS[0].lstrip("/")):
                return replace(python, library_dir=found)
    running = sys.version_info.minor
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


def base_executable() -> Path:
    """Return the Python that runs us, of which a virtual environment may be in front."""
    return Path(getattr(sys, "_base_executable", sys.executable))


def _candidates(this: Path) -> Iterator[BackendPython]:
    """Yield the Pythons of this machine that there is a stub for, `this` first."""
    names = [
        found for minor in NUMPY for found in (f"python3.{minor}", f"/usr/bin/python3.{minor}")
    ]
    for name in (str(this), *names):
        if not (executable := shutil.which(name)):
            continue
        probe = subprocess.run(
            [executable, "-c", PROBE], capture_output=True, text=True, check=False
        )
        if probe.returncode == 0:
            minor, library_dir, base, has_modules_inside = probe.stdout.splitlines()
            if int(minor) in NUMPY:
                found = _library_dir(int(minor), _path(library_dir))
                yield BackendPython(Path(base), int(minor), found, has_modules_inside == "True")


def _path(text: object) -> Path | None:
    return Path(text) if isinstance(text, str) and text != "None" else None


def _library_dir(minor: int, first: Path | None) -> Path | None:
    name = LIBPYTHON.format(minor)
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
