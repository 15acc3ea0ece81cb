"""An event loop whose time passes at once when there is nothing to do."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _JumpingSelector(selectors.DefaultSelector):
    """Passes the time of a wait at once."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self.now += timeout
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Hours of waiting take no time, and the order of events is the same each time."""

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    @property
    def now(self) -> float:
        """The time that has been jumped to."""
        return self._clock.now

    def time(self) -> float:
        """Return the time that has been jumped to."""
        return self._clock.now


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on jumping time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(main)
