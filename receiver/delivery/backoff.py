"""The back-off of delivery to one endpoint.

In: successes and failures with their times. Out: how long to wait, and how many batches may
be in flight. Pure: no clock, no waiting.

While batches succeed nothing waits. After a failure all wait, for a time that grows with every
failure in a row; then a single batch probes, and its success ends the wait for all: an
endpoint that refuses gets only a few requests a minute.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from receiver.azure.policy import Action

FIRST_SECONDS = 1.0
SHORTEST_SECONDS = 0.1
"""Lower limit of the longest wait, so that no setting makes a hot loop."""
GROWTH = 3.0
JITTER = 0.25
"""Waits vary by up to a quarter, so that receivers do not retry in step."""
SLOW_FIRST_SECONDS = {Action.THROTTLE: 5.0, Action.BLOCKED: 60.0, Action.QUOTA: 300.0}
"""The first wait after answers that a quick retry cannot change.

A single batch may be refused for its content, so the slow waits of BLOCKED start with the
second refusal, which is another batch's if another one waits.
"""
WAITS = (Action.RETRY, Action.THROTTLE, Action.QUOTA, Action.BLOCKED)
"""The kinds of waits."""
QUOTA_LONGEST = 15
"""Factor for the longest wait when the daily quota is used up, which lasts for hours."""


@dataclass(frozen=True, slots=True)
class BackoffState:
    """No action, or a wait for `action` until `until`; `since` is the time of the last failure."""

    action: Action | None = None
    until: float = 0.0
    since: float = 0.0
    failures: int = 0
    reason: str = ""
    hint: str = ""


class Backoff:
    """Shared by all batches to an endpoint. Times in seconds of a monotonic clock."""

    def __init__(self, random: Callable[[], float], longest_seconds: float = 120.0) -> None:
        """Start without a wait. `random` is in [0, 1); waits without a Retry-After grow to `longest_seconds`."""
        self._random = random
        self._longest_seconds = max(longest_seconds, SHORTEST_SECONDS)
        self.state = BackoffState()

    def wait_seconds(self, now: float) -> float:
        """Return the time until a batch may be sent; 0 if one may be sent now."""
        return max(0.0, self.state.until - now) if self.state.failures else 0.0

    def retry_now(self, now: float) -> None:
        """End the wait: one batch probes at once. The number of failures is kept."""
        if self.state.failures:
            self.state = replace(self.state, until=now)

    def at_once(self, senders: int) -> int:
        """Return how many batches may be in flight: one after a failure, until a success."""
        return 1 if self.state.failures else senders

    def succeeded(self) -> bool:
        """End the wait; returns whether there was a failure before."""
        has_failed = self.state.failures > 0
        self.state = BackoffState()
        return has_failed

    def failed(
        self,
        action: Action,
        now: float,
        started_at: float,
        retry_after_seconds: float | None = None,
        reason: str = "",
        hint: str = "",
    ) -> None:
        """Wait for a while.

        Batches that fail together count once: a batch started before the last failure does
        not count again.
        """
        before = self.state
        together = before.failures > 0 and started_at < before.since
        failures = before.failures if together else before.failures + 1
        until = now + self._wait_after(action, failures, retry_after_seconds)
        if together:
            until = max(until, before.until)
        self.state = BackoffState(action, until, now, failures, reason, hint)

    def _wait_after(
        self, action: Action, failures: int, retry_after_seconds: float | None
    ) -> float:
        first, exponent = SLOW_FIRST_SECONDS.get(action, FIRST_SECONDS), failures - 1
        if action is Action.BLOCKED:
            first, exponent = (first, failures - 2) if failures > 1 else (FIRST_SECONDS, 0)
        growth = GROWTH ** min(exponent, 20)
        longest = self._longest_seconds
        if retry_after_seconds is not None:  # as requested; a repeated "0" makes no hot loop
            return max(retry_after_seconds, min(FIRST_SECONDS * growth, longest))
        if action is Action.QUOTA:
            longest *= QUOTA_LONGEST
        return min(first * growth, longest) * (1 - JITTER + 2 * JITTER * self._random())
