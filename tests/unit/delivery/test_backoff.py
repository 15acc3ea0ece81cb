"""The backoff: waits that grow, apart from each other, and never a hot loop."""

import heapq
import random
from collections.abc import Callable

import pytest

from receiver.azure.policy import Action
from receiver.delivery.backoff import GROWTH, JITTER, SLOW_FIRST_SECONDS, Backoff, BackoffState

REFUSALS = [Action.RETRY, Action.THROTTLE, Action.QUOTA, Action.BLOCKED]


def middle() -> float:
    """Answer as a random number in the middle: no jitter."""
    return 0.5


def waits(action: Action, count: int, told: float | None = None) -> list[float]:
    """Fail so often in a row, each try made when the backoff lets it, and list the waits."""
    backoff = Backoff(middle)
    now, found = 0.0, []
    for _ in range(count):
        backoff.failed(action, now, now, told)
        found.append(backoff.wait_seconds(now))
        now += found[-1]
    return found


def sends(
    action: Action,
    told: float | None,
    *,
    seconds: float,
    latency: Callable[[], float],
    senders: int = 4,
    seed: int = 1,
) -> list[float]:
    """Play delivery against an endpoint that always refuses; list when batches were sent."""
    backoff = Backoff(random.Random(seed).random)
    under_way: list[tuple[float, float]] = []  # ends at, started at
    sent: list[float] = []
    now = 0.0
    while now < seconds:
        while len(under_way) < backoff.at_once(senders) and not backoff.wait_seconds(now):
            sent.append(now)
            heapq.heappush(under_way, (now + latency(), now))
        opens_at = now + backoff.wait_seconds(now)
        if under_way and (not backoff.wait_seconds(now) or under_way[0][0] <= opens_at):
            now, started_at = heapq.heappop(under_way)
            backoff.failed(action, now, started_at, told)
        else:
            now = opens_at
    return sent


def test_an_open_gate_lets_all_through() -> None:
    """No wait, and as many at once as there are senders."""
    backoff = Backoff(middle)

    assert backoff.wait_seconds(0.0) == 0.0
    assert backoff.at_once(4) == 4
    assert not backoff.succeeded()


def test_waits_grow_from_seconds_to_minutes() -> None:
    """Each failure in a row makes the next wait longer, up to a limit."""
    assert waits(Action.RETRY, 7) == [1, 3, 9, 27, 81, 120, 120]
    assert waits(Action.THROTTLE, 4) == [5, 15, 45, 120]
    assert waits(Action.BLOCKED, 4) == [1, 60, 120, 120]
    assert waits(Action.QUOTA, 4) == [300, 900, 1800, 1800]


def test_an_outage_of_a_year_does_not_overflow() -> None:
    """However many failures in a row."""
    assert max(waits(Action.RETRY, 5000)) == 120
    assert max(waits(Action.QUOTA, 5000)) == 1800


@pytest.mark.parametrize("longest", [0.0, 0.3, 10.0, 600.0])
def test_the_longest_wait_can_be_set(longest: float) -> None:
    """Waits that nobody told us grow to what is set, and no setting makes a hot loop."""
    backoff = Backoff(middle, longest)
    now = 0.0
    for _ in range(20):
        backoff.failed(Action.RETRY, now, now)
        now += backoff.wait_seconds(now)
    backoff.failed(Action.RETRY, now, now)

    assert backoff.wait_seconds(now) == pytest.approx(max(longest, 0.1))


@pytest.mark.parametrize("action", REFUSALS)
def test_jitter_stays_within_a_quarter_and_is_used(action: Action) -> None:
    """Receivers that fail together come back apart, and not earlier or later than said."""
    first = 1.0 if action is Action.BLOCKED else SLOW_FIRST_SECONDS.get(action, 1.0)
    found = []
    for number in (0.0, 0.25, 0.5, 0.999999):
        backoff = Backoff(lambda number=number: number)  # type: ignore[misc]
        backoff.failed(action, 100.0, 99.0)
        found.append(backoff.wait_seconds(100.0))

    assert found == sorted(found)
    assert found[0] == pytest.approx(first * (1 - JITTER))
    assert found[-1] == pytest.approx(first * (1 + JITTER), rel=1e-5)
    assert found[0] < found[1] < found[2] < found[3]


def test_the_wait_runs_down() -> None:
    """And ends at nothing, not below."""
    backoff = Backoff(middle)
    backoff.failed(Action.RETRY, 10.0, 9.0)

    assert backoff.wait_seconds(10.4) == pytest.approx(0.6)
    assert backoff.wait_seconds(11.0) == 0.0
    assert backoff.wait_seconds(99.0) == 0.0
    assert backoff.at_once(4) == 1, "one alone tries"


