"""The takeover of folded series by another receiver. Pure.

In: the columns of a fold; another receiver's last samples of series. Out: a fold's last
samples; windows with the missing growth added.

Theory of operation: each receiver counts a series over a period. The period ends with the last
value, and begins with the base, the first sample, which counts nothing. When a series moves to
another receiver, the growth between the last value here and the base there is in neither. The
new receiver adds it: before its own first sample, the value handed over becomes the last value;
after that, the growth up to the base is added late. The old receiver forgets the series, so
that a series which returns begins a period there too. Each step can be repeated: a value taken
before is recognised by its time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, isnan, nan

from receiver.fold.accumulate import FUTURE_MS, add_before_base
from receiver.fold.state import FORGOTTEN, NEVER, NONE
from receiver.fold.windows import Windows


@dataclass(frozen=True, slots=True)
class Held:
    """A series in a fold: its number there, and its last sample."""

    number: int
    time_ms: int
    value: float


class Taken(StrEnum):
    """The outcome of a series' takeover."""

    TAKEN = "taken"
    SAME = "same"
    OVERLAPS = "overlaps"
    NOT_FOLDED = "not_folded"
    NO_ROOM = "no_room"
    NO_TIME = "no_time"


MEANINGS = {
    Taken.TAKEN: "Its sum continues here, with the counter's growth meanwhile.",
    Taken.SAME: "It was taken over before.",
    Taken.OVERLAPS: "This receiver has samples of the same time: two receivers counted one series.",
    Taken.NOT_FOLDED: "No entry of this receiver's metrics.json folds it.",
    Taken.NO_ROOM: "The fold has no room: RECEIVER_FOLD_MAX_BYTES.",
    Taken.NO_TIME: "Its time is ahead of this receiver's clock, or its value is no number.",
}


def held(windows: Windows, after: int) -> Iterator[Held]:
    """List the series with a last sample, with numbers above `after`."""
    series = windows.state.series
    for number in range(after + 1, len(series.time_ms)):
        if series.target[number] != NONE and series.time_ms[number] > FORGOTTEN:
            yield Held(number, series.time_ms[number], series.value[number])


def take(windows: Windows, given: Held, now_ms: int) -> Taken:
    """Continue from another receiver's last sample of a series, numbered as here.

    This does not start a watch on its target: other series of the target that begin here are not
    new series.
    """
    series, number = windows.state.series, given.number
    if number >= len(series.time_ms) or series.target[number] == NONE:
        return Taken.NOT_FOLDED
    if not isfinite(given.value) or not 0 < given.time_ms <= now_ms + FUTURE_MS:
        return Taken.NO_TIME
    last_ms, base_ms = series.time_ms[number], series.base_ms[number]
    if base_ms == given.time_ms:
        return Taken.SAME
    if last_ms > FORGOTTEN and given.time_ms <= last_ms:
        if not windows.state.is_counter(number):
            return Taken.SAME  # a gauge has no base
        if base_ms == NEVER or given.time_ms > base_ms or isnan(series.base_value[number]):
            return Taken.OVERLAPS
        add_before_base(windows, number, given.value, now_ms)
    else:
        series.time_ms[number], series.value[number] = given.time_ms, given.value
    series.base_ms[number], series.base_value[number] = given.time_ms, nan
    return Taken.TAKEN


def release(windows: Windows, given: Iterable[tuple[int, int]]) -> set[int]:
    """Forget series that another receiver took over, given by number and time of the last sample.

    A series with a newer sample stays, and is returned. A target without series is no longer
    watched: a series that returns is not a new series.
    """
    series, targets = windows.state.series, windows.state.targets
    newer, touched = set(), set()
    for number, time_ms in given:
        known = 0 < number < len(series.time_ms) and series.target[number] != NONE
        if not known or series.time_ms[number] <= FORGOTTEN:
            continue  # released before
        if series.time_ms[number] != time_ms:
            newer.add(number)
            continue
        series.time_ms[number], series.base_ms[number] = FORGOTTEN, NEVER
        series.begun_ms[number] = 0
        touched.add(series.target[number])
    live = {series.target[n] for n, at in enumerate(series.time_ms) if at > FORGOTTEN}
    for target in touched - live:
        targets.first_ms[target] = NEVER
    return newer
