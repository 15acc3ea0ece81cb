"""The cache of templates keeps what is used, within its bytes."""

from receiver.intake.cache import BoundedCache


def make_cache(limit_bytes: int, size: int = 10) -> BoundedCache[str, str]:
    """All entries take `size` bytes, but those of digits: these take as many as they say."""
    return BoundedCache(limit_bytes, lambda _, value: int(value) if value.isdecimal() else size)


def test_what_is_put_in_is_found() -> None:
    """And what is not, is not; what had to be put in is counted."""
    cache: BoundedCache[str, str] = make_cache(100)
    cache.put("a", "A")

    assert cache.get("a") == "A"
    assert cache.get("b") is None
    assert cache.statistics().misses == 1
    assert cache.statistics().entries == 1
    assert cache.statistics().size_bytes == 10
    assert cache.statistics().limit_bytes == 100


def test_it_never_holds_more_than_its_limit() -> None:
    """However much is put in, and in whatever sizes."""
    cache: BoundedCache[str, str] = make_cache(1000)

    for number in range(500):
        cache.put(str(number), str(1 + number * 37 % 200))
        held = cache.statistics()
        assert held.size_bytes <= 1000
        assert held.entries == len(cache._young) + len(cache._old)
    assert held.entries > 0


def test_what_is_asked_for_stays() -> None:
    """A series of every scrape survives any number of series that come once."""
    cache: BoundedCache[str, str] = make_cache(1000)
    cache.put("always", "A")

    for number in range(1000):
        cache.put(f"once {number}", "x")
        if number % 10 == 0:
            assert cache.get("always") == "A"
    assert cache.get("once 0") is None


def test_what_is_too_large_is_not_kept() -> None:
    """One value may not push out all others."""
    cache: BoundedCache[str, str] = make_cache(100)
    cache.put("small", "s")
    cache.put("large", "51")

    assert cache.get("large") is None
    assert cache.get("small") == "s"


def test_a_value_put_in_again_counts_once() -> None:
    """Size follows the newest."""
    cache: BoundedCache[str, str] = make_cache(100)
    cache.put("a", "30")
    cache.put("a", "20")

    assert cache.get("a") == "20"
    assert cache.statistics().size_bytes == 20


def test_it_can_be_empty_of_room() -> None:
    """With no bytes at all nothing is kept, and nothing breaks."""
    cache: BoundedCache[str, str] = make_cache(0)
    cache.put("a", "A")

    assert cache.get("a") is None


def test_nothing_is_forgotten_while_there_is_room() -> None:
    """All that fits stays, however often it is asked for in turn."""
    cache = make_cache(100)
    numbers = [str(number) for number in range(10)]
    for number in numbers:
        cache.put(number, "x")

    for _ in range(3):
        assert [cache.get(number) for number in numbers] == ["x"] * 10
    assert cache.statistics().size_bytes == 100
