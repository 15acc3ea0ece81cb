"""The process' memory limits, and the memory that is left.

In: RLIMIT_DATA and RLIMIT_AS (ulimit -d, -v), cgroups v1 and v2. Out: permission for work of
some size, or a refusal. At such a limit malloc fails or the kernel kills the process, and not
every library survives that; so work is refused with 503 while enough memory is left to answer.

Rules: setrlimit(2), proc(5) statm, cgroups(7). RLIMIT_DATA counts private writable mappings,
including freed memory that malloc keeps, which is read (mallinfo2(3)) when memory seems short.
"""

import ctypes
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from receiver.errors import MemoryShort

RESERVE_BYTES = 16 << 20
"""Reserved for the outbox, delivery and the log."""
PAGE_BYTES = os.sysconf("SC_PAGESIZE")
_SIZE, _RESIDENT, _SHARED, _DATA = 0, 1, 2, 5
"""The columns of /proc/self/statm, in pages."""
UNLIMITED_BYTES = 1 << 50


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit: its name, its size, and its use."""

    name: str
    size_bytes: int
    used_bytes: Callable[[], int]


class MemoryLimit:
    """Refuses work that may not fit into memory."""

    def __init__(self, limits: Sequence[Limit], kept_bytes: Callable[[], int]) -> None:
        """Set the limits; `kept_bytes` returns the freed memory that the allocator keeps."""
        self._limits = limits
        self._kept_bytes = kept_bytes

    def refuse_without(self, needed_bytes: int) -> None:
        """Refuse work that may need more than is left beside the reserve. Raises: MemoryShort."""
        for limit in self._limits:
            left = limit.size_bytes - limit.used_bytes() - RESERVE_BYTES
            if left < needed_bytes and (left := left + self._kept_bytes()) < needed_bytes:
                raise MemoryShort(
                    f"{max(0, left) >> 20} MiB are left of the {limit.size_bytes >> 20} MiB that "
                    f"{limit.name} allows; this request may need {needed_bytes >> 20} MiB"
                )


def memory_limit() -> MemoryLimit:
    """Return the limits of this process."""
    return MemoryLimit(tuple(_limits(Path("/"))), _kept_bytes)


def _limits(root: Path) -> Iterator[Limit]:
    for kind, name, columns in (
        (resource.RLIMIT_DATA, "RLIMIT_DATA (ulimit -d)", (_DATA,)),
        (resource.RLIMIT_AS, "RLIMIT_AS (ulimit -v)", (_SIZE,)),
    ):
        size, _ = resource.getrlimit(kind)
        if size != resource.RLIM_INFINITY:
            yield Limit(name, size, partial(_pages, columns))
    if sizes := list(cgroup_limits(root)):
        yield Limit("the cgroup", min(sizes), partial(_pages, (_RESIDENT, _SHARED)))


def cgroup_limits(root: Path) -> Iterator[int]:
    """Yield the memory limits of this process' cgroup and of its parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in {"", "memory"}:
            continue
        base = root / "sys/fs/cgroup" / controllers
        file = "memory.limit_in_bytes" if controllers else "memory.max"
        group = base / path.lstrip("/")
        for directory in (group, *group.parents):
            size = _number(directory / file)
            if size is not None and size < UNLIMITED_BYTES:
                yield size
            if directory == base:
                break


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # ValueError: "max"
        return None


def _pages(columns: Sequence[int]) -> int:
    """Return the first column's bytes minus those of the others."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - called for every request
        pages = file.read().split()
    first, *others = (int(pages[column]) for column in columns)
    return (first - sum(others)) * PAGE_BYTES


class _MallInfo(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def _kept_bytes() -> int:
    """Return the freed memory that glibc keeps; 0 without glibc."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):
        return 0
    mallinfo2.restype = _MallInfo
    return int(mallinfo2().fordblks)
