"""Without the kernel, known series stay within their bytes, and those in use stay."""

from receiver.intake.recogniser import Known, PlainKnownSeries

SIZE_BYTES = 300 + 2 * 45 + 2 + 8
"""What a series of these takes."""


def pairs(name: str) -> tuple[bytes, ...]:
    """Make the label pairs of a series: two bytes in all."""
    return b"n", name.encode()


def known(template: bytes = b"template") -> Known:
    """Make a series of 8 bytes of template."""
    return Known(template, 0)


def test_what_is_put_in_is_found() -> None:
    """And what is not, is not; additions are counted, also across a clear."""
    series = PlainKnownSeries(1000)
    series.put(pairs("a"), known())

    assert series.get(pairs("a")) == known()
    assert series.get(pairs("b")) is None
    found = series.statistics()
    assert (found.entries, found.size_bytes, found.limit_bytes) == (1, SIZE_BYTES, 1000)
    series.clear()
    assert series.get(pairs("a")) is None
    found = series.statistics()
    assert (found.entries, found.size_bytes, found.misses) == (0, 0, 1)


def test_the_least_recently_used_goes_first() -> None:
    """What fits exactly fits; one more puts out one."""
    series = PlainKnownSeries(2 * SIZE_BYTES)
    for name in "ab":
        series.put(pairs(name), known())
    assert series.get(pairs("a"))
    series.put(pairs("c"), known())

    assert [name for name in "abc" if series.get(pairs(name))] == ["a", "c"]
    assert series.statistics().size_bytes == 2 * SIZE_BYTES


def test_it_never_holds_more_than_its_limit() -> None:
    """However much is put in, of whatever size; one over the limit puts out none."""
    series = PlainKnownSeries(10 * SIZE_BYTES)
    for number in range(500):
        series.put((b"n", b"%d" % number), known(bytes(number * 37 % 900)))
        assert series.statistics().size_bytes <= 10 * SIZE_BYTES
    before = series.statistics()
    series.put(pairs("x"), known(bytes(10 * SIZE_BYTES)))
    assert series.statistics() == before
    assert before.entries > 0


def test_a_series_put_in_again_counts_once() -> None:
    """Size follows the newest."""
    series = PlainKnownSeries(1000)
    series.put(pairs("a"), known(bytes(100)))
    series.put(pairs("a"), known())

    assert series.get(pairs("a")) == known()
    assert series.statistics().size_bytes == SIZE_BYTES
