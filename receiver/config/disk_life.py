"""Whether a directory's disk outlives the machine that it is mounted on.

In: the lines of /proc/self/mountinfo. Out: a sentence where the disk goes with its pod. What
mounts it says so by the path that it mounts: Kubernetes' empty-dir volumes have a folder of that
name. Source: proc(5); the kubelet's volume plugins.
"""

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_EMPTY_DIR = "/kubernetes.io~empty-dir/"


def goes_with_the_pod(directory: Path, mounts: str) -> bool:
    """Say whether the directory is in an emptyDir."""
    origin, longest = "", 0
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 5:
            continue
        mounted_at = fields[4].replace("\\040", " ")
        if directory.is_relative_to(mounted_at) and len(mounted_at) >= longest:
            origin, longest = fields[3], len(mounted_at)
    return _EMPTY_DIR in origin


def mounts() -> str:
    """Read what is mounted; empty where that cannot be read."""
    try:
        return MOUNTS.read_text(errors="replace")
    except OSError:
        return ""
