"""Real Triton, real Prometheus 2.42 (remote-write 1.0) and 3.5 (2.0): what arrives is what there was.

recording.py runs everything once; these tests compare what each end of it says.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from statistics import median
from typing import TypeAlias

import pytest

from demo.parts import MissingPart, parts_dir
from demo.prometheus import install as install_prometheus
from demo.prometheus_api import Sample, Series
from demo.triton import install as install_triton
from receiver.sandbox.store import StoredItem
from tests.e2e import recording
from tests.e2e.recording import Delivered, Recording, Watched, record

# The first run fetches Triton and both Prometheus, the others take less than a minute.
pytestmark = pytest.mark.timeout(600)

STAGES = ("request", "queue", "compute_input", "compute_infer", "compute_output")
COUNTS = ("request_success", "request_failure", "count", "exec_count")
COUNTERS = [f"nv_inference_{name}" for name in (*COUNTS, *(f"{s}_duration_us" for s in STAGES))]
SUMMARIES = [f"nv_inference_{stage}_summary_us" for stage in STAGES]
QUANTILES = {"0.5", "0.9", "0.95", "0.99", "0.999"}
IRATES = {f"{name}_irate": name for name in COUNTERS} | {
    f"{name}_{part}_irate": f"{name}_{part}" for name in SUMMARIES for part in ("sum", "count")
}
MEANS = {f"{name}_irate": name for name in SUMMARIES}
GPU = {
    "nv_gpu_utilization": "utilization",
    "nv_gpu_memory_total_bytes": "memory_total_bytes",
    "nv_gpu_memory_used_bytes": "memory_used_bytes",
    "nv_gpu_power_usage": "power_usage_watts",
    "nv_gpu_power_limit": "power_limit_watts",
    "nv_energy_consumption": "energy_joules",
}
CPU = ("nv_cpu_utilization", "nv_cpu_memory_total_bytes", "nv_cpu_memory_used_bytes")
DEFAULT = {"nv_inference_request_success", "nv_inference_request_duration_us", "nv_cpu_utilization"}

Labels: TypeAlias = frozenset[tuple[str, str]]
Point: TypeAlias = tuple[Labels, int, float]  # the name among the labels; ms since 1970

REASONS = {"REJECTED", "CANCELED", "BACKEND", "OTHER"}
SCRAPE_MS = 500  # a scrape that began so long before a rule ran may have ended after it


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Provide the one recording that all tests look at."""
    try:
        triton = install_triton(parts_dir())
        prometheus = {
            suite: install_prometheus(suite, parts_dir()) for suite in ("bookworm", "sid")
        }
    except MissingPart as missing:
        pytest.fail(missing.message, pytrace=False)
    return asyncio.run(record(tmp_path_factory.mktemp("run"), triton, prometheus))


@pytest.fixture(params=["bookworm", "sid"])
def watched(request: pytest.FixtureRequest, recorded: Recording) -> Watched:
    """Provide what came through each Prometheus in turn."""
    return recorded.watched[request.param]


# --- the ends, as values that can be compared


def held(watched: Watched) -> Counter[Point]:
    """Return all finite samples that Prometheus holds: NaN and Inf have no JSON."""
    return Counter(
        (frozenset(series.labels.items()), sample.timestamp_ms, sample.value)
        for series in watched.series
        for sample in series.samples
        if math.isfinite(sample.value)
    )


def items(delivered: Delivered, recorded: Recording, name: str = "*") -> Iterator[StoredItem]:
    """Yield what the sandbox holds of a name, up to the moment at which we asked Prometheus."""
    everything = delivered.sandbox.store.select(name)
    return (item for item in everything if item.time_ms <= recorded.cut_ms)


def point(item: StoredItem) -> Point:
    """Return the sample that an item should be."""
    labels = frozenset([("__name__", item.series.name), *item.series.properties.items()])
    return labels, item.time_ms, item.value


