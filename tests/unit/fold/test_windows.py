"""What samples become: the table of semantics, a test a line."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import pytest

from receiver.fold import checkpoint, windows
from receiver.fold.windows import COUNT_MAX
from tests.unit.fold.folding import T0_MS, Player

DELTA = {"name": "c", "as": "delta"}
MEAN = {"name": "us", "as": "mean", "per": "n"}


def delta(*samples: tuple[float, float], entry: Mapping[str, object] = DELTA) -> Player:
    """Send samples of one counter, after a series that has its target watched."""
    player = Player(entry)
    player.send(-60, "c", 0, of="old")
    for second, value in samples:
        player.send(second, "c", value)
    return player


def values(player: Player, second: float) -> list[tuple[int, float]]:
    """Give the deltas of the counter under test, with their windows."""
    return [(item["at"], item["value"]) for item in player.close(second) if "of" not in item]


def test_a_delta_is_what_the_counter_grew_in_the_window() -> None:
    """Each step belongs to the window of the sample that ends it; the item's time is the start."""
    player = delta((1, 10), (16, 15), (59.999, 17), (60, 20), (75, 21), (121, 21))

    assert values(player, 121) == [(0, 17), (60, 4)]


def test_a_replay_and_a_sample_out_of_order_change_nothing() -> None:
    """A time that is not newer than the last is ignored, and counted."""
    player = delta((1, 10), (16, 15), (16, 15), (1, 10), (8, 12), (16, 99), (61, 16))

    assert values(player, 61) == [(0, 15)]
    assert player.event(windows.REPEATED) == 4


def test_a_counter_that_falls_began_anew() -> None:
    """The new value counts whole: it grew from 0."""
    player = delta((1, 10), (16, 15), (31, 4), (46, 5), (61, 5))

    assert values(player, 61) == [(0, 20)]
    assert player.event(windows.RESET) == 1


def test_a_start_timestamp_tells_a_reset_that_the_value_does_not() -> None:
    """The counter began anew between two samples and has passed its old value: all of it is growth."""
    player = Player(DELTA)
    player.send(-60, "c", 0, of="old")
    for second, value, begun in (
        (1, 10, -30),
        (16, 15, -30),
        (31, 40, 20),
        (46, 42, 20),
        (61, 42, 20),
    ):
        player.send(second, "c", value, begun=begun)

    assert values(player, 61) == [(0, 10 + 5 + 40 + 2)]
    assert player.event(windows.RESET) == 1


@pytest.mark.parametrize(
    ("second_start", "why"),
    [
        (15.9, "it lies before the last sample: a start that was estimated anew"),
        (31, "it is the sample's own time: OpenTelemetry's word for an unknown one"),
        (32, "it lies ahead: a clock that is"),
        (-30, "it has not moved"),
        (0, "there is none"),
    ],
)
def test_a_start_timestamp_that_proves_nothing_is_no_reset(second_start: float, why: str) -> None:
    """Else the whole counter would count again."""
    player = Player(DELTA)
    player.send(-60, "c", 0, of="old")
    for second, value, begun in ((1, 10, -30), (16, 15, -30), (31, 40, second_start), (61, 40, 0)):
        player.send(second, "c", value, begun=begun)

    assert values(player, 61) == [(0, 40)], why
    assert player.event(windows.RESET) == 0


def test_a_start_timestamp_of_a_clock_ahead_is_known_again() -> None:
    """The first sample's lies ahead of it; at the second it lies between the two, and is the same."""
    player = Player({**DELTA, "first": "zero"})
    for second, value in ((1, 10), (16, 15), (61, 15)):
        player.send(second, "c", value, begun=3)

    assert values(player, 61) == [(0, 15)]


def test_increments_with_their_start_count_whole() -> None:
    """A sender of deltas starts each sample where the one before ended."""
    player = Player(DELTA)
    player.send(-60, "c", 0, of="old")
    player.send(1, "c", 5, begun=-14)
    for second, value in ((16, 7), (31, 3), (46, 3), (61, 0)):
        player.send(second, "c", value, begun=second - 15)

    assert values(player, 61) == [(0, 5 + 7 + 3 + 3)]


