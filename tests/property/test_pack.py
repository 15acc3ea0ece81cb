"""Batches conserve items and their order, and keep within their bounds."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from receiver.outbox.gzip_body import (
    BATCH_BYTES,
    BATCH_ITEMS,
    CHUNK_BYTES,
    CHUNK_ITEMS,
    compress_chunks,
    cut,
    pack,
    unpack,
)
from receiver.outbox.values import Submission

spans = st.tuples(st.integers(0, 1000), st.integers(0, 1000)).map(sorted)
shapes = st.lists(
    st.tuples(
        st.lists(
            st.tuples(st.sampled_from([1, 2, 300, 999, 1000]), st.sampled_from([8, 60, 5000, 65536, 600_000])),
            max_size=2,
        ),
        spans,
    ),
    max_size=5,
)  # fmt: skip


def submissions(shape: list[tuple[list[tuple[int, int]], list[int]]]) -> list[Submission]:
    """Make submissions of runs of lines: so many, so long; each line tells where it belongs."""
    made = []
    for number, (runs, (oldest, newest)) in enumerate(shape):
        lines = [
            b"%d/%d" % (number, place) + b" " * (size - 10) + b"\n"
            for place, size in enumerate(
                size for count, size in runs for _ in range(min(count, 1_500_000 // size))
            )
        ]
        made.append(Submission(cut(lines), oldest, newest, {}))
    return made


@given(shapes)
def test_batches_conserve_items_and_order_within_bounds(
    shape: list[tuple[list[tuple[int, int]], list[int]]],
) -> None:
    """Nothing lost, doubled or moved; no batch over a bound, none that the next one's first chunk fitted into."""
    made = submissions(shape)

    batches = list(pack(map(compress_chunks, made)))

    bodies = [unpack(batch.body) for batch in batches]
    assert [line for body in bodies for line in body] == [
        line
        for each in made
        for chunk in each.chunks
        for line in chunk.text.splitlines(keepends=True)
    ]
    for batch, body in zip(batches, bodies, strict=True):
        assert 1 <= batch.items == len(body) <= BATCH_ITEMS
        assert sum(map(len, body)) <= BATCH_BYTES
    chunks = {
        chunk.text.splitlines(keepends=True)[0]: chunk for each in made for chunk in each.chunks
    }
    for before, after in pairwise(bodies):
        first = chunks[after[0]]
        full = len(before) + first.items > BATCH_ITEMS
        assert full or sum(map(len, before)) + len(first.text) > BATCH_BYTES


@given(shapes)
def test_chunks_are_as_full_as_their_bounds_let_them(
    shape: list[tuple[list[tuple[int, int]], list[int]]],
) -> None:
    """So a batch lacks less than one chunk: three quarters of it are full, or it is the last."""
    for each in submissions(shape):
        for before, after in pairwise(each.chunks):
            size = len(before.text) + len(after.text.split(b"\n", 1)[0]) + 1
            assert before.items == CHUNK_ITEMS or size > CHUNK_BYTES


@given(shapes)
def test_a_batch_spans_exactly_the_requests_in_it(
    shape: list[tuple[list[tuple[int, int]], list[int]]],
) -> None:
    """Expiry and the age that is shown follow from these times."""
    made = submissions(shape)

    for batch in pack(map(compress_chunks, made)):
        numbers = {int(line.split(b"/")[0]) for line in unpack(batch.body)}
        assert batch.oldest_ms == min(made[number].oldest_ms for number in numbers)
        assert batch.newest_ms == max(made[number].newest_ms for number in numbers)
