"""What is flushed is handed on by reference, in order, and never piles up."""

from receiver.fold import fold
from receiver.outbox.flushed import Flushed, FlushedCounts
from receiver.outbox.values import Chunk, DeflatedChunk


def test_each_chunk_is_given_once_in_order() -> None:
    """The very chunks, not copies of them."""
    flushed = Flushed()
    chunks = [Chunk(b"a\n", 1), Chunk(b"b\nc\n", 2)]
    flushed.put(chunks)
    assert flushed.take() is chunks[0]
    assert flushed.take() is chunks[1]
    assert flushed.take() is None
    assert flushed.counts == FlushedCounts(3, 6, 0)


def test_past_the_bound_chunks_are_counted_and_let_go() -> None:
    """What was looked at makes room again; what is compressed is never kept."""
    flushed = Flushed(max_bytes=5)
    flushed.put([Chunk(b"abc\n", 1), Chunk(b"d\ne\n", 2), DeflatedChunk(b"", 4, 8, 0)])
    assert flushed.counts == FlushedCounts(7, 16, 6)
    assert flushed.take() == Chunk(b"abc\n", 1)
    assert flushed.take() is None
    flushed.put([Chunk(b"d\ne\n", 2)])
    assert flushed.take() == Chunk(b"d\ne\n", 2)


def test_the_bound_is_of_all_that_wait() -> None:
    """However many chunks they are; one that fills it is kept."""
    flushed = Flushed(max_bytes=8)
    chunks = [Chunk(b"abc\n", number) for number in range(4)]
    flushed.put(chunks)
    assert flushed.counts == FlushedCounts(6, 16, 5)
    assert [flushed.take(), flushed.take(), flushed.take()] == [*chunks[:2], None]
    assert Flushed()._max_bytes == fold.SHOWN_BYTES == 4 << 20