def arrived(delivered: Delivered, recorded: Recording) -> Counter[Point]:
    """Return what the sandbox holds as samples."""
    return Counter(map(point, items(delivered, recorded)))


def series_of(watched: Watched, recorded: Recording, name: str, **labels: str) -> list[Series]:
    """Return the series with this name and these labels, from the items that arrived."""
    found: dict[Labels, list[Sample]] = {}
    for item in items(watched.whole, recorded, name):
        properties = item.series.properties
        if labels.items() <= properties.items():
            key = frozenset(properties.items())
            found.setdefault(key, []).append(Sample(item.time_ms, item.value))
    return [Series(dict(key), tuple(sorted(samples))) for key, samples in found.items()]


def last(watched: Watched, recorded: Recording, name: str, **labels: str) -> float:
    """Return the newest value of the only such series, which is of a scrape after the load."""
    (series,) = series_of(watched, recorded, name, **labels)
    assert series.samples[-1].timestamp_ms > recorded.settled_ms
    return series.value


def few(points: Iterable[Point]) -> list[Point]:
    """Return the first of many, for a message that a person can read."""
    return sorted(points, key=lambda found: (found[1], sorted(found[0])))[:5]


# --- nothing missing, nothing added


def test_each_prometheus_is_what_it_stands_for(recorded: Recording) -> None:
    """One speaks remote-write 1.0, the other 2.0."""
    old, new = recorded.watched["bookworm"], recorded.watched["sid"]

    assert old.version.startswith("2.42.")
    assert tuple(map(int, new.version.split(".")[:2])) >= (3, 5)
    assert not any("protobuf_message" in entry for entry in old.config["remote_write"])
    for entry in new.config["remote_write"]:
        assert entry["protobuf_message"] == "io.prometheus.write.v2.Request"


def test_every_sample_arrives_exactly_once(watched: Watched, recorded: Recording) -> None:
    """Value by value, millisecond by millisecond, label by label; and nothing else arrives."""
    expected, found = held(watched), arrived(watched.whole, recorded)

    assert not few(expected - found), f"{(expected - found).total()} samples are missing"
    assert not few(found - expected), f"{(found - expected).total()} items are too many"
    assert expected.total() > 5_000


def test_series_are_samples_own(watched: Watched, recorded: Recording) -> None:
    """Properties come in the order that slices need; role and instance are the series'."""
    seen = {item.series.key: item.series for item in items(watched.whole, recorded)}

    firsts, lasts = ["model", "version", "gpu_uuid", "reason", "quantile"], ["job", "instance"]
    for series in seen.values():
        names = list(series.properties)
        assert names[-2:] == lasts
        assert names[:-2] == [name for name in firsts if name in names]
        assert series.tags["ai.cloud.role"] == "triton"
        assert not series.tags["ai.cloud.roleInstance"].startswith(("127.", "localhost"))


def test_the_ledger_adds_up(watched: Watched, recorded: Recording) -> None:
    """The receiver's own account: all accepted, NaN and staleness markers dropped, no more."""
    status = watched.whole.status
    nan = sum(math.isnan(sample.value) for each in watched.series for sample in each.samples)

    assert status["adds_up"]
    assert status["accepted"] >= held(watched).total()
    assert not status["rejected"]
    assert status["expired"] == 0
    assert status["dropped"].keys() == {"nan", "stale"}
    assert status["dropped"]["nan"] >= nan > 0
    # raiser never succeeds, so its quantiles are NaN from first to last.
    assert not series_of(watched, recorded, SUMMARIES[0], model="raiser", quantile="0.5")


def test_without_metrics_json_three_arrive(watched: Watched, recorded: Recording) -> None:
    """The packaged three, whole, and nothing else."""
    expected = Counter(
        {found: n for found, n in held(watched).items() if dict(found[0])["__name__"] in DEFAULT}
    )

    assert arrived(watched.default, recorded) == expected
    assert {dict(labels)["__name__"] for labels, _, _ in expected} == DEFAULT
    assert watched.default.status["adds_up"]


# --- every metric on the list


