"""The body of a batch: gzip that is made of chunks, and read again as lines. Pure.

In: rendered lines, in chunks. Out: gzip bodies of bounded size, ready to be POSTed, and
the lines of a body again.

A chunk is compressed once, by itself: raw DEFLATE that ends on a byte (a full flush,
RFC 1951 3.2.4). A body is a gzip header, compressed chunks of any requests, and a trailer.
So batches are filled across requests, and a repeated request is left out chunk by chunk.
"""

import gzip
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from isal import isal_zlib

from receiver.errors import Damaged
from receiver.outbox.values import OWN, Chunk, DeflatedChunk, Lane, PackedBatch, Submission

BATCH_ITEMS = 1000
BATCH_BYTES = 1 << 20
"""A batch's limits, in items and in bytes of JSON: larger POSTs are no more efficient."""
CHUNK_ITEMS = BATCH_ITEMS // 4
CHUNK_BYTES = BATCH_BYTES // 4
"""A chunk's limits: smaller ones compress worse (by 2 % here), larger ones fill batches less."""
COMPRESS_LEVEL = 1
"""isal's level 1: within 16 % of zlib 6 in size, fifteen times as fast."""
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x00\xff"
"""No name and no time, so the same lines are the same bytes. RFC 1952 2.3."""
_LAST_BLOCK = b"\x03\0"
"""An empty last block."""


def cut_points(
    line_ends: Sequence[int], first: int = 0, last: int | None = None
) -> Iterator[tuple[int, int]]:
    """Split lines into chunks, in order: yields each chunk's first line, and the one after its last.

    `line_ends` are the offsets of line ends; lines from `first` up to `last` are split. A line over the
    limits is a chunk of its own.
    """
    last = len(line_ends) if last is None else last
    size_before = line_ends[first - 1] if first else 0
    while first < last:
        most = min(first + CHUNK_ITEMS, last)
        stop = max(first + 1, bisect_right(line_ends, size_before + CHUNK_BYTES, first, most))
        yield first, stop
        first, size_before = stop, line_ends[stop - 1]


def cut(lines: Sequence[bytes], lane: Lane = OWN) -> list[Chunk]:
    """Join lines of one lane into chunks, in order."""
    line_ends = list(accumulate(map(len, lines)))
    return [Chunk(b"".join(lines[a:b]), b - a, lane) for a, b in cut_points(line_ends)]


def lines_of(chunk: Chunk, most: int) -> list[bytes]:
    """Return the first lines of a chunk, with line ends, up to a limit."""
    return [line + b"\n" for line in chunk.text.split(b"\n", most)[: min(most, chunk.items)]]


def all_lines(submission: Submission) -> Iterator[bytes]:
    """Yield the lines of a submission, with line ends: first those that are not compressed."""
    for chunk in submission.chunks:
        yield from chunk.text.splitlines(keepends=True)
    for deflated_chunk in submission.deflated_chunks:
        text = zlib.decompressobj(-15).decompress(deflated_chunk.deflated)
        yield from text.splitlines(keepends=True)


def compress_chunks(submission: Submission) -> Submission:
    """Compress the uncompressed chunks."""
    if not submission.chunks:
        return submission
    deflated_chunks = (*submission.deflated_chunks, *map(deflate, submission.chunks))
    return replace(submission, chunks=(), deflated_chunks=deflated_chunks)


def deflate(chunk: Chunk) -> DeflatedChunk:
    """Compress a chunk."""
    compressor = isal_zlib.compressobj(COMPRESS_LEVEL, isal_zlib.DEFLATED, -15)
    deflated = compressor.compress(chunk.text) + compressor.flush(isal_zlib.Z_FULL_FLUSH)
    crc = isal_zlib.crc32(chunk.text)
    return DeflatedChunk(deflated, chunk.items, len(chunk.text), crc, chunk.lane)


def pack(submissions: Iterable[Submission]) -> Iterator[PackedBatch]:
    """Pack the chunks of all compressed submissions into full batches, in order.

    A batch has one lane, and spans the times of all its submissions.
    """
    open_batches: dict[Lane, _OpenBatch] = {}
    for submission in submissions:
        for chunk in submission.deflated_chunks:
            batch = open_batches.get(chunk.lane)
            if batch is None or batch.has_no_room_for(chunk):
                if batch:
                    yield batch.packed(chunk.lane)
                batch = open_batches[chunk.lane] = _OpenBatch([], 0, 0, 2**63, -(2**63))
            batch.add(chunk, submission)
    for lane, batch in open_batches.items():
        yield batch.packed(lane)


@dataclass(slots=True)
class _OpenBatch:
    """Compressed chunks that become one batch."""

    chunks: list[DeflatedChunk]
    items: int
    size_bytes: int
    oldest_ms: int
    newest_ms: int

    def has_no_room_for(self, chunk: DeflatedChunk) -> bool:
        return (
            self.items + chunk.items > BATCH_ITEMS
            or self.size_bytes + chunk.size_bytes > BATCH_BYTES
        )

    def add(self, chunk: DeflatedChunk, submission: Submission) -> None:
        self.chunks.append(chunk)
        self.items += chunk.items
        self.size_bytes += chunk.size_bytes
        self.oldest_ms = min(self.oldest_ms, submission.oldest_ms)
        self.newest_ms = max(self.newest_ms, submission.newest_ms)

    def packed(self, lane: Lane) -> PackedBatch:
        return PackedBatch(_body(self.chunks), self.items, self.oldest_ms, self.newest_ms, lane)


def _body(chunks: Sequence[DeflatedChunk]) -> bytes:
    """Make the body of a POST."""
    crc = size = 0
    for chunk in chunks:
        crc = isal_zlib.crc32_combine(crc, chunk.crc, chunk.size_bytes)
        size += chunk.size_bytes
    trailer = struct.pack("<LL", crc, size & 0xFFFFFFFF)
    return b"".join((_GZIP_HEADER, *(chunk.deflated for chunk in chunks), _LAST_BLOCK, trailer))


def compress(lines: Sequence[bytes]) -> bytes:
    """Make the body of a POST from any number of lines; the same lines give the same bytes."""
    return _body([deflate(Chunk(b"".join(lines), len(lines)))])


def unpack(body: bytes) -> list[bytes]:
    """Read the lines of a body, each with its line end. Raises: Damaged."""
    try:
        return gzip.decompress(body).splitlines(keepends=True)
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"{Damaged.message}: {error}") from error
