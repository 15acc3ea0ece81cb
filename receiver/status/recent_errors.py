"""The last distinct errors: how often, since when, in whose words, and what to do.

In: an error each time that it happens. Out: at most `LIMIT` of them, the latest
first. Two errors are one when they differ in digits alone. Any thread may note one.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

from receiver.text import printable

LIMIT = 30
WORDS_LIMIT = 400
_DIGITS = re.compile(r"\d+")


@dataclass(slots=True)
class Trouble:
    """An error that happened `count` times. `words` are the latest; times since the epoch."""

    where: str
    words: str
    hint: str
    first_at: float
    last_at: float
    count: int = 0


class RecentErrors:
    """Keeps the latest kinds of errors."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start without any; `clock` is in seconds since the epoch."""
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Trouble] = {}

    def note(self, where: str, words: str, hint: str, times: int = 1) -> None:
        """Take down an error that happened so many times."""
        now, words = self._clock(), printable(words[:WORDS_LIMIT])
        key = where, _DIGITS.sub("0", words)
        with self._lock:
            trouble = self._known.pop(key, None) or Trouble(where, words, hint, now, now)
            trouble.words, trouble.hint, trouble.last_at = words, hint, now
            trouble.count += times
            self._known[key] = trouble  # the latest is last
            if len(self._known) > LIMIT:
                del self._known[next(iter(self._known))]

    def latest(self) -> list[Trouble]:
        """Give all, the latest first."""
        with self._lock:
            return list(reversed(self._known.values()))
