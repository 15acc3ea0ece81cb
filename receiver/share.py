"""The files that are installed with the code: rules, examples, the runbook, a dashboard.

In a wheel they are in `receiver/share/`, where pyproject.toml puts them; in a clone, and so
in an editable installation, they are read from their place in the repository. `FILES` is the
only list; a test compares pyproject.toml with it.
"""

from importlib import resources
from pathlib import Path

FILES = {
    "compose.yaml": "deploy/compose.yaml",
    "grafana.json": "deploy/grafana/receiver.json",
    "kubernetes": "deploy/kubernetes/base",
    "prometheus.yml": "prometheus/prometheus.yml",
    "rules": "prometheus/rules",
    "runbook.md": "docs/runbook.md",
    "systemd.service": "deploy/systemd/appinsights-receiver.service",
}
"""Files and folders: the installed name, and the path in the repository."""

_PACKAGED = Path(str(resources.files("receiver"))) / "share"


def read(name: str) -> str:
    """Return the text of a file such as "runbook.md" or "rules/triton_irate.yml". Raises: OSError."""
    packaged = _PACKAGED / name
    if packaged.exists():
        return packaged.read_text(encoding="utf-8")
    first, *rest = name.split("/")
    return _PACKAGED.parents[1].joinpath(FILES[first], *rest).read_text(encoding="utf-8")
