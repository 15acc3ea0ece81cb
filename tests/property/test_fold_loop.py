"""The compiled loop and the rules written out: the same records make the same state."""

import json
from dataclasses import astuple
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.azure.envelope import Identity
from receiver.fold.accumulate import COMPILED
from receiver.fold.closing import close
from receiver.fold.fold import Fold
from receiver.fold.state import Kind
from receiver.intake.metrics_json import parse
from receiver.rows import START, record_of
from tests.property.examples import examples

LIST = [
    {"name": "c", "as": "delta"},
    {"name": "us", "as": "mean", "per": ["n", "c"], "keep": ["model"]},
    {"name": "g", "as": "aggregate", "every": "2m"},
    {"name": "g", "as": "last", "rename": "l"},
]
START_MS = 1_800_000_000_000
NAMES = ("c", "us", "n", "g", "unlisted")
record = st.tuples(
    st.integers(0, 12),
    st.integers(-3, 40).map(lambda step: START_MS + 7_000 * step),
    st.integers(-5, 50).map(float)
    | st.integers(-(1 << 45), 1 << 45).map(lambda eighths: eighths / 8)
    | st.just(START),
    st.just(0) | st.integers(-3, 40).map(lambda step: START_MS + 7_000 * step - 1_000),
)
"""A series, a time, a value and a start timestamp; a START where none belongs changes nothing.

Sums of such values are exact in any order: what the loop hands back is added after the rest.
"""


def made(*, compiled: bool) -> Fold:
    """Make a fold with ten series."""
    fold = Fold(parse(json.dumps({"customMetrics": LIST}), "test"), Identity("key", "host"))
    if not compiled:
        fold.loop = None
    for number in range(10):
        labels = {"__name__": NAMES[number % 5], "model": "ab"[number // 5], "instance": "h:1"}
        fold.add_series(number + 1, orjson.dumps(labels))
    return fold


def state(fold: Fold) -> dict[str, Any]:
    """Read all that it knows but a mean's least and most.

    What the loop hands back is taken after the rest, so a mean that is behind with more scrapes
    than it keeps may let another one go.
    """
    state = fold.plan.state
    means = {n for n, kind in enumerate(state.outputs.kind) if kind == Kind.MEAN}
    kept = [
        (list(state.outputs.least)[n], list(state.outputs.most)[n])
        for n in range(len(state.outputs))
        if n not in means
    ]
    names = ("total", "count", "start_ms", "touched_ms", "until_ms", "left_total", "left_count")
    return {
        "series": (
            list(state.series.time_ms),
            list(state.series.value),
            list(state.series.begun_ms),
        ),
        "outputs": [list(getattr(state.outputs, name)) for name in names],
        "extremes": kept,
        "targets": list(state.targets.first_ms),
        "older": [
            (output, window.start_ms, window.total, window.count)
            for output, windows in sorted(fold.windows.older.items())
            for window in windows
        ],
        "events": {event: count for event, count in fold.windows.counts.items() if count},
    }


@pytest.mark.skipif(COMPILED is None, reason="there is no compiled loop")
@settings(max_examples=examples(200))
@given(batches=st.lists(st.lists(record, max_size=20), max_size=8), now=st.integers(0, 300))
def test_the_compiled_loop_follows_the_rules(
    batches: list[list[tuple[int, int, float, int]]], now: int
) -> None:
    """Whatever the series, times and values, over several requests and closings."""
    folds = made(compiled=True), made(compiled=False)
    closed: list[list[Any]] = [[], []]
    for step, batch in enumerate(batches):
        records = b"".join(record_of(*each) for each in sorted(batch, key=lambda each: each[1]))
        for place, fold in enumerate(folds):
            now_ms = START_MS + 1000 * now + 60_000 * step
            fold.take(records, now_ms)
            closed[place] += [each[:4] for each in map(astuple, close(fold.windows, now_ms))]
    assert state(folds[0]) == state(folds[1])
    assert closed[0] == closed[1]
