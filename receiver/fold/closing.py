"""Windows into the content of items. Pure: the clock is an argument.

In: open windows. Out: `Closed` windows, of which each is one item. The rules:

* A window is finished when all its live series have a newer sample, or two minutes after its end
  and its last sample.
* A mean without an event has no item; its sum waits for the next one.
* An entry with `quiet` has no item while nothing changes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite

from receiver.fold.events import OVERFLOW, SPLIT
from receiver.fold.state import NEVER, NONE, Kind
from receiver.fold.windows import Window, Windows

GRACE_MS = 120_000
"""Time after its end and its last sample at which a window of ended series is finished."""
COUNT_MAX = 2**31 - 1
"""The service's count is an int32. Source: the DataPoint schema."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The content of one item."""

    output: int
    start_ms: int
    value: float
    count: int
    least: float
    most: float


def is_due(windows: Windows, now_ms: int) -> bool:
    """Whether a window is finished."""
    candidates = _candidates(windows, now_ms)
    return any(_is_over(windows, output, now_ms) for output in candidates)


def close(
    windows: Windows, now_ms: int, *, of: Callable[[int], bool] | None = None
) -> Iterator[Closed]:
    """Close the finished windows; with `of` all windows of these outputs.

    A window without an item is closed without a `Closed`.
    """
    outputs = filter(of, windows.open_outputs()) if of else _candidates(windows, now_ms)
    for output in list(outputs):
        while windows.oldest(output) if of else _is_over(windows, output, now_ms):
            if closed := _item_of(windows, output, windows.pop_oldest(output)):
                yield closed


def close_oldest(windows: Windows, most_older: int) -> Iterator[Closed]:
    """Close windows early until at most this number are open behind the newest."""
    starts = sorted(window.start_ms for behind in windows.older.values() for window in behind)
    if len(starts) <= most_older:
        return
    last_ms = starts[len(starts) - most_older - 1]
    for output in list(windows.older):
        while (behind := windows.older.get(output)) and behind[0].start_ms <= last_ms:
            if closed := _item_of(windows, output, windows.pop_oldest(output)):
                yield closed


def _candidates(windows: Windows, now_ms: int) -> Iterator[int]:
    """Return the outputs whose oldest window may be finished: usually almost none."""
    outputs = windows.state.outputs
    newest_ms = max(windows.state.series.time_ms, default=NEVER)
    limit_ms = max(newest_ms, now_ms - GRACE_MS)
    for output, start_ms in enumerate(outputs.start_ms):
        if output in windows.older or (
            start_ms != NEVER and start_ms + outputs.every_ms[output] <= limit_ms
        ):
            yield output


def _is_over(windows: Windows, output: int, now_ms: int) -> bool:
    """Whether the oldest window of an output is finished; false if none is open."""
    oldest = windows.oldest(output)
    if not oldest:
        return False
    start_ms, touched_ms = oldest
    every_ms = windows.state.outputs.every_ms[output]
    end_ms = start_ms + every_ms
    if now_ms >= max(end_ms, touched_ms) + GRACE_MS:
        return True
    # A series without a sample in this window and the one before has ended.
    live_ms = start_ms - every_ms
    links, time_ms = windows.state.links, windows.state.series.time_ms
    place = windows.state.outputs.link[output]
    is_over = False
    while place != NONE:
        newest_ms = time_ms[links.series[place]]
        if live_ms <= newest_ms < end_ms:
            return False
        is_over |= newest_ms >= end_ms
        place = links.beside[place]
    return is_over


def _item_of(windows: Windows, output: int, window: Window) -> Closed | None:
    """Return the content of a window's item, None for no item; advance the output."""
    outputs = windows.state.outputs
    outputs.until_ms[output] = window.start_ms + outputs.every_ms[output]
    total, count = window.total, 1
    if outputs.kind[output] == Kind.MEAN:
        total, count = _divide(windows, output, window)
        if not count:
            return None
    elif outputs.kind[output] == Kind.AGGREGATE:
        count = round(window.count)
    else:
        window.least = window.most = total
    quiet_ms = windows.entries[outputs.entry[output]].quiet_seconds * 1000
    if quiet_ms and _is_unchanged(windows, output, window, quiet_ms):
        return None
    if not isfinite(total):
        windows.counts[OVERFLOW] += 1
        return None
    is_one = window.least == window.most
    outputs.last_sent[output] = window.least if is_one else float("nan")
    outputs.last_sent_ms[output] = window.start_ms
    return Closed(output, window.start_ms, total, count, window.least, window.most)


def _is_unchanged(windows: Windows, output: int, window: Window, quiet_ms: int) -> bool:
    outputs = windows.state.outputs
    if outputs.last_sent_ms[output] == NEVER or outputs.kind[output] == Kind.MEAN:
        return False
    if window.start_ms - outputs.last_sent_ms[output] >= quiet_ms:
        return False
    same = 0.0 if outputs.kind[output] == Kind.DELTA else outputs.last_sent[output]
    return window.least == window.most == same


def _divide(windows: Windows, output: int, window: Window) -> tuple[float, int]:
    """Return a mean's total and whole events; a fraction of an event waits."""
    outputs = windows.state.outputs
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
        windows.counts[SPLIT] += 1
        sent, whole = total * (COUNT_MAX / events), COUNT_MAX
    outputs.left_total[output], outputs.left_count[output] = total - sent, events - whole
    # The carried part belongs to no scrape of this window: keep least <= mean <= most.
    window.least = min(window.least, sent / whole)
    window.most = max(window.most, sent / whole)
    return sent, whole
