"""The values that the outbox exchanges with its users: submissions, batches and their outcome. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from receiver.ledger import Totals


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
class Submission:
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
