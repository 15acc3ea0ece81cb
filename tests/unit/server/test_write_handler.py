"""What becomes of a request between its body and its answer: committed once, counted once."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import snappy
from structlog.testing import capture_logs

from receiver.errors import DecodedTooLarge, NotCommitted, OutboxFull, Undecodable
from receiver.intake.decode import Message
from receiver.intake.pipeline import Outcome
from receiver.outbox.store import Outbox
from receiver.outbox.values import Chunk, Submission
from receiver.server.write_handler import TEXT_LIMIT, Reply, WriteHandler, digest


def test_the_same_bytes_as_another_message_are_another_request() -> None:
    """What was committed as 1.0 says nothing about the same bytes as 2.0."""
    body = b"the same bytes"
    assert digest(body, Message.V1) == digest(body, Message.V1)
    assert digest(body, Message.V1) != digest(body, Message.V2)
    assert digest(body, Message.V1) != digest(body + b"!", Message.V1)
    assert len(digest(body, Message.V1)) == 16


BODY = snappy.compress(b"decoded")


class Bench:
    """A handler between a pipeline that makes `outcome` and a committer that notes what it gets."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.taken: list[tuple[bytes, Message]] = []
        self.submitted: list[Submission] = []
        self.counted: list[Mapping[tuple[str, str], int]] = []
        self.commits: list[tuple[Outcome, bytes, Message]] = []
        self.held: list[int] = []
        self.earlier: bytes | None = None
        self.full = False
        self.replicas: Any = None
        self.notes: dict[str, bytes] = {}
        self.asked = 0
        self.limits = SimpleNamespace(decoded_bytes=7)
        us: Any = self
        self.handler = WriteHandler(us, us, lambda *what: self.commits.append(what))

    def process(self, raw: bytes, message: Message) -> Outcome:
        self.taken.append((bytes(raw), message))
        return self.outcome

    async def submit(self, submission: Submission) -> bytes | None:
        if self.full:
            raise OutboxFull("full")
        self.submitted.append(submission)
        return self.earlier

    def count(self, totals: Mapping[tuple[str, str], int]) -> None:
        self.counted.append(totals)

    async def ask(self, question: Callable[[Any], Any]) -> Any:
        self.asked += 1
        assert question is Outbox.notes
        if self.full:
            raise NotCommitted("not open")
        await asyncio.sleep(0)
        return self.notes

    def handle(self, body: bytes = BODY, message: Message = Message.V2) -> Reply:
        """Handle a request."""
        return asyncio.run(self.handler.handle(body, message, self.held.append))


def outcome(**more: Any) -> Outcome:
    """Make an outcome: ten samples, of which two make an item, and one is folded."""
    usual: dict[str, Any] = {
        "chunks": [Chunk(b"a\n", 1), Chunk(b"bc\n", 1)],
        "rendered": 2,
        "folded": b"12345",
        "folded_samples": 1,
        "oldest_ms": 3,
        "newest_ms": 9,
        "received": 10,
        "unselected": 4,
        "dropped": Counter(nan=2, late=1),
        "labels_cut": 5,
        "labels_left_out": 6,
        "written_samples": 10,
        "written_histograms": 11,
        "written_exemplars": 12,
        "notes": {"n": b"note"},
    }
    return Outcome(**usual | more)


def test_what_is_selected_is_committed_with_its_account() -> None:
    """With its answer, for a sender that comes again; and told once it is on disk."""
    bench = Bench(outcome())
    reply = bench.handle()
    assert reply == Reply(204, "", 10, 11, 12)
    assert bench.taken == [(b"decoded", Message.V2)]
    [submission] = bench.submitted
    assert submission == Submission(
        bench.outcome.chunks, 3, 9,
        {("received", ""): 10, ("unselected", ""): 4, ("folded", ""): 1, ("dropped", "nan"): 2, ("dropped", "late"): 1},
        digest(BODY, Message.V2), submission.answer, (), b"12345", {"n": b"note"},
    )  # fmt: skip
    assert Reply(**orjson.loads(submission.answer)) == reply
    assert bench.held == [10]
    assert bench.commits == [(bench.outcome, b"decoded", Message.V2)]
    assert bench.counted == []
    counts = bench.handler.counts
    assert (counts.labels_cut, counts.labels_left_out, counts.repeated) == (5, 6, 0)
    bench.handle()
    assert (counts.labels_cut, counts.labels_left_out) == (10, 12)


