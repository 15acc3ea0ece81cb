"""Detection of a directory in an emptyDir, whose disk ends with its pod.

In: the lines of /proc/self/mountinfo. Out: yes or no. The mounted path tells: Kubernetes'
emptyDir volumes are in a folder named empty-dir. Source: proc(5); the kubelet's volume plugins.
"""

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_EMPTY_DIR = "/kubernetes.io~empty-dir/"


def is_in_empty_dir(directory: Path, mounts: str) -> bool:
    """Whether the directory is in an emptyDir."""
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
    """Read the mounts; empty if they cannot be read."""
    try:
        return MOUNTS.read_text(errors="replace")
    except OSError:
        return ""
