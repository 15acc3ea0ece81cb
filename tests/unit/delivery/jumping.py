"""An event loop whose time passes at once when there is nothing to do."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class JumpingLoop(asyncio.SelectorEventLoop):
    """Hours of waiting take no time, and the order of events is the same each time."""

    def __init__(self) -> None:
        super().__init__(selectors.DefaultSelector())
        self.now = 1000.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None = None) -> object:
            if timeout:
                self.now += timeout
            return select(0)

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        """Say the time that has been jumped to."""
        return self.now


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on jumping time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(main)
