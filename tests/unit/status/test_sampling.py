"""What flows is seen in samples, at a bounded cost."""

import pytest

from receiver.azure.envelope import Identity, format_time
from receiver.azure.folded_item import (
    item_head,
    item_line,
    item_name,
    item_properties,
    many_values,
    one_value,
)
from receiver.fold.registry import Registry
from receiver.fold.selection import Selection
from receiver.intake.decode import Message
from receiver.intake.entries import As
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.outbox.flushed import Flushed
from receiver.outbox.gzip_body import cut
from receiver.outbox.values import Chunk
from receiver.status import document
from receiver.status import sampling as observation
from receiver.status.census import GONE_SECONDS
from receiver.status.pairs import Pair
from receiver.status.recent_metrics import FOLDED_LATE, MINUTES, MetricSeen, text_bytes
from receiver.status.sampling import LABELS_BYTES, ROWS_AT_ONCE, TAP_BYTES, WAITING_ROWS, Sampling

IDENTITY = Identity("11111111-2222-3333-4444-555555555555", "host")
T0 = 1_795_000_000.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


def body(*series: tuple[str, str, float], at: float = T0) -> bytes:
    """Write a request: a name, a model and a value for each series."""
    request = WriteRequest()
    for name, model, value in series:
        each = request.timeseries.add()
        each.labels.add(name=b"__name__", value=name.encode())
        each.labels.add(name=b"model", value=model.encode())
        each.samples.add(value=value, timestamp=int(at * 1000))
    return request.SerializeToString()


