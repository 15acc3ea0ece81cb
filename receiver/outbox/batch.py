"""Batches, the unit of commit and delivery, and their outcome. Pure values.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import NamedTuple

from isal import isal_zlib

from receiver.errors import Damaged

BATCH_ITEMS = 1000
BATCH_BYTES = 1 << 20
"""A batch's limits, in items and in bytes of JSON: larger POSTs are no more efficient."""
CHUNK_ITEMS = BATCH_ITEMS // 4
CHUNK_BYTES = BATCH_BYTES // 4
"""A chunk's limits: smaller ones compress worse (by 2 % here), larger ones fill batches less."""
COMPRESS_LEVEL = 1
"""isal's level 1: within 16 % of zlib 6 in size, fifteen times as fast."""
ROUTE_FULL = "route_full"
"""The reason for a full lane: a sample is dropped, a window's item rejected."""
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x00\xff"
"""No name and no time, so the same lines are the same bytes. RFC 1952 2.3."""
_LAST_BLOCK = b"\x03\0"
"""An empty last block."""

Totals = Mapping[tuple[str, str], int]
"""Samples by (outcome, reason): the ledger's unit."""


class Lane(NamedTuple):
    """The queue of items, and the resource for which they were rendered: two opaque texts.

    Empty texts mean the outbox's default lane and the outbox's own destination.
    """

    name: str = ""
    destination: str = ""


OWN = Lane()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive lines of one request: `items` lines, including their line ends."""

    text: bytes
    items: int
    lane: Lane = OWN


@dataclass(frozen=True, slots=True)
class DeflatedChunk:
    """A compressed chunk: a part of a gzip body. `crc` and `size_bytes` are the text's."""

    deflated: bytes
    items: int
    size_bytes: int
    crc: int
    lane: Lane = OWN


@dataclass(frozen=True, slots=True)
class Append:
    """The items of one request, and its counts.

    `compress_chunks` turns `chunks` into `deflated_chunks`. The items' times span `oldest_ms` to
    `newest_ms`; without items both are the newest folded sample's time. `digest` identifies a repeated request, `answer` is its answer; an empty digest
    is not remembered. `folded` are records for `receiver.outbox.fold_log`. `notes` are small
    states by name: the last committed one is kept, an empty one is deleted.
    """

    chunks: Sequence[Chunk]
    oldest_ms: int
    newest_ms: int
    totals: Totals
    digest: bytes = b""
    answer: bytes = b""
    deflated_chunks: Sequence[DeflatedChunk] = ()
    folded: bytes = b""
    notes: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """The number of items."""
        return sum(part.items for part in self.chunks) + sum(
            part.items for part in self.deflated_chunks
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """One POST: `body` is the gzip of `items` lines, rendered for `destination`. Times in ms."""

    id: int
    body: bytes
    items: int
    oldest_ms: int
    newest_ms: int
    destination: str
    lane: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A permanently rejected item, with the service's message."""

    status: int
    message: str
    item: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of a batch's items; each part of `again` is put back as a new batch."""

    batch: Batch
    accepted: int = 0
    expired: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    again: Sequence[Sequence[bytes]] = ()
    dead_letters: Sequence[DeadLetter] = ()


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """A batch before it is stored: without a number."""

    body: bytes
    items: int
    oldest_ms: int
    newest_ms: int
    lane: Lane = OWN


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """The content of one lane, and its ledger; `max_bytes` is its share of the outbox, 0 for none.

    `oldest_ms` is the oldest sample's time, 0 for an empty lane.
    """

    batches: int = 0
    size_bytes: int = 0
    max_bytes: int = 0
    oldest_ms: int = 0
    totals: Totals = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether the lane's share is used up."""
        return 0 < self.max_bytes <= self.size_bytes


@dataclass(frozen=True, slots=True)
class Statistics:
    """The content of the outbox: items, batches, compressed bytes, the oldest sample's time (0: none)."""

    items: int
    batches: int
    size_bytes: int
    max_bytes: int
    oldest_ms: int
    set_aside: int
    full: str = ""
    """Why no more is accepted; empty while there is room."""
    lanes: Mapping[str, LaneStatistics] = field(default_factory=dict)
    """Lanes by name; empty if the outbox has the default lane alone."""


def cut_points(
    ends: Sequence[int], first: int = 0, last: int | None = None
) -> Iterator[tuple[int, int]]:
    """Split lines into chunks, in order: yields each chunk's first line, and the one after its last.

    `ends` are the offsets of line ends; lines from `first` up to `last` are split. A line over the
    limits is a chunk of its own.
    """
    last = len(ends) if last is None else last
    size_before = ends[first - 1] if first else 0
    while first < last:
        most = min(first + CHUNK_ITEMS, last)
        stop = max(first + 1, bisect_right(ends, size_before + CHUNK_BYTES, first, most))
        yield first, stop
        first, size_before = stop, ends[stop - 1]


def cut(lines: Sequence[bytes], lane: Lane = OWN) -> list[Chunk]:
    """Join lines of one lane into chunks, in order."""
    ends = list(accumulate(map(len, lines)))
    return [Chunk(b"".join(lines[a:b]), b - a, lane) for a, b in cut_points(ends)]


def lines_of(chunk: Chunk, most: int) -> list[bytes]:
    """Return the first lines of a chunk, with line ends, up to a limit."""
    return [line + b"\n" for line in chunk.text.split(b"\n", most)[: min(most, chunk.items)]]


def compress_chunks(submission: Append) -> Append:
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


def pack(submissions: Iterable[Append]) -> Iterator[PackedBatch]:
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

    def add(self, chunk: DeflatedChunk, submission: Append) -> None:
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
