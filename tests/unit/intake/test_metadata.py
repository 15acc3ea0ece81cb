"""Metadata is kept by family, the last word counts, and there is an end to it."""

import pytest

from receiver.intake.metadata import FAMILIES, TEXT_LIMIT, Metadata, MetadataBook, read_v1, read_v2
from receiver.intake.wire.remote_write_v1_pb2 import MetricMetadata
from receiver.intake.wire.remote_write_v2_pb2 import Metadata as SeriesMetadata


def test_the_last_word_counts() -> None:
    """Senders contradict each other."""
    book = MetadataBook()
    book.put(Metadata("a", "counter", "first", ""))
    book.put(Metadata("a", "gauge", "last", "s"))
    assert book.get("a") == Metadata("a", "gauge", "last", "s")
    assert len(book) == 1


def test_families_are_bounded_and_the_first_goes() -> None:
    """One that is told of again is not one more."""
    book = MetadataBook(families=2)
    for name in ("a", "b", "b", "c"):
        book.put(Metadata(name, "gauge", "", ""))
    assert [book.get(name) is not None for name in ("a", "b", "c")] == [False, True, True]
    assert FAMILIES >= 1000


def test_a_series_finds_its_family() -> None:
    """By its own name first, else without what its type adds."""
    book = MetadataBook()
    book.put(Metadata("seconds", "histogram", "h", "s"))
    book.put(Metadata("x_total", "counter", "own", ""))
    for name in ("seconds_bucket", "seconds_sum", "seconds_count"):
        found = book.get(name)
        assert found
        assert found.family == "seconds"
    own = book.get("x_total")
    assert own
    assert own.help == "own"
    assert book.get("other_sum") is None


def test_1_0_tells_of_families() -> None:
    """What cannot be read, or names none, is passed over; long texts are cut; types may be new."""
    good = MetricMetadata(type="HISTOGRAM", metric_family_name=b"h", help=b"x" * 2000, unit=b"\xff")
    unknown = MetricMetadata(type=99, metric_family_name=b"u")  # type: ignore[arg-type]
    entries = [good, MetricMetadata(help=b"no name"), unknown]
    read = list(read_v1([b"\xff", *(each.SerializeToString() for each in entries)]))
    assert read == [
        Metadata("h", "histogram", "x" * TEXT_LIMIT, "\ufffd"),
        Metadata("u", "unknown", "", ""),
    ]


def test_2_0_tells_of_a_series() -> None:
    """The family is the name without what its type adds; nothing said is nothing kept."""
    symbols = [b"", b"help", b"s"]
    said = SeriesMetadata(type=3, help_ref=1, unit_ref=2).SerializeToString()  # type: ignore[arg-type]
    assert read_v2(said, b"h_bucket", symbols) == Metadata("h", "histogram", "help", "s")
    assert read_v2(b"", b"h", symbols) is None
    assert read_v2(b"\xff", b"h", symbols) is None
    first_is_text = [b"__name__", b"help", b"s"]  # which the protocol forbids
    kind = SeriesMetadata(type=1).SerializeToString()  # type: ignore[arg-type]
    assert read_v2(kind, b"h", first_is_text) == Metadata("h", "counter", "", "")
    beyond = SeriesMetadata(help_ref=3).SerializeToString()
    with pytest.raises(IndexError):
        read_v2(beyond, b"h", symbols)
