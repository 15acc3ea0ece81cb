"""Run the pip of the running Python, and say in one sentence why it could not."""

import importlib.util
import subprocess
import sys
from collections.abc import Sequence

from demo.parts import MissingPart


def run_pip(arguments: Sequence[str], *, what: str) -> None:
    """Run pip to get `what`.

    Raises: MissingPart with pip's own reason.
    """
    if importlib.util.find_spec("pip") is None:
        raise MissingPart(
            f"{what} can't be fetched: {sys.executable} has no pip. "
            "Make the virtual environment with `make setup`, and run it again."
        )
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MissingPart(
            f"{what} can't be fetched: {reason(done.stderr)}. "
            "Check the network and pip's index (pip config list), and run it again."
        )


def reason(stderr: str) -> str:
    """Return the line of pip's error output that names the cause."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip gave no reason"])[0].rstrip(".")
