"""Work is refused while there is still memory to say so."""

from pathlib import Path

import pytest

from receiver.errors import MemoryShort
from receiver.server.memory_limit import (
    RESERVE_BYTES,
    Limit,
    MemoryLimit,
    _kept_bytes,
    _limits,
    cgroup_limits,
)

MIB = 1 << 20


@pytest.mark.parametrize(
    ("used", "kept", "needed", "taken"),
    [
        (0, 0, 84, True),
        (60, 0, 24, True),
        (60, 0, 25, False),
        (90, 0, 0, False),
        (60, 10, 25, True),
        (90, 100, 26, True),
        (200, 50, 1, False),
    ],
)
def test_work_needs_room_beside_the_reserve(
    used: int, kept: int, needed: int, *, taken: bool
) -> None:
    """What the allocator keeps counts as room."""
    limit = Limit("a limit", 100 * MIB, lambda: used * MIB)
    memory = MemoryLimit([limit], lambda: kept * MIB)
    assert RESERVE_BYTES == 16 * MIB
    if taken:
        memory.refuse_without(needed * MIB)
    else:
        with pytest.raises(MemoryShort, match="of the 100 MiB that a limit allows"):
            memory.refuse_without(needed * MIB)


def test_without_limits_nothing_is_refused() -> None:
    """And nothing is measured."""
    MemoryLimit([], lambda: 0).refuse_without(1 << 60)


def write(path: Path, text: str) -> None:
    """Write a file of the system's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_limits_of_cgroups_are_found(tmp_path: Path) -> None:
    """Version 2, version 1, in a container's own namespace; the tightest counts."""
    write(tmp_path / "proc/self/cgroup", "0::/kubepods/pod1\n")
    write(tmp_path / "sys/fs/cgroup/kubepods/pod1/memory.max", "max\n")
    write(tmp_path / "sys/fs/cgroup/kubepods/memory.max", f"{200 * MIB}\n")
    assert list(cgroup_limits(tmp_path)) == [200 * MIB]
    write(tmp_path / "proc/self/cgroup", "0::/\n")
    write(tmp_path / "sys/fs/cgroup/memory.max", f"{300 * MIB}\n")
    assert list(cgroup_limits(tmp_path)) == [300 * MIB]
    write(tmp_path / "proc/self/cgroup", "9:cpu:/x\n4:memory:/x/y\n0::/\n")
    write(tmp_path / "sys/fs/cgroup/memory/x/y/memory.limit_in_bytes", f"{100 * MIB}\n")
    write(tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert sorted(cgroup_limits(tmp_path)) == [100 * MIB, 300 * MIB]
    assert list(cgroup_limits(tmp_path / "elsewhere")) == []


def test_what_is_used_is_measured() -> None:
    """This process has some memory; the allocator keeps some of it or none."""
    for limit in _limits(Path("/")):
        assert 1 * MIB < limit.used_bytes() < limit.size_bytes
    assert _kept_bytes() >= 0
