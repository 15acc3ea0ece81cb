"""Windows: samples in, finished windows out. Pure: the clock is an argument.

In: records (series' number, time, value), in the order in which they were committed. Out:
`Closed` windows. The rules, of which the deltas' is the invariant that tests hold: for each
series the deltas add up to the sum over its consecutive samples of v - last, or of v after a
reset: v < last, or the counter's start timestamp moved on, to last's time or later.

* A sample that is not newer than its series' last is ignored: replays change nothing.
* Staleness markers and NaN are dropped earlier: a gap is one delta, at the next sample.
* A series' first sample is its baseline and counts nothing, unless its target was watched
  earlier: then the series is new since, began at 0, and counts whole. The same holds where
  its start timestamp is after the first sample of any target.
* A window is an entry's `every`, aligned to the epoch, by the sample's time. It is finished
  when all its live series have a newer sample, or two minutes after its end and its last
  sample. A late sample goes into the next window: a window has one item.
* A mean without an event has no item; its sum waits for the next one.
"""

import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from receiver.fold.state import FORGOTTEN, NEVER, NONE, SCRAPES, Kind, Part, State
from receiver.intake.entries import Entry, First
from receiver.rows import RECORD, START_BITS

if TYPE_CHECKING:
    from array import array

try:
    from receiver import kernel
except ImportError:
    COMPILED: "Loop | None" = None
else:
    COMPILED = getattr(kernel, "fold", None)  # one of older sources has none

FUTURE_MS = 3_600_000
"""Samples this far ahead of the clock are ignored, else their series would ignore all until then."""
GRACE_MS = 120_000
"""Time after its end and its last sample at which a window of ended series is finished."""
BIRTH_MS = 3_600_000
"""Age above which a new target's counter may have been counted by another receiver."""
FORGET_MS = 48 * 3_600_000
"""Time after which a series counts as unseen: the service accepts no older samples."""
SHARED_MAX = 1000
"""Limit of numbers that windows share."""
COUNT_MAX = 2**31 - 1
"""The service's count is an int32. Source: the DataPoint schema."""

REPEATED = "repeated"
FUTURE = "future"
LATE = "late"
BASELINE = "baseline"
RESET = "reset"
WOULD_JOIN = "would_join"
UNKNOWN = "unknown"
SPLIT = "count_split"
OVERFLOW = "overflow"
TAKEN_OVER = "taken_over"
RELEASED = "released"
EVENTS = {
    REPEATED: "Samples not newer than their series' last: replays, duplicates. Ignored.",
    FUTURE: "Samples more than an hour ahead of this machine's clock. Ignored; the next one makes up for it.",
    LATE: "Late samples, of a window that has its item; they count in the next window.",
    BASELINE: "First samples of counters that were running before: a baseline, which counts nothing.",
    RESET: "Counter resets: a process or a model restarted. The new value counts whole.",
    WOULD_JOIN: 'Series that `"as": "last"` would have to join with another; they are left out.',
    UNKNOWN: "Samples of series that were forgotten meanwhile. Ignored.",
    SPLIT: "Items with a count beyond int32; the rest went into the next window.",
    OVERFLOW: "Items with a value beyond a JSON number. Left out.",
    TAKEN_OVER: "Series taken over from another receiver, with their sums (`handover`).",
    RELEASED: "Series handed over to another receiver, and forgotten here (`handover`).",
}
"""The events of `receiver_fold_events_total`, with their meanings."""


def read_records(records: bytes) -> Iterator[tuple[int, int, float, int]]:
    """Read samples: number, time, value, and the start timestamp, 0 where there is none."""
    started = begun_ms = 0
    bits = struct.iter_unpack("<12xQ", records)
    for (number, time_ms, value), (its_bits,) in zip(
        RECORD.iter_unpack(records), bits, strict=True
    ):
        if its_bits == START_BITS:
            started, begun_ms = number, time_ms
            continue
        yield number, time_ms, value, begun_ms if started == number else 0
        started = begun_ms = 0


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


