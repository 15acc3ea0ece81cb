"""The open windows of outputs. Pure.

In: outputs, each with the content of its newest window in the columns of `receiver.fold.state`. Out:
the same, with older open windows as objects. `receiver.fold.accumulate` adds samples to them,
`receiver.fold.closing` makes items of them. A window is an entry's `every`, aligned to the epoch.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from receiver.fold.state import NEVER, NONE, SCRAPES, State
from receiver.intake.entries import Entry

SHARED_MAX = 1000
"""Limit of numbers that windows share."""
NO_SCRAPES: dict[int, list[float]] = {}
"""The shared, always empty scrapes of windows of other kinds than a mean."""


@dataclass(slots=True)
class Window:
    """An open window behind the newest one of its output."""

    start_ms: int
    total: float = 0.0
    count: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")
    touched_ms: int = NEVER
    scrapes: dict[int, list[float]] = field(default_factory=lambda: NO_SCRAPES)


class Windows:
    """The windows of a state. The outputs' `entry` is an index into `entries`."""

    def __init__(self, state: State, entries: Sequence[Entry]) -> None:
        """Start without older windows."""
        self.state = state
        self.entries = entries
        self.older: dict[int, list[Window]] = {}
        self.older_count = 0
        self.counts: Counter[str] = Counter()
        """Counts by event of `receiver.fold.events`."""
        self._times: dict[int, int] = {}
        self._numbers: dict[float, float] = {}

    @property
    def open_count(self) -> int:
        """Count the open windows."""
        newest = self.state.outputs.start_ms
        return len(newest) - newest.count(NEVER) + self.older_count

    def open_outputs(self) -> Iterator[int]:
        """Return the outputs with an open window."""
        start_ms = self.state.outputs.start_ms
        return (output for output in range(len(start_ms)) if start_ms[output] != NEVER or output in self.older)  # fmt: skip

    def oldest(self, output: int) -> tuple[int, int] | None:
        """Return the start of an output's oldest open window, and the arrival of its last sample."""
        if behind := self.older.get(output):
            return behind[0].start_ms, behind[0].touched_ms
        outputs = self.state.outputs
        if outputs.start_ms[output] == NEVER:
            return None
        return outputs.start_ms[output], outputs.touched_ms[output]

    def pop_oldest(self, output: int) -> Window:
        """Remove and return an output's oldest open window."""
        behind = self.older.get(output)
        if not behind:
            return self._pop_newest(output)
        self.older_count -= 1
        if len(behind) == 1:
            del self.older[output]
        return behind.pop(0)

    def add_older(self, output: int, window: Window) -> None:
        """Add a window behind the newest; the windows of an output are added in their order."""
        self.older.setdefault(output, []).append(window)
        self.older_count += 1

    def older_at(self, output: int, start_ms: int) -> Window:
        """Return the window behind the newest that starts at a time; a new one if there is none."""
        windows = self.older.setdefault(output, [])
        place = bisect_left(windows, start_ms, key=lambda window: window.start_ms)
        if place == len(windows) or windows[place].start_ms != start_ms:
            windows.insert(place, Window(start_ms))
            self.older_count += 1
        return windows[place]

    def start_newest(self, output: int, start_ms: int) -> None:
        """Start a newer window; the newest so far is behind it then."""
        if self.state.outputs.start_ms[output] != NEVER:
            self.add_older(output, self._pop_newest(output))
        self.state.outputs.start_ms[output] = start_ms

    def _pop_newest(self, output: int) -> Window:
        outputs, scrapes = self.state.outputs, self.state.scrapes
        # Each minute all outputs have such a window for a moment: equal numbers are one object.
        one, number = self._times.setdefault, self._numbers.setdefault
        if len(self._times) + len(self._numbers) > SHARED_MAX:
            self._times.clear()
            self._numbers.clear()
        start_ms, touched_ms = outputs.start_ms[output], outputs.touched_ms[output]
        count, least, most = outputs.count[output], outputs.least[output], outputs.most[output]
        window = Window(
            one(start_ms, start_ms),
            outputs.total[output],
            number(count, count),
            number(least, least),
            number(most, most),
            one(touched_ms, touched_ms),
        )
        if (first := outputs.scrapes[output]) != NONE:
            window.scrapes = self.scrapes_at(first)
            scrapes.clear(first)
        outputs.start_ms[output] = outputs.touched_ms[output] = NEVER
        outputs.total[output] = outputs.count[output] = 0.0
        outputs.least[output], outputs.most[output] = float("inf"), float("-inf")
        return window

    def scrapes_at(self, first: int) -> dict[int, list[float]]:
        """Return the scrapes of a mean."""
        scrapes = self.state.scrapes
        return {
            scrapes.time_ms[place]: [scrapes.total[place], scrapes.count[place]]
            for place in range(first, first + SCRAPES)
            if scrapes.time_ms[place] != NEVER
        }

    def put_scrapes(self, first: int, known: Mapping[int, Sequence[float]]) -> None:
        """Set the scrapes of a mean."""
        scrapes = self.state.scrapes
        for place, (time_ms, (total, count)) in enumerate(known.items(), first):
            scrapes.time_ms[place], scrapes.total[place] = time_ms, total
            scrapes.count[place] = count
