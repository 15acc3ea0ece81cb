"""A series that goes from one receiver to another: nothing of its growth is lost, nothing counts twice."""

from math import nan
from typing import Any

import pytest

from receiver.fold.events import BASELINE
from receiver.fold.takeover import Held, Taken, held, release, take
from tests.unit.fold.folding import T0_MS, Player

DELTA = {"name": "c", "as": "delta"}


def hold(player: Player, name: str = "c", **labels: str) -> Held:
    """Say what a receiver holds of a series."""
    number = player.number(name, **labels)
    return next(each for each in held(player.fold.windows, 0) if each.number == number)


def give(giver: Player, owner: Player, name: str = "c", **labels: str) -> Taken:
    """Hand a series over, as `handover` does."""
    mine = hold(giver, name, **labels)
    number = owner.number(name, **labels)
    taken = take(owner.fold.windows, Held(number, mine.time_ms, mine.value), T0_MS + 10**6)
    if taken in {Taken.TAKEN, Taken.SAME}:
        release(giver.fold.windows, [(mine.number, mine.time_ms)])
    return taken


def total(*players: Player) -> float:
    """Add up all items of all receivers."""
    return sum(float(item["value"]) for player in players for item in player.close(10**6))


def test_what_is_given_before_the_first_sample_is_the_last_value() -> None:
    """The new receiver's first sample counts what the counter grew since."""
    a, b = Player(DELTA), Player(DELTA)
    for second, value in ((0, 10), (15, 12)):
        a.send(second, "c", value)
    assert give(a, b) is Taken.TAKEN
    for second, value in ((30, 17), (45, 18)):
        b.send(second, "c", value)
    assert total(a) == 2
    assert total(b) == 6
    assert not b.event(BASELINE)


@pytest.mark.parametrize(("last", "base", "expected"), [(12, 17, 5), (12, 3, 3), (12, 12, 0)])
def test_what_is_given_after_it_is_added_late(last: float, base: float, expected: float) -> None:
    """From the last value there to the first one here; all of that where the counter began anew."""
    a, b = Player(DELTA), Player(DELTA)
    for second, value in ((0, 10), (15, last)):
        a.send(second, "c", value)
    b.send(30, "c", base)
    b.send(120, "c", base + 4)
    before = [item["value"] for item in b.close(130)]
    assert give(a, b) is Taken.TAKEN
    b.restart()
    assert sum(before) + total(b) == expected + 4


def test_a_step_done_again_changes_nothing() -> None:
    """The verb was broken off between the two steps."""
    a, b = Player(DELTA), Player(DELTA)
    a.send(0, "c", 10)
    b.send(30, "c", 17)
    mine = hold(a)
    given = Held(b.number("c"), mine.time_ms, mine.value)
    answers = [take(b.fold.windows, given, T0_MS + 10**6) for _ in range(3)]
    assert answers == [Taken.TAKEN, Taken.SAME, Taken.SAME]
    assert [release(a.fold.windows, [(1, mine.time_ms)]) for _ in range(2)] == [set(), set()]
    assert total(a, b) == 7


def test_there_and_back_again_is_exact() -> None:
    """What was given is forgotten: a series that comes back begins anew, and is not born."""
    a, b = Player(DELTA), Player(DELTA)
    true = 0.0
    value = 100.0
    players = [a, a, b, b, a, a, b]
    for step, player in enumerate(players):
        grown = float(step + 1)
        value += grown
        true += grown if step else 0
        if step and players[step - 1] is not player and step % 2:
            give(players[step - 1], player)
        player.send(15 * step, "c", value)
        if step and players[step - 1] is not player and not step % 2:
            assert give(players[step - 1], player) is Taken.TAKEN
    assert total(a, b) == true


def test_two_that_count_one_series_are_distinguished() -> None:
    """Their times overlap: no sum of the two is right, and nothing is changed."""
    a, b = Player(DELTA), Player(DELTA)
    for second, player in ((0, a), (15, b), (30, a), (45, b)):
        player.send(second, "c", second)
    assert give(a, b) is Taken.OVERLAPS
    assert total(a, b) == 60


def test_a_receiver_that_was_not_asked_in_time_takes_the_newer() -> None:
    """It holds an old value, which nobody had it forget: the growth since was another's."""
    a, b = Player(DELTA), Player(DELTA)
    a.send(0, "c", 10)
    b.send(30, "c", 17)
    b.send(45, "c", 20)
    assert give(b, a) is Taken.TAKEN
    a.send(60, "c", 21)
    assert total(a, b) == 4


