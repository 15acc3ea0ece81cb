"""A cache with a limit in bytes.

Two generations: an added or used entry joins the young one. A young generation of half the
limit becomes the old one when there is none. The old generation, by then the unused entries,
is dropped only when both together are full. Each step is O(1); entries used in every scrape
stay.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """A cache's counts; a miss is a value that had to be made."""

    entries: int
    size_bytes: int
    limit_bytes: int
    misses: int


class BoundedCache(Generic[Key, Value]):
    """Values by key; values must be truthy. `measure` returns the bytes of an entry."""

    def __init__(self, limit_bytes: int, measure: Callable[[Key, Value], int]) -> None:
        """Start empty."""
        self._limit_bytes = limit_bytes
        self._measure = measure
        self._young: dict[Key, Value] = {}
        self._old: dict[Key, Value] = {}
        self._young_bytes = self._old_bytes = 0
        self._misses = 0

    def get(self, key: Key) -> Value | None:
        """Return the value, or None for a missing key."""
        value = self._young.get(key)
        return self._get_old(key) if value is None else value

    def put(self, key: Key, value: Value) -> None:
        """Add a value; one larger than half the limit is not kept."""
        size = self._measure(key, value)
        if size <= self._limit_bytes // 2:
            self._misses += 1
            self._join(key, value, size)

    def _get_old(self, key: Key) -> Value | None:
        value = self._old.pop(key, None)
        if value is None:
            return None
        size = self._measure(key, value)
        self._old_bytes -= size
        self._join(key, value, size)
        return value

    def _join(self, key: Key, value: Value, size: int) -> None:
        if self._young_bytes + self._old_bytes + size > self._limit_bytes:
            self._old, self._old_bytes = {}, 0
        if not self._old and self._young_bytes + size > self._limit_bytes // 2:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        if self._old_bytes + size > self._limit_bytes:
            self._old, self._old_bytes = {}, 0
        if (before := self._young.get(key)) is not None:
            self._young_bytes -= self._measure(key, before)
        self._young[key] = value
        self._young_bytes += size

    def statistics(self) -> CacheStatistics:
        """Return the counts."""
        return CacheStatistics(
            entries=len(self._young) + len(self._old),
            size_bytes=self._young_bytes + self._old_bytes,
            limit_bytes=self._limit_bytes,
            misses=self._misses,
        )