def test_a_gauge_that_falls_is_no_reset() -> None:
    """Only what is taken as a counter can begin anew."""
    player = Player({"name": "g", "as": "aggregate"})
    for second, value in ((1, 5.0), (16, 2.0), (31, 3.5), (61, 1.0)):
        player.send(second, "g", value)

    assert player.close(61) == [
        {"at": 0, "name": "g", "kind": "Aggregation", "value": 10.5, "count": 3, "min": 2, "max": 5}
    ]
    assert player.event(windows.RESET) == 0


def test_a_gap_is_one_delta_where_it_ends() -> None:
    """Nothing is spread over the time in which nothing came."""
    player = delta((1, 10), (3601, 500), (3661, 500))

    assert values(player, 3661) == [(0, 10), (0, 490)]  # an hour later


def test_a_series_whose_target_was_not_watched_counts_from_its_second_sample() -> None:
    """Its growth began before we looked: all series of the first scrape are such."""
    player = Player(DELTA)
    player.send(1, "c", 1000, a="1")
    player.send(1, "c", 2000, a="2")  # the same scrape
    player.send(16, "c", 1001, a="1")
    player.send(61, "c", 1001, a="1")
    player.send(61, "c", 2001, a="2")

    assert [(item["a"], item["value"]) for item in player.close(61)] == [("1", 1), ("2", 0)]
    assert player.event(windows.BASELINE) == 2


def test_a_series_that_is_born_while_we_watch_counts_whole() -> None:
    """A model is loaded: Triton's counters begin at 0."""
    player = Player(DELTA)
    player.send(1, "c", 1000, model="old")
    player.send(16, "c", 7, model="new")
    player.send(16, "c", 50, model="foreign", instance="h:2")
    for model, instance in (("old", "h:1"), ("new", "h:1"), ("foreign", "h:2")):
        player.send(61, "c", 1000, model=model, instance=instance)

    assert [(item["model"], item["value"]) for item in player.close(61)] == [
        ("old", 0),
        ("new", 7),
        ("foreign", 0),
    ]


@pytest.mark.parametrize(
    ("begun", "expected", "why"),
    [
        (70, 50, "it was born while others were watched"),
        (0, 0, "nobody knows when it was born"),
        (-100, 0, "it is older than what we have seen"),
        (3999.9, 0, "it lies ahead"),
    ],
)
def test_a_new_target_s_counters_count_whole_if_they_were_born_since(
    begun: float, expected: float, why: str
) -> None:
    """A pod that was added: its start timestamp says that nothing of it was counted before."""
    player = Player(DELTA)
    player.send(-60, "c", 0, instance="h:1")
    player.send(80, "c", 50, instance="h:2", begun=begun, of="two")
    player.send(80, "c", 50, instance="h:2", begun=begun, of="another of the same scrape")
    player.send(3999, "c", 50, instance="h:2", begun=begun, of="two")

    told = [item["value"] for item in player.close(3999) if "of" in item and item["at"] == 60]
    assert told == [expected, expected], why
    assert player.event(windows.BASELINE) == 1 + 2 * (not expected)


def test_a_new_target_s_counter_that_is_hours_old_is_a_baseline() -> None:
    """It may have been another receiver's until now."""
    player = Player(DELTA)
    player.send(-60, "c", 0, instance="h:1")
    player.send(7200, "c", 50, instance="h:2", begun=3599)
    player.send(7201, "c", 50, instance="h:3", begun=3601)

    assert player.event(windows.BASELINE) == 2
    assert sum(item["value"] for item in player.close(9000)) == 50


@pytest.mark.parametrize(("first", "expected"), [("zero", 50), ("baseline", 0), ("auto", 50)])
def test_what_an_unseen_series_counts_can_be_said(first: str, expected: float) -> None:
    """`zero` counts it whole, `baseline` never; `auto` knows."""
    player = delta((1, 50), (61, 50), entry={**DELTA, "first": first})

    assert values(player, 61) == [(0, expected)]


def test_zero_counts_the_very_first_sample_too() -> None:
    """For those who want pods counted that come by scaling up."""
    player = Player({**DELTA, "first": "zero"})
    player.send(1, "c", 50)
    player.send(61, "c", 50)

    assert values(player, 61) == [(0, 50)]


def test_a_series_not_seen_for_two_days_is_unseen() -> None:
    """And so is its target when nothing of it was seen."""
    player = delta((1, 10))
    two_days = 48 * 3600 + 60
    player.close(300)
    player.fold.windows.forget((1_800_000_000 + two_days) * 1000)
    player.send(two_days, "c", 500)
    player.send(two_days + 60, "c", 501)
    player.send(two_days + 120, "c", 501)

    assert [value for _, value in values(player, two_days + 120)] == [0, 1]


