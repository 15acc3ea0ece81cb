"""Two senders that bring the same series are noticed, and others are not."""

import random
from collections.abc import Iterator

import pytest

from receiver.status.pairs import TIMES, TURNS, VALUES_MAX, Pair, Pairs, PickedSeries, interleaves

START_MS = 1_800_000_000_000
SCRAPE_MS = 15_000


class Target:
    """A Triton: counters that grow, some by chance; `seed` tells it from others."""

    def __init__(self, seed: int) -> None:
        """Begin after some days, each counter with a number of its own."""
        chance = random.Random(seed)
        self._rates = [chance.uniform(1, 50) for _ in range(12)]
        self._begun = [chance.uniform(0, 1e7) for _ in range(12)]

    def scrape(self, at_ms: int, skew_ms: int = 0, **labels: str) -> list[PickedSeries]:
        """Give all series at a moment, with the time of the scraper's clock."""
        seconds = (at_ms - START_MS) / 1000
        counters = [
            PickedSeries(
                {"__name__": f"nv_{n}_total", "instance": "localhost:8002", **labels},
                [(at_ms + skew_ms, self._begun[n] + rate * seconds)],
            )
            for n, rate in enumerate(self._rates)
        ]
        gauge = {"__name__": "nv_gpu_utilization", "instance": "localhost:8002", **labels}
        return [*counters, PickedSeries(gauge, [(at_ms + skew_ms, 0.5)])]


def look(pairs: Pairs, *senders: tuple[Target, int, dict[str, str]], scrapes: int = 4) -> None:
    """Have each sender scrape its target in turn, with its clock and labels."""
    for scrape in range(scrapes):
        for number, (target, skew_ms, labels) in enumerate(senders):
            at_ms = START_MS + SCRAPE_MS * scrape + 4_000 * number
            pairs.observe(target.scrape(at_ms, skew_ms, **labels))


@pytest.mark.parametrize("skew_ms", [-5_000, 0, 5_000])
def test_two_that_differ_in_one_label_are_a_pair(skew_ms: int) -> None:
    """Whatever their clocks say; the label and its values are named."""
    target, pairs = Target(1), Pairs()
    others = {"cluster": "east", "site": "x"}
    first, second = ({**others, "prometheus_replica": name} for name in "ab")
    look(pairs, (target, 0, first), (target, skew_ms, second), scrapes=1)
    assert pairs.pair() is None, "one look is no evidence"
    look(pairs, (target, 0, first), (target, skew_ms, second))
    assert pairs.pair() == Pair("prometheus_replica", ("a", "b"), 12)


def test_machines_that_differ_in_one_label_are_no_pair() -> None:
    """Each has a Triton of its own at localhost: the counters are others."""
    pairs = Pairs()
    look(pairs, (Target(1), 0, {"site": "a"}), (Target(2), 0, {"site": "b"}), scrapes=9)
    assert pairs.pair() is None


def test_idle_targets_are_no_evidence() -> None:
    """Counters that do not grow are equal everywhere."""
    pairs = Pairs()
    for turn in range(5):
        for site in "ab":
            labels = {"instance": "localhost:8002", "site": site}
            series = [{"__name__": f"nv_{n}", **labels} for n in range(20)]
            pairs.observe([PickedSeries(each, [(START_MS + turn, 5.0)]) for each in series])
    assert pairs.pair() is None


def test_a_sender_that_was_renamed_is_no_pair() -> None:
    """What it wrote under its old name ends where the new one begins."""
    target, pairs = Target(1), Pairs()
    for scrape in range(8):
        name = "old" if scrape < 4 else "new"
        pairs.observe(target.scrape(START_MS + SCRAPE_MS * scrape, prometheus_replica=name))
    assert pairs.pair() is None


def test_two_that_differ_in_two_labels_are_no_pair() -> None:
    """No setting would make one of them."""
    target, pairs = Target(1), Pairs()
    look(pairs, (target, 0, {"a": "1", "b": "1"}), (target, 0, {"a": "2", "b": "2"}))
    assert pairs.pair() is None


def test_senders_that_a_label_distinguishes_are_no_pair() -> None:
    """The setting names that label already."""
    target, pairs = Target(1), Pairs(["prometheus_replica", ""])
    first, second = ({"prometheus_replica": name} for name in "ab")
    look(pairs, (target, 0, first), (target, 0, second))
    assert pairs.pair() is None


def test_a_label_with_a_new_value_each_time_stays_bounded() -> None:
    """It is forgotten oldest first, and no pair."""
    target, pairs = Target(1), Pairs()
    for scrape in range(40):
        pairs.observe(target.scrape(START_MS + SCRAPE_MS * scrape, pod=f"pod-{scrape}"))
    assert pairs.pair() is None
    (label,) = pairs._labels.values()
    assert len(label.seen_ms) <= VALUES_MAX + 1
    assert all(len(values) <= VALUES_MAX + 1 for values in label.series.values())


def times(*gaps: int) -> Iterator[int]:
    """Make times of gaps, again and again."""
    at = START_MS
    for number in range(TIMES):
        yield at
        at += gaps[number % len(gaps)]


@pytest.mark.parametrize(
    ("gaps", "expected"),
    [
        ((15_000,), False),
        ((15_000, 15_002, 14_999), False),
        ((5_000, 10_000), True),
        ((4_800, 10_200, 5_100, 9_900), True),
        ((15_000, 15_000, 30_000), False),
        ((15_000, 15_000, 15_000, 45_000), False),
        ((20_000, -5_000), True),
    ],
)
def test_times_that_alternate_are_those_of_two(gaps: tuple[int, ...], *, expected: bool) -> None:
    """And times that go back; a scrape that failed now and then is one sender's."""
    assert interleaves(list(times(*gaps))) is expected


def test_several_series_have_to_show_it() -> None:
    """One alone may have two scrape jobs."""
    pairs = Pairs()
    for number in range(TURNS):
        assert pairs.pair() is None
        for at in times(5_000, 10_000):
            assert pairs.wants_times(number)
            pairs.observe_time(number, f"nv_{number}", at)
            pairs.observe_time(number, f"nv_{number}", at)
    assert pairs.pair() == Pair("", examples=("nv_0", "nv_1", "nv_2"))
    for number in range(TURNS):
        for at in times(15_000):
            pairs.observe_time(number, f"nv_{number}", at)
    assert pairs.pair() is None
