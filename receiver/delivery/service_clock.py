"""The service's clock, learnt from its answers.

In: the `Date` of the service's own answers. Out: this machine's clock difference, and whether
a batch is too old to be sent. The `Date` of a proxy or a portal is ignored.
"""

from collections.abc import Callable

from receiver.azure.limits import EXPIRY_MS
from receiver.azure.verdict import parse_http_date


class ServiceClock:
    """The service's clock, unknown at first. `ticks` is monotonic, `wall_clock` since the epoch; both in seconds."""

    def __init__(self, ticks: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """Keep this machine's clocks."""
        self._ticks = ticks
        self._wall_clock = wall_clock
        self._offset: float | None = None

    @property
    def ahead_seconds(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the service's; None before its first answer."""
        if self._offset is None:
            return None
        return self._wall_clock() - self._offset - self._ticks()

    def learn(self, date: str) -> None:
        """Learn from the `Date` of an answer that the service itself has just given."""
        moment = parse_http_date(date)
        if moment is not None:
            self._offset = moment - self._ticks()

    def is_too_old(self, newest_ms: int) -> bool:
        """Whether items up to `newest_ms` are too old, by the service's clock and by this machine's.

        This machine's clock may jump, so both must agree; otherwise the service decides.
        """
        if self._offset is None:
            return False
        now = min(self._offset + self._ticks(), self._wall_clock())
        return newest_ms < now * 1000 - EXPIRY_MS
