"""A census knows the series that come, how often, and which of them move."""

import math
from collections.abc import Iterable

import pytest

from receiver.intake.decode import Message, decode
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.pack.forecast import Seen
from receiver.status.census import GONE_SECONDS, SERIES_MAX, Census


def look(census: Census, at: float, *series: tuple[str, str, float]) -> None:
    """Have it see series of a name, a job and a value, scraped at this second."""
    made = WriteRequest()
    for name, job, value in series:
        one = made.timeseries.add()
        for label, text in (("__name__", name), ("instance", "i"), ("job", job)):
            one.labels.add(name=label.encode(), value=text.encode())
        one.samples.add(value=value, timestamp=round(at * 1000))
    for each in decode(made.SerializeToString(), Message.V1):
        census.observe(each, at)


def by_name(series: Iterable[Seen]) -> dict[str, Seen]:
    return {each.name: each for each in series}


def test_intervals_are_those_of_targets_and_rules() -> None:
    """Though a series is seen only now and then: its target's times are many series'."""
    census = Census()
    for number in range(12):
        scraped = "nv_a" if number % 2 else "nv_b"
        look(census, 100 + 5 * number, (scraped, "fast", number))
        look(census, 100 + 30 * number, ("nv_c", "slow", number))
        look(census, 103 + 60 * number, ("nv_a_irate", "fast", number))

    seen = by_name(census.counted(900.0).series)
    assert {name: each.seconds for name, each in seen.items()} == {
        "nv_a": 5,
        "nv_b": 5,
        "nv_c": 30,
        "nv_a_irate": 60,
    }
    assert census.counted(900.0).intervals == {5.0: 2, 30.0: 1, 60.0: 1}


def test_what_stands_still_is_known_after_a_while() -> None:
    """Until then, and where there was one look alone, nothing is said."""
    census = Census()
    for number in range(10):
        look(census, 15.0 * number, ("nv_still", "j", 7), ("nv_moves", "j", number))
        if number == 1:
            assert by_name(census.counted(15.0).series)["nv_still"].moves is None
    look(census, 135.0, ("nv_new", "j", 1), ("nv_idle", "j", math.nan))

    seen = by_name(census.counted(136.0).series)
    assert {name: each.moves for name, each in seen.items()} == {
        "nv_still": False,
        "nv_moves": True,
        "nv_new": None,
        "nv_idle": None,
    }
    assert not seen["nv_idle"].has_number


@pytest.mark.parametrize("seconds", [GONE_SECONDS - 1, GONE_SECONDS + 1])
def test_what_has_ended_is_forgotten(seconds: float) -> None:
    """After a quarter of an hour, its times with it."""
    census = Census()
    look(census, 0.0, ("nv_a", "j", 1))
    census.forget(seconds)
    assert len(census.counted(seconds).series) == (seconds < GONE_SECONDS)


def test_it_is_bounded_and_says_so() -> None:
    """What is not wanted takes no room."""
    census = Census(wants=lambda name: name.startswith(b"nv_"))
    look(census, 0.0, *((f"go_{number}", "j", 1.0) for number in range(10)))
    assert not census.counted(0.0).series
    look(census, 0.0, *((f"nv_{number}", "j", 1.0) for number in range(SERIES_MAX + 5)))
    assert len(census.counted(0.0).series) == SERIES_MAX
    assert census.counted(0.0).is_full


def test_of_two_replicas_one_counts() -> None:
    """At its own interval, though the other's scrapes lie between; after its end the other's."""
    census = Census(replica_label=b"replica")

    def scrape(replica: str, at: float) -> None:
        made = WriteRequest()
        one = made.timeseries.add()
        for label, text in (("__name__", "nv_a"), ("job", "j"), ("replica", replica)):
            one.labels.add(name=label.encode(), value=text.encode())
        one.samples.add(value=at, timestamp=round(at * 1000))
        for each in decode(made.SerializeToString(), Message.V1):
            census.observe(each, at)

    for number in range(6):
        scrape("a", 15.0 * number)
        scrape("b", 15.0 * number + 4)
    [seen] = census.counted(100.0).series
    assert (seen.labels, seen.value, seen.seconds) == ({"__name__": "nv_a", "job": "j"}, 75.0, 15.0)
    for number in range(3):
        scrape("b", 200.0 + 30 * number)
    [seen] = census.counted(300.0).series
    assert (seen.value, seen.seconds) == (260.0, 30.0)
