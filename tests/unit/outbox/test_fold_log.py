"""The fold in memory is told of what is on disk, of all of it, and of nothing else."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.azure.limits import EXPIRY_MS
from receiver.errors import OutboxFull
from receiver.outbox.fold_log import LONG_BYTES
from receiver.outbox.folding import Flush, LogRow, SeriesRow
from receiver.outbox.gzip_body import compress_chunks, cut, unpack
from receiver.outbox.store import NOT_FLUSHED, Outbox
from receiver.outbox.values import Settlement, Submission

NOW_MS = 1_800_000_000_000
LINE = b"an item\n"


class Memory:
    """A fold that notes what it is told; `over` says whether a flush has an item."""

    def __init__(self) -> None:
        self.must_flush = False
        self.calls: list[tuple[object, ...]] = []
        self.new: Sequence[SeriesRow] = ()
        self.over = True
        self.gone: Sequence[int] = ()

    def restore(
        self, state: bytes | None, series: Iterable[SeriesRow], log: Iterable[LogRow], now_ms: int
    ) -> str:
        rows = [(row.at_ms, row.upto, row.records) for row in log]
        self.calls.append(("restore", state, list(series), rows, now_ms))
        return ""

    def unsaved(self) -> Sequence[SeriesRow]:
        return self.new

    def saved(self, series: Sequence[SeriesRow]) -> None:
        self.calls.append(("saved", list(series)))
        self.new = ()

    def take(self, records: bytes, now_ms: int) -> None:
        self.calls.append(("take", records, now_ms))

    def flush(
        self,
        now_ms: int,
        series: Callable[[], Iterable[SeriesRow]],
        *,
        is_long: bool,
        is_last: bool = False,
    ) -> Flush | None:
        self.calls.append(("flush", now_ms, list(series()), is_long, is_last))
        if not self.over:
            return None
        self.must_flush = False
        return self.state()

    def state(self) -> Flush:
        items = Submission(cut([LINE]), NOW_MS, NOW_MS, {("flushed", ""): 1})
        return Flush([items], b"state", self.gone)

    def flushed(self) -> None:
        self.calls.append(("flushed",))

    def said(self) -> list[tuple[object, ...]]:
        """List what was noted since the last look."""
        calls, self.calls = self.calls, []
        return calls


class Box:
    """An outbox with such a fold."""

    def __init__(self, directory: Path, max_bytes: int = 1 << 30) -> None:
        self.directory, self.max_bytes, self.now_ms = directory, max_bytes, NOW_MS
        self.begin()

    def begin(self) -> None:
        """Open the outbox, as another process would."""
        self.memory = Memory()
        self.outbox = Outbox(
            self.directory,
            self.max_bytes,
            "key",
            EXPIRY_MS,
            lambda: self.now_ms / 1000,
            self.memory,
        )
        self.outbox.open()

    def again(self) -> Memory:
        """Close it and open it again; returns the fold."""
        self.outbox.close()
        self.begin()
        return self.memory

    def lines(self) -> list[bytes]:
        """List the lines that wait."""
        batches = self.outbox.next_batches([], 0, 100)
        return [line for batch in batches for line in unpack(batch.body)]

    def synchronous(self) -> int:
        """Say what the next transaction waits for: 2 is the disk, 1 is not."""
        (level,) = self.outbox._database.execute("PRAGMA synchronous").fetchone()
        return int(level)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """An empty outbox."""
    made = Box(tmp_path)
    yield made
    made.outbox.close()


def folded(records: bytes, count: int = 1) -> Submission:
    """Submit records alone."""
    return Submission((), NOW_MS, NOW_MS, {("received", ""): count, ("folded", ""): count}, folded=records)  # fmt: skip


def items(count: int) -> Submission:
    """Submit items alone."""
    return compress_chunks(
        Submission(cut([LINE] * count), NOW_MS, NOW_MS, {("received", ""): count})
    )


def test_records_are_folded_when_they_are_on_disk(box: Box) -> None:
    """Those of a transaction together, after their series; a restart is told the same."""
    assert box.memory.said() == [("restore", None, [], [], NOW_MS)]
    box.memory.new = [(1, b"one"), (2, b"two")]
    assert box.outbox.apply([folded(b"ab"), items(1), folded(b"cd")], []) == [None] * 3
    assert box.memory.said() == [("saved", [(1, b"one"), (2, b"two")]), ("take", b"abcd", NOW_MS)]
    box.now_ms += 5
    box.outbox.apply([folded(b"ef")], [])
    assert box.memory.said() == [("saved", []), ("take", b"ef", NOW_MS + 5)]
    box.outbox.apply([items(1)], [])
    assert box.memory.said() == []

    series = [(1, b"one"), (2, b"two")]
    log = [(NOW_MS, 2, b"abcd"), (NOW_MS + 5, 2, b"ef")]
    assert box.again().said() == [("restore", None, series, log, NOW_MS + 5)]
    assert box.outbox._fold
    assert box.outbox._fold.size_bytes == 6
    box.outbox.apply([folded(b"gh")], [])
    assert box.outbox._fold.size_bytes == 8
    assert box.again().said()[0][3] == [*log, (NOW_MS + 5, 2, b"gh")]


def test_records_of_a_transaction_that_fails_are_never_folded(box: Box) -> None:
    """Their sender comes again: they would count twice. Their series are written with its next records."""
    box.memory.said()
    box.memory.new = [(1, b"one")]
    with pytest.raises(OverflowError):
        box.outbox.apply([folded(b"ab", 2**70)], [])
    box.outbox.apply([items(1)], [])
    assert box.memory.said() == []

    box.outbox.apply([folded(b"ab")], [])
    assert box.memory.said() == [("saved", [(1, b"one")]), ("take", b"ab", NOW_MS)]
    assert box.again().said() == [("restore", None, [(1, b"one")], [(NOW_MS, 1, b"ab")], NOW_MS)]


def test_the_highest_series_is_read_anew_after_a_failure(box: Box) -> None:
    """Those of the failed transaction are not on disk: no row of the log may say that they are."""
    box.outbox.apply([folded(b"ab")], [])
    box.memory.new = [(7, b"seven")]
    with pytest.raises(OverflowError):
        box.outbox.apply([folded(b"cd", 2**70)], [])
    box.memory.new = ()
    box.outbox.apply([folded(b"ef")], [])

    assert box.again().said()[0][2:4] == ([], [(NOW_MS, 0, b"ab"), (NOW_MS, 0, b"ef")])


def test_a_flush_is_written_in_place_of_the_log(box: Box) -> None:
    """Its items wait, its state is what a restart gets, and what it gave up is gone."""
    box.memory.new = [(1, b"one"), (2, b"two"), (3, b"three")]
    box.outbox.apply([folded(b"ab")], [])
    box.memory.said()
    box.memory.gone = [1, 3]

    assert box.outbox.flush() is True
    series = [(1, b"one"), (2, b"two"), (3, b"three")]
    assert box.memory.said() == [("flush", NOW_MS, series, False, False), ("flushed",)]
    assert box.lines() == [LINE]
    assert box.outbox.flush(is_last=True) is True
    assert box.memory.said()[0][1:] == (NOW_MS, [(2, b"two")], False, True)
    assert box.again().said() == [("restore", b"state", [(2, b"two")], [], NOW_MS)]


def test_a_flush_of_nothing_writes_nothing(box: Box) -> None:
    """The log stays."""
    box.outbox.apply([folded(b"ab")], [])
    box.memory.over = False

    assert box.outbox.flush() is False

    assert box.again().said()[0][1:4] == (None, [], [(NOW_MS, 0, b"ab")])


def test_a_flush_waits_for_the_disk(box: Box) -> None:
    """Also after a settlement that did not: the log that it replaces was acknowledged."""
    box.outbox.apply([items(1)], [])
    [batch] = box.outbox.next_batches([], 0, 1)
    box.outbox.apply([], [Settlement(batch, accepted=1)])
    assert box.synchronous() == 1
    box.outbox.flush()
    assert box.synchronous() == 2


def test_the_windows_of_a_full_outbox_wait(tmp_path: Path) -> None:
    """They stay in the fold: it is not asked before there is room."""
    box = Box(tmp_path, max_bytes=10)
    box.outbox.apply([items(1)], [])
    box.memory.said()

    assert box.outbox.flush() is False
    assert box.memory.said() == []

    [batch] = box.outbox.next_batches([], 0, 1)
    box.outbox.apply([], [Settlement(batch, accepted=1)])
    assert box.outbox.flush() is True
    assert box.lines() == [LINE]
    box.outbox.close()


def test_a_folded_request_makes_room_by_what_is_too_old(tmp_path: Path) -> None:
    """As one with items does: its newest sample and this machine's clock agree on the age."""
    box = Box(tmp_path, max_bytes=10)
    box.outbox.apply([items(1)], [])
    box.now_ms += EXPIRY_MS + 1
    assert isinstance(box.outbox.apply([folded(b"early")], [])[0], OutboxFull)
    late = replace(folded(b"late"), newest_ms=box.now_ms)
    assert box.outbox.apply([late], []) == [None]
    assert box.outbox.totals()["expired", ""] == 1
    box.outbox.close()


