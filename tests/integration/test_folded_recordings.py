"""What a real Triton sent, folded as the shipped file says: a tenth of the items, and the same truth."""

import struct
from collections import Counter
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver.azure.billing import billed
from receiver.azure.envelope import Identity
from receiver.fold.fold import Fold
from receiver.fold.registry import Registry
from receiver.fold.selection import Selection
from receiver.intake.decode import Message, decompress
from receiver.intake.metrics_json import Allowlist, Entry, parse
from receiver.intake.pipeline import Pipeline
from receiver.outbox.gzip_body import all_lines

BODIES = Path(__file__).parents[1] / "data" / "remote-write"
SHIPPED = resources.files("receiver.config").joinpath("folded_metrics.json").read_bytes()
IDENTITY = Identity("00000000-0000-0000-0000-000000000000", "host")


def bodies(version: str) -> list[bytes]:
    """Read the recorded requests."""
    return [
        bytes(decompress(path.read_bytes(), 1 << 26))
        for path in sorted((BODIES / version).glob("*.bin"))
    ]


def folded(version: str, message: Message) -> tuple[list[bytes], list[tuple[int, int, float]], Any]:
    """Fold the requests; returns the lines, the records, and the series by number."""
    wanted = parse(SHIPPED, "folded_metrics.json")
    registry, fold = Registry(1 << 30, is_loaded=True), Fold(wanted, IDENTITY)
    pipeline = Pipeline(wanted, IDENTITY, 1 << 24, use_of=Selection(wanted, registry).use_of)
    records: list[tuple[int, int, float]] = []
    series: dict[int, Any] = {}
    for body in bodies(version):
        outcome = pipeline.process(body, message)
        for number, labels in registry.unsaved():
            series[number] = orjson.loads(labels)
            fold.add_series(number, labels)
        registry.saved(len(registry.unsaved()))
        these = list(struct.iter_unpack("<Iqd", outcome.folded))
        records += these
        fold.take(outcome.folded, max([at for _, at, _ in these], default=0))
    newest_ms = max(at for _, at, _ in records)
    return list(all_lines(fold.close(newest_ms + 3_600_000))), records, series


@pytest.mark.parametrize(("version", "message"), [("v1", Message.V1), ("v2", Message.V2)])
def test_the_shipped_file_makes_a_tenth_of_the_items(version: str, message: Message) -> None:
    """Against every sample of the same series raw: 10.9 times fewer items, 11.3 times fewer bytes."""
    lines, _, series = folded(version, message)
    names = {labels["__name__"] for labels in series.values()}
    raw = Pipeline(Allowlist([Entry(name) for name in sorted(names)]), IDENTITY, 1 << 24)
    outcomes = [raw.process(body, message) for body in bodies(version)]
    raw_items = sum(outcome.rendered for outcome in outcomes)
    raw_bytes = sum(len(line) for outcome in outcomes for line in outcome.lines)

    assert raw_items > 1000
    assert raw_items / len(lines) >= 8
    assert raw_bytes / sum(map(len, lines)) >= 8


@pytest.mark.parametrize(("version", "message"), [("v1", Message.V1), ("v2", Message.V2)])
def test_slim_items_are_billed_less(version: str, message: Message) -> None:
    """By the job, since the recorded instance is localhost and the host's name stands for it: docs/cost.md."""
    means = []
    for slim in (False, True):
        identity = replace(IDENTITY, slim=slim)
        pipeline = Pipeline(Allowlist([Entry("nv_*")]), identity, 1 << 24)
        lines = [line for body in bodies(version) for line in pipeline.process(body, message).lines]
        means.append(sum(billed(line).total for line in lines) / len(lines))
    assert means == pytest.approx([288, 273], abs=1)


@pytest.mark.parametrize(("version", "message"), [("v1", Message.V1), ("v2", Message.V2)])
def test_sums_and_means_are_those_of_the_counters(version: str, message: Message) -> None:
    """The items' Sum and Count over the run are what the counters grew, by model."""
    lines, records, series = folded(version, message)
    said: Counter[tuple[str, str]] = Counter()
    for line in lines:
        data = orjson.loads(line)["data"]["baseData"]
        (metric,) = data["metrics"]
        if metric["name"] == "nv_inference_request_duration_us":
            said["us", data["properties"]["model"]] += metric["value"]
            said["n", data["properties"]["model"]] += metric["count"]
    grown: Counter[tuple[str, str]] = Counter()
    last: dict[int, float] = {}
    words = {"nv_inference_request_duration_us": "us", "nv_inference_request_success": "n"}
    for number, _, value in records:
        labels = series[number]
        if word := words.get(labels["__name__"]):
            grown[word, labels["model"]] += round(value - last.get(number, value))
            last[number] = value

    assert said == grown
    assert sum(grown.values()) > 0


def test_the_shipped_file_names_metrics_of_triton() -> None:
    """It is read without a warning, and each entry folds."""
    wanted = parse(SHIPPED, "folded_metrics.json")

    assert list(wanted.suspicions()) == []
    assert all(entry.is_folded for entry in wanted.entries)
