"""Wait for what another process does: ask until it is so, or until the time is over."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from inspect import isawaitable
from typing import Any, ParamSpec

POLL_SECONDS = 0.02

P = ParamSpec("P")


async def until(
    ask: Callable[[], Any],
    what: str,
    within_seconds: float = 20.0,
) -> Any:
    """Return the first answer of `ask`, a function or a coroutine function, that is true.

    Raises: AssertionError, which says what did not come, when the time is over.
    """
    deadline = asyncio.get_running_loop().time() + within_seconds
    while True:
        answer = ask()
        if isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert asyncio.get_running_loop().time() < deadline, f"not in {within_seconds} s: {what}"
        await asyncio.sleep(POLL_SECONDS)


def in_loop(
    within_seconds: float = 60.0,
) -> Callable[[Callable[P, Coroutine[Any, Any, None]]], Callable[P, None]]:
    """Make a test of a coroutine function: it runs in an event loop of its own, for so long."""

    def decorate(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
        @wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            asyncio.run(asyncio.wait_for(test(*args, **kwargs), within_seconds))

        return run

    return decorate
