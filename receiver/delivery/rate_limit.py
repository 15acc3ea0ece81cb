"""The rate limit of delivery: a token bucket that fills at the service's rate."""

import asyncio
from collections.abc import Callable


class TokenBucket:
    """Limits items to `per_second`, with bursts of one second's items."""

    def __init__(self, per_second: int, clock: Callable[[], float]) -> None:
        """Start with a full bucket. `clock` is monotonic, in seconds."""
        self._per_second = per_second
        self._clock = clock
        self._level = float(per_second)
        self._filled_at = clock()

    async def take(self, items: int) -> None:
        """Wait until `items` may be sent; a batch larger than the bucket borrows from the next second."""
        self._fill()
        self._level -= items
        if self._level < 0:
            await asyncio.sleep(-self._level / self._per_second)

    def give_back(self, items: int) -> None:
        """Return items that were taken but not sent."""
        self._fill()
        self._level = min(self._per_second, self._level + items)

    def _fill(self) -> None:
        now = self._clock()
        gained = (now - self._filled_at) * self._per_second
        self._level = min(self._per_second, self._level + gained)
        self._filled_at = now
