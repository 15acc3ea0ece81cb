"""The cache of templates keeps what is used, within its bytes."""

from receiver.cache import BoundedCache


def test_what_is_put_in_is_found() -> None:
    """And what is not, is not, and is counted."""
    cache: BoundedCache[str, str] = BoundedCache(100)
    cache.put("a", "A", 10)

    assert cache.get("a") == "A"
    assert cache.get("b") is None
    assert cache.statistics().misses == 1
    assert cache.statistics().entries == 1
    assert cache.statistics().size_bytes == 10
    assert cache.statistics().limit_bytes == 100


def test_it_never_holds_more_than_its_limit() -> None:
    """However much is put in, and in whatever sizes."""
    cache: BoundedCache[int, int] = BoundedCache(1000)

    for number in range(500):
        cache.put(number, number, 1 + number * 37 % 200)
        held = cache.statistics()
        assert held.size_bytes <= 1000
        assert held.entries == len(cache._young) + len(cache._old)
    assert held.entries > 0


def test_what_is_asked_for_stays() -> None:
    """A series of every scrape survives any number of series that come once."""
    cache: BoundedCache[str, str] = BoundedCache(1000)
    cache.put("always", "A", 10)

    for number in range(1000):
        cache.put(f"once {number}", "x", 10)
        if number % 10 == 0:
            assert cache.get("always") == "A"
    assert cache.get("once 0") is None


def test_what_is_too_large_is_not_kept() -> None:
    """One value may not push out all others."""
    cache: BoundedCache[str, str] = BoundedCache(100)
    cache.put("small", "s", 10)
    cache.put("large", "l", 51)

    assert cache.get("large") is None
    assert cache.get("small") == "s"


def test_a_value_put_in_again_counts_once() -> None:
    """Size follows the newest."""
    cache: BoundedCache[str, str] = BoundedCache(100)
    cache.put("a", "A", 30)
    cache.put("a", "B", 20)

    assert cache.get("a") == "B"
    assert cache.statistics().size_bytes == 20


def test_it_can_be_empty_of_room() -> None:
    """With no bytes at all nothing is kept, and nothing breaks."""
    cache: BoundedCache[str, str] = BoundedCache(0)
    cache.put("a", "A", 1)

    assert cache.get("a") is None