@pytest.mark.parametrize("name", COUNTERS)
def test_counts_and_latencies_arrive(watched: Watched, recorded: Recording, name: str) -> None:
    """Of each model, and each with its _irate."""
    for model in ("add_sub", "slow", "ensemble", "raiser"):
        assert series_of(watched, recorded, name, model=model)
        assert series_of(watched, recorded, f"{name}_irate", model=model)


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries_arrive(watched: Watched, recorded: Recording, name: str) -> None:
    """The five quantiles, _sum and _count, and their _irate."""
    for model in ("add_sub", "slow", "ensemble"):
        quantiles = series_of(watched, recorded, name, model=model)
        assert {each.labels["quantile"] for each in quantiles} == QUANTILES
        for suffix in ("_sum", "_count", "_irate", "_sum_irate", "_count_irate"):
            assert len(series_of(watched, recorded, f"{name}{suffix}", model=model)) == 1


@pytest.mark.parametrize("name", CPU)
def test_cpu_metrics_arrive(watched: Watched, recorded: Recording, name: str) -> None:
    """They are the machine's, so they have no label but job and instance."""
    (series,) = series_of(watched, recorded, name)
    assert series.labels.keys() == {"job", "instance"}
    if name != "nv_cpu_utilization":
        assert series.value > 2**20


@pytest.mark.parametrize(("name", "field"), GPU.items())
def test_gpu_values_are_those_published(
    watched: Watched, recorded: Recording, name: str, field: str
) -> None:
    """Exactly, from the first scrape on, and then the other value; from the GPU's stand-in."""
    before, after = recording.GPU_BEFORE, recording.GPU_AFTER
    (series,) = series_of(watched, recorded, name)

    assert series.labels["gpu_uuid"].startswith("GPU-")
    for sample in series.samples:
        # A scrape's time is when it began; one that is under way may read either.
        if sample.timestamp_ms < recorded.load_ended_ms - 1000 * recording.SCRAPE_SECONDS:
            assert sample.value == getattr(before, field)
        elif sample.timestamp_ms >= recorded.settled_ms:
            assert sample.value == getattr(after, field)


# --- Triton's own statistics, and the load's account


@pytest.mark.parametrize("model", recording.MODELS_LOADED)
def test_last_values_are_tritons_statistics(
    watched: Watched, recorded: Recording, model: str
) -> None:
    """What Triton tells tritonclient is what the newest items say."""
    told = recorded.statistics[model]

    def newest(name: str) -> float:
        return last(watched, recorded, f"nv_inference_{name}", model=model)

    assert newest("request_success") == told.success.count
    assert newest("count") == told.inference_count
    assert newest("exec_count") == told.execution_count
    failures = series_of(watched, recorded, "nv_inference_request_failure", model=model)
    assert {each.labels["reason"] for each in failures} == REASONS
    assert sum(each.value for each in failures) == told.fail.count
    for name in STAGES:
        stage = told.success if name == "request" else getattr(told, name)
        # The statistics add up ns; the metric adds up each request's whole us.
        assert 0 <= stage.duration_ns / 1000 - newest(f"{name}_duration_us") <= stage.count
        assert newest(f"{name}_summary_us_sum") == newest(f"{name}_duration_us")
        assert newest(f"{name}_summary_us_count") == stage.count


def test_statistics_are_the_loads_account(recorded: Recording) -> None:
    """Each request that was sent was answered or refused, and Triton counted it so."""
    accounts, told = recorded.accounts, recorded.statistics
    ensembles = accounts["ensemble"].answered  # each is two requests to add_sub

    assert accounts["add_sub"].sent == recording.LOAD_SECONDS * (
        recording.GOOD_PER_SECOND + recording.BATCHES_PER_SECOND
    )
    for model, account in accounts.items():
        more = 2 * ensembles if model == "add_sub" else 0
        assert account.unanswered == 0
        assert account.sent == account.answered + account.refused
        assert told[model].success.count == account.answered + more
        assert told[model].fail.count == account.refused
        assert told[model].inference_count == account.inferences + more
    assert accounts["raiser"].answered == 0