def test_a_series_not_seen_for_a_little_less_than_two_days_continues() -> None:
    """A weekend's outage loses no growth."""
    player = delta((1, 10))
    almost = 48 * 3600 - 60
    player.close(300)
    player.fold.windows.forget((1_800_000_000 + almost) * 1000)
    player.send(almost, "c", 15)
    player.send(almost + 61, "c", 15)

    assert [value for _, value in values(player, almost + 61)] == [5]


def test_a_sample_from_the_future_does_not_deafen_its_series() -> None:
    """It is left out and counted; the next one makes up for it."""
    player = delta((1, 10))
    player.send(365 * 86400, "c", 20, now=16)
    player.send(31, "c", 25)
    player.send(61, "c", 25)

    assert values(player, 61) == [(0, 25)]
    assert player.event(windows.FUTURE) == 1


def test_a_mean_has_the_total_and_the_events() -> None:
    """Azure's Avg is Sum / Count: right at every zoom and split."""
    player = Player(MEAN)
    for second, total, events in ((1, 1000, 10), (16, 1500, 20), (31, 1800, 30), (61, 1800, 30)):
        player.send(second, "us", total, model="a")
        player.send(second, "n", events, model="a")

    assert player.close(61) == [
        {"at": 0, "name": "us", "kind": "Aggregation", "value": 800, "count": 20, "min": 30, "max": 50, "model": "a"}
    ]  # fmt: skip


def test_a_mean_without_an_event_has_no_item_and_loses_nothing() -> None:
    """The counters of one scrape need not agree: what is there early waits for its event."""
    player = Player(MEAN)
    for second, total, events in ((1, 0, 0), (16, 500, 0), (61, 500, 0), (76, 500, 2), (121, 500, 2)):  # fmt: skip
        player.send(second, "us", total)
        player.send(second, "n", events)

    [item] = player.close(121)
    assert (item["at"], item["value"], item["count"]) == (60, 500, 2)
    assert item["min"] <= item["value"] / item["count"] <= item["max"]


def test_a_count_beyond_int32_goes_on_in_the_next_item() -> None:
    """Sums stay exact, the mean of each item is right, and each count is an int32."""
    player = Player(MEAN)
    events = 3 * COUNT_MAX
    for second, total, count in ((1, 0, 0), (16, 10 * events, events), (61, 10 * events, events), (121, 10 * events, events), (181, 10 * events, events)):  # fmt: skip
        player.send(second, "us", total)
        player.send(second, "n", count)

    said = player.close(181)
    assert [item["count"] for item in said] == [COUNT_MAX] * 3
    assert sum(item["value"] for item in said) == 10 * events
    assert player.event(windows.SPLIT) == 2


def test_values_and_events_that_come_in_several_requests_are_one_scrape() -> None:
    """Least and most are means of whole scrapes, whatever a sender's shards put where."""
    player = Player(MEAN)
    scrapes = ((1, 0, 0), (16, 100, 10), (31, 300, 20), (46, 300, 20))
    for second, total, _ in scrapes:
        player.send(second, "us", total)
    for second, _, count in scrapes:
        player.send(second, "n", count)
    player.send(61, "us", 300)
    player.send(61, "n", 20)

    [item] = player.close(61)
    assert (item["min"], item["max"]) == (10, 20)


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


