"""A full-screen terminal: the alternate screen, no cursor, single key presses.

In: lines. Out: keys. The terminal is restored at the end, after an error too.
Rules: ECMA-48, xterm's control sequences (1049: alternate screen, 25: cursor).
"""

import select
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
SIZE_SECONDS = 0.2
"""Interval at which the terminal's size is read while waiting for a key."""


class Screen:
    """Shows lines, and waits for keys."""

    def __init__(self) -> None:
        self._keys_can_be_read = sys.stdin is not None and sys.stdin.isatty()

    @property
    def size(self) -> tuple[int, int]:
        """The current numbers of columns and lines."""
        columns, lines = shutil.get_terminal_size()
        return max(20, columns), max(4, lines)

    def show(self, lines: Sequence[str]) -> None:
        """Replace the shown lines; overwriting instead of clearing avoids flicker."""
        text = f"{_REST_OF_LINE}\r\n".join(lines)
        sys.stdout.write(f"{_HOME}{text}{_REST_OF_LINE}{_REST_OF_SCREEN}")
        sys.stdout.flush()

    def wait(self, seconds: float) -> str:
        """Wait for a key and return it; return an empty text at a new size or after the time."""
        end, size = time.monotonic() + seconds, self.size
        while (left := end - time.monotonic()) > 0 and self.size == size:
            if not self._keys_can_be_read:
                time.sleep(min(SIZE_SECONDS, left))
            elif select.select([sys.stdin], [], [], min(SIZE_SECONDS, left))[0]:
                return sys.stdin.read(1)
        return ""


@contextmanager
def whole_screen() -> Iterator[Screen]:
    """Switch the terminal to full screen, and restore it at the end."""
    before: list[Any] | None = None
    with suppress(termios.error, OSError, ValueError):
        before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
    sys.stdout.write(_ENTER)
    try:
        yield Screen()
    finally:
        with suppress(OSError):
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()
        if before is not None:
            with suppress(termios.error, OSError):
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
