"""The kernel's core on arm64 (GH200, Graviton): the same rows, lines and records, to the byte.

Built by Debian's cross compiler and run by qemu; and with sanitizers on this machine, where
an unaligned access or a shift too far is an error.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
import snappy

from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "receiver/native"
CROSS, QEMU = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")


def build(compiler: str, program: Path, *flags: str) -> Path:
    """Compile the core without its binding, and what prints its results."""
    core = [path for path in sorted(NATIVE.glob("*.c")) if path.name != "binding.c"]
    source = Path(__file__).with_name("replay.c")
    inputs = [*flags, f"-I{NATIVE}", *map(str, (source, *core)), "-o", str(program)]
    command = [compiler, "-fno-strict-aliasing", *inputs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture(scope="module")
def requests(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Every request that the repository has, decompressed, behind a byte that is its version."""
    folder = tmp_path_factory.mktemp("requests")
    bodies = sorted((ROOT / "tests").glob("data/remote-write/v*/*.bin"))
    bodies += sorted((ROOT / "tests/golden").rglob("*.bin"))
    found = []
    for number, body in enumerate(bodies):
        try:
            raw = snappy.uncompress(body.read_bytes())
        except snappy.UncompressError:
            continue
        messages: tuple[WriteRequest | Request, ...] = (WriteRequest(), Request())
        for version, message in enumerate(messages):
            try:
                message.ParseFromString(raw)
            except ValueError:
                continue
            if message.timeseries:
                found.append(folder / f"{number}-{version}")
                found[-1].write_bytes(bytes([version + 1]) + raw)
    assert len(found) > 20
    return found


@pytest.fixture(scope="module")
def printed_here(requests: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the core makes of them on this machine, every access watched."""
    program = build("cc", tmp_path_factory.mktemp("here") / "replay", *SANITIZED)
    done = subprocess.run([program, *requests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_printed_says_something(printed_here: str, requests: list[Path]) -> None:
    """Rows, lines and records; each file is read twice, and then most series are known."""
    assert printed_here.count("file ") == 2 * len(requests)
    assert printed_here.count(" template") > 1000
    assert "records " in printed_here
    assert any(
        line.startswith("records ") and len(line) > 100 for line in printed_here.splitlines()
    )


@pytest.mark.skipif(
    not (shutil.which(CROSS) and shutil.which(QEMU)),
    reason="no cross compiler for arm64, or no qemu: tests/setup.sh installs both",
)
@pytest.mark.parametrize("optimised", ["-O0", "-O2"])
def test_arm64_makes_the_same(
    printed_here: str, requests: list[Path], tmp_path: Path, optimised: str
) -> None:
    """Byte order, alignment, `char` that is unsigned, float formats: nothing shows."""
    program = build(CROSS, tmp_path / "replay", optimised, "-static")
    done = subprocess.run([QEMU, program, *requests], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printed_here
