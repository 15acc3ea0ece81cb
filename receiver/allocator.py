"""Tells the process' allocator what a receiver is: large buffers, again and again.

In and out: nothing. glibc maps each buffer of more than 128 KiB anew and gives it back
at once; the kernel then clears its pages for every request, which took more time than
all the rest of a request of which nothing is selected. So such buffers come from the
heap, and the heap keeps what it has grown to, up to `KEEP_BYTES`. Rules: mallopt(3).
"""

import ctypes
import gc

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
MAP_FROM_BYTES = 32 << 20
"""Buffers from this size on are mapped, and given back; glibc takes no more than 32 MiB."""
KEEP_BYTES = 64 << 20
GROW_BYTES = 1 << 20
GC_THRESHOLDS = 20_000, 20, 50
"""Objects made between two looks for cycles: a request makes thousands, and no cycles."""


def tune_malloc() -> None:
    """Set the allocator up for requests; does nothing where there is no glibc. Call it once, early."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(M_MMAP_THRESHOLD, MAP_FROM_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEEP_BYTES)
    mallopt(M_TOP_PAD, GROW_BYTES)


def freeze_gc() -> None:
    """Take all that exists now out of the search for cycles, and search less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