def test_a_flush_that_fails_has_memory_read_again(box: Box) -> None:
    """It is ahead of the disk: what it has closed is open there."""
    box.outbox.apply([folded(b"ab")], [])
    box.memory.said()
    box.outbox._database.execute("PRAGMA query_only=1")
    with pytest.raises(sqlite3.OperationalError):
        box.outbox.flush()
    box.outbox._database.execute("PRAGMA query_only=0")
    assert [call for call, *_ in box.memory.said()] == ["flush"]

    box.outbox.flush()

    assert [call for call, *_ in box.memory.said()] == ["restore", "flush", "flushed"]


def test_a_new_list_is_flushed_before_the_next_records(box: Box) -> None:
    """Those are refused where it cannot be; requests without records are not held up."""
    box.memory.must_flush = True
    box.memory.over = False
    [refused, taken] = box.outbox.apply([folded(b"ab"), items(1)], [])
    assert isinstance(refused, OutboxFull)
    assert str(refused) == NOT_FLUSHED
    assert taken is None
    assert [call for call, *_ in box.memory.said()] == ["restore", "flush"]
    box.outbox.apply([items(1)], [])
    assert box.memory.said() == []

    box.memory.over = True
    assert box.outbox.apply([folded(b"ab")], []) == [None]
    assert [call for call, *_ in box.memory.said()] == ["flush", "flushed", "saved", "take"]


