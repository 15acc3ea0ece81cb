"""Compiles receiver/native where a package is built: a hook of hatchling, or `python hatch_build.py`.

The kernel keeps to the limited API of Python 3.11, so one build is for that and every later
Python (cp311-abi3). Free-threaded Pythons have no limited API, and get no kernel: it is not
made for threads either. Without a C compiler or Python's headers the package is built without
it too, and the full parser takes everything. RECEIVER_KERNEL=require makes that an error,
RECEIVER_KERNEL=off leaves it out.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

SOURCES = "receiver/native"
FLAGS = (
    "-O2",
    "-fno-strict-aliasing",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wl,--build-id=none",
    "-s",
)
HINT = "it works all the same and costs some twenty times the CPU a selected sample; for Debian: apt-get install gcc libc6-dev python3-dev"


class NotBuilt(Exception):
    """There is no kernel, and the reason."""


def build(root: Path, *flags: str) -> Path:
    """Compile the kernel into receiver/. Raises: NotBuilt."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    headers = Path(sysconfig.get_path("include"))
    if not shutil.which(compiler[0]):
        raise NotBuilt(f"there is no C compiler ({compiler[0]})")
    if not (headers / "Python.h").exists():
        raise NotBuilt(f"Python's headers are not in {headers}")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise NotBuilt("a free-threaded Python has no limited API")
    made = root / "receiver" / "kernel.abi3.so"
    fresh = made.with_suffix(f".{os.getpid()}")
    command = [
        *compiler,
        *FLAGS,
        *flags,
        f"-I{headers}",
        *sorted(map(str, (root / SOURCES).glob("*.c"))),
        "-o",
        str(fresh),
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotBuilt(f"{compiler[0]} failed:\n{done.stderr}")
    fresh.replace(made)  # at once: a process may have the one before open
    for other in set(made.parent.glob("kernel.*.so")) - {made}:
        other.unlink()  # of one Python alone: it would be imported in this one's place
    return made


def build_if_wanted(root: Path) -> Path | None:
    """Compile the kernel as RECEIVER_KERNEL says. Raises: NotBuilt where it is required."""
    wanted = os.environ.get("RECEIVER_KERNEL", "")
    if wanted == "off":
        return None
    try:
        return build(root)
    except NotBuilt as why:
        if wanted == "require":
            raise
        print(f"the kernel (receiver/native) is not compiled: {why}; {HINT}", file=sys.stderr)
        return None


if __name__ == "__main__":
    try:
        print(build(Path(__file__).parent, *sys.argv[1:]))
    except NotBuilt as why:
        sys.exit(f"the kernel (receiver/native) is not compiled: {why}")
else:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class CustomBuildHook(BuildHookInterface[Any]):
        """Puts the kernel into the wheel, which is then for one platform."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Build before the files are gathered."""
            del version
            if made := build_if_wanted(Path(self.root)):
                build_data["pure_python"] = False
                platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
                build_data["tag"] = f"cp311-abi3-{platform}"
                build_data["artifacts"].append(f"receiver/{made.name}")