def test_quiet_says_nothing_new_rarely() -> None:
    """A counter that stands and a gauge that stays have an item once in a while; a change at once."""
    player = Player({**DELTA, "quiet": "5m"}, {"name": "g", "as": "aggregate", "quiet": "5m"})
    for minute in range(9):
        player.send(60 * minute, "c", 0 if minute < 7 else 1)
        player.send(60 * minute, "g", 4 if minute != 3 else 5)
    said = player.close(8 * 60)

    assert [item["at"] // 60 for item in said if item["name"] == "c"] == [0, 5, 7]
    assert [item["at"] // 60 for item in said if item["name"] == "g"] == [0, 3, 4]


def test_a_window_is_over_when_its_series_have_passed_it() -> None:
    """Not before: a sender's shards do not go at one speed."""
    player = Player({**DELTA, "keep": []})
    for second in (1, 16):
        player.send(second, "c", second, a="1")
        player.send(second, "c", second, a="2")
    player.send(61, "c", 61, a="1")

    assert player.close(61) == []
    player.send(61, "c", 61, a="2", now=62)
    assert [item["value"] for item in player.close(62)] == [30]


def test_a_window_whose_series_ended_is_over_by_the_clock() -> None:
    """Two minutes after its end and its last sample: Prometheus died, or is behind."""
    player = delta((1, 10), (16, 15))

    assert values(player, 179) == []
    assert values(player, 180) == [(0, 15)]
    player.send(61, "c", 16, now=3000)  # it was an hour behind
    assert values(player, 3119) == []
    assert values(player, 3120) == [(60, 1)]


def test_a_series_that_ended_holds_no_later_window_up() -> None:
    """A model is unloaded; what is joined with it goes on at once."""
    player = Player({**DELTA, "keep": []})
    player.send(1, "c", 1, a="gone")
    for second in (1, 61, 121, 181):
        player.send(second, "c", second, a="stays")

    assert [item["at"] for item in player.close(181)] == [0]  # by the clock
    player.send(241, "c", 241, a="stays")
    assert [item["at"] for item in player.close(241)] == [60, 120, 180]
    player.send(301, "c", 301, a="stays")
    assert [item["at"] for item in player.close(301)] == [240]


def test_what_comes_late_counts_in_the_next_window() -> None:
    """Two items of one series and minute must not be: copies could not be told from them."""
    player = Player({**DELTA, "keep": []})
    player.send(1, "c", 10, a="1")
    player.send(1, "c", 10, a="2")
    player.send(61, "c", 12, a="1")
    player.send(61, "c", 10, a="2")
    assert [item["at"] for item in player.close(61)] == [0]
    player.send(30, "c", 5, a="3", now=62)  # born in a window that has its item
    player.send(121, "c", 12, a="1")
    player.send(121, "c", 10, a="2")
    player.send(121, "c", 5, a="3")

    assert [(item["at"], item["value"]) for item in player.close(121)] == [(60, 7)]
    assert player.event(windows.LATE) == 1


def test_windows_are_aligned_to_the_epoch_whatever_their_length() -> None:
    """Five minutes are those of the clock."""
    player = Player({**DELTA, "every": "5m"})
    for second, value in ((250, 1), (290, 3), (310, 4), (599, 7), (600, 8)):
        player.send(second, "c", value)

    assert [(item["at"], item["value"]) for item in player.close(600)] == [(0, 2), (300, 4)]


def test_several_windows_are_open_while_a_sender_catches_up() -> None:
    """Two shards, one of them minutes behind: each sample is in its own window."""
    player = Player({**DELTA, "keep": []})
    for second in (1, 61, 121, 181, 241):
        player.send(second, "c", second, a="1", now=1000)
    for second in (1, 61, 121, 181, 241):
        player.send(second, "c", 2 * second, a="2", now=1001)

    assert [(item["at"], item["value"]) for item in player.close(1001)] == [
        (0, 0),
        (60, 180),
        (120, 180),
        (180, 180),
    ]
    assert player.event(windows.LATE) == 0


def test_too_many_open_windows_are_closed_before_their_time() -> None:
    """Memory is bounded; what comes for them later is late."""
    player = delta(*((60 * minute, minute) for minute in range(30)))
    closed = list(player.fold.windows.close_oldest(10))

    assert player.fold.windows.older_count == 10
    assert sum(each.value for each in closed) == 18


def test_a_value_that_no_number_can_hold_has_no_item() -> None:
    """JSON has no infinity."""
    player = Player({"name": "g", "as": "aggregate"})
    player.send(1, "g", 1.7e308)
    player.send(16, "g", 1.7e308)
    player.send(61, "g", 0)

    assert player.close(61) == []
    assert player.event(windows.OVERFLOW) == 1


def test_a_checkpoint_holds_everything() -> None:
    """A fold read again goes on as if it had never been away, in each half of each thing."""
    entries = (MEAN, {**DELTA, "quiet": "5m"}, {"name": "g", "as": "aggregate"}, {"name": "l", "as": "last"})  # fmt: skip
    going, restarted = Player(*entries), Player(*entries)
    said: list[list[object]] = [[], []]
    for step in range(40):
        for player, heard in ((going, said[0]), (restarted, said[1])):
            for number, name in enumerate(("us", "n", "c", "g", "l")):
                if (step + number) % 7:
                    player.send(15 * step, name, (step % 11) * (number + 1), model=str(step % 3))
            heard.extend(player.close(15 * step))
        restarted.restart()

    assert said[0] == said[1]
    assert len(said[0]) > 20


def test_a_checkpoint_holds_start_timestamps() -> None:
    """And since when targets are watched; one of a receiver that knew neither is read too."""
    player = delta((1, 10), (16, 15))
    plain = checkpoint.header(player.fold.encode())[0]
    player.send(17, "c", 16, begun=3)
    player.restart()
    started = checkpoint.header(player.fold.encode())[0]
    assert (plain["version"], plain["more"]) == (3, ["base_ms", "base_value"])
    assert (started["version"], started["more"]) == (3, ["base_ms", "base_value", "begun_ms"])
    player.send(20, "c", 50, begun=3)
    player.send(21, "c", 1, begun=5, instance="h:2", of="born")

    assert values(player, 400) == [(0, 50)]
    assert player.fold.plan.state.since_ms == T0_MS - 60_000


def test_a_checkpoint_without_bases_or_starts_is_as_it_ever_was() -> None:
    """A receiver of before reads it; one with a start alone is of the second version."""
    player = Player({"name": "g", "as": "aggregate"})
    player.send(1, "g", 5)
    plain = checkpoint.header(player.fold.encode())[0]
    assert (plain["version"], plain["more"]) == (1, [])
    player.send(16, "g", 5, begun=3)
    started = checkpoint.header(player.fold.encode())[0]
    assert (started["version"], started["more"]) == (2, ["begun_ms"])
    player.restart()


def test_another_list_closes_what_ends_and_keeps_the_last_values() -> None:
    """Nothing is lost or doubled where an entry becomes another; what stays goes on."""
    player = Player(DELTA, {"name": "k", "as": "delta"})
    for name in ("c", "k"):
        player.send(1, name, 10)
        player.send(16, name, 15)

    ended = player.change(20, {"name": "k", "as": "delta"}, {**MEAN, "name": "c", "per": "k"})
    assert [(item["name"], item["at"], item["value"]) for item in ended] == [("c", 0, 5)]
    for second, value in ((31, 17), (61, 18), (121, 18)):
        for name in ("c", "k"):
            player.send(second, name, value)

    said = player.close(121)
    assert [(item["at"], item["value"]) for item in said if item["name"] == "k"] == [
        (0, 7),
        (60, 1),
    ]
    # The minute in which the list changed has its item of `c`; what came after it is in the next.
    assert [(item["at"], item["value"]) for item in said if item["name"] == "c"] == [(60, 3)]


def test_a_list_that_comes_back_in_the_minute_makes_no_second_item_of_it() -> None:
    """The end of an item is remembered while no entry makes it, in the checkpoint too."""
    gauge = {"name": "g", "as": "aggregate"}
    player = Player(gauge)
    player.send(1, "g", 4)
    assert [(item["at"], item["value"]) for item in player.change(5, "g")] == [(0, 4)]
    player.restart()
    player.change(10, gauge)
    player.send(16, "g", 5)
    player.send(31, "g", 6, a="joins later")
    player.send(61, "g", 7)

    said = [(item["at"], item["value"], item["count"]) for item in player.close(400)]
    assert sorted(said) == [(0, 6, 1), (60, 12, 2)]
    player.change(4 * 3600, "g")
    assert not player.fold.ends


def test_a_series_that_a_new_list_names_is_not_born_then() -> None:
    """It was there before, unselected: its first sample is its baseline."""
    player = Player({"name": "k", "as": "delta"})
    player.send(1, "k", 1)
    player.change(10, {"name": "k", "as": "delta"}, DELTA)
    player.send(16, "k", 2)
    player.send(16, "c", 1000)
    player.send(31, "c", 1001)
    player.send(31, "c", 5, a="born")
    player.send(61, "c", 1001)
    player.send(61, "c", 5, a="born")

    assert [item["value"] for item in player.close(61) if item["name"] == "c"] == [1, 5]


def test_the_same_list_read_again_changes_nothing() -> None:
    """SIGHUP is no event."""
    player = delta((1, 10))
    assert player.change(5, DELTA) == []
    player.send(16, "c", 11, a="born")
    player.send(61, "c", 11, a="born")
    player.send(61, "c", 12)

    assert sorted(values(player, 61)) == [(0, 10), (0, 11)]


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