def test_one_success_opens_for_all() -> None:
    """And says so, once; the next failure begins from the start."""
    backoff = Backoff(middle)
    backoff.failed(Action.RETRY, 0.0, 0.0)
    assert backoff.succeeded(), "after a single failure too"
    backoff.failed(Action.RETRY, 0.0, 0.0)
    backoff.failed(Action.RETRY, 1.0, 1.0)

    assert backoff.succeeded()
    assert not backoff.succeeded()
    assert (backoff.at_once(4), backoff.wait_seconds(1.0)) == (4, 0.0)
    backoff.failed(Action.RETRY, 2.0, 2.0)
    assert backoff.wait_seconds(2.0) == 1.0


def test_batches_that_fail_together_count_once() -> None:
    """Four senders that were under way when the endpoint went do not make the wait 27 seconds."""
    backoff = Backoff(middle)
    for now in (1.0, 1.1, 1.2, 1.3):
        backoff.failed(Action.RETRY, now, 0.5)

    assert backoff.state.failures == 1
    assert backoff.wait_seconds(1.3) == pytest.approx(1.0)
    backoff.failed(Action.RETRY, 3.0, 2.4)
    assert backoff.state.failures == 2
    backoff.failed(Action.RETRY, 4.0, 3.0)
    assert backoff.state.failures == 3, "begun when the wait began, and not before"


def test_a_late_failure_never_shortens_the_wait() -> None:
    """The endpoint said an hour; a batch of before that breaks off: the hour holds."""
    backoff = Backoff(middle)
    backoff.failed(Action.THROTTLE, 1.0, 0.0, retry_after_seconds=3600.0)
    backoff.failed(Action.RETRY, 2.0, 0.0)

    assert backoff.wait_seconds(2.0) == 3599.0


def test_retry_after_is_kept() -> None:
    """Retry-After holds to the second, whatever the status."""
    for action in REFUSALS:
        assert waits(action, 1, told=60.0) == [60.0]
        assert waits(action, 3, told=42.0) == [42.0] * 3


@pytest.mark.parametrize("told", [0.0, 0.5, 1.0])
def test_a_retry_after_of_zero_is_no_hot_loop(told: float) -> None:
    """An endpoint that refuses for ever with Retry-After: 0 gets fewer and fewer requests."""
    found = waits(Action.THROTTLE, 7, told=told)

    assert found == [1, GROWTH, 9, 27, 81, 120, 120]


@pytest.mark.parametrize("action", REFUSALS)
@pytest.mark.parametrize("told", [None, 0.0, 1.0, 5.0, 60.0])
@pytest.mark.parametrize("latency", [0.001, 0.2, 4.0])
def test_an_endpoint_that_refuses_gets_a_handful_a_minute(
    action: Action, told: float | None, latency: float
) -> None:
    """Four that were under way, then one at a time and ever more rarely."""
    for seed in range(5):
        jitter = random.Random(seed)
        sent = sends(
            action,
            told,
            seconds=600.0,
            latency=lambda jitter=jitter: latency * jitter.uniform(0.5, 1.5),  # type: ignore[misc]
            seed=seed,
        )
        first_minute = sum(now < 60 for now in sent)
        assert 4 <= first_minute <= 12
        for minute in range(1, 10):
            assert sum(60 * minute <= now < 60 * (minute + 1) for now in sent) <= 12
        assert len(sent) <= 55


def test_429_with_retry_after_60_gets_four_and_then_one_a_minute() -> None:
    """Where an SDK made 2,753 requests in 5 seconds."""
    sent = sends(Action.THROTTLE, 60.0, seconds=300.0, latency=lambda: 0.05)

    assert sum(now < 60 for now in sent) == 4
    assert len(sent) == 8


def test_the_last_failure_is_the_state() -> None:
    """With its reason and its hint."""
    backoff = Backoff(middle)
    backoff.failed(Action.RETRY, 0.0, 0.0, None, "503", "wait")
    backoff.failed(Action.BLOCKED, 9.0, 8.0, None, "403", "role")
    assert (backoff.state.action, backoff.state.reason, backoff.state.hint) == (
        Action.BLOCKED,
        "403",
        "role",
    )


def test_a_retry_now_ends_the_wait_and_forgets_nothing() -> None:
    """One batch tries at once; without a failure nothing changes."""
    backoff = Backoff(lambda: 0.5)
    backoff.retry_now(5.0)
    assert backoff.state == BackoffState()
    backoff.failed(Action.QUOTA, 10.0, 10.0, reason="403")
    assert backoff.wait_seconds(11.0) > 10
    backoff.retry_now(11.0)
    assert backoff.wait_seconds(11.0) == 0
    assert (backoff.at_once(4), backoff.state.failures, backoff.state.reason) == (1, 1, "403")
