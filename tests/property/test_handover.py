"""Receivers whose number changes: whatever is scraped, killed and moved, all items add up to the growth."""

from collections import defaultdict
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.cli.handover import shard_of
from receiver.fold.takeover import Held, Taken, held, release, take
from receiver.rows import RECORD
from tests.unit.fold.folding import T0_MS, Player

ENTRIES = ({"name": "c", "as": "delta", "keep": ["model"]}, {"name": "us", "as": "mean", "per": "n"})  # fmt: skip
RECEIVERS = 3
SERIES = [
    {"__name__": name, "job": "t", "instance": f"h:{host}", "model": model}
    for host in range(6)
    for name, models in (("c", "ab"), ("us", "a"), ("n", "a"))
    for model in models
]
LABELS = ("job", "instance")
steps = st.lists(
    st.one_of(
        st.tuples(st.just("scrape"), st.integers(0, 50), st.booleans()),
        st.tuples(st.just("shards"), st.integers(1, RECEIVERS), st.booleans()),
        st.tuples(st.just("restart"), st.integers(0, RECEIVERS - 1), st.booleans()),
        st.tuples(st.just("close"), st.integers(0, RECEIVERS - 1), st.booleans()),
    ),
    max_size=30,
)


def send(player: Player, second: float, series: dict[str, str], value: float) -> None:
    """Send one sample."""
    record = RECORD.pack(player.number(series["__name__"], **_rest(series)), T0_MS + round(second * 1000), value)  # fmt: skip
    player.fold.take(record, T0_MS + round(second * 1000))


def hand_over(players: list[Player], shards: int, *, twice: bool) -> None:
    """Do what the verb does, some steps of it again."""
    for giver, player in enumerate(players):
        for each in list(held(player.fold.windows, 0)):
            labels = orjson.loads(player.series[each.number - 1][1])
            owner = shard_of(labels, LABELS, shards)
            if owner == giver:
                continue
            other = players[owner]
            moved = Held(other.number(labels["__name__"], **_rest(labels)), each.time_ms, each.value)  # fmt: skip
            for _ in range(1 + twice):
                taken = take(other.fold.windows, moved, T0_MS + 10**9)
                assert taken in {Taken.TAKEN, Taken.SAME}
            assert release(player.fold.windows, [(each.number, each.time_ms)]) == set()


def _rest(labels: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in labels.items() if name != "__name__"}


@settings(max_examples=60, deadline=None)
@given(steps)
def test_all_items_add_up_to_the_growth(steps: list[tuple[str, int, bool]]) -> None:  # noqa: C901 - each kind of step
    """Counters grow and begin anew, receivers restart, their number changes and is handed over."""
    players = [Player(*ENTRIES) for _ in range(RECEIVERS)]
    sums: dict[str, float] = defaultdict(float)
    true: dict[str, float] = defaultdict(float)
    values: list[float] = []
    shards, second = 2, 0.0

    def scrape(grown: int, *, begins_anew: bool) -> None:
        nonlocal second, values
        second += 15
        before = values
        # A host begins anew as a whole: time without an event would be given up (docs/scaling.md).
        hosts_anew = {host for host in range(6) if begins_anew and host % 3 == grown % 3}
        values = [
            (before[place] if before and place // 4 not in hosts_anew else 0.0) + grown + place
            for place in range(len(SERIES))
        ]
        for place, series in enumerate(SERIES):
            if before:
                last, value = before[place], values[place]
                true[series["__name__"]] += value - last if value >= last else value
            send(players[shard_of(series, LABELS, shards)], second, series, values[place])

    def add(items: list[dict[str, Any]]) -> None:
        for item in items:
            sums[item["name"]] += item["value"]
            if item["name"] == "us":
                sums["n"] += item["count"]

    for kind, number, flag in [*steps, ("shards", 2, True), ("scrape", 3, False)]:
        if kind == "scrape":
            scrape(number, begins_anew=flag)
        elif kind == "shards":
            shards = number
            if flag:  # samples reach the new receivers before they are told
                scrape(1, begins_anew=False)
            hand_over(players, shards, twice=flag)
        elif kind == "restart":
            players[number].restart()
        else:
            add(players[number].close(second))
    for player in players:
        add(player.close(10**7))
    assert sums["c"] == true["c"]
    assert sums["n"] == true["n"]
    assert abs(sums["us"] - true["us"]) < 1e-6
