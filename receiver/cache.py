"""A dictionary that is bounded in bytes.

Two generations: what is put in or found joins the young one; when that is full it
becomes the old one, and what nobody asked for since it was old is forgotten. Each
step is O(1), and what is used in every scrape stays.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """What a cache holds and how it has done."""

    entries: int
    size_bytes: int
    limit_bytes: int
    misses: int


class BoundedCache(Generic[Key, Value]):
    """Values by key, `limit_bytes` of them at most; who puts one in says its size."""

    def __init__(self, limit_bytes: int) -> None:
        """Start empty."""
        self._limit_bytes = limit_bytes
        self._young: dict[Key, tuple[Value, int]] = {}
        self._old: dict[Key, tuple[Value, int]] = {}
        self._young_bytes = self._old_bytes = 0
        self._misses = 0

    def get(self, key: Key) -> Value | None:
        """Return the value, or None for a key that is not, or no longer, here."""
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is None:
                self._misses += 1
                return None
            self._old_bytes -= found[1]
            self._join(key, found)
        return found[0]

    def put(self, key: Key, value: Value, size_bytes: int) -> None:
        """Keep a value; one larger than half the limit is not kept at all."""
        if size_bytes <= self._limit_bytes // 2:
            self._join(key, (value, size_bytes))

    def _join(self, key: Key, entry: tuple[Value, int]) -> None:
        if self._young_bytes + entry[1] > self._limit_bytes // 2:
            self._old, self._old_bytes = self._young, self._young_bytes
            self._young, self._young_bytes = {}, 0
        self._young_bytes += entry[1] - self._young.get(key, (None, 0))[1]
        self._young[key] = entry

    def statistics(self) -> CacheStatistics:
        """Count what is here."""
        return CacheStatistics(
            entries=len(self._young) + len(self._old),
            size_bytes=self._young_bytes + self._old_bytes,
            limit_bytes=self._limit_bytes,
            misses=self._misses,
        )
