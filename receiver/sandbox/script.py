"""The faults to come, in order, and which of them the next request meets.

The first fault is in force until its times are used up, then the next one is.
Randomness comes from a storm's own seed, so a storm repeats itself exactly.
"""

import random
from collections.abc import Iterable
from typing import Any

from receiver.sandbox.faults import Fault, Pass, Storm, to_json


class Script:
    """The faults to come, in order."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        """Start with these faults."""
        self._faults: list[tuple[Fault, random.Random]] = []
        self._used = 0  # requests that the first fault has stood for
        self.append(faults)

    def __len__(self) -> int:
        return len(self._faults)

    def append(self, faults: Iterable[Fault]) -> None:
        """Put faults after those that wait already."""
        for fault in faults:
            seed = fault.seed if isinstance(fault, Storm) else 0
            self._faults.append((fault, random.Random(seed)))  # noqa: S311  repeatable on purpose

    def replace(self, faults: Iterable[Fault]) -> None:
        """Forget all faults and put these in their place."""
        self._faults.clear()
        self._used = 0
        self.append(faults)

    def take(self) -> Fault | None:
        """Return the fault for the next request, or None when nothing shall go wrong."""
        if not self._faults:
            return None
        fault, chance = self._faults[0]
        self._used += 1
        if fault.times is not None and self._used >= fault.times:
            self._faults.pop(0)
            self._used = 0
        if isinstance(fault, Storm):
            return fault.draw(chance)
        return None if isinstance(fault, Pass) and not fault.delay_seconds else fault

    def listing(self) -> list[dict[str, Any]]:
        """Write the faults that still wait; `times` of the first is what is left of it."""
        written = [to_json(fault) for fault, _ in self._faults]
        if written and written[0]["times"] is not None:
            written[0]["times"] -= self._used
        return written
