"""The sandbox's store: what is accepted is found again, within bounded memory."""

from receiver.sandbox.item import Item, Spread
from receiver.sandbox.ledger import Ledger
from receiver.sandbox.series import HISTORY_POINTS
from receiver.sandbox.store import Store

KEY = "11111111-2222-3333-4444-555555555555"


def item(name: str = "a", time_ms: int = 0, value: float = 0.0, **properties: str) -> Item:
    """Make an accepted item."""
    return Item(name, properties, {}, KEY, None, time_ms, value, None, 0)


def names(store: Store) -> list[str]:
    """List the names of the items held, in order."""
    return [held.series.name for held in store.select()]


def test_items_come_back_in_order_and_exact() -> None:
    """Times to the millisecond, values to the last bit, and the request that brought them."""
    store = Store()
    store.add([item("a", 1, 0.1 + 0.2, m="x"), item("b", 2, -1e308)], request=7)
    store.add([item("a", 3, 5, m="x")._replace(spread=Spread(2, 1, 4, None))], request=8)
    held = list(store.select())
    assert [(h.series.name, h.time_ms, h.value, h.request) for h in held] == [
        ("a", 1, 0.1 + 0.2, 7),
        ("b", 2, -1e308, 7),
        ("a", 3, 5.0, 8),
    ]
    assert held[0].series is held[2].series
    assert [h.spread for h in held] == [None, None, Spread(2, 1, 4, None)]


def test_series_differ_by_every_part_of_their_identity() -> None:
    """Name, properties, their order, key, tags and namespace make a series."""
    base = item("a", m="x", n="y")
    store = Store()
    store.add(
        [
            base,
            base._replace(name="b"),
            base._replace(properties={"m": "x"}),
            base._replace(properties={"n": "y", "m": "x"}),
            base._replace(ikey="another"),
            base._replace(tags={"ai.cloud.role": "r"}),
            base._replace(namespace="ns"),
            base,
        ],
        request=1,
    )
    assert (store.items, store.series) == (8, 7)


def test_the_oldest_items_go_when_the_store_is_full() -> None:
    """The limit holds to the item; what went is counted; a series goes with its last item."""
    store = Store(max_items=3)
    store.add([item("a"), item("b"), item("c"), item("a")], request=1)
    assert names(store) == ["b", "c", "a"]
    assert (store.items, store.items_evicted, store.series) == (3, 1, 3)
    store.add([item("d")], request=2)
    assert names(store) == ["c", "a", "d"]
    assert [series.name for series in store.latest()] == ["a", "c", "d"]


def test_a_full_store_keeps_a_series_that_evicts_its_own_last_item() -> None:
    """A store of one item whose only series goes on still knows that series."""
    store = Store(max_items=1)
    store.add([item("a", 1), item("a", 2), item("a", 3)], request=1)
    assert [series.latest_ms for series in store.latest()] == [3]
    assert [held.time_ms for held in store.select()] == [3]


def test_many_more_items_than_fit() -> None:
    """Across many chunks the newest items are held, and exactly so many as allowed."""
    store = Store(max_items=10_000)
    for request in range(30):
        store.add([item("a", request * 1000 + i) for i in range(1000)], request)
    assert [held.time_ms for held in store.select()] == list(range(20_000, 30_000))
    assert store.items_evicted == 20_000


def test_the_number_of_series_is_bounded_too() -> None:
    """A flood of new series lets the oldest items go until there is room."""
    store = Store(max_series=2)
    store.add([item("a"), item("a"), item("b"), item("c")], request=1)
    assert names(store) == ["b", "c"]


def test_the_latest_value_is_that_of_the_newest_time() -> None:
    """An item that comes late does not replace a newer value; the same time does."""
    store = Store()
    store.add([item("a", 10, 1), item("a", 5, 2)], request=1)
    [series] = store.latest()
    assert (series.latest_ms, series.latest_value, series.items) == (10, 1, 2)
    store.add([item("a", 10, 3)], request=2)
    assert series.latest_value == 3
    assert series.history() == [(5, 2), (10, 1), (10, 3)]


