"""Tuning of the allocator and the garbage collector for large, repeated buffers.

By default glibc maps every buffer above 128 KiB anew and unmaps it at once, and the kernel
clears its pages for every request; for a request without selected samples that took more
time than the rest. So such buffers are allocated on the heap, which keeps its size up to
`KEEP_BYTES`. Rules: mallopt(3).
"""

import ctypes
import gc

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MAP_FROM_BYTES = 32 << 20
"""Size from which buffers are mapped and unmapped; glibc's maximum is 32 MiB."""
KEEP_BYTES = 64 << 20
GROW_BYTES = 1 << 20
GC_THRESHOLDS = 20_000, 20, 50
"""Allocations between two searches for cycles: a request makes thousands, and no cycles."""


def tune_malloc() -> None:
    """Configure the allocator, once and early; does nothing without glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(M_MMAP_THRESHOLD, MAP_FROM_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
    mallopt(M_TOP_PAD, GROW_BYTES)


def freeze_gc() -> None:
    """Exclude all existing objects from the search for cycles, and search less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def exact_bytes(text: bytes) -> bytes:
    """Copy bytes that are kept for long and that orjson made: its own keep the 4 KiB that they began with."""
    return bytes(memoryview(text))
