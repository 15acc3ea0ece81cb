"""Delivery keeps under the service's rate, measured on a clock that jumps instead of waiting."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from receiver.delivery.rate_limit import TokenBucket
from tests.unit.delivery.jumping import JumpingLoop


def run(test: Callable[[JumpingLoop, TokenBucket], Awaitable[None]], per_second: int) -> None:
    """Run a test on jumping time."""
    loop = JumpingLoop()

    async def main() -> None:
        await test(loop, TokenBucket(per_second, loop.time))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_a_second_s_worth_goes_at_once() -> None:
    """A quiet receiver does not wait."""

    async def test(loop: JumpingLoop, pace: TokenBucket) -> None:
        await pace.take(60)
        await pace.take(40)
        assert loop.now == 1000.0

    run(test, 100)


def test_a_long_run_keeps_to_the_rate() -> None:
    """32,000 a second are never passed in any second, whatever the batches' sizes."""

    async def test(loop: JumpingLoop, pace: TokenBucket) -> None:
        taken = 0
        for size in [1, 7, 100, 33] * 200:
            await pace.take(size)
            taken += size
            assert taken <= 100 * (loop.now - 1000.0) + 100 + 1e-6
        assert loop.now - 1000.0 == pytest.approx((taken - 100) / 100, abs=1.0)

    run(test, 100)


def test_a_batch_larger_than_a_second_borrows() -> None:
    """It goes when the seconds that it needs are over, not never."""

    async def test(loop: JumpingLoop, pace: TokenBucket) -> None:
        await pace.take(350)
        assert loop.now == pytest.approx(1002.5)
        await pace.take(100)
        assert loop.now == pytest.approx(1003.5)

    run(test, 100)


def test_silence_saves_up_one_second_and_no_more() -> None:
    """After an hour of nothing there is no burst of an hour."""

    async def test(loop: JumpingLoop, pace: TokenBucket) -> None:
        await pace.take(100)
        await asyncio.sleep(3600)
        start = loop.now
        await pace.take(100)
        assert loop.now == start
        await pace.take(100)
        assert loop.now == pytest.approx(start + 1.0)

    run(test, 100)


def test_several_that_wait_share_the_rate() -> None:
    """Tasks that take at once are let through one second apart."""

    async def test(loop: JumpingLoop, pace: TokenBucket) -> None:
        through: list[float] = []

        async def one() -> None:
            await pace.take(100)
            through.append(loop.now)

        await asyncio.gather(*(one() for _ in range(4)))
        assert through == [pytest.approx(1000.0 + second) for second in range(4)]

    run(test, 100)


def test_what_is_given_back_can_be_taken_at_once() -> None:
    """A batch that was not sent costs no rate, and more than a full bucket is never saved up."""

    async def test(loop: JumpingLoop, pace: TokenBucket) -> None:
        await pace.take(100)
        pace.give_back(60)
        await pace.take(60)
        assert loop.now == 1000.0
        pace.give_back(900)
        await pace.take(100)
        assert loop.now == 1000.0
        await pace.take(100)
        assert loop.now == pytest.approx(1001.0)

    run(test, 100)