def test_the_history_is_bounded_and_in_order() -> None:
    """The newest points stay, however many came."""
    store = Store()
    store.add([item("a", time_ms) for time_ms in range(5 * HISTORY_POINTS + 3)], request=1)
    [series] = store.latest()
    times = [time_ms for time_ms, _ in series.history()]
    assert times == list(range(4 * HISTORY_POINTS + 3, 5 * HISTORY_POINTS + 3))


def test_items_are_picked_by_name_time_and_number() -> None:
    """A glob on the name, a first time, and only the last so many."""
    store = Store()
    store.add([item("nv_a", 1), item("nv_b", 2), item("up", 3), item("nv_a", 4)], request=1)
    assert [held.time_ms for held in store.select("nv_*")] == [1, 2, 4]
    assert [held.time_ms for held in store.select("nv_?", since_ms=2)] == [2, 4]
    assert [held.time_ms for held in store.select(limit=2)] == [3, 4]
    assert list(store.select("NV_*")) == []


def test_reading_is_not_disturbed_by_writing() -> None:
    """What is added or let go while one reads changes nothing in the reading."""
    store = Store(max_items=3)
    store.add([item("a"), item("b"), item("c")], request=1)
    reading = store.select()
    first = next(reading).series.name
    store.add([item("d"), item("e")], request=2)
    assert [first, *(held.series.name for held in reading)] == ["a", "b", "c"]


def test_only_what_changed_is_asked_for() -> None:
    """A viewer asks for the series with items after the sequence number that it knows."""
    store = Store()
    store.add([item("a"), item("b")], request=1)
    known = store.sequence
    store.add([item("b", 1)], request=2)
    assert [series.name for series in store.latest(after=known)] == ["b"]


def test_clearing_forgets_items_and_tells_viewers() -> None:
    """After a clear nothing is held, and the generation has changed."""
    store = Store()
    store.add([item("a")], request=1)
    before = store.generation
    store.clear()
    assert (store.items, store.series, list(store.select())) == (0, 0, [])
    assert store.generation != before


def test_the_request_log_is_bounded() -> None:
    """Only the newest requests are listed; the counters count all."""
    ledger = Ledger(max_requests=2)
    for status in (200, 206, 503):
        record = ledger.begin("2027-01-15T08:00:00.000Z", "/v2.1/track")
        record.status = status
        ledger.end(record)
    assert [entry["number"] for entry in ledger.requests(10)] == [2, 3]
    assert [entry["number"] for entry in ledger.requests(1)] == [3]
    assert ledger.counters()["requests_by_status"] == {"200": 1, "206": 1, "503": 1}


def test_series_are_bounded_in_bytes() -> None:
    """Long texts and long histories put the oldest out; what is left is counted right."""
    store = Store(max_series_bytes=100_000)
    for number in range(200):
        store.add([item(name=f"{number}", a="x" * 2_000)], number)
    assert store.series_bytes <= 100_000
    assert 20 < store.series < 50
    assert store.series_bytes == sum(series.size_bytes for series in store.latest())
    store.add([item(name="long", a="x" * 200_000)], 1)
    assert store.series == 1
    store.clear()
    assert store.series_bytes == 0


def test_an_aggregate_is_drawn_as_its_mean_and_copies_are_counted() -> None:
    """Azure's Avg is Sum / Count; two items of one series and minute are a copy, or a fault."""
    store = Store()
    aggregate = item("a", 60_000, 10.0)._replace(spread=Spread(4, 1, 4, None))
    store.add([aggregate, item("a", 60_001, 3.0), item("a", 60_001, 3.0)], request=1)
    [series] = store.latest()
    assert series.history() == [(60_000, 2.5), (60_001, 3.0), (60_001, 3.0)]
    assert store.copies == 0
    store.add([aggregate, item("b", 60_000)], request=2)
    assert store.copies == 1