def test_first_zero_counts_once() -> None:
    """A new receiver counts all of a first sample; what the other had counted of it is taken off."""
    entry = {**DELTA, "first": "zero"}
    a, b = Player(entry), Player(entry)
    a.send(0, "c", 10)
    b.send(30, "c", 17)
    assert give(a, b) is Taken.TAKEN
    assert total(a, b) == 17


def test_means_keep_total_and_events() -> None:
    """Both series of a mean go; their growth is added late to the same item."""
    entry = {"name": "us", "as": "mean", "per": "n"}
    a, b = Player(entry), Player(entry)
    for second, player, us, n in ((0, a, 100, 1), (15, a, 300, 2), (30, b, 900, 5), (45, b, 1000, 6)):  # fmt: skip
        player.send(second, "us", us)
        player.send(second, "n", n)
    assert [give(a, b, name) for name in ("us", "n")] == [Taken.TAKEN] * 2
    items: list[dict[str, Any]] = [*a.close(10**6), *b.close(10**6)]
    assert sum(item["value"] for item in items) == 900
    assert sum(item["count"] for item in items) == 5


def test_gauges_have_nothing_to_give() -> None:
    """They are let go all the same, so that their target is no longer watched."""
    entries = (DELTA, {"name": "g", "as": "aggregate"})
    a, b = Player(*entries), Player(*entries)
    for name in ("c", "g"):
        a.send(0, name, 5)
        b.send(30, name, 7)
    assert [give(a, b, name) for name in ("c", "g")] == [Taken.TAKEN, Taken.SAME]
    assert list(held(a.fold.windows, 0)) == []
    a.send(60, "c", 9)
    assert a.event(BASELINE) == 2


def test_what_has_had_a_sample_since_stays() -> None:
    """It still arrives: Prometheus has not changed over."""
    a = Player(DELTA)
    a.send(0, "c", 10)
    old = hold(a)
    a.send(15, "c", 11)
    assert release(a.fold.windows, [(old.number, old.time_ms), (99, 1)]) == {old.number}
    assert hold(a).value == 11


@pytest.mark.parametrize(
    ("number", "time_ms", "value", "expected"),
    [
        (9, T0_MS, 1.0, Taken.NOT_FOLDED),
        (1, T0_MS, nan, Taken.NO_TIME),
        (1, -5, 1.0, Taken.NO_TIME),
        (1, T0_MS + 10**10, 1.0, Taken.NO_TIME),
    ],
)
def test_what_cannot_be_taken_is_said(number: int, time_ms: int, value: float, expected: Taken) -> None:  # fmt: skip
    """And changes nothing."""
    a = Player(DELTA)
    a.send(0, "c", 10)
    assert take(a.fold.windows, Held(number, time_ms, value), T0_MS) is expected
    assert hold(a).value == 10


def test_a_number_that_no_series_has_releases_none() -> None:
    """A request may name any: those below 1 and above the last belong to nobody."""
    player = Player(DELTA)
    player.send(0, "c", 10)
    held_before = hold(player)
    for number in (-1, 0, held_before.number + 1):
        assert release(player.fold.windows, [(number, held_before.time_ms)]) == set()
    assert hold(player) == held_before


def test_of_several_each_is_released_by_itself() -> None:
    """One that was released before, or has a newer sample, is in no other's way."""
    a = Player(DELTA)
    for model in "abc":
        a.send(0, "c", 1, model=model)
    first, second, third = held(a.fold.windows, 0)
    a.send(15, "c", 2, model="b")
    given = [(first.number, first.time_ms)] * 2 + [(s.number, s.time_ms) for s in (second, third)]
    assert release(a.fold.windows, given) == {second.number}
    assert [left.number for left in held(a.fold.windows, 0)] == [second.number]


def test_a_sample_of_the_same_time_as_the_last_here_overlaps() -> None:
    """Two receivers counted one series up to now; an earlier time of the base is the only other case."""
    a, b = Player(DELTA), Player(DELTA)
    for second in (0, 15, 30):
        a.send(second, "c", second)
        b.send(second, "c", second)
    assert give(a, b) is Taken.OVERLAPS
