"""The service's clock is learnt from its own answers, and nothing expires by one clock alone."""

from email.utils import formatdate

from receiver.azure.limits import EXPIRY_MS
from receiver.delivery.service_clock import ServiceClock

START = 1_800_000_000.0


class Clocks:
    """This machine's clocks, and the service's as it was learnt."""

    def __init__(self) -> None:
        self.ticks, self.wall = 500.0, START
        self.service = ServiceClock(lambda: self.ticks, lambda: self.wall)

    def learn(self, ahead_seconds: float) -> None:
        """Have the service say a time; ours is so much ahead of it."""
        self.service.learn(formatdate(self.wall - ahead_seconds, usegmt=True))

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.ticks += seconds
        self.wall += seconds


def test_before_the_service_s_time_is_known_nothing_is_too_old() -> None:
    """It has to judge; what is no date teaches nothing."""
    clocks = Clocks()
    for date in ("", "yesterday", "Thu, 99 Jan 1970"):
        clocks.service.learn(date)
        assert clocks.service.ahead_seconds is None
        assert clocks.service.is_too_old(0) is False


def test_how_far_our_clock_is_ahead_follows_the_jumps_of_ours() -> None:
    """Time that passes changes nothing; a clock that is set back does."""
    clocks = Clocks()
    clocks.learn(90)
    assert clocks.service.ahead_seconds == 90
    clocks.passes(1000)
    assert clocks.service.ahead_seconds == 90
    clocks.wall -= 30
    assert clocks.service.ahead_seconds == 60
    clocks.learn(-5)
    assert clocks.service.ahead_seconds == -5


def test_a_batch_is_too_old_when_both_clocks_say_so() -> None:
    """To the millisecond; the earlier of the two decides."""
    for ahead, wall_is_earlier in ((100, False), (-100, True), (0, False)):
        clocks = Clocks()
        clocks.learn(ahead)
        clocks.passes(50)
        earlier = clocks.wall if wall_is_earlier else clocks.wall - ahead
        limit_ms = round(earlier * 1000) - EXPIRY_MS
        assert clocks.service.is_too_old(limit_ms - 1) is True
        assert clocks.service.is_too_old(limit_ms) is False