@dataclass(frozen=True, slots=True)
class Closed:
    """The content of one item."""

    output: int
    start_ms: int
    value: float
    count: int
    least: float
    most: float


Loop = Callable[[bytes, int, int, "tuple[array[Any], ...]"], tuple[bytes, int, int]]
"""The compiled loop: takes the plain cases; returns all other records, and counts of repeats and resets."""


class Windows:
    """The windows of a state. The outputs' `entry` is an index into `entries`."""

    def __init__(
        self, state: State, entries: Sequence[Entry], loop: Loop | None = COMPILED
    ) -> None:
        """Start without older windows. Without `loop` samples are handled one by one."""
        self.state = state
        self.entries = entries
        self.older: dict[int, list[Window]] = {}
        self.older_count = 0
        self.counts: Counter[str] = Counter()
        self._loop = loop
        self._times: dict[int, int] = {}
        self._numbers: dict[float, float] = {}

    def take(self, records: bytes, now_ms: int) -> None:
        """Fold samples, in order for each series."""
        if self._loop:
            columns = self.state.columns()
            records, repeated, resets = self._loop(records, now_ms + FUTURE_MS, now_ms, columns)
            self.counts[REPEATED] += repeated
            self.counts[RESET] += resets
        for number, time_ms, value, begun_ms in read_records(records):
            self.take_one(number, time_ms, value, begun_ms, now_ms)

    def take_one(self, number: int, time_ms: int, value: float, begun_ms: int, now_ms: int) -> None:
        """Fold any sample; `begun_ms` is its start timestamp, 0 for none."""
        series = self.state.series
        if number >= len(series.time_ms) or series.target[number] == NONE:
            self.counts[UNKNOWN] += 1
            return
        if time_ms > now_ms + FUTURE_MS:
            self.counts[FUTURE] += 1
            return
        last_ms = series.time_ms[number]
        if time_ms <= last_ms:
            self.counts[REPEATED] += 1
            return
        is_born = self._watch(series.target[number], time_ms, begun_ms)
        last = series.value[number]
        is_anew = max(series.begun_ms[number] + 1, last_ms) <= begun_ms < time_ms
        series.time_ms[number], series.value[number] = time_ms, value
        if begun_ms:
            series.begun_ms[number] = begun_ms
        if last_ms <= FORGOTTEN:
            self._take_first(number, time_ms, value, now_ms, is_born=is_born)
            return
        is_counter = False
        for output, part in self.links(number):
            kind = self.state.outputs.kind[output]
            if kind <= Kind.AGGREGATE:
                self._add(output, part, time_ms, value, now_ms)
            else:
                is_counter = True
                grown = value - last if value >= last and not is_anew else value
                self._add(output, part, time_ms, grown, now_ms)
        if is_counter and (value < last or (is_anew and last > 0)):
            self.counts[RESET] += 1

    def _watch(self, target: int, time_ms: int, begun_ms: int) -> bool:
        """Note a watched target; returns whether its unseen series must be new."""
        state = self.state
        first_ms = state.targets.first_ms[target]
        if first_ms == NEVER:
            state.targets.first_ms[target] = time_ms
        if state.since_ms == NEVER:
            state.since_ms = time_ms
        if first_ms != NEVER and time_ms > first_ms:
            return True
        return max(state.since_ms, time_ms - BIRTH_MS) <= begun_ms < time_ms

    def _take_first(
        self, number: int, time_ms: int, value: float, now_ms: int, *, is_born: bool
    ) -> None:
        outputs = self.state.outputs
        is_baseline = is_base = False
        for output, part in self.links(number):
            first = self.entries[outputs.entry[output]].first
            counts = first is First.ZERO or (first is First.AUTO and is_born)
            if outputs.kind[output] <= Kind.AGGREGATE or counts:
                self._add(output, part, time_ms, value, now_ms)
            else:
                is_baseline = True
                self._add(output, part, time_ms, 0.0, now_ms)
            is_base |= outputs.kind[output] > Kind.AGGREGATE and not (counts and is_born)
        series = self.state.series
        series.base_ms[number] = time_ms if is_base else NEVER
        series.base_value[number] = value
        if is_baseline:
            self.counts[BASELINE] += 1

    def add_before_base(self, number: int, before: float, now_ms: int) -> None:
        """Add a counter's growth from `before`, another receiver's last value, to its base here."""
        outputs, series = self.state.outputs, self.state.series
        base = series.base_value[number]
        grown = base - before if base >= before else base
        for output, part in self.links(number):
            if outputs.kind[output] > Kind.AGGREGATE:
                counted = base if self.entries[outputs.entry[output]].first is First.ZERO else 0.0
                self._add(output, part, series.base_ms[number], grown - counted, now_ms)

    def is_counter(self, number: int) -> bool:
        """Whether any item is made of a series' growth."""
        kinds = self.state.outputs.kind
        return any(kinds[output] > Kind.AGGREGATE for output, _ in self.links(number))

    def links(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield a series' outputs, with its part in each."""
        links = self.state.links
        place = self.state.series.link[number]
        while place != NONE:
            yield links.output[place], links.part[place]
            place = links.next[place]

    def _add(self, output: int, part: int, time_ms: int, amount: float, now_ms: int) -> None:
        """Add to the window of a time, or to the next one if that window has its item."""
        outputs = self.state.outputs
        every_ms = outputs.every_ms[output]
        start_ms = time_ms - time_ms % every_ms
        newest_ms = outputs.start_ms[output]
        if start_ms < outputs.until_ms[output]:
            self.counts[LATE] += 1
            if older := self.older.get(output):
                start_ms = older[0].start_ms
            elif newest_ms != NEVER:
                start_ms = newest_ms
            else:
                start_ms = -(-outputs.until_ms[output] // every_ms) * every_ms
        if start_ms < newest_ms:
            self._add_to_older(output, part, time_ms, start_ms, amount, now_ms)
            return
        if start_ms > newest_ms:
            if newest_ms != NEVER:
                self._put_behind(output)
            outputs.start_ms[output] = start_ms
        outputs.touched_ms[output] = now_ms
        self._add_to_newest(output, part, time_ms, amount)

    def _add_to_newest(self, output: int, part: int, time_ms: int, amount: float) -> None:
        outputs = self.state.outputs
        kind = outputs.kind[output]
        if kind == Kind.LAST:
            outputs.total[output] = amount
        elif part == Part.VALUE:
            outputs.total[output] += amount
        else:
            outputs.count[output] += amount
        if kind == Kind.AGGREGATE:
            outputs.count[output] += 1
            outputs.least[output] = min(outputs.least[output], amount)
            outputs.most[output] = max(outputs.most[output], amount)
        elif kind == Kind.MEAN:
            self._add_to_scrape(output, part, time_ms, amount)

    def _add_to_scrape(self, output: int, part: int, time_ms: int, amount: float) -> None:
        """Pair value and count of the same moment; the oldest pair is finished to make room."""
        outputs, scrapes = self.state.outputs, self.state.scrapes
        first = outputs.scrapes[output]
        places = range(first, first + SCRAPES)
        place = next(
            (candidate for candidate in places if scrapes.time_ms[candidate] == time_ms), NONE
        )
        if place == NONE:
            place = min(places, key=scrapes.time_ms.__getitem__)
            if scrapes.count[place] > 0:
                mean = scrapes.total[place] / scrapes.count[place]
                outputs.least[output] = min(outputs.least[output], mean)
                outputs.most[output] = max(outputs.most[output], mean)
            scrapes.time_ms[place] = time_ms
            scrapes.total[place] = scrapes.count[place] = 0.0
        if part == Part.VALUE:
            scrapes.total[place] += amount
        else:
            scrapes.count[place] += amount

    def _put_behind(self, output: int) -> None:
        """Move the newest window behind the new one."""
        self.older.setdefault(output, []).append(self._pop_newest(output))
        self.older_count += 1

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

    def _add_to_older(
        self, output: int, part: int, time_ms: int, start_ms: int, amount: float, now_ms: int
    ) -> None:
        windows = self.older.setdefault(output, [])
        place = bisect_left(windows, start_ms, key=lambda window: window.start_ms)
        if place == len(windows) or windows[place].start_ms != start_ms:
            windows.insert(place, Window(start_ms))
            self.older_count += 1
        window = windows[place]
        window.touched_ms = now_ms
        kind = self.state.outputs.kind[output]
        if kind == Kind.LAST:
            window.total = amount
        elif part == Part.VALUE:
            window.total += amount
        else:
            window.count += amount
        if kind == Kind.AGGREGATE:
            window.count += 1
            window.least, window.most = min(window.least, amount), max(window.most, amount)
        elif kind == Kind.MEAN:
            if window.scrapes is NO_SCRAPES:
                window.scrapes = {}
            window.scrapes.setdefault(time_ms, [0.0, 0.0])[part] += amount

    def is_due(self, now_ms: int) -> bool:
        """Whether a window is finished."""
        candidates = self._candidates(now_ms)
        return any(self._is_over(output, self._first(output), now_ms) for output in candidates)

    def close(self, now_ms: int, *, of: Callable[[int], bool] | None = None) -> Iterator[Closed]:
        """Close the finished windows; with `of` all windows of these outputs.

        A window without an item is closed without a `Closed`.
        """
        outputs = filter(of, self._open()) if of else self._candidates(now_ms)
        for output in list(outputs):
            while (window := self._first(output)) and (of or self._is_over(output, window, now_ms)):
                behind = self.older.get(output)
                if behind:
                    del behind[0]
                    self.older_count -= 1
                    if not behind:
                        del self.older[output]
                else:
                    window = self._pop_newest(output)
                if closed := self._say(output, window):
                    yield closed

    def close_oldest(self, most_older: int) -> Iterator[Closed]:
        """Close windows early until at most this number are open behind the newest."""
        starts = sorted(window.start_ms for windows in self.older.values() for window in windows)
        if len(starts) <= most_older:
            return
        last_ms = starts[len(starts) - most_older - 1]
        for output in list(self.older):
            while (windows := self.older.get(output)) and windows[0].start_ms <= last_ms:
                window = windows.pop(0)
                self.older_count -= 1
                if not windows:
                    del self.older[output]
                if closed := self._say(output, window):
                    yield closed

    @property
    def open_count(self) -> int:
        """Count the open windows."""
        newest = self.state.outputs.start_ms
        return len(newest) - newest.count(NEVER) + self.older_count

    def _open(self) -> Iterator[int]:
        start_ms = self.state.outputs.start_ms
        return (output for output in range(len(start_ms)) if start_ms[output] != NEVER or output in self.older)  # fmt: skip

    def _candidates(self, now_ms: int) -> Iterator[int]:
        """Return the outputs whose oldest window may be finished: usually almost none."""
        newest_ms = max(self.state.series.time_ms, default=NEVER)
        limit_ms = max(newest_ms, now_ms - GRACE_MS)
        outputs = self.state.outputs
        for output, start_ms in enumerate(outputs.start_ms):
            if output in self.older or (
                start_ms != NEVER and start_ms + outputs.every_ms[output] <= limit_ms
            ):
                yield output

    def _first(self, output: int) -> Window | None:
        """Return the output's oldest open window; for the newest, a copy."""
        if behind := self.older.get(output):
            return behind[0]
        outputs = self.state.outputs
        if outputs.start_ms[output] == NEVER:
            return None
        return Window(outputs.start_ms[output], touched_ms=outputs.touched_ms[output])

    def _is_over(self, output: int, window: Window | None, now_ms: int) -> bool:
        if not window:
            return False
        end_ms = window.start_ms + self.state.outputs.every_ms[output]
        if now_ms >= max(end_ms, window.touched_ms) + GRACE_MS:
            return True
        # A series without a sample in this window and the one before has ended.
        alive_ms = window.start_ms - self.state.outputs.every_ms[output]
        links, time_ms = self.state.links, self.state.series.time_ms
        place = self.state.outputs.link[output]
        is_over = False
        while place != NONE:
            newest_ms = time_ms[links.series[place]]
            if alive_ms <= newest_ms < end_ms:
                return False
            is_over |= newest_ms >= end_ms
            place = links.beside[place]
        return is_over

    def _say(self, output: int, window: Window) -> Closed | None:
        """Return the content of a window's item, None for no item; advance the output."""
        outputs = self.state.outputs
        outputs.until_ms[output] = window.start_ms + outputs.every_ms[output]
        total, count = window.total, 1
        if outputs.kind[output] == Kind.MEAN:
            total, count = self._divide(output, window)
            if not count:
                return None
        elif outputs.kind[output] == Kind.AGGREGATE:
            count = round(window.count)
        else:
            window.least = window.most = total
        quiet_ms = self.entries[outputs.entry[output]].quiet_seconds * 1000
        if quiet_ms and self._says_nothing_new(output, window, quiet_ms):
            return None
        if not isfinite(total):
            self.counts[OVERFLOW] += 1
            return None
        is_one = window.least == window.most
        outputs.said[output] = window.least if is_one else float("nan")
        outputs.said_ms[output] = window.start_ms
        return Closed(output, window.start_ms, total, count, window.least, window.most)

    def _says_nothing_new(self, output: int, window: Window, quiet_ms: int) -> bool:
        outputs = self.state.outputs
        if outputs.said_ms[output] == NEVER or outputs.kind[output] == Kind.MEAN:
            return False
        if window.start_ms - outputs.said_ms[output] >= quiet_ms:
            return False
        same = 0.0 if outputs.kind[output] == Kind.DELTA else outputs.said[output]
        return window.least == window.most == same

    def _divide(self, output: int, window: Window) -> tuple[float, int]:
        """Return a mean's total and whole events; a fraction of an event waits."""
        outputs = self.state.outputs
        for total, count in window.scrapes.values():
            if count > 0:
                window.least = min(window.least, total / count)
                window.most = max(window.most, total / count)
        total = window.total + outputs.left_total[output]
        events = window.count + outputs.left_count[output]
        outputs.left_total[output], outputs.left_count[output] = 0.0, 0.0
        if not isfinite(total + events):
            return float("inf"), 1
        whole = int(events)
        if whole < 1:
            outputs.left_total[output], outputs.left_count[output] = total, events
            return 0.0, 0
        sent = total
        if whole > COUNT_MAX:
            self.counts[SPLIT] += 1
            sent, whole = total * (COUNT_MAX / events), COUNT_MAX
        outputs.left_total[output], outputs.left_count[output] = total - sent, events - whole
        # The carried part belongs to no scrape of this window: keep least <= mean <= most.
        window.least = min(window.least, sent / whole)
        window.most = max(window.most, sent / whole)
        return sent, whole

    def forget(self, now_ms: int) -> None:
        """Free the state of series unseen for two days, and of targets without series."""
        series, first_ms = self.state.series, self.state.targets.first_ms
        alive = set()
        for number, time_ms in enumerate(series.time_ms):
            if time_ms >= now_ms - FORGET_MS:
                alive.add(series.target[number])
            elif (
                time_ms != NEVER
            ):  # the first sample of an unseen series may be in a request in flight
                series.time_ms[number] = FORGOTTEN
        for target in range(len(first_ms)):
            if target not in alive:
                first_ms[target] = NEVER
