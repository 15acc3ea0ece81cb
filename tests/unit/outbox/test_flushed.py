"""What is flushed is handed on by reference, in order, and never piles up."""

from receiver.outbox.batch import Chunk, DeflatedChunk
from receiver.outbox.flushed import Flushed, FlushedCounts


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