class Flow:
    """An observation behind a selection of nv_*."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.observation = Sampling(self.clock)
        self.pipeline = Pipeline(Allowlist([Entry("nv_*")]), IDENTITY, 1 << 20)

    def take(self, *series: tuple[str, str, float]) -> None:
        raw = body(*series, at=self.clock.now)
        self.observation.observe(self.pipeline.process(raw, Message.V1), raw, Message.V1)


def test_values_series_and_times() -> None:
    """Series are told apart by their labels; the last value is that of the latest sample."""
    flow = Flow()
    flow.take(("nv_a", "x", 1.0), ("nv_a", "y", 5.0), ("nv_b", "x", -2e-7))
    flow.clock.now += 15
    flow.take(("nv_a", "x", 2.0))
    flow.observation.digest()
    seen = flow.observation.metrics
    assert {name: len(each.series) for name, each in seen.items()} == {"nv_a": 2, "nv_b": 1}
    assert (seen["nv_a"].span(), seen["nv_b"].span()) == ((2.0, 5.0), (-2e-7, -2e-7))
    [first, second] = seen["nv_a"].series.values()
    assert (first.labels["model"], first.value, first.time_ms) == ("x", 2.0, int(T0 + 15) * 1000)
    assert (second.labels["model"], second.value) == ("y", 5.0)
    assert flow.observation.raw_bytes_per_item > 200


def test_two_senders_of_the_same_series_are_noticed() -> None:
    """Requests are picked by turns, so that both are seen; unwanted names and lone series say nothing."""
    clock = Clock()
    told = Sampling(clock)
    told.wants = lambda name: name.startswith(b"nv_")
    pipeline = Pipeline(Allowlist([Entry("nv_*")]), IDENTITY, 1 << 20)
    for scrape in range(40):
        for replica in ("a", "b"):
            request = WriteRequest()
            for number in range(8):
                series = request.timeseries.add()
                name = f"nv_{number}" if number else "up"
                for label, text in (("__name__", name), ("replica", replica)):
                    series.labels.add(name=label.encode(), value=text.encode())
                series.samples.add(value=1e6 * number + scrape, timestamp=int(clock.now * 1000))
            raw = request.SerializeToString()
            told.observe(pipeline.process(raw, Message.V1), raw, Message.V1)
            clock.now += 7.5
            told.digest()
    assert told.pairs.pair() == Pair("replica", ("a", "b"), 7)


def test_times_of_a_series_that_alternate_are_noticed() -> None:
    """Of raw series as they are looked at, of folded ones by their latest times."""
    flow = Flow()
    for scrape in range(30):
        flow.take(*((f"nv_{number}", "x", float(scrape)) for number in range(4)))
        flow.observation.digest()
        flow.clock.now += (5, 10)[scrape % 2]
    pair = flow.observation.pairs.pair()
    assert pair
    assert pair.label == ""
    assert set(pair.examples) <= {f"nv_{number}" for number in range(4)}
    clock = Clock()
    times = {1: 0, 2: 0, 3: 0}
    folded = Sampling(clock, fold_times=lambda: times)
    for scrape in range(30):
        for number in times:
            times[number] = int(clock.now * 1000)
        folded.digest()
        folded.digest()
        clock.now += (5, 10)[scrape % 2]
    assert folded.pairs.pair() == Pair("")


def test_minutes_have_a_span_with_gaps() -> None:
    """A minute is the lowest and the highest of all series; one without samples is a gap, and old ones go."""
    flow = Flow()
    for minute, value in ((0, 1.0), (2, 8.0)):
        flow.clock.now = T0 + 60 * minute
        flow.take(("nv_a", "x", value), ("nv_a", "y", value + 2))
        flow.observation.digest()
    metric = flow.observation.metrics["nv_a"]
    assert metric.hour(flow.clock.now) == ([1.0, None, 8.0], [3.0, None, 10.0])
    assert metric.hour(flow.clock.now + 3600) == ([], [])
    [first, second] = metric.series.values()
    assert (first.hour(flow.clock.now), second.hour(flow.clock.now)) == ([1.0, None, 8.0], [3.0, None, 10.0])  # fmt: skip


def test_a_sample_from_the_future_is_not_the_last_for_its_hour() -> None:
    """One that is an hour ahead is shown until the next comes, not until the hour is over."""
    flow = Flow()
    flow.take(("nv_a", "x", 1.0))
    flow.observation.digest()
    raw = body(("nv_a", "x", 99.0), at=flow.clock.now + 3600)
    flow.observation.observe(flow.pipeline.process(raw, Message.V1), raw, Message.V1)
    flow.clock.now += 15
    flow.take(("nv_a", "x", 2.0))
    flow.observation.digest()
    assert flow.observation.metrics["nv_a"].span() == (2.0, 2.0)


def test_a_series_that_comes_seldom_is_not_gone() -> None:
    """One sample in half an hour is an interval, no end."""
    flow = Flow()
    for _ in range(3):
        flow.take(("nv_a", "x", 1.0))
        flow.observation.digest()
        flow.clock.now += 1800
    assert len(flow.observation.metrics["nv_a"].series) == 1


def test_series_that_went_are_not_counted() -> None:
    """A series that was not seen for a quarter of an hour is gone, and its memory with it."""
    flow = Flow()
    flow.take(("nv_a", "x", 1.0), ("nv_a", "y", 1.0))
    flow.observation.digest()
    flow.clock.now += GONE_SECONDS + 1
    flow.take(("nv_a", "x", 1.0))
    flow.observation.digest()
    assert len(flow.observation.metrics["nv_a"].series) == 1


def test_each_name_has_its_share_of_the_samples() -> None:
    """Each name that arrives has its share of the samples, one request in ten seconds."""
    flow = Flow()
    flow.take(("nv_a", "x", 1.0), ("go_b", "x", 1.0), ("go_b", "y", 1.0), ("go_b", "z", 1.0))
    flow.observation.digest()
    assert flow.observation.names() == {"nv_a": 0.25, "go_b": 0.75}
    flow.take(("go_c", "x", 1.0))
    flow.observation.digest()
    assert "go_c" not in flow.observation.names()
    flow.observation.watch()
    flow.clock.now += 1
    flow.observation.digest()
    assert "go_c" in flow.observation.names()


def test_long_names_are_not_kept() -> None:
    """A sender cannot fill the memory with names, each as long as labels may be."""
    flow = Flow()
    flow.take(*((f"x{number}" * 9_000, "x", 1.0) for number in range(50)), ("go_b", "x", 1.0))
    flow.observation.digest()
    assert set(flow.observation.names()) == {"go_b"}


def test_flood_is_sampled() -> None:
    """Past the pace some lines are looked at, the others counted; the estimate makes up for it."""
    flow, half = Flow(), WAITING_ROWS // 2
    for _ in range(5):
        flow.take(*(("nv_a", f"m{number}", 1.0) for number in range(half)))
    flow.clock.now += 60
    found = flow.observation
    for seen in (*range(ROWS_AT_ONCE, 2 * half + 1, ROWS_AT_ONCE), 2 * half):
        found.digest()
        assert (found.rows_seen, found.rows_skipped) == (seen, 3 * half)
    assert found.share_seen == pytest.approx(0.4)
    assert found.per_minute(found.metrics["nv_a"]) == pytest.approx(5 * half, rel=0.2)


def test_tap_opens_when_asked() -> None:
    """Nothing is kept while nobody taps; then each item once, by number, for a while."""
    flow = Flow()
    flow.take(("nv_a", "x", 1.0))
    flow.observation.digest()
    assert not list(flow.observation.tapped(0))
    flow.take(("nv_a", "x", 2.0), ("nv_a", "x", 3.0))
    flow.observation.digest()
    assert [each.number for each in flow.observation.tapped(0)] == [1, 2]
    assert [each.number for each in flow.observation.tapped(1)] == [2]
    flow.clock.now += observation.WATCHED_SECONDS + 1
    flow.observation.digest()
    assert not list(flow.observation.tapped(0))


def test_the_tap_is_bounded_in_bytes() -> None:
    """Long labels make it shorter; what is left is the latest."""
    flow = Flow()
    list(flow.observation.tapped(0))
    for number in range(900):
        flow.take(("nv_a", "x" * 8_000, float(number)))
        flow.observation.digest()
    tapped = list(flow.observation.tapped(0))
    assert tapped[-1].value == 899.0
    assert TAP_BYTES - 10_000 < sum(item.size_bytes for item in tapped) <= TAP_BYTES


def test_labels_that_are_kept_are_bounded_in_bytes() -> None:
    """Past it a series counts with its metric, long labels are let go, and it is said."""
    flow, last = Flow(), LABELS_BYTES // 8_000
    for number in range(last + 1):
        flow.take(("nv_a", f"{number}" + "x" * 8_000, float(number)))
        flow.observation.digest()
    metric = flow.observation.metrics["nv_a"]
    kept = sum(text_bytes(series.labels) for series in metric.series.values())
    assert 0.99 * LABELS_BYTES < kept <= LABELS_BYTES
    assert not flow.observation.series_are_all_counted
    assert metric.last is not None
    assert metric.last.value == last
    assert metric.last.labels == {}
    flow.clock.now += 2 * GONE_SECONDS
    flow.observation.digest()
    assert not metric.series
    flow.take(("nv_a", "x" * 5_000, 1.0))
    flow.observation.digest()
    assert len(metric.series) == 1
    assert flow.observation.series_are_all_counted


HEAD = item_head("triton", "h:8002", IDENTITY)


class Windows:
    """Items of windows, and an observation that is handed them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.flushed = Flushed()
        self.observation = Sampling(self.clock, self.flushed)

    def flush(self, *items: tuple[str, str, float, bytes]) -> None:
        lines = [
            item_line(format_time(int(at * 1000)) or b"", HEAD, item_properties({"model": model}), item_name(name), numbers)
            for name, model, at, numbers in items
        ]  # fmt: skip
        self.flushed.put(cut(lines))


