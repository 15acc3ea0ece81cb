"""The queue of faults.

The first fault applies until its times are used up, then the next. Random numbers come
from a storm's seed, so a storm repeats exactly.
"""

import random
from collections.abc import Iterable
from typing import Any

from receiver.sandbox.faults import Fault, Pass, Storm, to_json


class Script:
    """The queue of faults, in order."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        """Start with these faults."""
        self._faults: list[tuple[Fault, random.Random]] = []
        self._used = 0  # requests that the first fault has applied to
        self.append(faults)

    def __len__(self) -> int:
        return len(self._faults)

    def append(self, faults: Iterable[Fault]) -> None:
        """Append faults to the queue."""
        for fault in faults:
            seed = fault.seed if isinstance(fault, Storm) else 0
            self._faults.append((fault, random.Random(seed)))  # noqa: S311  repeatable on purpose

    def replace(self, faults: Iterable[Fault]) -> None:
        """Replace all faults."""
        self._faults.clear()
        self._used = 0
        self.append(faults)

    def take(self) -> Fault | None:
        """Return the fault for the next request, or None."""
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
        """Return the queued faults; `times` of the first is the remaining number."""
        written = [to_json(fault) for fault, _ in self._faults]
        if written and written[0]["times"] is not None:
            written[0]["times"] -= self._used
        return written