@pytest.mark.parametrize("part", ["chunks", "folded"])
def test_items_or_records_alone_are_committed_too(part: str) -> None:
    """Each for itself is something to keep."""
    bench = Bench(outcome(folded=b"") if part == "chunks" else outcome(chunks=[]))
    bench.handle()
    assert len(bench.submitted) == 1
    assert bench.held == [5]


def test_nothing_selected_is_only_counted() -> None:
    """It costs no commit, and holds no memory."""
    bench = Bench(outcome(chunks=[], folded=b"", folded_samples=0))
    assert bench.handle().status == 204
    assert (bench.submitted, bench.held) == ([], [])
    assert bench.counted[0]["received", ""] == 10
    assert len(bench.commits) == 1


def test_a_request_seen_before_gets_its_answer_and_counts_nowhere() -> None:
    """But as a repeat: its labels, its refused series and its samples were counted."""
    bench = Bench(outcome(refused=Counter(no_name=1)))
    bench.earlier = orjson.dumps(Reply(400, "as before", 1, 2, 3))
    for _ in range(2):
        assert bench.handle() == Reply(400, "as before", 1, 2, 3)
    counts = bench.handler.counts
    assert (counts.repeated, counts.labels_cut, counts.labels_left_out) == (2, 0, 0)
    assert not counts.refused_series
    assert bench.commits == []


def test_series_that_are_refused_are_named() -> None:
    """How many, why, and some of them; the rest is in."""
    bench = Bench(outcome(refused=Counter(no_name=2, duplicate=1), refused_examples=["{a}", "{b}"]))
    reply = bench.handle()
    assert reply == Reply(
        400,
        "3 series refused (duplicate: 1, no_name: 2): {a}; {b}. The rest of the request was accepted.",
        10, 11, 12,
    )  # fmt: skip
    assert bench.handler.counts.refused_series == {"no_name": 2, "duplicate": 1}
    bench.outcome = outcome(refused=Counter(no_name=1), refused_examples=["x" * 5000])
    assert len(bench.handle().text) == TEXT_LIMIT == 1000


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"\x03\xff\xff", Undecodable),
        (snappy.compress(b"decoded!"), DecodedTooLarge),
    ],
)
def test_a_body_that_cannot_be_read_goes_no_further(body: bytes, error: type[Exception]) -> None:
    """By the limit of what it is decoded."""
    bench = Bench(outcome())
    with pytest.raises(error):
        bench.handle(body)
    assert bench.taken == []


def test_what_is_not_committed_is_not_reported() -> None:
    """The sender comes again with all of it."""
    bench = Bench(outcome(refused=Counter(no_name=1)))
    bench.full = True
    with pytest.raises(OutboxFull):
        bench.handle()
    assert bench.commits == []
    assert not bench.handler.counts.refused_series
    assert bench.handler.counts.labels_cut == 0


class Replicas:
    """Leaders that are loaded once."""

    def __init__(self) -> None:
        self.is_loaded = False
        self.loads: list[Mapping[str, bytes]] = []

    def load(self, notes: Mapping[str, bytes]) -> list[str]:
        self.loads.append(notes)
        self.is_loaded = True
        return ["odd"]


def test_leaders_are_loaded_before_the_first_request() -> None:
    """Once, whoever comes first; a note that cannot be read is said."""
    bench = Bench(outcome())
    bench.replicas = Replicas()
    bench.notes = {"replicas/a": b"x"}

    async def both() -> None:
        requests = (bench.handler.handle(BODY, Message.V1) for _ in range(2))
        await asyncio.gather(*requests)

    with capture_logs() as logs:
        asyncio.run(both())
        bench.handle()
    assert bench.replicas.loads == [bench.notes]
    assert bench.asked == 2
    assert len(bench.taken) == 3
    [line] = logs
    assert (line["log_level"], line["name"]) == ("error", "odd")


def test_no_request_is_handled_while_the_leaders_are_not_known() -> None:
    """Else two replicas would lead."""
    bench = Bench(outcome())
    bench.replicas, bench.full = Replicas(), True
    with pytest.raises(NotCommitted, match="not open"):
        bench.handle()
    assert bench.taken == []
