"""A series goes one way, to the lane and the key of its route."""

import json

import pytest

from receiver.azure.envelope import Identity
from receiver.intake.decode import Message
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.routes import UNROUTED, Routing
from receiver.outbox.gzip_body import lines_of
from receiver.outbox.values import OWN
from receiver.rows import NO_LANE
from tests.golden import make
from tests.unit.intake.route_files import refusal, route, routed

KEYS = ("aaaaaaaa-0000-0000-0000-000000000000", "bbbbbbbb-0000-0000-0000-000000000000")
OWN_KEY = "00000000-1111-1111-1111-111111111111"
TIME_MS = 1_790_000_000_000


def test_the_first_route_that_fits_is_taken() -> None:
    """All labels have to fit; the receiver's own route has the rest."""
    routing = routed(
        route("a", match={"model": "a_*", "job": ["triton", "t?"]}),
        route("b", match={"model": ["b_*", "a_*"]}),
        route("nameless", match={"model": "", "__name__": "nv_gpu_*"}),
    )
    for labels, number in (
        ({"model": "a_1", "job": "triton"}, 1),
        ({"model": "a_1", "job": "t2"}, 1),
        ({"model": "a_1", "job": "other"}, 2),
        ({"model": "b_", "job": "triton"}, 2),
        ({"__name__": "nv_gpu_power_usage"}, 3),
        ({"__name__": "nv_gpu_power_usage", "model": "c"}, 0),
        ({}, 0),
    ):
        assert routing.number_of(labels) == number, labels
    assert routing.name_of({"model": "b_"}) == "b"
    assert routing.name_of({}) == ""


def test_a_route_may_take_everything() -> None:
    """With no label to fit; behind it there can be no other."""
    routing = routed(route("a"), route("rest", match={}))
    assert routing.number_of({"model": "x"}) == 2
    assert "can never be taken: routes[1] before it takes all series" in refusal(
        {"routes": [route("a"), route("rest", match={}), route("late", match={"model": "late"})]}
    )


def test_what_no_route_takes_may_be_dropped() -> None:
    """Where the file says so."""
    assert routed(route(), unmatched="drop").number_of({}) == NO_LANE
    assert routed(route(), unmatched="default").number_of({}) == 0


@pytest.mark.parametrize("compiled", sorted({False, IS_COMPILED}))
def test_each_sample_is_in_the_chunk_of_its_route(*, compiled: bool) -> None:
    """With its resource's key, in the order sent; known series and new ones, and a drop has its reason."""
    routing = routed(route("a"), route("none", match={"model": "b_*"}), unmatched="drop")
    routing = Routing(routing.routes, KEYS, drops_unmatched=True)
    pipeline = Pipeline(Allowlist([Entry("nv_*")]), Identity(OWN_KEY, "host"), 1 << 20, routing=routing, compiled=compiled)  # fmt: skip
    series = [
        ([("__name__", "nv_x"), ("model", model)], [(float(number), TIME_MS + number % 2)])
        for number, model in enumerate(("a_1", "b_1", "c_1", "a_2", "b_1", "a_1"))
    ]
    for _ in range(2):
        outcome = pipeline.process(make.v1(series), Message.V1)
        assert [(chunk.lane.name, chunk.items) for chunk in outcome.chunks] == [("a", 3), ("none", 2)]  # fmt: skip
        for chunk, key in zip(outcome.chunks, KEYS, strict=True):
            assert chunk.lane.destination == key
            assert all(f'"iKey":"{key}"'.encode() in line for line in lines_of(chunk, 9))
        values = [json.loads(line)["data"]["baseData"]["metrics"][0]["value"] for line in outcome.lines]  # fmt: skip
        assert values == [0, 3, 5, 1, 4]
        assert outcome.dropped == {UNROUTED: 1}
        assert outcome.received == 6


def test_without_routes_all_is_the_own_lane() -> None:
    """As ever."""
    pipeline = Pipeline(Allowlist([Entry("nv_*")]), Identity(OWN_KEY, "host"), 1 << 20)
    outcome = pipeline.process(make.v1([([("__name__", "nv_x")], [(1.0, TIME_MS)])]), Message.V1)
    assert [chunk.lane for chunk in outcome.chunks] == [OWN]
