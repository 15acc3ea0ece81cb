"""The fold as the outbox has it: what the disk knows is what memory knows, whatever the disk has."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog.testing

from receiver.azure.envelope import Identity
from receiver.errors import OutboxFull
from receiver.fold.fold import SHOWN_BYTES
from receiver.fold.folder import Folder
from receiver.fold.registry import Registry
from receiver.intake.metrics_json import Allowlist
from receiver.ledger import Totals, read_ledger
from receiver.outbox.flushed import Flushed
from receiver.outbox.fold_log import FoldLog
from receiver.outbox.gzip_body import CHUNK_BYTES, lines_of, unpack
from receiver.outbox.store import Outbox
from receiver.outbox.values import Submission
from receiver.rows import RECORD
from tests.unit.fold.folding import T0_MS, Player, items, listed

DELTA = listed({"name": "c", "as": "delta"})


OPEN: "list[Receiver]" = []
"""Those of the test that runs."""


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test has opened: Python 3.13 minds a database that nobody closes."""
    yield
    while OPEN:
        OPEN.pop().outbox.close()


class Receiver:
    """An outbox with its fold; `again` is what a restart does."""

    def __init__(
        self, folder: Path, allowlist: Allowlist = DELTA, max_bytes: int = 1 << 30
    ) -> None:
        self.folder, self.max_bytes, self.now_ms = folder, max_bytes, T0_MS
        self.forgot = 0
        self.flushed = Flushed()
        self.start(allowlist)
        OPEN.append(self)

    def start(self, allowlist: Allowlist) -> None:
        """Begin as a process does."""
        self.registry = Registry(1 << 30)
        self.fold = Folder(allowlist, Identity("key", "host"), self.registry)
        self.fold.on_forget = self.on_forget
        self.outbox = Outbox(
            self.folder,
            self.max_bytes,
            "key",
            10**12,
            lambda: self.now_ms / 1000,
            folding=self.fold,
            flushed=self.flushed,
        )
        self.outbox.open()

    def on_forget(self) -> None:
        """Count that numbers are not valid any more."""
        self.forgot += 1

    def again(self, allowlist: Allowlist = DELTA) -> None:
        """Go on in another process."""
        self.outbox.close()
        self.start(allowlist)

    def send(self, second: float, value: float, **labels: str) -> object:
        """Commit one sample at that second; returns what the outbox answers."""
        self.now_ms = T0_MS + round(second * 1000)
        number = self.registry.number_of({"__name__": "c", "job": "t", "instance": "h:1", **labels})
        record = RECORD.pack(number, self.now_ms, value)
        totals: Totals = {("received", ""): 1, ("folded", ""): 1}
        [answer] = self.outbox.apply(
            [Submission((), self.now_ms, self.now_ms, totals, folded=record)], []
        )
        return answer

    def said(self) -> list[tuple[int, float]]:
        """Flush, and list the windows and values of the items that wait."""
        self.outbox.flush()
        assert read_ledger(self.outbox.totals()).adds_up
        batches = self.outbox.next_batches([], 0, 100)
        return [(item["at"], item["value"]) for item in items(line for batch in batches for line in unpack(batch.body))]  # fmt: skip


def test_a_restart_replays_the_log_on_the_checkpoint(tmp_path: Path) -> None:
    """Before the first flush, between two, and amid a window."""
    receiver = Receiver(tmp_path)
    for second, value in ((1, 10), (16, 13), (31, 20), (61, 21), (76, 25), (121, 26)):
        receiver.send(second, value)
        receiver.again()
        if second == 61:
            assert receiver.said() == [(0, 10)]

    assert receiver.said() == [(0, 10), (60, 5)]


