"""One log line in a while, however often a thing happens."""

from collections.abc import Callable

INTERVAL_SECONDS = 60.0


class Throttle:
    """Says of each kind of event whether it is time to log it, and how often it was since."""

    def __init__(
        self, clock: Callable[[], float], interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        """Start with nothing logged. `clock` is in seconds and never goes back."""
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._logged_at: dict[str, float] = {}
        self._since: dict[str, int] = {}

    def due(self, kind: str) -> int:
        """Count an event; returns how many there were since the last line, 0 while it is too soon."""
        self._since[kind] = self._since.get(kind, 0) + 1
        now = self._clock()
        logged_at = self._logged_at.get(kind)
        if logged_at is not None and now - logged_at < self._interval_seconds:
            return 0
        self._logged_at[kind] = now
        return self._since.pop(kind)
