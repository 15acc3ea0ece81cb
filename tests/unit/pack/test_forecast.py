"""A forecast counts what would be sent, and is on the dear side."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from receiver.azure.envelope import Identity
from receiver.cli.fetch import NoAnswer
from receiver.cli.scene import read_page
from receiver.cli.what_if import folded_example
from receiver.intake.metrics_json import parse
from receiver.pack.forecast import (
    MONTH_MINUTES,
    Forecast,
    Seen,
    compare,
    forecast,
    forecast_by,
    with_rates,
)
from receiver.pack.store_limits import store_limits

IDENTITY = Identity("0" * 36, "host")
PAGES = Path(__file__).parents[2] / "data" / "triton-metrics"


def seen(name: str, value: float = 5.0, **labels: str) -> Seen:
    """Make a series of a target."""
    return Seen({"__name__": name, "job": "j", "instance": "i:1", **labels}, value)


def count(entries: list[object], *series: Seen, scrape_seconds: float = 15.0) -> Forecast:
    """Forecast a metrics.json."""
    text = json.dumps({"customMetrics": entries})
    return forecast(parse(text, "x"), series, IDENTITY, scrape_seconds)


def test_raw_entries_bring_an_item_a_scrape() -> None:
    """And an `_irate` one a minute, however often is scraped."""
    two = (seen("nv_a", model="a"), seen("nv_a", model="b"))
    assert count(["nv_a"], *two).items == 2 * MONTH_MINUTES * 4
    assert count(["nv_a"], *two, scrape_seconds=60).items == 2 * MONTH_MINUTES
    assert count(["nv_a_irate"], seen("nv_a_irate")).items == MONTH_MINUTES


@pytest.mark.parametrize(
    ("as_", "every"), [("delta", 1), ("aggregate", 1), ("last", 5), ("delta", 60)]
)
def test_folded_entries_bring_an_item_a_window(as_: str, every: int) -> None:
    """For each series, or for those that are joined."""
    two = (seen("nv_a", model="a"), seen("nv_a", model="b"))
    entry = {"name": "nv_a", "as": as_, "every": f"{every}m"}
    assert count([entry], *two).items == pytest.approx(2 * MONTH_MINUTES / every)
    if as_ != "last":
        assert count([entry | {"keep": ["version"]}], *two).items == pytest.approx(
            MONTH_MINUTES / every
        )


def test_a_forecast_counts_all_of_many_series() -> None:
    """Also past the 4 MiB of items that stay uncompressed for the page."""
    many = [seen("nv_a", label="x" * 500, n=str(number)) for number in range(4000)]
    forecast = count([{"name": "nv_a", "as": "delta"}], *many)
    assert forecast.items == pytest.approx(4000 * MONTH_MINUTES)


def test_what_is_quiet_costs_little() -> None:
    """A counter at 0 and a total stay as they are; what moves is paid for each minute."""
    entry = {"name": "nv_*", "as": "aggregate", "quiet": "15m"}
    assert count([entry], seen("nv_gpu_memory_total_bytes")).items == pytest.approx(
        MONTH_MINUTES / 15, rel=0.2
    )
    assert count([entry], seen("nv_gpu_power_usage")).items == pytest.approx(MONTH_MINUTES)
    quiet = {"name": "nv_f", "as": "delta", "quiet": "15m"}
    assert count([quiet], seen("nv_f", 0.0)).items == pytest.approx(MONTH_MINUTES / 15, rel=0.2)


def test_a_mean_without_events_costs_nothing() -> None:
    """There is no item for it."""
    entry = {"name": "nv_us", "as": "mean", "per": "nv_n"}
    assert count([entry], seen("nv_us", 0.0), seen("nv_n", 0.0)).items == 0
    assert count([entry], seen("nv_us"), seen("nv_n")).items == pytest.approx(MONTH_MINUTES)


def test_the_folded_example_is_a_seventh_of_raw() -> None:
    """On a real Triton's page, with a GPU."""
    page = read_page((PAGES / "one-model-one-gpu.txt").read_text(encoding="utf-8"), "page")
    raw = count(["nv_*"], *page)
    folded = forecast(folded_example(), page, IDENTITY, 15.0)
    assert raw.items > 6 * folded.items
    assert raw.billed_bytes > 7 * folded.billed_bytes
    assert all(line.billed_bytes == 0 or line.items > 0 for line in folded.lines)


def test_the_factor_scales_bytes_alone() -> None:
    """What a resource's own bill said."""
    wanted = parse('{"customMetrics": ["nv_a"]}', "x")
    plain, scaled = (
        forecast(wanted, [seen("nv_a")], IDENTITY, 15.0, factor) for factor in (1.0, 0.8)
    )
    assert scaled.billed_bytes == pytest.approx(0.8 * plain.billed_bytes)
    assert scaled.items == plain.items


