"""Entries that are objects: what they mean, what is wrong with one, and what the schema says of it."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from receiver.errors import SettingsError
from receiver.intake.entries import As, Entry, First
from receiver.intake.metrics_json import parse

FILE = "conf/metrics.json"
SCHEMA = json.loads(resources.files("receiver.config").joinpath("metrics.schema.json").read_bytes())
EXAMPLE: list[Any] = [
    "nv_inference_pending_request_count",
    {"name": "nv_inference_*_duration_us", "as": "mean", "per": "nv_inference_request_success", "keep": ["model", "version"]},
    {"name": "nv_inference_count", "as": "mean", "per": "nv_inference_exec_count", "rename": "nv_inference_batch_size"},
    {"name": "nv_inference_request_failure", "as": "delta", "quiet": "15m"},
    {"name": "nv_inference_request_failure", "as": "mean", "per": ["nv_inference_request_success", "nv_inference_request_failure"], "drop": ["reason"], "rename": "nv_inference_failure_ratio"},
    {"name": "nv_gpu_*", "as": "aggregate", "keep": ["gpu_uuid"], "quiet": "15m"},
    {"name": "nv_inference_*_summary_us", "as": "last", "every": "5m"},
    {"name": "nv_cpu_utilization", "as": "samples", "drop": ["job"], "rename": "cpu"},
    {"name": "x_*", "as": "delta", "rename": "y_*_grown", "first": "zero", "every": "1h"},
]  # fmt: skip


def document(*entries: object) -> str:
    """Write a metrics.json, an entry a line."""
    return '{"customMetrics": [\n' + ",\n".join(map(json.dumps, entries)) + "\n]}"


def refusal(*entries: object) -> str:
    """Return the message with which a metrics.json is refused."""
    with pytest.raises(SettingsError) as refused:
        parse(document(*entries), FILE)
    return str(refused.value)


def test_an_object_says_what_becomes_of_the_samples() -> None:
    """Each key arrives in the model, and what is left out has its default."""
    entries = parse(document(*EXAMPLE), FILE).entries

    assert entries[0] == Entry("nv_inference_pending_request_count")
    assert entries[1] == Entry(
        "nv_inference_*_duration_us",
        As.MEAN,
        ("nv_inference_request_success",),
        keep=("model", "version"),
    )
    assert entries[4].per == ("nv_inference_request_success", "nv_inference_request_failure")
    assert entries[3].quiet_seconds == 900
    assert entries[6].every_seconds == 300
    assert entries[8].first is First.ZERO
    assert entries[8].every_seconds == 3600


def test_the_counter_of_the_events_is_wanted_without_being_named() -> None:
    """A `per` is read, although no item bears its name."""
    wanted = parse(document({"name": "a", "as": "mean", "per": ["b", "c"]}), FILE)

    assert [wanted.wants(name) for name in (b"a", b"b", b"c", b"d")] == [True, True, True, False]
    assert [wanted.folds(name) for name in "abcd"] == [True, True, True, False]
    assert wanted.matches("b") == ()


def test_an_exact_name_beats_a_glob_and_other_names_stand_beside_it() -> None:
    """Of entries whose items would have one name one counts; others count as well."""
    delta = {"name": "nv_x", "as": "delta"}
    mean = {"name": "nv_*", "as": "mean", "per": "n", "rename": "mean_*"}
    wanted = parse(document("nv_*", mean, delta), FILE)

    assert [entry.as_ for entry in wanted.matches("nv_x")] == [As.DELTA, As.MEAN]
    assert [entry.as_ for entry in wanted.matches("nv_y")] == [As.SAMPLES, As.MEAN]


def test_at_most_one_entry_makes_an_item_of_each_sample() -> None:
    """A sample has one end: two entries that render it would be two items."""
    wanted = parse(document("nv_*", {"name": "nv_x", "rename": "other"}), FILE)

    assert [entry.rename for entry in wanted.matches("nv_x")] == ["other"]


@pytest.mark.parametrize(
    ("name", "rename", "series", "expected"),
    [
        ("a", "b", "a", "b"),
        ("a_*", "b_*_c", "a_x_y", "b_x_y_c"),
        ("*_us", "*", "x_us", "x"),
        ("a?_*", "z_*", "a1_q", "z_q"),
        ("a.b*", "c*", "a.bd", "cd"),
        ("a*", "", "ax", "ax"),
    ],
)
def test_a_new_name_takes_over_what_the_star_stood_for(
    name: str, rename: str, series: str, expected: str
) -> None:
    """One star, one place."""
    assert Entry(name, As.DELTA, rename=rename).item_name(series) == expected


MISTAKES: list[tuple[object, str]] = [
    ({}, 'customMetrics[1] has no "name"'),
    ({"nam": "a"}, 'customMetrics[1]: unknown key "nam"; did you mean "name"?'),
    ({"name": "a", "interval": "1m"}, 'unknown key "interval"; did you mean "every"?'),
    ({"name": 7}, "customMetrics[1].name is a number, not a metric's name in quotes"),
    ({"name": "nv_inference_cuont{x}", "as": "last"}, 'did you mean "nv_inference_count"?'),
    ({"name": "a", "as": "rate"}, '.as "rate" is none of "samples", "last", "aggregate", "delta", "mean"; did you mean "delta"?'),
    ({"name": "a", "as": "Mean", "per": "b"}, 'did you mean "mean"?'),
    ({"name": "a", "as": None}, "customMetrics[1].as is null; it is one of"),
    ({"name": "a", "as": "mean"}, '"as": "mean" needs "per"'),
    ({"name": "a", "as": "delta", "per": "b"}, '"per" needs "as": "mean", and this is "delta"'),
    ({"name": "a", "as": "mean", "per": []}, "customMetrics[1].per is an empty list"),
    ({"name": "a", "as": "mean", "per": ["b", 3]}, "customMetrics[1].per[1] is a number"),
    ({"name": "a", "as": "mean", "per": ["b", "b"]}, 'per[1] "b" occurs twice'),
    ({"name": "a", "as": "mean", "per": "b*"}, '"b*" is a glob; name each metric'),
    ({"name": "a", "as": "delta", "every": 5}, 'every is a number without a unit; did you mean "5m"?'),
    ({"name": "a", "as": "delta", "every": "90s"}, '"90s" is not whole minutes between "1m" and "1h"; did you mean "2m"?'),
    ({"name": "a", "as": "delta", "every": "60s"}, 'did you mean "1m"?'),
    ({"name": "a", "as": "delta", "every": "2h"}, 'did you mean "60m"?'),
    ({"name": "a", "as": "delta", "every": "soon"}, '"soon" is not a duration; write it like "5m" or "1h"'),
    ({"name": "a", "every": "1m"}, '"every" needs "as"'),
    ({"name": "a", "quiet": "5m"}, '"quiet" needs "as"'),
    ({"name": "a", "as": "last", "first": "zero"}, '"first" needs "as": "delta" or "mean", and this is "last"'),
    ({"name": "a", "as": "delta", "first": "none"}, '"none" is none of "auto", "zero", "baseline"'),
    ({"name": "a", "as": "delta", "keep": ["m"], "drop": ["x"]}, '"keep" and "drop" are both set'),
    ({"name": "a", "as": "delta", "keep": "model"}, 'keep is a text, not a list of labels; did you mean ["model"]?'),
    ({"name": "a", "as": "delta", "keep": ["m", "m"]}, 'keep[1] "m" occurs twice'),
    ({"name": "a", "as": "delta", "keep": ["m", "job"]}, """keep[1] "job" is every folded item's role"""),
    ({"name": "a", "as": "delta", "drop": []}, "drop is an empty list"),
    ({"name": "a", "as": "delta", "drop": ["a=b"]}, """drop[0] "a=b" is not a label's name"""),
    ({"name": "a", "drop": ["__name__"]}, '"rename" changes it'),
    ({"name": "a*", "as": "delta", "rename": "b"}, 'would give all series of "a*" one name'),
    ({"name": "a", "as": "delta", "rename": "b*"}, '"a" has 0'),
    ({"name": "a", "as": "delta", "rename": "a"}, "is the name itself"),
    ({"name": "a", "as": "delta", "every": "5m", "quiet": "1m"}, "is shorter than a window"),
    ({"name": "good", "as": "delta"}, 'the same as customMetrics[0]; take one of them out, or give it another name with "rename"'),
    ({"name": "a", "as": "delta", "rename": "good"}, 'its items are called "good", as those of customMetrics[0]'),
]  # fmt: skip
BEYOND_THE_SCHEMA = (
    "is shorter than", "the same as customMetrics", "its items are called", "would give all series",
    '"a" has 0', "is the name itself",
)  # fmt: skip
"""Mistakes that lie between two values; a schema sees one."""