@pytest.mark.parametrize("state", [b"", b"garbage", b"x\x9c\x03\x00\x00\x00\x00\x01"])
def test_a_checkpoint_that_cannot_be_used_is_said_and_begun_anew(
    tmp_path: Path, state: bytes
) -> None:
    """The receiver starts, and counters go on from their next samples."""
    receiver = Receiver(tmp_path)
    receiver.send(1, 10)
    receiver.outbox._database.execute("UPDATE fold_state SET state = ?", (state,))
    with structlog.testing.capture_logs() as log:
        receiver.again()
    for second, value in ((16, 13), (31, 20), (61, 21)):
        receiver.send(second, value)

    assert receiver.said() == [(0, 10)]  # the log had the baseline
    assert [line["event"] for line in log] == (
        ["the fold's checkpoint cannot be used"] if state else []
    )


def test_a_database_that_is_gone_has_series_numbered_anew(tmp_path: Path) -> None:
    """The pipeline is told to ask again; no number of before is taken for another series."""
    receiver = Receiver(tmp_path)
    receiver.send(1, 10)
    receiver.outbox._database.execute("DELETE FROM fold_series")
    receiver.outbox._database.execute("DELETE FROM fold_log")
    receiver.outbox._database.execute("DELETE FROM fold_state")
    assert receiver.outbox._fold
    receiver.outbox._fold.forget()
    receiver.send(16, 13)
    assert receiver.forgot == 1
    for second, value in ((31, 20), (46, 24), (61, 25)):
        receiver.send(second, value)

    assert receiver.said() == [(0, 4)]


def test_a_full_outbox_takes_nothing_to_fold_and_its_windows_wait(tmp_path: Path) -> None:
    """The sender comes again; nothing is folded in memory that is not on disk."""
    receiver = Receiver(tmp_path)
    receiver.send(1, 10)
    receiver.outbox._max_bytes = 0
    assert isinstance(receiver.send(16, 13), OutboxFull)
    assert not receiver.outbox.flush()
    receiver.outbox._max_bytes = 1 << 30
    receiver.send(31, 20)
    receiver.send(61, 20)

    assert receiver.said() == [(0, 10)]


