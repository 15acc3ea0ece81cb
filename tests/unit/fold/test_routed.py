"""Folded series of different routes share no window, and each item goes to its route's lane."""

import json

import orjson
import pytest

from receiver.azure.envelope import Identity
from receiver.fold.fold import Fold
from receiver.intake.routes import NO_KEY, NO_ROUTES, Routing
from receiver.intake.routes_json import parse
from receiver.outbox.gzip_body import all_lines, lines_of
from receiver.outbox.values import OWN, Lane, Submission
from receiver.rows import RECORD
from tests.unit.fold.folding import T0_MS, items, listed

IDENTITY = Identity("own-key", "host")
MEAN = {"name": "busy", "as": "mean", "per": "done", "keep": []}
DELTA = {"name": "calls", "as": "delta", "keep": []}


def routing(**models: str) -> Routing:
    """Route models to resources; each route's key is its name's."""
    routes = [
        {"name": name, "match": {"model": glob}, "connection_string_file": "x"}
        for name, glob in models.items()
    ]
    return Routing(parse(json.dumps({"routes": routes}), "r").routes, tuple(f"key-{n}" for n in models))  # fmt: skip


class Game:
    """A fold with routes."""

    def __init__(self, routes: Routing) -> None:
        self.fold = Fold(listed(MEAN, DELTA), IDENTITY, routes)
        self.series: list[tuple[int, bytes]] = []

    def send(self, second: float, name: str, model: str, value: float) -> None:
        labels = {"__name__": name, "job": "t", "instance": "h:1", "model": model}
        text = orjson.dumps(labels, option=orjson.OPT_SORT_KEYS)
        known = {text: number for number, text in self.series}
        if text not in known:
            self.series.append((len(self.series) + 1, text))
            self.fold.add_series(*self.series[-1])
            known[text] = len(self.series)
        at_ms = T0_MS + round(second * 1000)
        self.fold.take(RECORD.pack(known[text], at_ms, value), at_ms)

    def change(self, second: float, routes: Routing) -> Submission:
        self.fold, ended = self.fold.changed_to(
            listed(MEAN, DELTA), self.series, T0_MS + round(second * 1000), routes
        )
        return ended


def by_lane(*submissions: Submission) -> dict[Lane, list[bytes]]:
    """Give the items' lines by lane."""
    lanes: dict[Lane, list[bytes]] = {}
    for chunk in (chunk for submission in submissions for chunk in submission.chunks):
        lanes.setdefault(chunk.lane, []).extend(lines_of(chunk, chunk.items))
    return lanes


def sums(*submissions: Submission) -> dict[tuple[str, str], float]:
    """Sum the items' values by lane and name."""
    return {
        (lane.name, item["name"]): item["value"]
        for lane, lines in by_lane(*submissions).items()
        for item in items(lines)
    }


def test_series_of_two_routes_share_no_window() -> None:
    """Though all their labels are taken off: neither a sum nor a mean crosses a route."""
    game = Game(routing(a="a_*", b="b_*"))
    for second in (0, 10):
        for model, grown in (("a_1", 1), ("a_2", 2), ("b_1", 10), ("c", 100)):
            game.send(second, "calls", model, second * grown)
            game.send(second, "busy", model, second * grown * 5)
            game.send(second, "done", model, second)
    found = game.fold.close(T0_MS + 200_000)

    assert sums(found) == {
        ("a", "calls"): 30, ("b", "calls"): 100, ("", "calls"): 1000,
        ("a", "busy"): 150, ("b", "busy"): 500, ("", "busy"): 5000,
    }  # fmt: skip
    assert set(by_lane(found)) == {OWN, Lane("a", "key-a"), Lane("b", "key-b")}
    for lane, lines in by_lane(found).items():
        key = lane.destination or "own-key"
        assert all(orjson.loads(line)["iKey"] == key for line in lines)


def test_a_target_is_watched_whatever_the_routes() -> None:
    """A model that is loaded later counts whole, though it is the first of its route."""
    game = Game(routing(a="a_*"))
    game.send(0, "calls", "c", 5)
    game.send(10, "calls", "a_new", 7)
    assert sums(game.fold.close(T0_MS + 200_000)) == {("", "calls"): 0, ("a", "calls"): 7}


def test_a_series_takes_another_route_and_nothing_is_lost() -> None:
    """Its open window ends in the lane that it was in, and what it grows then is the other's."""
    game = Game(routing(a="a_*"))
    game.send(0, "calls", "a_1", 0)
    game.send(10, "calls", "a_1", 4)
    ended = game.change(11, routing(a="x", b="a_*"))
    assert sums(ended) == {("a", "calls"): 4}
    game.send(20, "calls", "a_1", 9)
    assert sums(game.fold.close(T0_MS + 200_000)) == {("b", "calls"): 5}


def test_a_rotated_key_ends_no_window() -> None:
    """The route is the same, and the item has the new key."""
    game = Game(routing(a="a_*"))
    game.send(0, "calls", "a_1", 0)
    game.send(10, "calls", "a_1", 4)
    rotated = Routing(routing(a="a_*").routes, ("new",))
    assert sums(game.change(11, rotated)) == {}
    found = game.fold.close(T0_MS + 200_000)
    assert by_lane(found).keys() == {Lane("a", "new")}
    assert b'"iKey":"new"' in next(all_lines(found))


@pytest.mark.parametrize("now", [routing(a="a_*"), NO_ROUTES], ids=["the same", "none"])
def test_a_checkpoint_knows_its_routes(now: Routing) -> None:
    """And no key: a route that is gone has the one that stands for none, until it comes back."""
    game = Game(routing(a="a_*"))
    game.send(0, "calls", "a_1", 0)
    game.send(10, "calls", "a_1", 4)
    body = game.fold.encode()
    assert b"key-a" not in body
    game.fold, is_whole = Fold.decode(body, IDENTITY, game.series, now)
    assert is_whole
    both = game.change(11, now), game.fold.close(T0_MS + 200_000)
    assert sums(*both) == {("a", "calls"): 4}
    assert by_lane(*both).keys() == {Lane("a", now.keys[0] if now.keys else NO_KEY)}
