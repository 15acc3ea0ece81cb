"""Batches: full, bounded, in order, and the same bytes for the same lines."""

import gzip
from dataclasses import replace

import pytest

from receiver.outbox import gzip_body
from receiver.outbox.gzip_body import (
    BATCH_BYTES,
    BATCH_ITEMS,
    CHUNK_BYTES,
    CHUNK_ITEMS,
    all_lines,
    compress,
    compress_chunks,
    cut,
    cut_points,
    deflate,
    lines_of,
    pack,
    unpack,
)
from receiver.outbox.values import LaneStatistics, Submission


def lines(count: int, size: int = 20, mark: str = "a") -> list[bytes]:
    """Make lines of `size` bytes that can be told apart."""
    return [f"{mark}{number}".encode().ljust(size - 1, b".") + b"\n" for number in range(count)]


def submission(made: list[bytes], oldest_ms: int = 0, newest_ms: int = 0) -> Submission:
    """Submit lines with a span of times."""
    return compress_chunks(Submission(cut(made), oldest_ms, newest_ms, {}))


def test_a_batch_is_filled_across_requests() -> None:
    """Many small requests make one POST, in the order in which they came."""
    parts = [lines(3, mark=f"r{number}-") for number in range(10)]

    [packed] = pack(map(submission, parts))

    assert packed.items == 30
    assert unpack(packed.body) == [line for part in parts for line in part]


def test_a_batch_has_at_most_a_thousand_items() -> None:
    """The 1,001st item begins the next batch."""
    batches = list(pack([submission(lines(BATCH_ITEMS + 1))]))

    assert [packed.items for packed in batches] == [BATCH_ITEMS, 1]
    assert BATCH_ITEMS == 1000


def test_a_batch_has_at_most_a_mebibyte_of_json() -> None:
    """Sixteen lines of 64 KiB fit to the byte; the 17th does not."""
    batches = list(pack([submission(lines(33, size=65536))]))

    assert [packed.items for packed in batches] == [16, 16, 1]
    assert BATCH_BYTES == 16 * 65536


def test_one_line_over_the_limit_still_goes_alone() -> None:
    """Nothing is lost for being large: the service judges it."""
    batches = list(pack([submission([*lines(1), b"x" * BATCH_BYTES + b"y\n", *lines(1)])]))

    assert [packed.items for packed in batches] == [1, 1, 1]


@pytest.mark.parametrize("count", [0, 1, CHUNK_ITEMS, CHUNK_ITEMS + 1, 1000])
def test_chunks_hold_all_lines_in_their_order(count: int) -> None:
    """A quarter of a batch at most; what was cut can be read again, or the first part of it."""
    made = lines(count)

    chunks = cut(made)

    assert all(1 <= chunk.items <= CHUNK_ITEMS for chunk in chunks)
    assert [line for chunk in chunks for line in lines_of(chunk, 1000)] == made
    assert [line for chunk in chunks[:1] for line in lines_of(chunk, 2)] == made[:2]


def test_a_compressed_body_stays_as_it_is() -> None:
    """The outbox's thread does not compress it again."""
    compressed = submission(lines(300))

    assert compress_chunks(compressed) is compressed
    assert compressed.items == 300
    assert not compressed.chunks


