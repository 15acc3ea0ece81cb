"""When may a batch be sent? One answer for all that is under way to an endpoint.

In: successes and failures, as they are seen, with the time. Out: how long to wait,
and how many may be under way. Pure: no clock, no waiting of its own.

While all goes well the way is open. A failure closes it for a time that grows with
each failure in a row; after that one batch alone tries, and its success opens the
way for all: an endpoint that refuses gets a handful of requests a minute.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from receiver.azure.policy import Action

FIRST_SECONDS = 1.0
SHORTEST_SECONDS = 0.1
"""No setting makes a hot loop of us."""
GROWTH = 3.0
JITTER = 0.25
"""A wait is off by up to a quarter, so that receivers do not come all at once."""
SLOW_FIRST_SECONDS = {Action.THROTTLE: 5.0, Action.BLOCKED: 60.0, Action.QUOTA: 300.0}
"""The first wait after answers that a quick retry cannot change.

One batch may be refused for what is in it alone, so the slow waits of BLOCKED begin with
the second refusal, which is another batch's wherever another one waits.
"""
WAITS = (Action.RETRY, Action.THROTTLE, Action.QUOTA, Action.BLOCKED)
"""Why nothing may be sent."""
QUOTA_LONGEST = 15
"""How many times longer the waits may be when the volume is used up, which lasts for hours."""


@dataclass(frozen=True, slots=True)
class State:
    """Open (no action), or closed until `until`; `since` is when it last closed, and why."""

    action: Action | None = None
    until: float = 0.0
    since: float = 0.0
    failures: int = 0
    reason: str = ""
    hint: str = ""


class Backoff:
    """Shared by all that is under way to an endpoint. Times in seconds, on a clock that never goes back."""

    def __init__(self, random: Callable[[], float], longest_seconds: float = 120.0) -> None:
        """Start open. `random` is in [0, 1); waits that nobody told us grow to `longest_seconds`."""
        self._random = random
        self._longest_seconds = max(longest_seconds, SHORTEST_SECONDS)
        self.state = State()

    def wait_seconds(self, now: float) -> float:
        """Say how long nothing may be sent; 0 when something may."""
        return max(0.0, self.state.until - now) if self.state.failures else 0.0

    def retry_now(self, now: float) -> None:
        """End the wait: one batch tries at once. What failed is not forgotten."""
        if self.state.failures:
            self.state = replace(self.state, until=now)

    def at_once(self, senders: int) -> int:
        """Say how many batches may be under way: one while it is not known that the endpoint takes them."""
        return 1 if self.state.failures else senders

    def succeeded(self) -> bool:
        """Open; returns whether the gate had been closed."""
        was_closed = self.state.failures > 0
        self.state = State()
        return was_closed

    def failed(
        self,
        action: Action,
        now: float,
        started_at: float,
        retry_after_seconds: float | None = None,
        reason: str = "",
        hint: str = "",
    ) -> bool:
        """Close for a while; returns whether that is news: an open gate, or another action.

        Batches that fail together count as one: one that was started before the
        gate last closed does not count again.
        """
        before = self.state
        together = before.failures > 0 and started_at < before.since
        failures = before.failures if together else before.failures + 1
        until = now + self._wait_after(action, failures, retry_after_seconds)
        if together:
            until = max(until, before.until)
        self.state = State(action, until, now, failures, reason, hint)
        return before.action is not action

    def _wait_after(self, action: Action, failures: int, told: float | None) -> float:
        first, exponent = SLOW_FIRST_SECONDS.get(action, FIRST_SECONDS), failures - 1
        if action is Action.BLOCKED:
            first, exponent = (first, failures - 2) if failures > 1 else (FIRST_SECONDS, 0)
        growth = GROWTH ** min(exponent, 20)
        longest = self._longest_seconds
        if told is not None:  # as told, but no hot loop where "0" is said again and again
            return max(told, min(FIRST_SECONDS * growth, longest))
        if action is Action.QUOTA:
            longest *= QUOTA_LONGEST
        return min(first * growth, longest) * (1 - JITTER + 2 * JITTER * self._random())
