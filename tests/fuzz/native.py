"""The long fuzz run of the compiled kernel's core: clang, libFuzzer, ASan and UBSan.

    python -m tests.fuzz.native FOLDER TARGET [-max_total_time=60] [-jobs=2] ...

TARGET is `recogniser` (a request becomes rows and lines) or `fold` (records go into windows).
FOLDER keeps the program and the corpus; that of requests is begun from the golden ones and the
captures in tests/data. The other arguments are libFuzzer's. Needs clang with its runtime
(Debian: clang, libclang-rt-14-dev). The first input that breaks a promise ends the run with
an error, and lies in FOLDER as crash-….
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import snappy

from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "receiver" / "native"
TARGETS: Mapping[str, tuple[str, ...]] = {
    "recogniser": ("span", "table", "recogniser", "renderer"),
    "fold": ("fold",),
}
"""The files of the core that each has."""
MAX_LEN = {"recogniser": 1000, "fold": 500}
"""Bytes of an input: its cost is nearly that of its length."""
SANITIZERS = {
    # A stack for each allocation, and freed memory kept by the hundred megabytes, take most of the
    # time; a finding's input is run again with the defaults.
    "ASAN_OPTIONS": "malloc_context_size=0:quarantine_size_mb=4:thread_local_quarantine_size_kb=64",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
FLAGS = (
    "-g",
    "-O2",
    "-fno-strict-aliasing",
    "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=undefined",
)
SEED_SERIES = 3
"""Series in a request that the corpus begins with: short inputs are tried more often."""


def build(folder: Path, target: str) -> Path:
    """Compile a target with its part of the core. Raises: CalledProcessError."""
    core = [str(path) for name in TARGETS[target] if (path := NATIVE / f"{name}.c").exists()]
    program = folder / target
    command = ["clang", *FLAGS, f"-I{NATIVE}", str(ROOT / f"tests/fuzz/{target}.c"), *core]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def begin(corpus: Path) -> None:
    """Begin a corpus: requests cut short, each as the version that it is."""
    corpus.mkdir(parents=True, exist_ok=True)
    if any(corpus.iterdir()):
        return
    bodies = [*(ROOT / "tests/data/remote-write").glob("v*/*.bin")]
    bodies += (ROOT / "tests/golden").glob("*/*.bin")
    for number, path in enumerate(sorted(bodies)):
        raw = snappy.uncompress(path.read_bytes())
        for version, message in enumerate((WriteRequest, Request)):
            request = message()
            try:
                request.ParseFromString(raw)
            except ValueError:
                continue
            del request.timeseries[SEED_SERIES:]
            text = request.SerializeToString()
            if request.timeseries and len(text) < MAX_LEN["recogniser"]:
                (corpus / f"{number}-{version}").write_bytes(
                    bytes([version, 9 + number % 64]) + text
                )


def main() -> int:
    """Build, begin, run."""
    if not shutil.which("clang"):
        print("there is no clang; for Debian: apt-get install clang libclang-rt-14-dev")
        return 1
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", choices=TARGETS)
    given, more = parser.parse_known_args()
    folder = given.folder.absolute()
    corpus = folder / f"{given.target}-corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    program = build(folder, given.target)
    arguments = [f"-max_len={MAX_LEN[given.target]}", *more]
    if given.target == "recogniser":
        begin(corpus)
        arguments.insert(0, f"-dict={ROOT / 'tests/fuzz/wire.dict'}")
    environment = SANITIZERS | os.environ
    command = [str(program), *arguments, corpus.name]
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
