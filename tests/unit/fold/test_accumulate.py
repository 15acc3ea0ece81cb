"""What samples become: the rules of deltas, first samples and resets, a test a line."""

import pytest

from receiver.fold.events import BASELINE, FUTURE, LATE, REPEATED, RESET
from tests.unit.fold.folding import DELTA, MEAN, Player, delta, values


def test_a_delta_is_what_the_counter_grew_in_the_window() -> None:
    """Each step belongs to the window of the sample that ends it; the item's time is the start."""
    player = delta((1, 10), (16, 15), (59.999, 17), (60, 20), (75, 21), (121, 21))

    assert values(player, 121) == [(0, 17), (60, 4)]


def test_a_replay_and_a_sample_out_of_order_change_nothing() -> None:
    """A time that is not newer than the last is ignored, and counted."""
    player = delta((1, 10), (16, 15), (16, 15), (1, 10), (8, 12), (16, 99), (61, 16))

    assert values(player, 61) == [(0, 15)]
    assert player.event(REPEATED) == 4


def test_a_counter_that_falls_began_anew() -> None:
    """The new value counts whole: it grew from 0."""
    player = delta((1, 10), (16, 15), (31, 4), (46, 5), (61, 5))

    assert values(player, 61) == [(0, 20)]
    assert player.event(RESET) == 1


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
    assert player.event(RESET) == 1


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
    assert player.event(RESET) == 0


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
    assert player.event(RESET) == 0


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
    assert player.event(BASELINE) == 2


def test_a_series_that_is_new_while_we_watch_counts_whole() -> None:
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
    assert player.event(BASELINE) == 1 + 2 * (not expected)


def test_a_new_target_s_counter_that_is_hours_old_is_a_baseline() -> None:
    """It may have been another receiver's until now."""
    player = Player(DELTA)
    player.send(-60, "c", 0, instance="h:1")
    player.send(7200, "c", 50, instance="h:2", begun=3599)
    player.send(7201, "c", 50, instance="h:3", begun=3601)

    assert player.event(BASELINE) == 2
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
    player.fold.plan.state.forget((1_800_000_000 + two_days) * 1000)
    player.send(two_days, "c", 500)
    player.send(two_days + 60, "c", 501)
    player.send(two_days + 120, "c", 501)

    assert [value for _, value in values(player, two_days + 120)] == [0, 1]


def test_a_series_not_seen_for_a_little_less_than_two_days_continues() -> None:
    """A weekend's outage loses no growth."""
    player = delta((1, 10))
    almost = 48 * 3600 - 60
    player.close(300)
    player.fold.plan.state.forget((1_800_000_000 + almost) * 1000)
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
    assert player.event(FUTURE) == 1


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
    assert player.event(LATE) == 1


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
    assert player.event(LATE) == 0
