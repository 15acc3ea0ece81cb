"""Samples into windows. Pure: the clock is an argument.

In: records (series' number, time, value), in the order in which they were committed. Out: the
content of windows. The rules, of which the deltas' is the invariant that tests hold: for each
series the deltas add up to the sum over its consecutive samples of v - last (v after a reset).
A reset is v < last, or a newer start timestamp that is not before the last sample.

* A sample that is not newer than its series' last is ignored: replays change nothing.
* Staleness markers and NaN are dropped earlier: a gap is one delta, at the next sample.
* A series' first sample is its baseline and counts nothing, unless its target was watched
  earlier: then the series is new, began at 0, and counts whole. The same holds where
  its start timestamp is after the first sample of any target.
* A sample belongs to the window of its time. A late sample goes into the next window: a window
  has one item.
"""

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from receiver.fold.events import BASELINE, FUTURE, LATE, REPEATED, RESET, UNKNOWN
from receiver.fold.state import FORGOTTEN, NEVER, NONE, SCRAPES, Kind, Part
from receiver.fold.windows import NO_SCRAPES, Window, Windows
from receiver.intake.entries import First
from receiver.rows import RECORD, START_BITS

if TYPE_CHECKING:
    from array import array

Loop = Callable[[bytes, int, int, "tuple[array[Any], ...]"], tuple[bytes, int, int]]
"""The compiled loop: takes the plain cases; returns all other records, and counts of repeats and resets."""

try:
    from receiver import kernel
except ImportError:
    COMPILED: Loop | None = None
else:
    COMPILED = getattr(kernel, "fold", None)  # one of older sources has none

FUTURE_MS = 3_600_000
"""Samples this far ahead of the clock are ignored, else their series would ignore all until then."""
NEW_TARGET_MS = 3_600_000
"""Age above which a new target's counter may have been counted by another receiver."""


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


def add_records(
    windows: Windows, records: bytes, now_ms: int, loop: Loop | None = COMPILED
) -> None:
    """Add samples, in order for each series; without `loop` one by one."""
    if loop:
        records, repeated, resets = loop(
            records, now_ms + FUTURE_MS, now_ms, windows.state.columns()
        )
        windows.counts[REPEATED] += repeated
        windows.counts[RESET] += resets
    for number, time_ms, value, begun_ms in read_records(records):
        _add_sample(windows, number, time_ms, value, begun_ms, now_ms)


def _add_sample(
    windows: Windows, number: int, time_ms: int, value: float, begun_ms: int, now_ms: int
) -> None:
    """Add any sample; `begun_ms` is its start timestamp, 0 for none."""
    state, counts = windows.state, windows.counts
    series = state.series
    if number >= len(series.time_ms) or series.target[number] == NONE:
        counts[UNKNOWN] += 1
        return
    if time_ms > now_ms + FUTURE_MS:
        counts[FUTURE] += 1
        return
    last_ms = series.time_ms[number]
    if time_ms <= last_ms:
        counts[REPEATED] += 1
        return
    is_new = _watch(windows, series.target[number], time_ms, begun_ms)
    last = series.value[number]
    is_restarted = max(series.begun_ms[number] + 1, last_ms) <= begun_ms < time_ms
    series.time_ms[number], series.value[number] = time_ms, value
    if begun_ms:
        series.begun_ms[number] = begun_ms
    if last_ms <= FORGOTTEN:
        _add_first(windows, number, time_ms, value, now_ms, is_new=is_new)
        return
    is_counter = False
    for output, part in state.links_of(number):
        if state.outputs.kind[output] <= Kind.AGGREGATE:
            _add(windows, output, part, time_ms, value, now_ms)
        else:
            is_counter = True
            grown = value - last if value >= last and not is_restarted else value
            _add(windows, output, part, time_ms, grown, now_ms)
    if is_counter and (value < last or (is_restarted and last > 0)):
        counts[RESET] += 1


def _watch(windows: Windows, target: int, time_ms: int, begun_ms: int) -> bool:
    """Note a watched target; returns whether its unseen series must be new."""
    state = windows.state
    first_ms = state.targets.first_ms[target]
    if first_ms == NEVER:
        state.targets.first_ms[target] = time_ms
    if state.since_ms == NEVER:
        state.since_ms = time_ms
    if first_ms != NEVER and time_ms > first_ms:
        return True
    return max(state.since_ms, time_ms - NEW_TARGET_MS) <= begun_ms < time_ms


def _add_first(
    windows: Windows, number: int, time_ms: int, value: float, now_ms: int, *, is_new: bool
) -> None:
    """Add the first sample of a series."""
    outputs, series = windows.state.outputs, windows.state.series
    is_baseline = is_base = False
    for output, part in windows.state.links_of(number):
        first = windows.entries[outputs.entry[output]].first
        counts = first is First.ZERO or (first is First.AUTO and is_new)
        if outputs.kind[output] <= Kind.AGGREGATE or counts:
            _add(windows, output, part, time_ms, value, now_ms)
        else:
            is_baseline = True
            _add(windows, output, part, time_ms, 0.0, now_ms)
        is_base |= outputs.kind[output] > Kind.AGGREGATE and not (counts and is_new)
    series.base_ms[number] = time_ms if is_base else NEVER
    series.base_value[number] = value
    if is_baseline:
        windows.counts[BASELINE] += 1


def add_before_base(windows: Windows, number: int, before: float, now_ms: int) -> None:
    """Add a counter's growth from `before`, another receiver's last value, to its base here."""
    outputs, series = windows.state.outputs, windows.state.series
    base = series.base_value[number]
    grown = base - before if base >= before else base
    for output, part in windows.state.links_of(number):
        if outputs.kind[output] > Kind.AGGREGATE:
            first = windows.entries[outputs.entry[output]].first
            counted = base if first is First.ZERO else 0.0
            _add(windows, output, part, series.base_ms[number], grown - counted, now_ms)


def _add(
    windows: Windows, output: int, part: int, time_ms: int, amount: float, now_ms: int
) -> None:
    """Add to the window of a time, or to the next one if that window has its item."""
    outputs = windows.state.outputs
    kind, every_ms = outputs.kind[output], outputs.every_ms[output]
    start_ms = time_ms - time_ms % every_ms
    if start_ms < outputs.until_ms[output]:
        windows.counts[LATE] += 1
        oldest = windows.oldest(output)
        start_ms = oldest[0] if oldest else -(-outputs.until_ms[output] // every_ms) * every_ms
    if start_ms < outputs.start_ms[output]:
        window = windows.older_at(output, start_ms)
        window.touched_ms = now_ms
        _add_to_older(window, kind, part, time_ms, amount)
        return
    if start_ms > outputs.start_ms[output]:
        windows.start_newest(output, start_ms)
    outputs.touched_ms[output] = now_ms
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
        _add_to_scrape(windows, output, part, time_ms, amount)


def _add_to_older(window: Window, kind: int, part: int, time_ms: int, amount: float) -> None:
    """Do as `_add` does with the newest window, whose content is in columns."""
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


def _add_to_scrape(windows: Windows, output: int, part: int, time_ms: int, amount: float) -> None:
    """Pair value and count of the same moment; the oldest pair is finished to make room."""
    outputs, scrapes = windows.state.outputs, windows.state.scrapes
    first = outputs.scrapes[output]
    places = range(first, first + SCRAPES)
    place = next((candidate for candidate in places if scrapes.time_ms[candidate] == time_ms), NONE)
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
