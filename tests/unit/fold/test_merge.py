"""Two folds become one: each series goes on where it was, or nothing is taken."""

import json
from typing import Any

import pytest

from receiver.errors import OutboxError
from receiver.fold.fold import Fold
from receiver.fold.merge import merge, read_fold
from receiver.outbox.gzip_body import all_lines
from receiver.rows import RECORD
from tests.unit.fold.folding import IDENTITY, T0_MS, Player, items

DELTA = {"name": "c", "as": "delta"}
KEPT = {"name": "c", "as": "delta", "keep": ["model"]}
MEAN = {"name": "us", "as": "mean", "per": "n"}


def merged(mine: Player, theirs: Player) -> Player:
    """Put one player's fold together with another's, as an import does, and go on with it."""
    folds = [
        read_fold(each.fold.encode(), each.series, (), T0_MS + 60_000) for each in (mine, theirs)
    ]
    one = merge(folds[0], mine.series, folds[1], theirs.series)
    player = Player(DELTA)
    player.series = [row for row in mine.series if row[0] not in one.removed] + [*one.added]
    player.fold, is_whole = Fold.decode(one.fold.encode(), IDENTITY, player.series)
    assert is_whole
    return player


def said(player: Player, second: float) -> list[tuple[Any, int, float]]:
    """Give what items say, by instance and window."""
    lines = list(all_lines(player.fold.close(T0_MS + round(second * 1000))))
    targets = [json.loads(line)["tags"]["ai.cloud.roleInstance"] for line in lines]
    found = zip(targets, items(lines), strict=True)
    return sorted((target, item["at"], item["value"]) for target, item in found)


def test_each_series_continues_where_it_was() -> None:
    """Windows that are open, those behind them, last values: of both, to the number."""
    mine, theirs = Player(DELTA), Player(DELTA)
    for player, target, factor in ((mine, "a:1", 1), (theirs, "b:1", 10)):
        player.send(1, "c", factor * 5, instance=target)
        player.send(20, "c", factor * 7, instance=target)
        player.send(61, "c", factor * 8, instance=target)
    theirs.send(70, "c", 100, instance="c:1")

    both = merged(mine, theirs)
    both.send(121, "c", 9, instance="a:1")
    both.send(122, "c", 95, instance="b:1")
    both.send(123, "c", 104, instance="c:1")

    assert said(both, 300) == [
        ("a:1", 0, 2.0),
        ("a:1", 60, 1.0),
        ("a:1", 120, 1.0),
        ("b:1", 0, 20.0),
        ("b:1", 60, 10.0),
        ("b:1", 120, 15.0),
        ("c:1", 60, 0.0),
        ("c:1", 120, 4.0),
    ]


def test_a_target_that_was_watched_is_watched() -> None:
    """A series that is born on it counts whole, as it would have before the move."""
    mine, theirs = Player(DELTA), Player(DELTA)
    theirs.send(1, "c", 5, instance="b:1")
    both = merged(mine, theirs)
    both.send(20, "c", 3, instance="b:1", model="new")
    assert said(both, 300) == [("b:1", 0, 0.0), ("b:1", 0, 3.0)]


def test_a_window_that_has_its_item_stays_closed() -> None:
    """What comes late for it counts in the next, and it has no second item."""
    mine, theirs = Player(KEPT), Player(KEPT)
    for player, target in ((mine, "a:1"), (theirs, "b:1")):
        for second, gpu in ((1, "0"), (1, "1"), (61, "0")):
            player.send(second, "c", second, instance=target, gpu=gpu)
        assert [item["at"] for item in player.close(175)] == []
        assert [item["at"] for item in player.close(190)] == [0]
    both = merged(mine, theirs)
    for target in ("a:1", "b:1"):
        both.send(30, "c", 4, instance=target, gpu="1")
    assert said(both, 700) == [("a:1", 60, 63.0), ("b:1", 60, 63.0)]


def test_means_keep_their_scrapes_and_what_is_left_over() -> None:
    """Value and count of one moment may come before and after the move."""
    mine, theirs = Player(MEAN), Player(MEAN)
    mine.send(1, "us", 0, instance="a:1")
    for name, value in (("us", 100), ("n", 10)):
        theirs.send(1, name, value, instance="b:1")
        theirs.send(10, name, value + 50, instance="b:1")
    theirs.send(20, "us", 400, instance="b:1")
    both = merged(mine, theirs)
    both.send(20, "n", 85, instance="b:1")
    [item] = items(all_lines(both.fold.close(T0_MS + 400_000)))
    assert (item["value"], item["count"]) == (300.0, 75)
    assert (item["min"], item["max"]) == (1.0, 10.0)


def test_one_series_in_both_is_refused() -> None:
    """Nobody knows which samples both have counted."""
    mine, theirs = Player(DELTA), Player(DELTA)
    mine.send(1, "c", 1)
    theirs.send(2, "c", 1)
    with pytest.raises(
        OutboxError, match=r'1 folded series are in both outboxes, like {"__name__":"c"'
    ):
        merged(mine, theirs)


def test_one_item_of_two_series_is_refused() -> None:
    """Windows of it would have to be added up, and each side may have had its item already."""
    mine, theirs = Player(KEPT), Player(KEPT)
    mine.send(1, "c", 1, model="m", gpu="0")
    theirs.send(1, "c", 1, model="m", gpu="1")
    with pytest.raises(OutboxError, match=r"series of one item of c are in both"):
        merged(mine, theirs)


def test_a_mean_and_its_count_on_two_sides_are_refused() -> None:
    """They make one item from here on."""
    mine, theirs = Player(MEAN), Player(MEAN)
    mine.send(1, "us", 1)
    theirs.send(1, "n", 1)
    with pytest.raises(OutboxError, match=r"series of one item of us are in both"):
        merged(mine, theirs)


def test_what_was_forgotten_hinders_no_series() -> None:
    """A series that ended days ago on one side is alive on the other."""
    mine, theirs = Player(DELTA), Player(DELTA)
    mine.send(-3 * 86400, "c", 1)
    mine.close(-2 * 86400)
    theirs.send(1, "c", 5)
    both = merged(mine, theirs)
    record = RECORD.pack(both.series[-1][0], T0_MS + 10_000, 7.0)
    both.fold.take(record, T0_MS + 10_000)
    assert said(both, 400) == [("h:1", 0, 2.0)]


def test_other_entries_are_refused() -> None:
    """A window of one entry is no window of another."""
    mine, theirs = Player(DELTA), Player(KEPT)
    mine.send(1, "c", 1, instance="a:1")
    theirs.send(1, "c", 1, instance="b:1")
    with pytest.raises(OutboxError, match=r"by different entries of metrics.json"):
        merged(mine, theirs)


def test_a_checkpoint_that_cannot_be_read_is_refused() -> None:
    """Rather than to begin its counters anew without a word."""
    with pytest.raises(OutboxError, match=r"cannot be read"):
        read_fold(b"nonsense", [], [], T0_MS)
