"""What several processes have counted adds up, and survives the way between them."""

from collections import Counter
from dataclasses import replace
from typing import Any

import orjson

from receiver.admission import AdmissionStatistics
from receiver.arrivals import Arrivals
from receiver.cache import CacheStatistics
from receiver.door import DoorCounts
from receiver.latency import Latency
from receiver.reception import ReceptionCounts


def arrivals(times: int) -> Arrivals:
    """Make counts that are all different, and `times` as large."""
    latency = Latency()
    for _ in range(times):
        latency.observe(0.02)
    return Arrivals(
        ReceptionCounts(
            replies=Counter({"204": 3 * times, "400": times}),
            refused_requests=Counter({"overloaded": 5 * times}),
            refused_series=Counter({"no_name": 6 * times}),
            repeated=7 * times,
            labels_cut=8 * times,
            labels_left_out=9 * times,
            last_request_at=1000.0 + times,
            latency=latency,
        ),
        DoorCounts(10 * times, 11 * times, Counter({"idle": 12 * times})),
        AdmissionStatistics(13 * times, 14 * times, 15 * times),
        CacheStatistics(16 * times, 17 * times, 18 * times, 19 * times),
    )


def plain(found: Arrivals) -> Any:
    """Spell it, for comparison: a `Latency` has no equals."""
    return orjson.loads(orjson.dumps(found.to_document()))


def test_every_count_adds_up() -> None:
    """The time of the last request alone is the later one, on whichever side."""
    both = arrivals(2).plus(arrivals(3))

    reception = replace(arrivals(5).reception, last_request_at=1003.0)
    assert plain(both) == plain(replace(arrivals(5), reception=reception))
    assert plain(arrivals(3).plus(arrivals(2))) == plain(both)
    assert plain(both.plus(Arrivals())) == plain(both)
    assert list(both.reception.latency.buckets())[-1] == ("+Inf", 5)


def test_it_is_the_same_at_the_other_end() -> None:
    """Spelt as JSON, and read: not only its fields but their kinds."""
    found = Arrivals.from_document(orjson.loads(orjson.dumps(arrivals(4).to_document())))

    assert plain(found) == plain(arrivals(4))
    assert found.reception.replies["500"] == 0
    assert found.door == arrivals(4).door


def test_of_one_that_ended_the_counts_stay() -> None:
    """And nothing of it is under way, open, or held any more."""
    left = arrivals(2).ended()

    assert left.reception.replies == Counter({"204": 6, "400": 2})
    assert left.door == DoorCounts(0, 22, Counter({"idle": 24}))
    assert left.admission == AdmissionStatistics(0, 0, 0)
    assert left.cache == CacheStatistics(0, 0, 0, 38)
