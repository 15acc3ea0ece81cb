"""A fold goes on after a restart, and under another list."""

from receiver.fold import checkpoint
from tests.unit.fold.folding import DELTA, MEAN, T0_MS, Player, delta, values


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
    assert not player.fold.sent_until_ms


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
