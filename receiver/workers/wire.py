"""What front and worker say to each other, as bytes.

In: documents, submissions, and what became of these. Out: frames, and the same values
again. Pure. A frame is

    | head's length, 4 bytes | tail's length, 8 bytes | head: JSON | tail: any bytes |

The head tells how the tail is cut. Both ends are the same version of this program, and
nobody else can speak here: what does not fit is a defect, and raises.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from receiver.batch import Piece, Submission
from receiver.errors import NotCommitted, OutboxFull

PREFIX = struct.Struct("!IQ")
"""The lengths of head and tail."""

Answer = bytes | NotCommitted | None
"""What became of a submission: committed; what its first coming was answered; or why not."""

_REFUSALS: dict[str, type[NotCommitted]] = {"full": OutboxFull, "failed": NotCommitted}


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    head: Any
    tail: bytes = b""


def to_bytes(frame: Frame) -> bytes:
    """Spell a frame."""
    head = orjson.dumps(frame.head)
    return b"".join((PREFIX.pack(len(head), len(frame.tail)), head, frame.tail))


def read_head(head: bytes) -> Any:
    """Read the head of a frame."""
    return orjson.loads(head)


class _Cutter:
    """Cuts a tail into its parts, one after the other."""

    def __init__(self, tail: bytes) -> None:
        self._tail = memoryview(tail)
        self._place = 0

    def cut(self, length: int) -> bytes:
        begin, self._place = self._place, self._place + length
        return bytes(self._tail[begin : self._place])


def pack_submissions(submissions: Iterable[Submission]) -> Frame:
    """Spell sealed submissions; the tail holds of each its pieces, its digest and its answer."""
    head: list[Any] = []
    tail: list[bytes] = []
    for each in submissions:
        pieces = [(len(p.deflated), p.items, p.size_bytes, p.crc) for p in each.pieces]
        totals = [(*key, samples) for key, samples in each.totals.items()]
        span = each.oldest_ms, each.newest_ms
        head.append((pieces, span, totals, len(each.digest), len(each.answer)))
        tail += (*(piece.deflated for piece in each.pieces), each.digest, each.answer)
    return Frame(head, b"".join(tail))


def unpack_submissions(frame: Frame) -> list[Submission]:
    """Read what `pack_submissions` has spelt."""
    cutter = _Cutter(frame.tail)
    return [
        Submission(
            chunks=(),
            pieces=[Piece(cutter.cut(length), *counts) for length, *counts in pieces],
            oldest_ms=oldest_ms,
            newest_ms=newest_ms,
            totals={(outcome, reason): samples for outcome, reason, samples in totals},
            digest=cutter.cut(digest_length),
            answer=cutter.cut(answer_length),
        )
        for pieces, (oldest_ms, newest_ms), totals, digest_length, answer_length in frame.head
    ]


def pack_answers(answers: Sequence[Answer]) -> Frame:
    """Spell what became of submissions."""
    head: list[Any] = []
    for each in answers:
        if isinstance(each, NotCommitted):
            head.append(("full" if isinstance(each, OutboxFull) else "failed", str(each)))
        else:
            head.append(None if each is None else len(each))
    return Frame(head, b"".join(each for each in answers if isinstance(each, bytes)))


def unpack_answers(frame: Frame) -> list[Answer]:
    """Read what `pack_answers` has spelt."""
    cutter = _Cutter(frame.tail)
    answers: list[Answer] = []
    for each in frame.head:
        if isinstance(each, int):
            answers.append(cutter.cut(each))
        else:
            answers.append(each and _REFUSALS[each[0]](each[1]))
    return answers
