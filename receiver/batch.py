"""What is committed and sent together: a batch, and what happens to it. Pure values.

In: rendered lines. Out: gzip bodies of bounded size, ready to be POSTed, and the
lines of one again.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from isal import igzip

from receiver.errors import Damaged

BATCH_ITEMS = 1000
BATCH_BYTES = 1 << 20
"""A batch's bounds, in items and in bytes of JSON: past them a POST gains nothing."""
COMPRESS_LEVEL = 1
"""isal's level 1: within 16 % of zlib 6 in size, fifteen times as fast."""

Totals = Mapping[tuple[str, str], int]
"""Samples by (outcome, reason): the ledger's unit."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The items of one request, and its account.

    The lines' times span `oldest_ms` to `newest_ms`. `digest` tells a request that
    comes again, `answer` is what it gets then; an empty digest is not remembered.
    """

    lines: Sequence[bytes]
    oldest_ms: int
    newest_ms: int
    totals: Totals
    digest: bytes = b""
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Batch:
    """One POST: `body` is the gzip of `items` lines. Times in milliseconds."""

    id: int
    body: bytes
    items: int
    oldest_ms: int
    newest_ms: int
    instrumentation_key: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An item that the service rejected for good, with the service's own words."""

    status: int
    message: str
    item: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a batch's items; those `again` go back, each part as a new batch."""

    batch: Batch
    accepted: int = 0
    expired: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    again: Sequence[Sequence[bytes]] = ()
    dead_letters: Sequence[DeadLetter] = ()


@dataclass(frozen=True, slots=True)
class Parcel:
    """A batch that has no number yet."""

    body: bytes
    items: int
    oldest_ms: int
    newest_ms: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """What waits: items, batches, their compressed bytes, the oldest sample's time (0: none)."""

    items: int
    batches: int
    size_bytes: int
    max_bytes: int
    oldest_ms: int
    set_aside: int
    full: str = ""
    """Why nothing more is taken; empty while there is room."""


def pack(submissions: Iterable[Submission]) -> Iterator[Parcel]:
    """Cut the lines of all submissions into full batches, compressed once and for all.

    A batch that holds lines of several submissions spans the times of them all.
    """
    lines: list[bytes] = []
    size = 0
    oldest_ms = newest_ms = 0
    for submission in submissions:
        start = 0
        while start < len(submission.lines):
            part = submission.lines[start : start + BATCH_ITEMS - len(lines)]
            part = part[: _fitting(part, BATCH_BYTES - size) or not lines]
            if part:
                oldest, newest = submission.oldest_ms, submission.newest_ms
                oldest_ms = min(oldest_ms, oldest) if lines else oldest
                newest_ms = max(newest_ms, newest) if lines else newest
                lines += part
                size += sum(map(len, part))
                start += len(part)
            if not part or len(lines) == BATCH_ITEMS:
                yield Parcel(compress(lines), len(lines), oldest_ms, newest_ms)
                lines, size = [], 0
    if lines:
        yield Parcel(compress(lines), len(lines), oldest_ms, newest_ms)


def _fitting(lines: Sequence[bytes], room_bytes: int) -> int:
    """Count the lines that fit, from the first on."""
    if sum(map(len, lines)) <= room_bytes:
        return len(lines)
    return sum(total <= room_bytes for total in accumulate(map(len, lines)))


def compress(lines: Sequence[bytes]) -> bytes:
    """Make the body of a POST; the same lines give the same bytes."""
    return bytes(igzip.compress(b"".join(lines), COMPRESS_LEVEL, mtime=0))


def unpack(body: bytes) -> list[bytes]:
    """Read the lines of a body again, each with its line end. Raises: Damaged."""
    try:
        return gzip.decompress(body).splitlines(keepends=True)
    except (OSError, EOFError, zlib.error) as error:
        raise Damaged(f"{Damaged.message}: {error}") from error