def test_items_are_shown_once_they_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flush that fails shows nothing; the one that repeats it does, once."""
    receiver = Receiver(tmp_path)
    for second, value in ((1, 10), (16, 13), (61, 21), (121, 26)):
        receiver.send(second, value)
    taken = receiver.flushed.counts.items

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(FoldLog, "write_flush", fail)
        with pytest.raises(sqlite3.OperationalError):
            receiver.outbox.flush()
    assert receiver.flushed.counts.items == taken
    assert receiver.said() == [(0, 3), (60, 8)]
    assert receiver.flushed.counts.items == 2


def test_series_that_no_sample_ever_had_are_given_up_at_a_start(tmp_path: Path) -> None:
    """Requests that were refused leave numbers behind; they do not pile up."""
    receiver = Receiver(tmp_path)
    receiver.registry.number_of({"__name__": "c", "never": "seen"})
    receiver.send(1, 10)
    receiver.again()
    receiver.send(16, 12)

    assert len(receiver.registry) == 1
    rows = receiver.outbox._database.execute("SELECT COUNT(*) FROM fold_series").fetchone()
    assert rows == (1,)


def test_unseen_series_are_given_up_also_after_a_flush_that_failed(tmp_path: Path) -> None:
    """The start decides which they are; the flush that is committed removes them."""
    receiver = Receiver(tmp_path)
    receiver.registry.number_of({"__name__": "c", "job": "t", "instance": "h:2"})
    receiver.send(1, 10)
    receiver.again()

    with receiver.outbox._database as database:
        database.execute("CREATE TRIGGER full BEFORE DELETE ON fold_log BEGIN SELECT RAISE(ABORT, 'full'); END")  # fmt: skip
    with pytest.raises(sqlite3.Error, match="full"):
        receiver.send(16, 13)
    with receiver.outbox._database as database:
        database.execute("DROP TRIGGER full")
    receiver.send(31, 20)

    rows = receiver.outbox._database.execute("SELECT number FROM fold_series").fetchall()
    assert rows == [(2,)]


def test_series_that_are_forgotten_make_room(tmp_path: Path) -> None:
    """Pods come and go: what was not seen for two days gives its room back while the receiver runs."""
    receiver = Receiver(tmp_path)
    for number in range(4):
        receiver.send(1 + number, 10, pod=str(number))
    receiver.now_ms = T0_MS + 49 * 3_600_000
    receiver.outbox.flush()

    assert len(receiver.registry) == 0
    assert receiver.forgot == 1
    receiver.send(49 * 3600, 5, pod="new")
    receiver.send(49 * 3600 + 61, 7, pod="new")
    assert receiver.said()[-1] == (0, 0)  # its target was forgotten too: a baseline


def with_series(
    directory: Path, count: int, clock: Callable[[], float]
) -> tuple[Outbox, Flushed, list[int]]:
    """Open an outbox that folds deltas; returns what it flushes to, and the numbers of so many series of 8 kB."""
    allowlist, registry = listed({"name": "c", "as": "delta"}), Registry(1 << 30)
    folder = Folder(allowlist, Identity("key", "host"), registry)
    flushed = Flushed()
    outbox = Outbox(directory, 1 << 30, "key", 10**12, clock, folding=folder, flushed=flushed)
    outbox.open()
    labels = ({"__name__": "c", "n": str(number), "long": "x" * 8_000} for number in range(count))
    return outbox, flushed, [registry.number_of(one) for one in labels]


def test_items_past_those_that_are_shown_are_compressed_at_once(tmp_path: Path) -> None:
    """Else a minute of very many series would be held twice; what is delivered is the same."""
    outbox, flushed, numbers = with_series(tmp_path, 600, lambda: T0_MS / 1000 + 200)
    for second in (1, 16, 61):
        records = b"".join(RECORD.pack(number, T0_MS + second * 1000, second) for number in numbers)
        outbox.apply([Submission((), T0_MS, T0_MS, {("received", ""): 600}, folded=records)], [])
    outbox.flush()

    lines = [line for batch in outbox.next_batches([], 0, 1000) for line in unpack(batch.body)]
    assert sorted(item["n"] for item in items(lines)) == sorted(str(n) for n in range(600))
    assert flushed.counts.items == 600
    assert 600 - SHOWN_BYTES // 8_000 <= flushed.counts.skipped < 200
    assert read_ledger(outbox.totals()).flushed == 600
    outbox.close()


def test_a_flush_holds_few_lines_uncompressed() -> None:
    """Those that the page may be shown; the others are compressed as they are made."""
    player = Player({"name": "c", "as": "delta"})
    for number in range(600):
        for second in (1, 16, 61):
            player.send(second, "c", second, n=str(number), long="x" * 8_000)
    closed = player.fold.close(T0_MS + 200_000)
    shown = sum(len(chunk.text) for chunk in closed.chunks)
    assert SHOWN_BYTES - CHUNK_BYTES - 10_000 < shown <= SHOWN_BYTES
    kept = sum(chunk.items for chunk in closed.chunks)
    assert kept + sum(chunk.items for chunk in closed.deflated_chunks) == 600


def test_a_large_flush_shows_other_items_each_time(tmp_path: Path) -> None:
    """Else the page would never know the series of its end."""
    now = [0.0]
    outbox, flushed, numbers = with_series(tmp_path, 1000, lambda: now[0])
    shown: list[set[str]] = []
    for minute in range(6):
        now[0] = T0_MS / 1000 + 60 * minute + 1
        at_ms = round(now[0] * 1000)
        records = b"".join(RECORD.pack(number, at_ms, minute) for number in numbers)
        outbox.apply([Submission((), at_ms, at_ms, {("received", ""): 1000}, folded=records)], [])
        outbox.flush()
        lines = []
        while chunk := flushed.take():
            lines += lines_of(chunk, chunk.items)
        shown.append({item["n"] for item in items(lines)})
    outbox.close()

    assert 0 < len(shown[-1]) < 1000
    assert shown[-1] != shown[-2]
    assert len(set.union(*shown[2:])) == 1000
