"""docs/install.md, line by line, on machines as they come: fresh Debian 12 and 13."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from demo.parts import REPOSITORY
from tests.container.bases import make_root
from tests.container.containers import Docker

pytestmark = pytest.mark.timeout(900, func_only=True)

PAGE = REPOSITORY / "docs/install.md"
BLOCK = re.compile(r"<!-- tested on: ([a-z ]+) -->\n```sh\n(.*?)```", re.DOTALL)
PIP = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_")) and "FIND_LINKS" not in name}  # fmt: skip


def script(suite: str) -> str:
    """Return the page's lines for a suite. In a container one is root, and has no sudo."""
    blocks = [lines for suites, lines in BLOCK.findall(PAGE.read_text()) if suite in suites.split()]
    assert blocks
    return "\n".join(blocks).replace("sudo ", "")


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_each_line_of_the_page_works(docker: Docker, suite: str, tmp_path: Path) -> None:
    """In a clone, in order, each way of installing; and each ends with a receiver that runs."""
    image = make_root(suite, docker.environment)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
    lines = f"set -eux\nexport DEBIAN_FRONTEND=noninteractive\napt-get update --quiet=2\ncd /clone\n{script(suite)}"
    (tmp_path / "lines.sh").write_text(lines)
    variables = [f"--env={name}={value}" for name, value in PIP.items()]
    said = docker("run", "--rm", "--network=host", f"--volume={clone}:/clone", f"--volume={tmp_path}/lines.sh:/lines.sh:ro", *variables, image, "sh", "/lines.sh")  # fmt: skip
    print(said)
    assert said.count("\nappinsights-receiver ") >= said.count(" --version")
