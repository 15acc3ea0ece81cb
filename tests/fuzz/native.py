"""The long fuzz run of the compiled kernel's core: clang, libFuzzer, ASan and UBSan.

    python -m tests.fuzz.native FOLDER [-max_total_time=60] [-jobs=2] ...

FOLDER keeps the program and the corpus, which is begun from the golden requests and the
captures in tests/data; the other arguments are libFuzzer's. Needs clang with its runtime
(Debian: clang, libclang-rt-14-dev). The first input that breaks a promise ends the run with
an error, and lies in FOLDER as crash-….
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import snappy

from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "receiver" / "native"
FLAGS = (
    "-g",
    "-O1",
    "-fno-strict-aliasing",
    "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=undefined",
)
SEED_SERIES = 8
"""Series in a request that the corpus begins with: short inputs are tried more often."""


def build(folder: Path) -> Path:
    """Compile the target and the core, without the binding. Raises: CalledProcessError."""
    core = [str(path) for path in sorted(NATIVE.glob("*.c")) if path.name != "binding.c"]
    program = folder / "native"
    command = ["clang", *FLAGS, f"-I{NATIVE}", str(ROOT / "tests/fuzz/native.c"), *core]
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
            if request.timeseries and len(text) < 4096:
                (corpus / f"{number}-{version}").write_bytes(
                    bytes([version, 9 + number % 64]) + text
                )


def main() -> int:
    """Build, begin, run."""
    if not shutil.which("clang"):
        print("there is no clang; for Debian: apt-get install clang libclang-rt-14-dev")
        return 1
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    program = build(folder)
    begin(folder / "corpus")
    dictionary = ROOT / "tests/fuzz/wire.dict"
    arguments = ["-max_len=3000", f"-dict={dictionary}", *sys.argv[2:]]
    os.chdir(folder)
    return subprocess.run([str(program), *arguments, "corpus"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