# --- the _irate series


def rate(earlier: Sample, later: Sample) -> float:
    """Return the rise per second."""
    seconds = (later.timestamp_ms - earlier.timestamp_ms) / 1000
    return (later.value - earlier.value) / seconds


def instant_rates(series: Series, at_ms: int) -> list[float]:
    """Return what irate() may say: of the last two scrapes, or without one not yet ended."""
    seen = [sample for sample in series.samples if sample.timestamp_ms <= at_ms]
    rates = [rate(*seen[-2:])]
    if seen[-1].timestamp_ms > at_ms - SCRAPE_MS and len(seen) > 2:
        rates.append(rate(*seen[-3:-1]))
    return rates


@pytest.mark.parametrize("name", IRATES)
def test_each_irate_is_the_rise_between_two_scrapes(
    watched: Watched, recorded: Recording, name: str
) -> None:
    """Computed here once more from the counters that arrived."""
    sources = {
        frozenset(each.labels.items()): each for each in series_of(watched, recorded, IRATES[name])
    }
    found = series_of(watched, recorded, name)

    assert {frozenset(each.labels.items()) for each in found} == sources.keys()
    for series in found:
        source = sources[frozenset(series.labels.items())]
        for sample in series.samples:
            rates = instant_rates(source, sample.timestamp_ms)
            assert any(math.isclose(sample.value, each, rel_tol=1e-9) for each in rates)


@pytest.mark.parametrize("name", MEANS)
def test_a_summarys_irate_is_the_mean_latency(
    watched: Watched, recorded: Recording, name: str
) -> None:
    """Microseconds per second over requests per second; absent where there were no requests."""
    for model in recording.MODELS_LOADED:
        parts = (f"{MEANS[name]}_sum_irate", f"{MEANS[name]}_count_irate")
        (sums,), (counts,) = (series_of(watched, recorded, each, model=model) for each in parts)
        expected = {
            count.timestamp_ms: total.value / count.value
            for total, count in zip(sums.samples, counts.samples, strict=True)
            if count.value
        }
        found = [
            sample
            for series in series_of(watched, recorded, name, model=model)
            for sample in series.samples
        ]
        assert dict(found) == pytest.approx(expected, rel=1e-9)


def test_all_rules_see_the_same_moment(watched: Watched, recorded: Recording) -> None:
    """So that one _irate may be divided by another."""
    moments = {
        tuple(sample.timestamp_ms for sample in series.samples)
        for name in IRATES
        for series in series_of(watched, recorded, name, model="add_sub")
    }

    assert len(moments) == 1
    (times,) = moments
    gaps = {later - earlier for earlier, later in pairwise(times)}
    assert {gap % (1000 * recording.EVALUATION_SECONDS) for gap in gaps} == {0}


def under_load(watched: Watched, recorded: Recording, name: str, **labels: str) -> list[float]:
    """Return the values of the only such series whose two scrapes lie within the load."""
    (series,) = series_of(watched, recorded, name, **labels)
    since_ms = recorded.load_began_ms + 3_000 * recording.SCRAPE_SECONDS
    times = range(since_ms, recorded.load_ended_ms)
    return [sample.value for sample in series.samples if sample.timestamp_ms in times]


