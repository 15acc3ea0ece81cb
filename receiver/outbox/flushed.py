"""A bounded queue of the items of folded windows, for the status page.

In: the chunks of each flush, from the outbox's thread, once they are committed. Out: the same
to the event loop, one at a time. Above the limit a chunk is counted and skipped: it is in the
outbox, and merely not shown.
"""

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from receiver.outbox.values import Chunk, DeflatedChunk

WAITING_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class FlushedCounts:
    """The numbers of items flushed since the process started, and of those not shown."""

    items: int = 0
    size_bytes: int = 0
    skipped: int = 0


class Flushed:
    """Flushed items that the page has not sampled yet."""

    def __init__(self, max_bytes: int = WAITING_BYTES) -> None:
        """Start empty, with a limit of `max_bytes`."""
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: deque[Chunk] = deque()
        self._waiting_bytes = 0
        self._counts = FlushedCounts()

    @property
    def counts(self) -> FlushedCounts:
        """Return the counts at one moment."""
        return self._counts

    def put(self, chunks: Iterable[Chunk | DeflatedChunk]) -> None:
        """Add committed items; compressed ones are ignored."""
        with self._lock:
            for chunk in chunks:
                size = len(chunk.text) if isinstance(chunk, Chunk) else chunk.size_bytes
                items, size_bytes = self._counts.items + chunk.items, self._counts.size_bytes + size
                self._counts = replace(self._counts, items=items, size_bytes=size_bytes)
                if isinstance(chunk, Chunk) and self._waiting_bytes + size <= self._max_bytes:
                    self._waiting.append(chunk)
                    self._waiting_bytes += size
                else:
                    skipped = self._counts.skipped + chunk.items
                    self._counts = replace(self._counts, skipped=skipped)

    def take(self) -> Chunk | None:
        """Return and remove the oldest chunk; None if empty."""
        with self._lock:
            if not self._waiting:
                return None
            chunk = self._waiting.popleft()
            self._waiting_bytes -= len(chunk.text)
            return chunk
