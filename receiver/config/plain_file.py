"""A safe reader of files named by an operator.

In: a path. Out: its bytes, or OSError with a sentence. Pipes, which could block the event
loop, and devices, which may be endless, are refused; a limit bounds the size.
"""

import os
import stat
from pathlib import Path

LIMIT_BYTES = 4 << 20
"""Far above any configuration file: metrics.json, a certificate, a token."""


def read_plain(path: Path, limit_bytes: int = LIMIT_BYTES) -> bytes:
    """Read a regular file of at most `limit_bytes`.

    Raises: OSError, whose `strerror` names the kind of file or the limit.
    """
    # O_NONBLOCK: opening a pipe without a writer returns instead of waiting for one.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(mode := os.fstat(number).st_mode):
            raise OSError(0, f"is {_kind(mode)}, not a file", str(path))
        with os.fdopen(number, "rb", closefd=False) as file:
            content = file.read(limit_bytes + 1)
    finally:
        os.close(number)
    if len(content) > limit_bytes:
        raise OSError(0, f"holds more than {limit_bytes >> 20} MiB", str(path))
    return content


def _kind(mode: int) -> str:
    for is_kind, words in (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if is_kind(mode):
            return words
    return "a device"