def test_rates_are_those_of_the_known_load(watched: Watched, recorded: Recording) -> None:
    """Requests, inferences and failures per second, by model.

    Of each _irate the median. A second between two scrapes may hold one request of a
    stream more or less (the 1), and a busy machine may be late with some of them,
    which it makes good in the next second (the median, and the 10 %).
    """
    requests = recording.GOOD_PER_SECOND + recording.BATCHES_PER_SECOND
    inferences = recording.GOOD_PER_SECOND + recording.BATCHES_PER_SECOND * recording.BATCH
    twice = 2 * recording.ENSEMBLES_PER_SECOND
    expected = {
        ("request_success", "add_sub"): requests + twice,
        ("count", "add_sub"): inferences + twice,
        ("request_success", "slow"): recording.SLOW_PER_SECOND,
        ("request_success", "ensemble"): recording.ENSEMBLES_PER_SECOND,
        ("request_success", "raiser"): 0,
        ("exec_count", "raiser"): recording.FAILING_PER_SECOND,
        ("request_summary_us_count", "add_sub"): requests + twice,
    }
    for (name, model), per_second in expected.items():
        values = under_load(watched, recorded, f"nv_inference_{name}_irate", model=model)
        assert len(values) >= 5
        assert abs(median(values) - per_second) <= (1 + per_second / 10) * bool(per_second)
    for reason in REASONS:
        name = "nv_inference_request_failure_irate"
        values = under_load(watched, recorded, name, model="raiser", reason=reason)
        per_second = recording.FAILING_PER_SECOND * (reason == "BACKEND")
        assert abs(median(values) - per_second) <= (1 + per_second / 10) * bool(per_second)
    # Dynamic batching may put requests into one execution, and never splits one.
    (executions,) = {
        median(under_load(watched, recorded, "nv_inference_exec_count_irate", model="add_sub"))
    }
    assert 0 < executions <= 1.1 * (requests + twice) + 1


def test_latencies_are_those_of_the_known_load(watched: Watched, recorded: Recording) -> None:
    """The model sleeps, never less than told; the rest is what a busy machine adds."""
    told_us = 1e6 * recording.SLOW_SECONDS
    stage = "nv_inference_compute_infer"
    means = under_load(watched, recorded, f"{stage}_summary_us_irate", model="slow")
    loads = under_load(watched, recorded, f"{stage}_duration_us_irate", model="slow")

    assert min(means) >= told_us
    assert median(means) <= 1.3 * told_us
    assert median(loads) == pytest.approx(recording.SLOW_PER_SECOND * told_us, rel=0.3)


# --- kill -9


def batches(delivered: Delivered) -> dict[int, Counter[Point]]:
    """Return the items of each request that the sandbox took, by its number."""
    found: dict[int, Counter[Point]] = {}
    for item in delivered.sandbox.store.select():
        found.setdefault(item.request, Counter())[point(item)] += 1
    return found


def repeats(delivered: Delivered) -> set[tuple[int, int]]:
    """Return the pairs of requests that brought the same item one after the other."""
    seen: dict[Point, int] = {}
    found = set()
    for number, batch in sorted(batches(delivered).items()):
        for each in batch:
            if each in seen:
                found.add((seen[each], number))
            seen[each] = number
    return found


def test_kill_9_loses_nothing(watched: Watched, recorded: Recording) -> None:
    """All that Prometheus holds arrives, and nothing that it doesn't hold."""
    expected, found = held(watched), arrived(watched.killed, recorded)

    assert [kill.moment for kill in watched.killed.kills] == list(recording.MOMENTS)
    assert not few(expected - found), f"{(expected - found).total()} samples are missing"
    assert found.keys() == expected.keys()
    assert watched.killed.status["adds_up"]


def test_kill_9_repeats_only_batches_without_an_answer(
    watched: Watched, recorded: Recording
) -> None:
    """A batch comes twice only when the kill fell between its answer and our note of it.

    Then it comes as it was, whole; what had been noted long before never comes again.
    """
    by_number = batches(watched.killed)
    unheard = watched.killed.kills[-1]
    cut_off = frozenset[int]().union(*(kill.cut_off for kill in watched.killed.kills))
    doubled = repeats(watched.killed)

    for first, again in doubled:
        assert first in cut_off
        assert by_number[first] == by_number[again]
    # The last kill was made to fall there, so this test has seen what it allows.
    assert {first for first, _ in doubled} & unheard.cut_off
    surplus = arrived(watched.killed, recorded) - held(watched)
    assert surplus.total() <= sum(by_number[first].total() for first, _ in doubled)
