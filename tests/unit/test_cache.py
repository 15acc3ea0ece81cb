"""A bounded cache forgets what nobody asks for, and nothing before it must."""

from receiver.cache import BoundedCache


def make_cache(limit_bytes: int) -> BoundedCache[int, str]:
    return BoundedCache(limit_bytes, lambda _, value: len(value))


def test_nothing_is_forgotten_while_there_is_room() -> None:
    """All that fits stays, however often it is asked for in turn."""
    cache = make_cache(100)
    for number in range(10):
        cache.put(number, "x" * 10)
    for _ in range(3):
        assert [cache.get(number) for number in range(10)] == ["x" * 10] * 10
    assert cache.statistics().size_bytes == 100


def test_what_is_used_stays_while_newcomers_pass() -> None:
    """A stream of values that nobody asks for again does not push out those in use."""
    cache = make_cache(100)
    cache.put(-1, "used")
    for number in range(1000):
        cache.put(number, "x" * 5)
        assert cache.get(-1) == "used"
        assert cache.statistics().size_bytes <= 100
    assert cache.get(0) is None
    assert cache.statistics().learnt == 1001


def test_peek_sees_the_young_alone_and_get_finds_the_rest() -> None:
    """What peek misses may still be got, and is young from then on."""
    cache = make_cache(20)
    for number in range(4):
        cache.put(number, "12345")
    assert cache.peek(range(5)) == [None, None, "12345", "12345", None]
    assert cache.get(0) == "12345"
    assert cache.peek([0]) == ["12345"]


def test_what_is_larger_than_half_the_room_is_not_kept() -> None:
    """One value cannot push out all others."""
    cache = make_cache(10)
    cache.put(1, "123456")
    assert cache.get(1) is None
    assert cache.statistics().entries == 0
