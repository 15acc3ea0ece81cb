"""A terminal used as a whole screen: the alternate one, without a cursor, with single keys.

In: lines. Out: keys. What was on the terminal before is back at the end, however that comes.
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
LOOK_SECONDS = 0.2
"""How often the terminal's size is looked at while a key is waited for."""


class Screen:
    """Shows lines, and waits for keys."""

    def __init__(self) -> None:
        self._keys_can_be_read = sys.stdin is not None and sys.stdin.isatty()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines, as they are now."""
        columns, lines = shutil.get_terminal_size()
        return max(20, columns), max(4, lines)

    def show(self, lines: Sequence[str]) -> None:
        """Replace what is shown; without a flicker, since nothing is cleared first."""
        text = f"{_REST_OF_LINE}\r\n".join(lines)
        sys.stdout.write(f"{_HOME}{text}{_REST_OF_LINE}{_REST_OF_SCREEN}")
        sys.stdout.flush()

    def wait(self, seconds: float) -> str:
        """Wait for a key, a new size (an empty text), or the time (an empty text)."""
        end, size = time.monotonic() + seconds, self.size
        while (left := end - time.monotonic()) > 0 and self.size == size:
            if not self._keys_can_be_read:
                time.sleep(min(LOOK_SECONDS, left))
            elif select.select([sys.stdin], [], [], min(LOOK_SECONDS, left))[0]:
                return sys.stdin.read(1)
        return ""


@contextmanager
def whole_screen() -> Iterator[Screen]:
    """Take the terminal, and give it back as it was."""
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
