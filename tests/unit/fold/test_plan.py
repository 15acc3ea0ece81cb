"""Which series share an item."""

import json
from importlib import resources
from typing import Any

from tests.unit.fold.folding import Player

DELTA = {"name": "c", "as": "delta"}
MEAN = {"name": "us", "as": "mean", "per": "n"}


def test_series_that_become_equal_are_joined() -> None:
    """A model on a GPU has two sets of series after a reload; by model and version they are one."""
    player = Player({**MEAN, "keep": ["model"]}, {**DELTA, "drop": ["gpu_uuid"]})
    sets: tuple[dict[str, Any], ...] = ({"model": "a"}, {"model": "a", "gpu_uuid": "G"})
    for second, grown in ((1, 0), (16, 5), (61, 5)):
        for labels in sets:
            player.send(second, "us", 10 * grown, **labels)
            player.send(second, "n", grown, **labels)
            player.send(second, "c", grown, **labels)

    mean, counter = player.close(61)
    assert (mean["value"], mean["count"], mean["model"]) == (100, 10, "a")
    assert (counter["value"], counter.get("gpu_uuid")) == (10, None)


def test_series_of_different_targets_are_never_joined() -> None:
    """Role and role instance keep them apart."""
    player = Player({**DELTA, "keep": []})
    for second, value in ((1, 0), (16, 5), (61, 5)):
        player.send(second, "c", value, instance="h:1")
        player.send(second, "c", 2 * value, instance="h:2")

    assert [item["value"] for item in player.close(61)] == [5, 10]


def test_last_refuses_to_join() -> None:
    """Of two gauges none is the last; the second is left out."""
    player = Player({"name": "g", "as": "last", "keep": ["model"]})
    player.send(1, "g", 1, model="a", quantile="0.5")
    player.send(1, "g", 9, model="a", quantile="0.9")
    player.send(61, "g", 1, model="a", quantile="0.5")

    assert [item["value"] for item in player.close(61)] == [1]
    assert player.fold.plan.refused == 1


def test_a_model_loaded_again_on_a_gpu_stays_one_by_model_and_version() -> None:
    """Seen on real GPUs: after a reload the old set begins anew at 0, a set with gpu_uuid is born beside it.

    The numbers are of such a page (14 requests on the GPU, 6 on the CPU); the entries are the
    shipped file's.
    """
    text = resources.files("receiver.config").joinpath("folded_metrics.json").read_bytes()
    player = Player(*json.loads(text)["customMetrics"])
    name, per = "nv_inference_request_duration_us", "nv_inference_request_success"
    model: dict[str, Any] = {"model": "add_sub", "version": "1"}
    gpu: dict[str, Any] = {**model, "gpu_uuid": "GPU-0"}
    pages: list[tuple[int, dict[str, Any], int]] = [
        (1, model, 0), (16, model, 100), (31, model, 100),
        (46, model, 6), (46, gpu, 14),  # loaded again meanwhile
        (61, model, 6), (61, gpu, 14),
    ]  # fmt: skip
    for second, labels, requests in pages:
        player.send(second, name, 500 * requests, **labels)
        player.send(second, per, requests, **labels)

    [item] = [item for item in player.close(61) if item["name"] == name]
    assert (item["count"], item["value"]) == (120, 60_000)
    assert item["min"] == item["max"] == 500
    assert "gpu_uuid" not in item