def test_items_of_windows_are_plotted_at_their_time() -> None:
    """The mean of each window, in the minute of the window; counted when they come."""
    windows = Windows()
    start = T0 // 60 * 60
    windows.clock.now = start + 130
    windows.flush(
        ("us", "a", start - 60, many_values(30.0, 10, 2.0, 4.0)),
        ("us", "b", start - 60, many_values(50.0, 10, 5.0, 5.0)),
        ("us", "a", start, many_values(80.0, 10, 7.0, 9.0)),
        ("n", "a", start, one_value(7.0)),
    )
    windows.observation.digest()
    seen = windows.observation.metrics["us"]
    assert seen.hour(windows.clock.now) == ([3, 8, None, None], [5, 8, None, None])
    assert seen.span() == (5, 8)
    first, second = seen.series.values()
    assert first.hour(windows.clock.now) == [3, 8, None, None]
    assert first.item
    assert (first.item.value, first.item.count, first.time_ms) == (80, 10, start * 1000)
    assert second.labels == {"model": "b", "cloud_RoleName": "triton", "cloud_RoleInstance": "h:8002"}  # fmt: skip
    assert windows.observation.metrics["n"].span() == (7, 7)
    assert seen.lately(windows.clock.now) == 3
    assert windows.observation.folded_bytes_per_item > 200