def test_rates_are_added_for_what_rules_record() -> None:
    """Not for gauges, and not for quantiles."""
    series = [
        seen("nv_inference_count"),
        seen("nv_cpu_utilization"),
        seen("nv_inference_queue_summary_us", quantile="0.5"),
    ]
    assert [each.name for each in with_rates(series)[3:]] == ["nv_inference_count_irate"]


@pytest.mark.parametrize("text", ["", "root:x:0:0\n", "up 1\n", "# only a comment\n"])
def test_what_is_no_page_of_tritons_is_said(text: str) -> None:
    """In a sentence."""
    with pytest.raises(NoAnswer, match="page"):
        read_page(text, "the page")


def test_slim_items_are_billed_less() -> None:
    """By a seventh on a Triton's page, as docs/cost.md says."""
    page = read_page((PAGES / "one-model-one-gpu.txt").read_text(encoding="utf-8"), "page")
    wanted = parse('{"customMetrics": ["nv_*"]}', "x")
    both = [forecast(wanted, page, replace(IDENTITY, slim=slim), 15.0) for slim in (False, True)]
    assert [each.billed_bytes / each.items for each in both] == pytest.approx([282, 242], abs=1)


def test_intervals_and_stillness_of_a_series_count() -> None:
    """Where they are known; a series without a number sends nothing, and is counted."""
    every_five = replace(seen("nv_a"), seconds=5.0)
    assert count(["nv_a"], every_five, seen("nv_a", math.nan)).items == MONTH_MINUTES * 12
    entry = {"name": "nv_a", "as": "delta", "quiet": "15m"}
    still, moving = (replace(seen("nv_a"), moves=moves) for moves in (False, True))
    assert count([entry], still).items == pytest.approx(MONTH_MINUTES / 15, rel=0.2)
    assert count([entry], moving, seen("nv_a", math.nan, model="idle")).items == pytest.approx(MONTH_MINUTES)  # fmt: skip
    assert count([entry], moving, seen("nv_a", math.nan, model="idle")).series == 2


def test_a_forecast_of_each_group_adds_up_to_that_of_all() -> None:
    """Where no entry joins series of several groups."""
    series = [seen("nv_a", model=model) for model in ("a", "b", "b")]
    series += [seen("nv_b", model=model) for model in ("a", "b")]
    wanted = parse('{"customMetrics": ["nv_a", {"name": "nv_b", "as": "delta"}]}', "x")
    groups = forecast_by(lambda each: each.labels["model"], wanted, series, IDENTITY)
    whole = forecast(wanted, series, IDENTITY)
    assert list(groups) == ["a", "b"]
    assert sum(each.items for each in groups.values()) == pytest.approx(whole.items)
    assert sum(each.billed_bytes for each in groups.values()) == pytest.approx(whole.billed_bytes)
    assert groups["b"].items == pytest.approx(MONTH_MINUTES * (4 * 2 + 1))


def test_windows_of_an_hour_and_of_a_minute_are_counted_apart() -> None:
    """A file of both costs what its entries cost by themselves."""
    entries: list[object] = [
        {"name": "nv_a", "as": "delta"},
        {"name": "nv_a", "as": "last", "every": "1h", "rename": "nv_hourly"},
        {"name": "nv_b", "as": "mean", "per": "nv_a", "quiet": "30m"},
    ]
    series = (seen("nv_a"), seen("nv_b"))
    together = count(entries, *series)
    assert [each.items for each in together.lines] == pytest.approx(
        [MONTH_MINUTES, MONTH_MINUTES / 60, MONTH_MINUTES]
    )
    apart = [count([entry], *series) for entry in entries]
    assert together.billed_bytes == pytest.approx(sum(each.billed_bytes for each in apart))


def test_the_comparison_is_of_the_same_metrics() -> None:
    """Raw, folded, and as it is."""
    wanted = parse('{"customMetrics": ["nv_own_total"]}', "x")
    compared = compare(wanted, [seen("nv_own_total"), seen("nv_other")], IDENTITY)
    assert compared.yours == compared.raw
    assert compared.folded.items == pytest.approx(MONTH_MINUTES)
    assert compared.times(2).yours.items == 2 * compared.yours.items


def test_the_limits_of_the_metrics_store_are_said() -> None:
    """What is past ten dimensions by name, and more than 50,000 series."""
    many: dict[str, Any] = {f"l{number:02}": "x" for number in range(11)}
    wanted = parse('{"customMetrics": ["nv_a", {"name": "nv_b", "as": "delta"}]}', "x")
    [said] = store_limits(wanted, [seen("nv_a", **many), seen("nv_b", **many)])
    assert said == (
        "nv_a and 1 more metrics have 13 dimensions; the first 10 can be charted and alerted on, "
        "l10, job, instance in logs alone"
    )
    assert list(store_limits(wanted, [seen("nv_a"), seen("nv_c", **many)])) == []
    crowd = [seen("nv_a", model=str(number)) for number in range(50_001)]
    [said] = store_limits(wanted, crowd)
    assert said.startswith("50,001 series are sent; of a subscription and region 50,000")
