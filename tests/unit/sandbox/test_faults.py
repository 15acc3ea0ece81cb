"""The sandbox's faults: read from JSON, put in order, repeated exactly."""

import re
from collections import Counter
from typing import Any

import pytest

from receiver.sandbox.checks import InvalidFaultError
from receiver.sandbox.faults import (
    DEFAULT_STORM,
    Answer,
    Delay,
    Fault,
    Items,
    Pass,
    Redirect,
    Reset,
    Status,
    Storm,
    parse,
    to_json,
)
from receiver.sandbox.script import Script

EXAMPLES: list[tuple[dict[str, Any], Fault]] = [
    ({"kind": "pass", "times": 3}, Pass(times=3)),
    ({"kind": "delay", "delay_seconds": 0.5}, Delay(delay_seconds=0.5)),
    (
        {"kind": "status", "status": 429, "retry_after": 60, "times": None},
        Status(status=429, retry_after=60, times=None),
    ),
    (
        {"kind": "status", "status": 503, "retry_after": "Sun, 22 Nov 2026 10:00:00 GMT", "body": ""},
        Status(status=503, retry_after="Sun, 22 Nov 2026 10:00:00 GMT", body=""),
    ),
    (
        {"kind": "redirect", "location": "http://127.0.0.1:1/", "cache_control": "max-age=5"},
        Redirect(location="http://127.0.0.1:1/", cache_control="max-age=5"),
    ),
    ({"kind": "reset", "when": "after_accept"}, Reset(when="after_accept")),
    ({"kind": "items", "every": 3, "status_code": 500, "message": "m"}, Items(every=3, status_code=500, message="m")),
    ({"kind": "answer", "how": "garbage", "accept": False}, Answer(how="garbage", accept=False)),
    (
        {"kind": "storm", "seed": 7, "faults": [{"probability": 0.5, "fault": {"kind": "reset"}}]},
        Storm(seed=7, faults=((0.5, Reset()),)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("document", "fault"), EXAMPLES)
def test_a_fault_is_read_and_written_the_same(document: dict[str, Any], fault: Fault) -> None:
    """The written form reads back as the same fault, and holds what was asked for."""
    assert parse([document]) == [fault]
    assert parse(document) == [fault]
    written = to_json(fault)
    assert parse([written]) == [fault]
    assert {key: written[key] for key in document if key != "faults"} == {
        key: value for key, value in document.items() if key != "faults"
    }


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (5, "faults: expected a list of faults, got 5"),
        ([{"kind": "pass"}, 5], "faults[1]: expected an object, got 5"),
        ([{"kind": "status"}], "faults[0].status: expected a value, got None"),
        ([{"kind": "status", "status": "503"}], "faults[0].status: expected an HTTP status from 200 to 599, got '503'"),
        ([{"kind": "status", "status": 100}], "faults[0].status: expected an HTTP status from 200 to 599, got 100"),
        ([{"kind": "status", "status": 503, "times": 0}], "faults[0].times: expected a whole number of 1 or more, or null, got 0"),
        ([{"kind": "status", "status": 503, "delay_seconds": -1}], "faults[0].delay_seconds: expected seconds from 0 to 3600, got -1"),
        ([{"kind": "status", "status": 429, "retry_after": -1}], "faults[0].retry_after: expected seconds of 0 or more, or a string, got -1"),
        ([{"kind": "status", "status": 429, "retry_after": "1\r\nX: y"}], "faults[0].retry_after: expected one line of printable ASCII, got '1\\r\\nX: y'"),
        ([{"kind": "status", "status": 503, "body": 5}], "faults[0].body: expected a string or null, got 5"),
        ([{"kind": "redirect", "status": 302, "location": "x"}], "faults[0].status: expected one of 307, 308, got 302"),
        ([{"kind": "reset", "when": "never"}], "faults[0].when: expected one of before_read, after_accept, mid_answer, got 'never'"),
        ([{"kind": "items", "every": 0}], "faults[0].every: expected a whole number of 1 or more, got 0"),
        ([{"kind": "answer", "accept": 1}], "faults[0].accept: expected true or false, got 1"),
        ([{"kind": "reset", "wen": "x"}], "faults[0].wen: expected one of times, delay_seconds, when, got 'wen'"),
        ({"kind": "storm", "seed": "x"}, "faults.seed: expected a whole number, got 'x'"),
        ([{"kind": "storm", "faults": []}], 'faults[0].faults: expected a list of {"probability", "fault"}, got []'),
        ([{"kind": "storm", "faults": [{"probability": 2, "fault": {"kind": "reset"}}]}], "faults[0].faults[0].probability: expected a number from 0 to 1, got 2"),
        ([{"kind": "storm", "faults": [{"probability": 1, "fault": {"kind": "storm"}}]}], "faults[0].faults[0].fault.kind: expected any kind but storm, got 'storm'"),
        ([{"kind": "storm", "faults": [{"probability": 0.6, "fault": {"kind": "reset"}}] * 2}], "faults[0].faults: expected probabilities that sum to at most 1, got 1.2"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_by_its_place(document: object, message: str) -> None:
    """The error says where the mistake is, what was expected and what came."""
    with pytest.raises(InvalidFaultError, match=re.escape(message)):
        parse(document)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    """Someone who mistypes a kind learns which there are."""
    with pytest.raises(InvalidFaultError, match=r"faults\[0\]\.kind: expected one of pass, delay"):
        parse([{"kind": "teapot"}])


def test_faults_take_turns() -> None:
    """Each fault stands for its times, a pass lets requests through, then nothing is wrong."""
    first, last = Status(status=503, times=2), Reset()
    script = Script([first, Pass(times=2), last])
    assert [script.take() for _ in range(6)] == [first, first, None, None, last, None]


def test_a_fault_without_end_stands_until_cleared() -> None:
    """`times` null is for ever; replacing the script ends it."""
    endless = Status(status=503, times=None)
    script = Script([endless, Reset()])
    assert [script.take() for _ in range(50)] == [endless] * 50
    script.replace([])
    assert script.take() is None


def test_the_listing_says_what_is_left() -> None:
    """The first fault shows the requests that it will still stand for."""
    script = Script([Status(status=503, times=3)])
    script.take()
    script.append([Reset()])
    assert [(fault["kind"], fault["times"]) for fault in script.listing()] == [
        ("status", 2),
        ("reset", 1),
    ]


def test_a_storm_repeats_itself() -> None:
    """The same seed draws the same faults; another seed draws others."""

    def draws(seed: int) -> list[Fault | None]:
        script = Script([Storm(seed=seed, times=None)])
        return [script.take() for _ in range(200)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_a_storm_keeps_its_probabilities() -> None:
    """Over many requests every fault comes about as often as asked for."""
    script = Script([Storm(seed=3, times=None)])
    drawn = Counter(script.take() for _ in range(10_000))
    for probability, fault in DEFAULT_STORM:
        assert drawn[fault] == pytest.approx(10_000 * probability, rel=0.35)
    assert drawn[None] == pytest.approx(10_000 * (1 - sum(p for p, _ in DEFAULT_STORM)), rel=0.1)