def test_a_flush_is_opened_some_items_at_once() -> None:
    """A thousand items do not hold up the event loop; what is past the bound is said."""
    windows = Windows()
    windows.flush(*(("us", f"m{number}", T0, one_value(1.0)) for number in range(450)))
    for seen in (200, 400, 450):
        windows.observation.digest()
        assert windows.observation.rows_seen == seen
    assert windows.observation.share_seen == 1
    small = Flushed(max_bytes=10)
    observation = Sampling(windows.clock, small)
    small.put([Chunk(b"x" * 11, 1)])
    observation.digest()
    assert observation.share_seen == 0


def test_tap_shows_items_of_windows() -> None:
    """As they were sent: the sum, with its count and span."""
    windows = Windows()
    list(windows.observation.tapped(0))
    windows.flush(("us", "a", T0, many_values(30.0, 10, 2.0, 4.0)))
    windows.observation.digest()
    (tapped,) = windows.observation.tapped(0)
    found = document.tapped(tapped)
    assert (found["name"], found["value"], found["count"], found["min"], found["max"]) == ("us", 30, 10, 2, 4)  # fmt: skip


def test_a_quiet_folded_series_is_not_gone() -> None:
    """Its windows may last an hour; it goes three hours after its last."""
    windows = Windows()
    windows.flush(("us", "a", T0, one_value(1.0)))
    windows.observation.digest()
    for hours, left in ((2, 1), (4, 0)):
        windows.clock.now = T0 + 3600 * hours
        windows.observation.digest()
        assert len(windows.observation.metrics["us"].series) == left


def test_windows_far_from_now_leave_no_trace_but_the_last_item() -> None:
    """Two days of windows after an outage keep no more than the minutes of an hour."""
    windows = Windows()
    windows.flush(*(("us", "a", T0 - 60 * back, one_value(1.0)) for back in range(190, -10, -1)))
    windows.observation.digest()
    metric = windows.observation.metrics["us"]
    assert len(metric.minutes) <= MINUTES + FOLDED_LATE
    assert len(metric.hour(T0)[0]) == 60


def test_a_row_says_what_the_entry_does_and_the_last_item() -> None:
    """A window of some minutes is drawn through all of them."""
    windows = Windows()
    start = T0 // 60 * 60
    windows.flush(("us", "a", start - 300, many_values(30.0, 10, 2.0, 4.0)))
    windows.observation.digest()
    entry = Entry("raw_us", As.MEAN, ("n",), every_seconds=180, rename="us")
    metric = windows.observation.metrics["us"]
    row = document.metric(metric, None, source="raw_us", entry=entry, per_minute=0.3, now=start)
    assert (row["name"], row["source"], row["as"]) == ("us", "raw_us", "mean")
    assert row["does"] == entry.sentence()
    assert (row["last_value"], row["last_count"], row["last_mean"]) == (30, 10, 3)
    assert row["hour_low"] == row["hour_high"] == [3, 3, 3, None, None, None]
    (series,) = document.series(metric, start, 10)["rows"]
    assert (series["value"], series["count"], series["mean"]) == (30, 10, 3)
    alone = document.metric(MetricSeen("n"), None, source="n", entry=None, per_minute=0, now=start)
    assert (alone["as"], alone["entry"], alone["last_count"]) == ("", "", None)
    assert "count" in alone["does"]


@pytest.mark.parametrize("compiled", sorted({False, IS_COMPILED}))
def test_the_newest_time_is_that_of_folded_samples_too(*, compiled: bool) -> None:
    """With a list that only folds, a sender whose times are in seconds is noticed as with any other."""
    allowlist = Allowlist([Entry("nv_*", As.DELTA)])
    use_of = Selection(allowlist, Registry(1 << 20, is_loaded=True)).use_of
    pipeline = Pipeline(allowlist, IDENTITY, 1 << 20, use_of=use_of, compiled=compiled)
    clock = Clock()
    sampling = Sampling(clock)
    series = body(("nv_a", "x", 1.0), at=T0 / 1000)
    raw = series + body(("nv_a", "y", 2.0), at=T0) + body(("nv_b", "x", 3.0), at=T0 - 60)
    for request, newest in ((series, T0 / 1000), (raw, T0), (series, T0 / 1000)):
        outcome = pipeline.process(request, Message.V1)
        assert (outcome.chunks, bool(outcome.folded)) == ([], True)
        assert outcome.oldest_ms == outcome.newest_ms
        sampling.observe(outcome, request, Message.V1)
        assert sampling.newest_ms == round(newest * 1000)
