"""Work is refused while there is still memory to say so."""

import ctypes
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
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
    memory_limit,
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


def test_a_colon_in_a_cgroup_s_path_is_a_part_of_it(tmp_path: Path) -> None:
    """Systemd makes such, of the names of devices."""
    write(tmp_path / "proc/self/cgroup", "0::/system.slice/a:b.scope\n")
    write(tmp_path / "sys/fs/cgroup/system.slice/a:b.scope/memory.max", f"{200 * MIB}\n")
    assert list(cgroup_limits(tmp_path)) == [200 * MIB]


def test_a_refusal_says_what_is_left_and_needed() -> None:
    """In MiB; never less than nothing."""
    for used, left in ((60, 24), (200, 0)):
        memory = MemoryLimit([Limit("a limit", 100 * MIB, lambda used=used: used * MIB)], lambda: 0)  # type: ignore[misc]
        with pytest.raises(MemoryShort) as refused:
            memory.refuse_without(25 * MIB)
        assert str(refused.value) == (
            f"{left} MiB are left of the 100 MiB that a limit allows; this request may need 25 MiB"
        )


def status(name: str) -> int:
    """Read a size of this process, in bytes, as the kernel shows it to people."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [size] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(size) << 10


@contextmanager
def large_limit(kind: int) -> Iterator[int]:
    """Have a limit of this process, which is far from it; gives its size."""
    before = resource.getrlimit(kind)
    size_bytes = 1 << 45 if before[1] == resource.RLIM_INFINITY else before[1]
    resource.setrlimit(kind, (size_bytes, before[1]))
    try:
        yield size_bytes
    finally:
        resource.setrlimit(kind, before)


@pytest.mark.parametrize(
    ("kind", "name", "size"),
    [
        (resource.RLIMIT_DATA, "RLIMIT_DATA (ulimit -d)", "VmData"),
        (resource.RLIMIT_AS, "RLIMIT_AS (ulimit -v)", "VmSize"),
    ],
)
def test_a_limit_of_the_process_is_found_and_its_use_measured(
    tmp_path: Path, kind: int, name: str, size: str
) -> None:
    """Each counts what the kernel counts for it; who asks for more than is left is refused."""
    before = list(_limits(tmp_path))
    with large_limit(kind) as size_bytes:
        [limit] = [limit for limit in _limits(tmp_path) if limit.name == name]
        assert limit.size_bytes == size_bytes
        assert limit.used_bytes() == pytest.approx(status(size), abs=8 * MIB)
        memory = memory_limit()
        memory.refuse_without(1 * MIB)
        with pytest.raises(MemoryShort, match=re.escape(name)):
            memory.refuse_without(size_bytes)
    assert [limit.name for limit in _limits(tmp_path)] == [limit.name for limit in before]


def test_a_cgroup_counts_what_is_resident_and_not_shared(tmp_path: Path) -> None:
    """The tightest of its limits and its parents'."""
    write(tmp_path / "proc/self/cgroup", "0::/a/b\n")
    write(tmp_path / "sys/fs/cgroup/a/memory.max", f"{200 * MIB}\n")
    write(tmp_path / "sys/fs/cgroup/a/b/memory.max", f"{300 * MIB}\n")
    [limit] = [limit for limit in _limits(tmp_path) if limit.name == "the cgroup"]
    assert limit.size_bytes == 200 * MIB
    assert limit.used_bytes() == pytest.approx(status("RssAnon"), abs=8 * MIB)


def test_memory_that_the_allocator_keeps_is_found() -> None:
    """glibc's: what is freed between what is in use goes not back to the system."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        assert _kept_bytes() == 0
        return
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(60_000) for _ in range(200)]
    before = _kept_bytes()
    for block in blocks[::2]:
        libc.free(block)
    assert _kept_bytes() - before >= 100 * 50_000
    for block in blocks[1::2]:
        libc.free(block)
