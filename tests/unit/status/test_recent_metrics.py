"""The recent values of a series."""

from receiver.status.recent_metrics import Hour


def test_an_hour_is_of_its_newest_minute() -> None:
    """Minutes come in any order, with gaps; what is older than an hour is ignored."""
    hour = Hour()
    assert hour.values() == {}
    for minute, value in ((1000, 1.0), (1000, 2.0), (1003, 3.0), (1002, 4.0), (940, 5.0)):
        hour.put(minute, value)
    assert hour.values() == {1000: 2.0, 1002: 4.0, 1003: 3.0}
    hour.put(1060, 6.0)
    assert hour.values() == {1002: 4.0, 1003: 3.0, 1060: 6.0}
    hour.put(5000, 7.0)
    assert hour.values() == {5000: 7.0}
