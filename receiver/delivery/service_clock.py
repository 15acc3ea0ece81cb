"""The service's clock, as far as its own answers have told it.

In: the `Date` of answers of the service itself. Out: how far this machine's clock is off,
and whether a batch is too old to be sent. A proxy's or a portal's `Date` is not learnt.
"""

from collections.abc import Callable

from receiver.azure.http_date import parse_http_date
from receiver.azure.limits import EXPIRY_MS


class ServiceClock:
    """Starts without knowing. `ticks` is in seconds and never goes back, `wall_clock` since the epoch."""

    def __init__(self, ticks: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """Take this machine's clocks."""
        self._ticks = ticks
        self._wall_clock = wall_clock
        self._offset: float | None = None

    @property
    def ahead_seconds(self) -> float | None:
        """How far our clock is ahead of the service's; None before the service told its time."""
        if self._offset is None:
            return None
        return self._wall_clock() - self._offset - self._ticks()

    def learn(self, date: str) -> None:
        """Take the `Date` of an answer that the service itself gave just now."""
        moment = parse_http_date(date)
        if moment is not None:
            self._offset = moment - self._ticks()

    def is_too_old(self, newest_ms: int) -> bool:
        """Whether the service would refuse all items up to `newest_ms`, by its clock and by ours.

        Either one alone may be wrong: ours may jump. Where they differ the service has to judge.
        """
        if self._offset is None:
            return False
        now = min(self._offset + self._ticks(), self._wall_clock())
        return newest_ms < now * 1000 - EXPIRY_MS