@pytest.mark.parametrize(("entry", "said"), MISTAKES)
def test_a_mistake_in_an_object_is_shown_with_its_line_and_place(entry: object, said: str) -> None:
    """The message names file, line and key, and the nearest right spelling."""
    message = refusal("good", entry)

    assert message.startswith(f"{FILE}:3: customMetrics[1]")
    assert said in message
    assert len(message) < 300


def test_the_line_is_that_of_the_key() -> None:
    """An object over several lines, behind texts that look like JSON."""
    text = '{"customMetrics": [\n"a:[,]b",\n{"name": "b",\n "drop": ["x",\n "x"], "as": "delta"}]}'
    text = text.replace("a:[,]b", "a:b")

    with pytest.raises(SettingsError, match=r':5: customMetrics\[1\]\.drop\[1\] "x" occurs twice'):
        parse(text, FILE)


def test_a_key_twice_is_a_mistake() -> None:
    """JSON takes the last silently."""
    with pytest.raises(SettingsError, match="name occurs twice"):
        parse('{"customMetrics": [{"name": "a", "name": "b"}]}', FILE)


@pytest.mark.parametrize(
    "entry", [*EXAMPLE, {"name": "a"}, {"name": "a", "as": "delta", "quiet": "24h"}]
)
def test_the_schema_takes_what_the_parser_takes(entry: object) -> None:
    """An editor marks nothing that is right."""
    parse(document(entry), FILE)
    jsonschema.validate({"$schema": "x", "customMetrics": [entry]}, SCHEMA)


@pytest.mark.parametrize(("entry", "said"), MISTAKES)
def test_the_schema_refuses_what_the_parser_refuses(entry: object, said: str) -> None:
    """An editor marks each mistake that lies in one value."""
    found = jsonschema.Draft202012Validator(SCHEMA).is_valid({"customMetrics": ["good", entry]})

    assert found is any(said.startswith(words) for words in BEYOND_THE_SCHEMA)


def test_the_schema_of_the_docs_is_the_one_that_is_used() -> None:
    """Docs show what the package has."""
    packaged = resources.files("receiver.config").joinpath("metrics.schema.json").read_bytes()
    assert (Path(__file__).parents[3] / "docs" / "metrics.schema.json").read_bytes() == packaged


def test_what_an_entry_does_is_one_sentence() -> None:
    """`check` and `explain` say it."""
    said = [entry.sentence() for entry in parse(document(*EXAMPLE), FILE).entries]

    assert said[0] == "nv_inference_pending_request_count: every sample is an item"
    assert said[3] == "nv_inference_request_failure: what the counter grew in each minute, unchanged at most every 15 minutes"  # fmt: skip
    assert "Avg is the mean, Count the events" in said[1]
    assert "by model, version" in said[1]
