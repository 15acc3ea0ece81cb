"""`explain`: true words about names, globs and families, the cause first."""

from typing import Any

import pytest

from receiver.cli import explain
from receiver.cli.explain import Known, members
from receiver.cli.findings import Finding, Mark
from receiver.cli.upstream import Prometheus, Rule, Triton
from receiver.intake.entries import As
from receiver.intake.metrics_json import Entry

AWAY = Finding("triton", Mark.WARN, "does not answer", "Say where Triton's metrics are.")
LISTED = [Entry("nv_cpu_utilization"), Entry("nv_inference_*_duration_us", As.MEAN, ("nv_inference_request_success",))]  # fmt: skip


def known(*names: str) -> Known:
    """Know these names of Triton, by Prometheus and the receiver too."""
    return Known(Triton(names=dict.fromkeys(names, 1)), Prometheus(names=set(names)), frozenset(names))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "mark", "words"),
    [
        ("nv_cpu_utilization", Mark.OK, "selects it by nv_cpu_utilization: every sample is an item"),
        ("nv_inference_queue_duration_us", Mark.OK, "mean over nv_inference_request_success of each minute"),
        ("nv_inference_request_success", Mark.OK, "uses it to count the events of nv_inference_*_duration_us"),
        ("nv_gpu_utilization", Mark.FAIL, 'Add "nv_gpu_utilization" to customMetrics.'),
        ("mine", Mark.FAIL, 'Add "mine" to customMetrics.'),
        ("nv_gpu_utilisation", Mark.FAIL, "The nearest metric is nv_gpu_utilization."),
        ("qwerty", Mark.FAIL, "No metric of this name exists"),
    ],
)  # fmt: skip
def test_only_what_is_a_metric_is_advised_to_be_added(name: str, mark: Mark, words: str) -> None:
    """A misspelt name gets its right spelling instead."""
    [finding] = explain._selected(name, LISTED, "m.json", known("mine", "up"))
    assert finding.mark is mark
    assert words in f"{finding.detail} {finding.fix}"


@pytest.mark.parametrize(
    ("findings", "cause"),
    [
        ([Finding("selection", Mark.OK, "s")], None),
        ([AWAY, Finding("selection", Mark.FAIL, "s")], "selection"),
        ([AWAY, Finding("selection", Mark.OK, "s"), Finding("receiver", Mark.FAIL, "never")], "triton"),
        ([Finding("triton", Mark.FAIL, "t"), Finding("selection", Mark.FAIL, "s")], "triton"),
        ([Finding("prometheus", Mark.WARN, "no value now"), Finding("receiver", Mark.FAIL, "never")], "prometheus"),
        ([Finding("selection", Mark.OK, "s"), Finding("receiver", Mark.FAIL, "never"), Finding("delivery", Mark.FAIL, "d")], "receiver"),
    ],
)  # fmt: skip
def test_the_cause_is_where_the_way_breaks_off(findings: list[Finding], cause: str | None) -> None:
    """Who does not answer is a cause only where nothing else is one."""
    found = explain._cause(findings)
    assert (found.what if found else None) == cause


def test_a_glob_and_a_histogram_stand_for_several_names() -> None:
    """A name that exists is itself, whatever else begins like it."""
    histogram = "nv_inference_first_response_histogram_ms"
    assert members(histogram, ()) == [f"{histogram}_{part}" for part in ("bucket", "sum", "count")]
    assert "nv_gpu_utilization" in members("nv_gpu_*", ())
    assert members("foo_*", ()) == ["foo_*"]
    assert members("nv_cpu_utilization", ()) == []
    assert members("nv_inference_request_summary_us", ()) == []
    assert members("h", {"h", "h_bucket"}) == []


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("nv_inference_*_duration_us", {"entry": Mark.OK, "triton": Mark.OK, "prometheus": Mark.OK, "receiver": Mark.OK, "selection": Mark.OK}),
        ("nv_inference_queue*", {"entry": Mark.OK, "triton": Mark.OK, "prometheus": Mark.OK, "receiver": Mark.OK, "selection": Mark.OK}),
        ("nv_gpu_*", {"entry": Mark.WARN, "triton": Mark.WARN, "prometheus": Mark.WARN, "receiver": Mark.WARN, "selection": Mark.OK}),
    ],
)  # fmt: skip
def test_a_glob_is_explained_as_one(name: str, marks: dict[str, Mark]) -> None:
    """Which entry it is, and which names it stands for."""
    family = members(name, known("nv_inference_queue_duration_us").names)
    found = explain._family(name, family, known("nv_inference_queue_duration_us"), LISTED, "m.json")
    assert {each.what: each.mark for each in found} == marks