def test_lines_are_cut_from_any_line_on() -> None:
    """The bytes of a chunk count from its own first line: here four lines fill one to the byte."""
    ends = [number * CHUNK_BYTES // 4 for number in range(1, 13)]

    assert list(cut_points(ends)) == [(0, 4), (4, 8), (8, 12)]
    assert list(cut_points(ends, 3)) == [(3, 7), (7, 11), (11, 12)]
    assert list(cut_points(ends, 3, 10)) == [(3, 7), (7, 10)]
    assert list(cut_points([CHUNK_BYTES, *(CHUNK_BYTES + end for end in ends)], 1, 6)) == [
        (1, 5),
        (5, 6),
    ]


def test_lines_end_at_line_ends_alone() -> None:
    """A label's value may have spaces, and other bytes at which text is split."""
    made = [b'{"a": "b c"}\n', b"{\t\x0c\r}\n", b"{ }\n"]

    [chunk] = cut(made)

    assert lines_of(chunk, 10) == made
    assert lines_of(chunk, 2) == made[:2]


@pytest.mark.parametrize(("max_bytes", "size_bytes", "full"), [(0, 0, False), (0, 9, False), (9, 8, False), (9, 9, True), (9, 10, True)])  # fmt: skip
def test_a_share_is_full_at_its_limit(max_bytes: int, size_bytes: int, *, full: bool) -> None:
    """A lane without a share of its own is never full."""
    assert LaneStatistics(max_bytes=max_bytes, size_bytes=size_bytes).is_full is full


def test_nothing_makes_no_batch() -> None:
    """An empty body is never POSTed."""
    assert list(pack([])) == []
    assert list(pack([submission([]), submission([])])) == []


def test_a_batch_spans_the_times_of_all_its_requests() -> None:
    """Expiry looks at the newest item, so the span must not be too narrow."""
    batches = pack(
        [
            submission(lines(1), 500, 900),
            submission([], 1, 9999),
            submission(lines(1), 100, 600),
            submission(lines(1), 700, 800),
        ]
    )

    assert [(packed.oldest_ms, packed.newest_ms) for packed in batches] == [(100, 900)]


def test_a_batch_that_begins_inside_a_request_has_its_times() -> None:
    """The rest of a request that is cut keeps the request's span; earlier requests leave theirs."""
    made = list(pack([submission(lines(600), 1, 2), submission(lines(600), 5, 9)]))

    assert [(packed.items, packed.oldest_ms, packed.newest_ms) for packed in made] == [
        (850, 1, 9),
        (350, 5, 9),
    ]


def test_a_request_that_ends_with_its_batch_leaves_the_next_one_alone() -> None:
    """The next batch does not inherit the times of what went before."""
    made = list(pack([submission(lines(1000), 1, 2), submission(lines(1), 5, 9)]))

    assert [(packed.oldest_ms, packed.newest_ms) for packed in made] == [(1, 2), (5, 9)]


def test_the_same_lines_give_the_same_bytes() -> None:
    """No time stamp in the gzip header: bodies can be compared."""
    made = lines(50)

    assert compress(made) == compress(list(made))
    assert compress(made)[4:8] == b"\0\0\0\0"


def test_a_body_is_gzip_that_anyone_can_read() -> None:
    """Python's own gzip reads it, and `unpack` cuts it where the lines end."""
    made = [b'{"a":"\xe2\x80\xa8\xc2\x85"}\n', b'{"b":"\\n"}\n']

    assert gzip.decompress(compress(made)) == b"".join(made)
    assert unpack(compress(made)) == made


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\u2028", "\x85"])
def test_only_a_line_feed_ends_a_line(mark: str) -> None:
    """What Unicode calls a line's end may stand inside a label."""
    made = [f'{{"a":"{mark}"}}\n'.encode(), b"{}\n"]

    assert unpack(compress(made)) == made


def test_compression_is_worth_it() -> None:
    """Lines that are alike, as metrics are, shrink to a tenth."""
    made = [
        b'{"time":"2026-11-22T10:32:29.365Z","name":"nv_count","value":%d}\n' % n
        for n in range(1000)
    ]

    assert len(compress(made)) < sum(map(len, made)) / 8
    assert gzip_body.COMPRESS_LEVEL == 1


def test_lines_are_read_of_compressed_chunks_too() -> None:
    """Whoever counts items sees all of them."""
    made = lines(600)
    plain = Submission(cut(made[:300]), 0, 0, {})
    both = replace(plain, deflated_chunks=[deflate(chunk) for chunk in cut(made[300:])])
    assert list(all_lines(both)) == made
    assert list(all_lines(compress_chunks(plain))) == made[:300]
