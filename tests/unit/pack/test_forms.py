"""The same metrics in another form: folded by the proposals, or every sample."""

import json

import pytest

from receiver.cli.what_if import folded_example
from receiver.intake.entries import As
from receiver.intake.metrics_json import Allowlist, parse
from receiver.pack.forms import folded_form, raw_form
from receiver.pack.proposals import PROPOSALS, propose, to_text
from receiver.triton import METRIC_NAMES, Category


def read(*entries: object) -> Allowlist:
    return parse(json.dumps({"customMetrics": entries}), "x")


def made(allowlist: Allowlist) -> dict[str, str]:
    """Give what each item's name is made as."""
    return {entry.item_name(entry.name): str(entry.as_) for entry in allowlist.entries}


def test_the_packaged_file_is_the_usual_part_of_the_one_list() -> None:
    """Entry by entry, as `make docs` writes it."""
    made_text = to_text([proposal.entry for proposal in PROPOSALS if proposal.usual])
    assert folded_example().entries == parse(made_text, "made").entries


def test_the_whole_list_is_a_metrics_json() -> None:
    """No two entries of it make the same items, and each takes metrics of Triton's."""
    entries = read(*(dict(each.entry) for each in PROPOSALS)).entries
    assert len(entries) == len(PROPOSALS)
    for proposal in PROPOSALS:
        assert proposal.applies(METRIC_NAMES), proposal.entry


def test_a_counter_that_a_mean_counts_is_not_sent_again() -> None:
    """Alone it is."""
    success, duration = "nv_inference_request_success", "nv_inference_request_duration_us"

    def names(*there: str) -> list[str]:
        return [each.entry["name"] for each in propose(there, list(Category))]

    assert names(success) == [success]
    assert names(success, duration) == ["nv_inference_*_duration_us"]
    assert next(propose([success, duration], [Category.COUNT])).entry["as"] == "delta"
    assert names(duration) == []  # without the counter of its events there is no mean


@pytest.mark.parametrize(
    ("selected", "wanted"),
    [
        (["nv_inference_request_success"], {"nv_inference_request_success": "delta"}),
        (["nv_inference_request_success_irate"], {"nv_inference_request_success": "delta"}),
        (["nv_inference_request_success", "nv_inference_request_duration_us"], {"nv_inference_request_duration_us": "mean"}),
        (["nv_inference_*_duration_us"], {"nv_inference_request_duration_us": "mean"}),
        (["nv_gpu_*"], {"nv_gpu_power_usage": "aggregate"}),
        (["nv_own_total", "own_gauge"], {"nv_own_total": "delta", "own_gauge": "aggregate"}),
        ([{"name": "nv_gpu_power_usage", "as": "last"}, "own_gauge"], {"nv_gpu_power_usage": "last", "own_gauge": "aggregate"}),
    ],
)  # fmt: skip
def test_what_is_raw_is_folded(selected: list[object], wanted: dict[str, str]) -> None:
    """By the list where it has the metric, else by the name's ending; what folds stays."""
    names = (
        "nv_inference_request_success", "nv_inference_request_success_irate", "nv_gpu_power_usage",
        "nv_inference_request_duration_us", "nv_own_total", "own_gauge",
    )  # fmt: skip
    assert made(folded_form(read(*selected), names)) == wanted


def test_a_counter_without_its_events_is_a_delta() -> None:
    """A mean of nothing would cost nothing."""
    form = folded_form(read("nv_inference_queue_duration_us"), ["nv_inference_queue_duration_us"])
    assert made(form) == {"nv_inference_queue_duration_us": "delta"}


def test_the_folded_form_of_a_folded_file_is_itself() -> None:
    """And every sample of it is its names."""
    example = folded_example()
    assert folded_form(example, METRIC_NAMES).entries == example.entries
    raw = raw_form(example)
    assert {entry.as_ for entry in raw.entries} == {As.SAMPLES}
    assert [entry.name for entry in raw.entries] == list(
        dict.fromkeys(entry.name for entry in example.entries)
    )