def test_a_family_that_is_half_selected_says_which_half() -> None:
    """With the glob that selects all of it."""
    names = [f"h_{part}" for part in ("bucket", "sum", "count")]
    *_, selection = explain._family("h", names, known(*names), [Entry("h_sum")], "m.json")
    assert selection.mark is Mark.FAIL
    assert selection.detail == "m.json does not select h_bucket, h_count"
    assert selection.fix == 'Add "h_*" to customMetrics.'


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([{"model": "a"}, {"model": "b"}], False),
        ([{"model": "a", "gpu_uuid": "G"}], False),
        ([{"gpu_uuid": "G"}, {"gpu_uuid": "H"}], False),
        ([{"model": "a", "gpu_uuid": "G"}, {"model": "a"}], True),
    ],
)
def test_two_sets_of_series_of_a_model_are_said(
    labels: list[dict[str, Any]],
    said: bool,  # noqa: FBT001
) -> None:
    """As a Triton shows a model that was loaded after its start: facts seen on a real GPU."""
    series = [{"metric": each, "value": [0, "1"]} for each in labels]
    assert ("sum by model and version" in explain._split_by_gpu(series)) is said


@pytest.mark.parametrize(
    ("name", "meant"),
    [("nv_inference_cuont", "nv_inference_count"), ("minee", "mine"), ("mine", ""), ("nv_gpu_utilization", ""), ("qwerty", "")],
)  # fmt: skip
def test_a_misspelt_name_is_the_first_thing_that_is_said(name: str, meant: str) -> None:
    """Where nothing has it and something is near."""
    said = [each.detail for each in explain._misspelt(name, known("mine"))]
    assert said == ([f"unknown name; the nearest metric is {meant}"] if meant else [])


def test_an_agent_is_asked_for_nothing() -> None:
    """It evaluates no rules, so no _irate comes; the counter does."""
    agent = Prometheus(is_agent=True)
    [irate] = explain._at_prometheus("nv_a_irate", "http://127.0.0.1:9", agent, ())
    [counter] = explain._at_prometheus("nv_a", "http://127.0.0.1:9", agent, ())
    assert (irate.mark, counter.mark) == (Mark.FAIL, Mark.OK)
    assert irate.fix == "Name the counter instead: nv_a."
    assert Prometheus(rules=[Rule("nv_a_irate", "", 60)]).recorded == {"nv_a_irate"}


def test_a_label_that_explodes_is_said_of_its_metric() -> None:
    """And of no other; a receiver that does not know of it is an older one."""
    row = {"name": "a", "help": "", "series": 1, "per_minute": 1.0, "seen_seconds_ago": 1.0, "low": 1.0, "high": 1.0, "last_value": 1.0}  # fmt: skip
    metrics = {"selected": {"rows": [row, row | {"name": "b"}]}, "unselected": {"rows": []}}
    verdict = {"state": "OK", "severity": "good", "line": "OK: fine", "hint": ""}
    status = {"verdict": verdict, "accepted": 1, "pending": 0}
    exploding = status | {"cardinality": {"metric": "a", "words": "its label id explodes"}}

    def said(name: str, status: dict[str, Any]) -> bool:
        found = explain._at_receiver(name, explain._Seen(metrics, status))
        return any("id explodes" in each.detail for each in found)

    assert [said("a", exploding), said("b", exploding), said("a", status)] == [True, False, False]
