"""Round trips between front and worker: whatever is handed over is the same at the other end."""

import io

import orjson
from hypothesis import given
from hypothesis import strategies as st

from receiver.batch import Piece, Submission
from receiver.errors import NotCommitted, OutboxFull
from receiver.workers.wire import (
    PREFIX,
    Answer,
    Frame,
    pack_answers,
    pack_submissions,
    read_head,
    to_bytes,
    unpack_answers,
    unpack_submissions,
)

COUNTS = st.integers(0, 2**53 - 1)
TIMES = st.integers(-(2**53), 2**53)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PIECES = st.builds(Piece, st.binary(max_size=200), COUNTS, COUNTS, st.integers(0, 2**32 - 1))
SUBMISSIONS = st.builds(
    Submission,
    chunks=st.just(()),
    oldest_ms=TIMES,
    newest_ms=TIMES,
    totals=st.dictionaries(st.tuples(TEXTS, TEXTS), COUNTS, max_size=5),
    digest=st.binary(max_size=16),
    answer=st.binary(max_size=100),
    pieces=st.lists(PIECES, max_size=4),
)
REFUSED = st.builds(OutboxFull, TEXTS) | st.builds(NotCommitted, TEXTS)
ANSWERS: st.SearchStrategy[Answer] = st.none() | st.binary(max_size=100) | REFUSED


def over_the_wire(frame: Frame) -> Frame:
    """Spell a frame, and read it as the other end does."""
    file = io.BytesIO(to_bytes(frame))
    head_length, tail_length = PREFIX.unpack(file.read(PREFIX.size))
    found = Frame(read_head(file.read(head_length)), file.read(tail_length))
    assert not file.read()
    return found


@given(st.lists(SUBMISSIONS, max_size=5))
def test_submissions_are_the_same(submissions: list[Submission]) -> None:
    """Each field of each, in their order."""
    assert unpack_submissions(over_the_wire(pack_submissions(submissions))) == submissions


@given(st.lists(ANSWERS, max_size=8))
def test_answers_are_the_same(answers: list[Answer]) -> None:
    """An exception by its kind and its words, an empty answer is not none."""

    def plain(answer: Answer) -> object:
        return (type(answer), str(answer)) if isinstance(answer, NotCommitted) else answer

    found = unpack_answers(over_the_wire(pack_answers(answers)))
    assert list(map(plain, found)) == list(map(plain, answers))


@given(st.dictionaries(TEXTS, COUNTS, max_size=5), st.binary(max_size=300))
def test_a_frame_is_the_same(head: dict[str, int], tail: bytes) -> None:
    """Its head is JSON and its tail is bytes."""
    assert over_the_wire(Frame(head, tail)) == Frame(head, tail)
    assert orjson.dumps(head) in to_bytes(Frame(head, tail))
