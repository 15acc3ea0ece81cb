"""When windows end, and what their items hold."""

from receiver.fold.closing import COUNT_MAX, close_oldest
from receiver.fold.events import OVERFLOW, SPLIT
from tests.unit.fold.folding import DELTA, MEAN, Player, delta, values


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


def test_a_count_beyond_int32_continues_in_the_next_item() -> None:
    """Sums stay exact, the mean of each item is right, and each count is an int32."""
    player = Player(MEAN)
    events = 3 * COUNT_MAX
    for second, total, count in ((1, 0, 0), (16, 10 * events, events), (61, 10 * events, events), (121, 10 * events, events), (181, 10 * events, events)):  # fmt: skip
        player.send(second, "us", total)
        player.send(second, "n", count)

    said = player.close(181)
    assert [item["count"] for item in said] == [COUNT_MAX] * 3
    assert sum(item["value"] for item in said) == 10 * events
    assert player.event(SPLIT) == 2


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


def test_too_many_open_windows_are_closed_before_their_time() -> None:
    """Memory is bounded; what comes for them later is late."""
    player = delta(*((60 * minute, minute) for minute in range(30)))
    closed = list(close_oldest(player.fold.windows, 10))

    assert player.fold.windows.older_count == 10
    assert sum(each.value for each in closed) == 18


def test_a_value_that_no_number_can_hold_has_no_item() -> None:
    """JSON has no infinity."""
    player = Player({"name": "g", "as": "aggregate"})
    player.send(1, "g", 1.7e308)
    player.send(16, "g", 1.7e308)
    player.send(61, "g", 0)

    assert player.close(61) == []
    assert player.event(OVERFLOW) == 1
