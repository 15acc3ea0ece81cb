"""Newcomers past a limit are dropped, what is known goes on, and the label that explodes has a name."""

import pytest

from receiver.azure.envelope import Identity
from receiver.intake.decode import Message
from receiver.intake.guard import (
    ALIVE_SECONDS,
    ANEW_SECONDS,
    CARDINALITY,
    VALUES_MAX,
    Guard,
    SeriesLimits,
)
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import Outcome, Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request

WAYS = [True, False] if IS_COMPILED else [False]


def pipeline(of_a_metric: int, in_all: int = 1000, *, compiled: bool) -> Pipeline:
    """Want everything that begins with nv_."""
    return Pipeline(
        Allowlist([Entry("nv_*")]),
        Identity("11111111-2222-3333-4444-555555555555", "host"),
        1 << 20,
        series_limits=SeriesLimits(of_a_metric, in_all),
        compiled=compiled,
    )


def request(name: str, numbers: range) -> bytes:
    """Spell a 1.0 request: a series for each number, a sample for each series."""
    made = WriteRequest()
    for number in numbers:
        series = made.timeseries.add()
        for label, value in (("__name__", name), ("id", str(number)), ("model", "m")):
            series.labels.add(name=label.encode(), value=value.encode())
        series.samples.add(value=number, timestamp=1000)
    return made.SerializeToString()


def request_v2(name: str, numbers: range) -> bytes:
    """Spell the same as 2.0."""
    made = Request(symbols=[b"", b"__name__", name.encode(), b"id", b"model", b"m"])
    for number in numbers:
        made.symbols.append(str(number).encode())
        series = made.timeseries.add(labels_refs=[1, 2, 3, len(made.symbols) - 1, 4, 5])
        series.samples.add(value=number, timestamp=1000)
    return made.SerializeToString()


def counts(outcome: Outcome) -> tuple[int, int]:
    """Give what was rendered, and what was dropped for its cardinality; the ledger adds up."""
    dropped = outcome.dropped[CARDINALITY]
    assert outcome.received == outcome.unselected + sum(outcome.dropped.values()) + outcome.rendered
    assert outcome.written_samples == outcome.received
    return outcome.rendered, dropped


@pytest.mark.parametrize("compiled", WAYS)
def test_new_series_past_the_limit_are_dropped_and_known_ones_are_not(compiled: bool) -> None:  # noqa: FBT001 - a case
    """Of this metric alone, request after request, and the label is named."""
    chosen = pipeline(20, compiled=compiled)

    assert counts(chosen.process(request("nv_a", range(30)), Message.V1)) == (20, 10)
    assert counts(chosen.process(request("nv_a", range(15, 40)), Message.V1)) == (5, 20)
    assert counts(chosen.process(request("nv_b", range(20)), Message.V1)) == (20, 0)
    assert counts(chosen.process(request("other", range(90)), Message.V1)) == (0, 0)
    found = chosen.explosion()
    assert found is not None
    assert (found.metric, found.series, found.limit, found.label, found.refused) == ("nv_a", 20, 20, "id", 30)  # fmt: skip
    assert "its label id explodes" in found.words
    assert "RECEIVER_METRIC_SERIES_MAX" in found.words


@pytest.mark.parametrize("compiled", WAYS)
def test_a_series_that_the_cache_forgot_is_known_and_counted_once(compiled: bool) -> None:  # noqa: FBT001 - a case
    """It is its digest that counts, whichever protocol it comes by."""
    chosen = pipeline(20, compiled=compiled)
    for message, spell in [(Message.V1, request), (Message.V2, request_v2)] * 2:
        assert counts(chosen.process(spell("nv_a", range(20)), message)) == (20, 0)
        chosen.forget_series()

    assert chosen.explosion() is None
    assert counts(chosen.process(request("nv_a", range(25)), Message.V1)) == (20, 5)
    assert counts(chosen.process_slowly(request("nv_a", range(25)), Message.V1)) == (20, 5)


@pytest.mark.parametrize("compiled", WAYS)
def test_the_limit_of_all_metrics(compiled: bool) -> None:  # noqa: FBT001 - a case
    """It is met by many small metrics too."""
    chosen = pipeline(20, 30, compiled=compiled)

    assert counts(chosen.process(request("nv_a", range(18)), Message.V1)) == (18, 0)
    assert counts(chosen.process(request("nv_b", range(18)), Message.V1)) == (12, 6)
    found = chosen.explosion()
    assert found is not None
    assert (found.metric, found.limit, found.is_total, found.label) == ("nv_b", 30, True, "id")
    assert "RECEIVER_TOTAL_SERIES_MAX" in found.words


@pytest.mark.parametrize("compiled", WAYS)
def test_what_has_ended_makes_room_once_a_day(compiled: bool) -> None:  # noqa: FBT001 - a case
    """And nothing that comes in the hour after is refused, or counted twice."""
    chosen = pipeline(20, compiled=compiled)
    chosen.recount_if_due(0.0)
    assert counts(chosen.process(request("nv_a", range(30)), Message.V1)) == (20, 10)
    chosen.recount_if_due(ANEW_SECONDS - 1)
    assert counts(chosen.process(request("nv_a", range(30)), Message.V1)) == (20, 10)

    chosen.recount_if_due(ANEW_SECONDS)
    assert counts(chosen.process(request("nv_a", range(10, 30)), Message.V1)) == (10, 10)
    assert counts(chosen.process(request("nv_a", range(10, 30)), Message.V1)) == (10, 10)
    chosen.recount_if_due(ANEW_SECONDS + ALIVE_SECONDS)

    assert chosen.explosion() is None
    assert counts(chosen.process(request("nv_a", range(10, 40)), Message.V1)) == (20, 10)


@pytest.mark.parametrize("compiled", WAYS)
def test_the_label_has_its_name_after_a_day_too(compiled: bool) -> None:  # noqa: FBT001 - a case
    """Where all series are alive still, so that none is new."""
    chosen = pipeline(20, compiled=compiled)
    for now in (0.0, ANEW_SECONDS, ANEW_SECONDS + ALIVE_SECONDS):
        chosen.recount_if_due(now)
        assert counts(chosen.process(request("nv_a", range(30)), Message.V1)) == (20, 10)

    found = chosen.explosion()
    assert found is not None
    assert (found.label, found.values, found.refused) == ("id", 5, 10)


def test_what_is_remembered_is_bounded() -> None:
    """By the limits, and the values of labels by a number of their own."""
    guard = Guard(SeriesLimits(10, 1 << 20))
    for number in range(VALUES_MAX // 10 + 500):
        name = b"nv_%d" % number
        for value in range(12):
            digest = number * 100 + value
            if guard.refuses(name, digest):
                guard.refuse(name, 1)
            else:
                guard.admit(
                    name, digest, {f"label{each}": f"{number} {value}" for each in range(5)}
                )

    assert (
        sum(len(values) for labels in guard._values.values() for values in labels.values())
        < VALUES_MAX + 100
    )
    assert len(guard._refused) == 1000
