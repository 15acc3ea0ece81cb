"""Write the image's software bill of materials: CycloneDX, by cyclonedx-py and dpkg.

In: what cyclonedx-py says of /opt/receiver, the list of the Debian packages that the final
stage has, that of s6's, and Prometheus, if it is there. Out: one document. Nothing in it
depends on when or where it was made.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BUILD = Path("/build")
PROMETHEUS = Path("/out/prometheus/usr/local/bin/prometheus")


def debian(lines: str, distribution: str) -> list[dict[str, Any]]:
    """Read dpkg-query's lines: name, version, architecture."""
    found = []
    for line in sorted(set(lines.splitlines())):
        name, version, architecture = line.split("\t")
        purl = f"pkg:deb/{distribution}/{name}@{version.replace('+', '%2B')}?arch={architecture}"
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})  # fmt: skip
    return found


def prometheus(said: str) -> dict[str, Any]:
    """Read `prometheus --version`."""
    version = said.split("version ", 1)[1].split(" ", 1)[0].split("+", 1)[0].rstrip(",")
    purl = f"pkg:golang/github.com/prometheus/prometheus@v{version}"
    return {
        "type": "application", "bom-ref": purl, "name": "prometheus", "version": version, "purl": purl,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }  # fmt: skip


def main(target: str) -> None:
    """Put all parts into what cyclonedx-py wrote."""
    document = json.loads((BUILD / "python.cdx.json").read_text())
    os_release = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )  # fmt: skip
    distribution = os_release["ID"].strip('"')
    components = document.setdefault("components", [])
    for file in ("packages", "s6-packages"):
        if (BUILD / file).exists():
            components += debian((BUILD / file).read_text(), distribution)
    if PROMETHEUS.exists():
        said = subprocess.run([PROMETHEUS, "--version"], capture_output=True, text=True, check=True)
        components.append(prometheus(said.stdout + said.stderr))
    document["metadata"].setdefault("properties", []).append(
        {
            "name": "appinsights-receiver:scope",
            "value": "what this project adds, and all Debian packages of the base; "
            "what else a Triton image holds, its maker lists",
        }
    )
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
