"""Folded series that another receiver folds from now on: what one gives, what the other takes. Pure.

In: the columns of a fold; what a receiver held of series that went elsewhere. Out: what a fold
holds; windows that have what was missing.

Theory of operation: the samples of a series that one receiver counted are a stretch of time. At
its end is the last value; at its beginning is the base, the first sample, which counts
nothing. When a series goes to another receiver the growth between the end of the one stretch and the
base of the next is in neither. Whoever takes over adds it: before its own first sample the value
that it is given is simply the last one, after that the growth up to the base is added late. What was
given is forgotten by its giver, so that a series which comes back begins a stretch there too.
Each step may be done again: what was taken once is known by its time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, isnan, nan

from receiver.fold.state import FORGOTTEN, NEVER, NONE
from receiver.fold.windows import FUTURE_MS, Windows


@dataclass(frozen=True, slots=True)
class Held:
    """What a fold holds of a series: its number there, and its last sample."""

    number: int
    time_ms: int
    value: float


class Taken(StrEnum):
    """What became of a series that was to be taken over."""

    TAKEN = "taken"
    SAME = "same"
    OVERLAPS = "overlaps"
    NOT_FOLDED = "not_folded"
    NO_ROOM = "no_room"
    NO_TIME = "no_time"


MEANINGS = {
    Taken.TAKEN: "Its sum goes on here, with what the counter grew meanwhile.",
    Taken.SAME: "It was taken over before.",
    Taken.OVERLAPS: "This receiver had samples of the same time already: two receivers counted one series.",
    Taken.NOT_FOLDED: "No entry of this receiver's metrics.json folds it.",
    Taken.NO_ROOM: "The fold has no room: RECEIVER_FOLD_MAX_BYTES.",
    Taken.NO_TIME: "Its time is ahead of this receiver's clock, or its value is no number.",
}


def held(windows: Windows, after: int) -> Iterator[Held]:
    """List the series that have a last sample, those with a higher number than `after`."""
    series = windows.state.series
    for number in range(after + 1, len(series.time_ms)):
        if series.target[number] != NONE and series.time_ms[number] > FORGOTTEN:
            yield Held(number, series.time_ms[number], series.value[number])


def take(windows: Windows, given: Held, now_ms: int) -> Taken:
    """Go on from what another receiver held of a series, which has its number here.

    Its target does not become watched by that: a series that was not given begins here, and was
    not born.
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
        if not windows.is_counter(number):
            return Taken.SAME  # a gauge's last value is nobody's base
        if base_ms == NEVER or given.time_ms > base_ms or isnan(series.base_value[number]):
            return Taken.OVERLAPS
        windows.add_before_base(number, given.value, now_ms)
    else:
        series.time_ms[number], series.value[number] = given.time_ms, given.value
    series.base_ms[number], series.base_value[number] = given.time_ms, nan
    return Taken.TAKEN


def release(windows: Windows, given: Iterable[tuple[int, int]]) -> set[int]:
    """Forget series, numbers with the times of their last samples, that another took over.

    One that has had a sample since stays, and is named. A target is no longer watched when
    its last series is gone: what comes back is not newly born.
    """
    series, targets = windows.state.series, windows.state.targets
    newer, touched = set(), set()
    for number, time_ms in given:
        known = number < len(series.time_ms) and series.target[number] != NONE
        if not known or series.time_ms[number] <= FORGOTTEN:
            continue  # released before
        if series.time_ms[number] != time_ms:
            newer.add(number)
            continue
        series.time_ms[number], series.base_ms[number] = FORGOTTEN, NEVER
        series.begun_ms[number] = 0
        touched.add(series.target[number])
    alive = {series.target[n] for n, at in enumerate(series.time_ms) if at > FORGOTTEN}
    for target in touched - alive:
        targets.first_ms[target] = NEVER
    return newer
