"""Requests in, items out: each folder of tests/golden is a case, worked out without the receiver."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from receiver.azure.envelope import Identity
from receiver.intake.decode import decompress
from receiver.intake.metrics_json import parse
from receiver.intake.pipeline import Outcome, Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.server.negotiation import negotiate
from tests.golden import generate, make

CASES = sorted(path.parent for path in generate.HERE.glob("*/request.bin"))


def in_order(line: str | bytes) -> Any:
    """Read a line with its values' bits, and the order of its properties."""
    document = json.loads(line, parse_float=lambda text: float(text).hex())
    properties = document["data"]["baseData"].get("properties")
    return document, list(properties.items()) if properties else []


def take(case: Path, *, compiled: bool = IS_COMPILED) -> Outcome:
    """Run a case through the receiver's pure stages."""
    headers = json.loads((case / "headers.json").read_text())
    message = negotiate(headers["Content-Type"], headers["Content-Encoding"])
    allowlist = parse((case / "metrics.json").read_bytes(), "metrics.json")
    selection = Pipeline(
        allowlist, Identity(generate.KEY, generate.HOST), 1 << 20, compiled=compiled
    )
    return selection.process(decompress((case / "request.bin").read_bytes(), 1 << 20), message)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_becomes_the_expected_items(case: Path) -> None:
    """Each item, in the order sent: names, values to the bit, times, labels and their order."""
    expected = (case / "expected.jsonl").read_bytes().splitlines()

    intake = take(case)

    assert [in_order(line) for line in intake.lines] == [in_order(line) for line in expected]
    assert intake.received == intake.unselected + intake.dropped.total() + len(intake.lines)
    assert take(case, compiled=False) == intake


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_expected_items_are_worked_out_anew(case: Path) -> None:
    """Nobody has copied the receiver's own output into the folder."""
    worked_out = [json.dumps(each, ensure_ascii=False) for each in generate.expected(case)]

    assert worked_out == (case / "expected.jsonl").read_text(encoding="utf-8").split("\n")[:-1]


@pytest.mark.parametrize("name", sorted(make.CASES))
def test_made_requests_are_what_make_says(name: str) -> None:
    """A case can be read in make.py, and is that."""
    content_type, series, _ = make.CASES[name]
    raw = make.v1(series) if content_type == make.V1 else make.v2(series)

    assert decompress((generate.HERE / name / "request.bin").read_bytes(), 1 << 20) == raw


def test_the_cases_cover_what_they_are_for() -> None:
    """Both protocols, values that are no numbers, recorded series, and requests of no sample."""
    counts = {case.name: len((case / "expected.jsonl").read_bytes().splitlines()) for case in CASES}

    assert len(counts) >= 11
    assert counts["prometheus-2.42-metadata-alone"] == 0
    assert counts["prometheus-2.42-scrape"] == 124
    assert counts["prometheus-3.5-scrape-and-rules"] == 145
    assert take(generate.HERE / "made-values-that-are-no-numbers").dropped == {
        "nan": 2,
        "stale": 2,
        "infinite": 4,
    }
    assert take(generate.HERE / "made-bad-series-among-good").refused == {
        "no_name": 1,
        "duplicate_label": 1,
        "invalid_utf8": 2,
    }
    assert sum(math.isfinite(value) for value in make.VALUES) == 6
