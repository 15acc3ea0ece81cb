"""Samples that another receiver gets are noticed; scrapes that fail now and then are not."""

import random
from collections.abc import Callable

import pytest

from receiver.fold.gaps import Gaps
from tests.unit.fold.folding import T0_MS, Player

HOSTS = 12


def watch(comes: Callable[[int, int], bool], *, seconds: int = 15, steps: int = 170) -> float:
    """Scrape some targets; `comes` says which scrape of which target arrives here."""
    player, gaps = Player({"name": "c", "as": "delta"}), Gaps()
    for step in range(steps):
        for host in range(HOSTS):
            if comes(step, host):
                player.send(step * seconds, "c", step, instance=f"h:{host}")
        gaps.observe(player.fold.plan.state, T0_MS + step * seconds * 1000)
    return gaps.share


def dealt(receivers: int) -> Callable[[int, int], bool]:
    """Deal requests out at random."""
    chance = random.Random(receivers)
    return lambda _step, _host: chance.randrange(receivers) == 0


@pytest.mark.parametrize(("receivers", "least"), [(2, 0.3), (3, 0.4), (6, 0.5)])
def test_requests_that_are_dealt_out_are_noticed(receivers: int, least: float) -> None:
    """The more there are, the plainer."""
    assert watch(dealt(receivers)) >= least


@pytest.mark.parametrize(
    "comes",
    [
        lambda _step, _host: True,
        lambda step, _host: step % 12 != 0,
        lambda _step, host: host % 2 == 0,
        lambda step, host: host != 3 or step % 2 == 0,
        lambda step, _host: not 60 < step < 90,
        lambda _step, _host: False,
    ],
    ids=["all", "a scrape of twelve fails", "shards", "one slow target", "an outage", "nothing"],
)
def test_what_is_in_order_is_not(comes: Callable[[int, int], bool]) -> None:
    """Neither failing scrapes, nor shares of the targets, nor an outage."""
    assert watch(comes) == 0


def test_series_that_come_more_often_are_not_judged() -> None:
    """One request may hold two of their samples."""
    chance = random.Random(1)
    assert watch(lambda _step, _host: chance.random() < 0.5, seconds=2, steps=1500) == 0


def test_it_ends_when_it_ends() -> None:
    """The next round says that all is well again; what is forgotten is not looked at."""
    player, gaps = Player({"name": "c", "as": "delta"}), Gaps()
    chance = random.Random(3)
    shares = []
    for step in range(400):
        if step > 130 or chance.random() < 0.5:
            player.send(step * 15, "c", step)
        if step == 350:
            gaps.forget()
        gaps.observe(player.fold.plan.state, T0_MS + step * 15_000)
        shares.append(gaps.share)
    assert max(shares[:130]) > 0.3
    assert shares[-1] == 0
