"""The numbers of folded series: the event loop's part of the fold.

In: the labels of an unknown series. Out: its number, the same for as long as the series is
remembered; numbers are never reused. New numbers wait here for the next transaction with
samples, which writes them first.
"""

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from receiver.allocator import exact_bytes
from receiver.errors import NotCommitted

SERIES_OVERHEAD_BYTES = 600
"""Measured memory of a series beside its labels: its number, its columns, its output."""


@dataclass(slots=True)
class Registry:
    """The numbers. `max_bytes` limits the memory of series."""

    max_bytes: int
    size_bytes: int = 0
    is_loaded: bool = False
    _next: int = 1
    _numbers: dict[bytes, int] = field(default_factory=dict)
    _unsaved: list[tuple[int, bytes]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self._numbers)

    def number_of(self, labels: Mapping[str, str]) -> int:
        """Return the number of a series, a new one if it has none; 0 if there is no room.

        Raises: NotCommitted, until the numbers are read from disk.
        """
        if not self.is_loaded:
            raise NotCommitted("the outbox is being opened")
        text = orjson.dumps(labels, option=orjson.OPT_SORT_KEYS)
        key = _key(text)
        number = self._numbers.get(key)
        if number is None:
            size = len(text) + SERIES_OVERHEAD_BYTES
            if self.size_bytes + size > self.max_bytes:
                return 0
            with self._lock:
                number = self._numbers[key] = self._next
                self._next += 1
                self.size_bytes += size
                self._unsaved.append((number, exact_bytes(text)))
        return number

    def unsaved(self) -> Sequence[tuple[int, bytes]]:
        """Return the numbers to write, with their labels."""
        with self._lock:
            return list(self._unsaved)

    def saved(self, count: int) -> None:
        """Note that the first `count` of the numbers to write are on disk."""
        with self._lock:
            del self._unsaved[:count]

    def load(self, series: Sequence[tuple[int, bytes]], upto: int) -> bool:
        """Load the numbers from disk; new numbers continue after `upto`.

        False if assigned numbers are missing on the disk, which was replaced; then all series get
        new numbers.
        """
        with self._lock:
            is_kept = len(series) >= len(self._numbers) - len(self._unsaved)
            if not is_kept:
                self._numbers.clear()
                self._unsaved.clear()
                self.size_bytes = 0
            for number, text in series:
                if self._numbers.setdefault(_key(text), number) == number:
                    upto = max(upto, number)
            self.size_bytes = sum(len(text) + SERIES_OVERHEAD_BYTES for _, text in (*series, *self._unsaved))  # fmt: skip
            self._next = max(self._next, upto + 1)
            self.is_loaded = True
            return is_kept

    def forget(self, series: Iterable[tuple[int, bytes]]) -> None:
        """Forget series; one that returns gets a new number."""
        with self._lock:
            for number, text in series:
                if self._numbers.get(_key(text)) == number:
                    del self._numbers[_key(text)]
                    self.size_bytes -= len(text) + SERIES_OVERHEAD_BYTES


def _key(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()
