"""A forecast counts what would be sent, and is on the dear side."""

import json
from pathlib import Path

import pytest

from receiver.azure.envelope import Identity
from receiver.cli.fetch import NoAnswer
from receiver.cli.what_if import folded_example, read_page
from receiver.intake.metrics_json import parse
from receiver.pack.forecast import MONTH_MINUTES, Forecast, Seen, forecast, with_rates

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
