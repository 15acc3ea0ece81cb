"""The outbox against a model of it: whatever happens in whatever order, the ledger adds up."""

import tempfile
from collections import Counter, deque
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from receiver.azure.limits import EXPIRY_MS
from receiver.errors import OutboxFull
from receiver.ledger import Totals, read_ledger
from receiver.outbox import transfer
from receiver.outbox.dedup import REMEMBER_SECONDS
from receiver.outbox.gzip_body import compress_chunks, cut, unpack
from receiver.outbox.store import Outbox
from receiver.outbox.values import Batch, Settlement, Submission
from tests.property.examples import examples

NOW_MS = 1_800_000_000_000
BAD = compress_chunks(Submission(cut([b"bad\n"]), 2**70, 2**70, {("received", ""): 1}))
"""One that SQLite cannot hold: a transaction with it fails."""


class OutboxMachine(RuleBasedStateMachine):
    """Submits, repeats, settles, fails and restarts; `self.waiting` is what must be on disk."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.now = NOW_MS / 1000
        self.serial = 0
        self.waiting: Counter[bytes] = Counter()
        self.places = [Path(self.directory.name) / name for name in ("old", "new")]
        self.counted: list[Counter[str]] = [Counter(), Counter()]
        self.totals = self.counted[0]
        self.moves = 0
        self.sent: deque[Submission] = deque(maxlen=20)
        self.lines: dict[bytes, list[bytes]] = {}
        self.committed_at: dict[bytes, float] = {}
        self.under_way: dict[int, Batch] = {}

    @initialize(max_bytes=st.sampled_from([200, 2000, 1 << 30]))
    def begin(self, max_bytes: int) -> None:
        """Open it for the first time."""
        self.max_bytes = max_bytes
        self.outbox = self.opened()

    def opened(self) -> Outbox:
        """Open it."""
        return Outbox(self.places[0], self.max_bytes, "key", EXPIRY_MS, lambda: self.now)

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.outbox.close()
        self.directory.cleanup()

    def made(self, items: int, unselected: int) -> Submission:
        """Make a request that is like no other."""
        self.serial += 1
        lines = [b"%d/%d\n" % (self.serial, place) for place in range(items)]
        totals: Totals = {("received", ""): items + unselected, ("unselected", ""): unselected}
        digest = b"%d" % self.serial
        submission = Submission(cut(lines), NOW_MS, NOW_MS, totals, digest, b"answer " + digest)
        self.lines[digest] = lines
        return compress_chunks(submission)

    def expect(self, submission: Submission, answer: bytes | OutboxFull | None) -> None:
        """Take down what a submission must have changed."""
        if answer is None:
            self.waiting.update(self.lines[submission.digest])
            self.totals["received"] += submission.totals["received", ""]
            self.totals["unselected"] += submission.totals["unselected", ""]
            self.sent.append(submission)
            self.committed_at[submission.digest] = self.now

    @rule(shapes=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=4))
    def submit(self, shapes: list[tuple[int, int]]) -> None:
        """Some requests at once, in one transaction."""
        made = [self.made(items, unselected) for items, unselected in shapes]
        full = self.outbox.statistics().size_bytes >= self.max_bytes
        for submission, answer in zip(made, self.outbox.apply(made, []), strict=True):
            if full and submission.deflated_chunks:
                assert isinstance(answer, OutboxFull)
            else:
                assert answer is None
            self.expect(submission, answer)

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 19))
    def repeat(self, which: int) -> None:
        """A request comes again: known within ten minutes, full or not; new after that."""
        submission = self.sent[which % len(self.sent)]
        [answer] = self.outbox.apply([submission], [])
        age = self.now - self.committed_at.get(submission.digest, float("-inf"))
        if age <= REMEMBER_SECONDS:
            assert answer == submission.answer
        else:
            assert answer is None or isinstance(answer, OutboxFull)
        self.expect(submission, answer)

    @rule()
    def fetch(self) -> None:
        """Delivery takes the next batch that is not under way."""
        batch = next(iter(self.outbox.next_batches(tuple(self.under_way), 0, 1)), None)
        if batch:
            self.under_way[batch.id] = batch

    def settled(self, settlement: Settlement) -> None:
        """Write an outcome down, and expect it."""
        batch = settlement.batch
        gone = Counter(unpack(batch.body))
        gone.subtract(line for lines in settlement.again for line in lines)
        self.outbox.apply([], [settlement])
        self.waiting -= gone
        self.totals["accepted"] += settlement.accepted
        self.totals["expired"] += settlement.expired
        self.totals["rejected"] += sum(settlement.rejected.values())

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Each item has one end: in, gone, too old, or again."""
        batch = self.under_way.pop(data.draw(st.sampled_from(sorted(self.under_way))))
        lines = unpack(batch.body)
        ends = data.draw(
            st.lists(st.sampled_from("araex"), min_size=len(lines), max_size=len(lines))
        )
        again = [line for line, end in zip(lines, ends, strict=True) if end == "a"]
        self.settled(
            Settlement(
                batch,
                accepted=ends.count("r"),
                expired=ends.count("e"),
                rejected={"other": ends.count("x")},
                again=(again,) if again else (),
            )
        )

    @precondition(lambda self: any(batch.items > 1 for batch in self.under_way.values()))
    @rule()
    def split(self) -> None:
        """Too large: two halves."""
        batch = next(batch for batch in self.under_way.values() if batch.items > 1)
        del self.under_way[batch.id]
        lines = unpack(batch.body)
        middle = len(lines) // 2
        self.settled(Settlement(batch, again=(lines[:middle], lines[middle:])))

    @precondition(lambda self: self.under_way)
    @rule()
    def settle_twice(self) -> None:
        """The same outcome written again, as after an answer that was missed."""
        _, batch = self.under_way.popitem()
        outcome = Settlement(batch, accepted=batch.items)
        self.settled(outcome)
        self.outbox.apply([], [outcome])

    @rule(items=st.integers(0, 5), settles=st.booleans())
    def fail(self, items: int, settles: bool) -> None:  # noqa: FBT001
        """A transaction that fails takes nothing, settles nothing, remembers nothing."""
        batch = next(iter(self.under_way.values()), None)
        outcomes = [Settlement(batch, accepted=batch.items)] if batch and settles else []
        if self.outbox.statistics().size_bytes >= self.max_bytes:
            return  # it would be refused for want of room, without a failure
        good = self.made(items, 1)
        try:
            self.outbox.apply([good, BAD], outcomes)
        except OverflowError:
            self.sent.appendleft(good)
        else:
            raise AssertionError

    @rule(seconds=st.sampled_from([1, 59, 300, 700]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def reopen(self) -> None:
        """The service starts again; what was under way is to be sent again."""
        self.outbox.close()
        self.outbox = self.opened()
        self.under_way.clear()

    @rule()
    def move(self) -> None:
        """The outbox moves to another machine, or back: what waits there is what waited here."""
        self.outbox.close()
        self.moves += 1
        file = Path(self.directory.name) / f"{self.moves}.export"
        transfer.export(self.places[0], file)
        self.places.reverse()
        self.counted.reverse()
        self.totals = self.counted[0]
        transfer.import_(self.places[0], file, lambda *_: pytest.fail("nothing is folded"))
        self.outbox = self.opened()
        self.under_way.clear()

    @invariant()
    def the_ledger_adds_up(self) -> None:
        """Each sample has one end, and what is counted as waiting is what waits."""
        if not hasattr(self, "outbox"):
            return
        ledger = read_ledger(self.outbox.totals())
        assert ledger.adds_up
        assert ledger.received == self.totals["received"]
        assert ledger.unselected == self.totals["unselected"]
        assert ledger.accepted == self.totals["accepted"]
        assert ledger.expired == self.totals["expired"]
        assert sum(ledger.rejected.values()) == self.totals["rejected"]
        assert ledger.pending == self.waiting.total()

    @invariant()
    def every_line_is_on_disk_once(self) -> None:
        """What waits can be fetched, whole, and the bytes are counted."""
        if not hasattr(self, "outbox"):
            return
        found = self.outbox.next_batches([], 0, 1_000_000)
        assert Counter(line for each in found for line in unpack(each.body)) == self.waiting
        counted = self.outbox.statistics()
        assert counted.batches == len(found)
        assert counted.size_bytes == sum(len(each.body) for each in found)


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=examples(15), stateful_step_count=25)
