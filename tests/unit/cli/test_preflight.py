"""An outbox in an emptyDir is told from one on a claim, by what is mounted."""

from pathlib import Path

import pytest

from receiver.cli.preflight import is_in_empty_dir, mounts

POD = "/var/lib/kubelet/pods/0e9b1c52-7a70-4f0e-9a3e-1c9c3d6f1a11/volumes"
MOUNTS = f"""\
1 0 0:62 / / ro,relatime master:1 - overlay overlay rw,lowerdir=/l
2 1 8:1 {POD}/kubernetes.io~empty-dir/appinsights-outbox /var/lib/receiver rw,relatime - ext4 /dev/sda1 rw
3 1 8:16 / /var/lib/claimed rw,relatime - ext4 /dev/sdb rw
4 2 8:32 / /var/lib/receiver/claimed rw,relatime - ext4 /dev/sdc rw
5 1 8:1 {POD}/kubernetes.io~empty-dir/odd /a\\040b rw,relatime - ext4 /dev/sda1 rw
6 1 8:1 / /var/lib rw,relatime - ext4 /dev/sda1 rw
short line
"""


@pytest.mark.parametrize(
    ("directory", "goes"),
    [
        ("/var/lib/receiver", True),
        ("/var/lib/receiver/outbox", True),
        ("/var/lib/receiver/claimed/outbox", False),
        ("/var/lib/receivers", False),
        ("/var/lib/claimed", False),
        ("/a b/outbox", True),
        ("/tmp", False),
    ],
)
def test_the_nearest_mount_says_it(directory: str, *, goes: bool) -> None:
    """The longest path that leads there counts; what is mounted in it is another disk."""
    assert is_in_empty_dir(Path(directory), MOUNTS) is goes


def test_this_machine_is_no_pod() -> None:
    """What Linux really writes there is read."""
    assert " - " in mounts()
    assert is_in_empty_dir(Path("/"), "") is False