def test_a_new_database_gets_every_series(box: Box) -> None:
    """The fold begins anew with it, and the log of the new one names no series of the old one."""
    box.memory.new = [(1, b"one"), (2, b"two")]
    box.outbox.apply([folded(b"ab")], [])
    box.memory.said()
    damage = sqlite3.DatabaseError("malformed")
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    assert box.outbox.replace_if_broken(damage)

    box.outbox.apply([folded(b"cd")], [])

    assert box.memory.said()[0] == ("restore", None, [], [], NOW_MS)
    assert box.again().said()[0][2:4] == ([], [(NOW_MS, 0, b"cd")])


def test_a_long_log_wants_a_checkpoint(box: Box) -> None:
    """At its limit and not below; the flush is told, and then the log is short."""

    def wants_flush() -> bool:
        return box.outbox.wants_flush

    box.outbox.apply([folded(bytes(LONG_BYTES - 1))], [])
    assert not wants_flush()
    box.outbox.apply([folded(b"x")], [])
    assert wants_flush()
    assert box.again().said()[0][0] == "restore"
    assert wants_flush()

    box.outbox.flush()

    assert box.memory.said()[0][3] is True
    assert not wants_flush()


def test_a_change_of_the_fold_is_on_disk_or_not_at_all(box: Box) -> None:
    """Its series before it, its state and items with it; where it fails memory is read again."""
    box.memory.new = [(1, b"one")]
    box.memory.said()

    def change() -> tuple[int, Flush]:
        box.memory.calls.append(("change",))
        return 5, box.memory.state()

    assert box.outbox.change_fold(change) == 5
    assert box.memory.said() == [("saved", [(1, b"one")]), ("take", b"", NOW_MS), ("change",), ("flushed",)]  # fmt: skip
    assert box.lines() == [LINE]
    assert box.outbox.folded_series(0, 10) == [(1, b"one")]
    assert (box.outbox.folded_series(0, 0), box.outbox.folded_series(1, 10)) == ([], [])

    def fail() -> tuple[int, Flush]:
        raise ValueError

    box.memory.said()
    with pytest.raises(ValueError):  # noqa: PT011 - ours
        box.outbox.change_fold(fail)
    assert box.outbox.folded_series(0, 10) == [(1, b"one")]
    assert box.memory.said()[-1][:3] == ("restore", b"state", [(1, b"one")])
    box.memory.must_flush = True
    assert box.outbox.change_fold(change) == 5
    assert [call for call, *_ in box.memory.said()][:2] == ["flush", "flushed"]


@pytest.mark.parametrize("why", ["full", "not flushed"])
def test_no_change_without_room(tmp_path: Path, why: str) -> None:
    """Whoever wanted it is told, and the fold is not touched."""
    box = Box(tmp_path, max_bytes=10)
    if why == "full":
        box.outbox.apply([items(1)], [])
    else:
        box.memory.must_flush, box.memory.over = True, False
    box.memory.said()

    def change() -> tuple[None, Flush]:
        box.memory.calls.append(("change",))
        return None, box.memory.state()

    with pytest.raises(OutboxFull, match="bytes wait" if why == "full" else NOT_FLUSHED):
        box.outbox.change_fold(change)
    assert ("change",) not in box.memory.said()
    box.outbox.close()
