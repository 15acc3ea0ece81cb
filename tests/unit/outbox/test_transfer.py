"""An outbox moves to another machine: each item is in one place, whatever ends the move when."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.errors import OutboxError
from receiver.outbox import schema, transfer
from receiver.outbox.store import Outbox
from receiver.outbox.transfer import FoldParts, MergedFold, Transferred, export, import_
from receiver.outbox.transfer_file import (
    COMPLETE,
    MAGIC,
    Header,
    Reader,
    Writer,
    complete,
    partial_of,
)
from receiver.outbox.values import Settlement
from tests.unit.outbox.test_store import KEY, NOW_MS, Box, items, submission

OTHER_KEY = "99999999-2222-3333-4444-555555555555"


def refuse(_: FoldParts, __: FoldParts) -> MergedFold:
    """Merge nothing: these outboxes have no fold."""
    raise AssertionError("nothing to merge")


class Pair:
    """Two outboxes, and a file between them. Both are closed while something moves."""

    def __init__(self, folder: Path) -> None:
        self.old, self.new = Box(folder / "old"), Box(folder / "new")
        self.file = folder / "outbox.export"

    def export(self, *, copy: bool = False) -> Transferred:
        """Export the old one as its machine would."""
        self.old.close()
        try:
            return export(self.old.directory, self.file, copy=copy)
        finally:
            self.old.open()
            self.old.check()

    def import_(self) -> Transferred:
        """Import on the new machine."""
        self.new.close()
        try:
            return import_(self.new.directory, self.file, refuse)
        finally:
            self.new.open()
            self.new.check()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Give two empty outboxes."""
    made = Pair(tmp_path)
    yield made
    made.old.close()
    made.new.close()


def test_what_waits_moves_and_both_ledgers_add_up(pair: Pair) -> None:
    """The same bodies, in their order, behind what waited there; no count but the move's changes."""
    pair.old.apply([submission(items(1500, "a"), unselected=3)])
    pair.old.apply([submission(items(3, "b"), at_ms=NOW_MS + 5000)])
    pair.new.apply([submission(items(2, "c"))])
    bodies = [batch.body for batch in pair.old.batches()]

    done = pair.export()

    assert (done.contents.items, done.contents.batches, done.pending) == (1503, 3, 0)
    assert (done.contents.oldest_ms, done.contents.newest_ms) == (NOW_MS, NOW_MS + 5000)
    assert pair.old.lines() == []
    assert (pair.old.total("exported"), pair.old.total("received")) == (1503, 1506)
    assert stat.S_IMODE(pair.file.stat().st_mode) == 0o600
    assert list(pair.file.parent.glob("*.partial")) == []

    done = pair.import_()

    assert (done.contents.items, done.pending) == (1503, 1505)
    assert pair.new.lines() == items(2, "c") + items(1500, "a") + items(3, "b")
    assert [batch.body for batch in pair.new.batches()][1:] == bodies
    assert {batch.destination for batch in pair.new.batches()} == {KEY}
    assert (pair.new.total("imported"), pair.new.total("received")) == (1503, 2)
    first = pair.new.batches()[0]
    pair.new.apply((), [Settlement(first, accepted=first.items)])
    pair.old.apply([submission(items(1, "d"))])
    assert pair.old.lines() == items(1, "d"), "the old one goes on, should it be started"


def test_a_request_that_comes_again_is_known_on_both_sides(pair: Pair) -> None:
    """Its items have moved; neither the old nor the new receiver may take it once more."""
    request = submission(items(2), digest=b"1", answer=b"204")
    pair.old.apply([request])
    pair.export()
    pair.import_()
    pair.new.clock.now += 1
    assert pair.old.apply([request]) == [b"204"]
    assert pair.new.apply([request]) == [b"204"]
    assert pair.new.lines() == items(2)


def test_of_two_memories_of_a_request_the_later_counts(pair: Pair) -> None:
    """Taken there long ago, and here a moment ago: what has moved is not taken again."""
    request = submission(items(2), digest=b"1", answer=b"204")
    pair.new.apply([request])
    pair.old.clock.now += 700
    pair.old.apply([request])
    pair.export()
    pair.import_()
    pair.new.clock.now += 701
    assert pair.new.apply([request]) == [b"204"]


def test_an_empty_outbox_moves_too(pair: Pair) -> None:
    """And makes the directory and the database of the new one."""
    pair.new.close()
    for file in pair.new.directory.iterdir():
        file.unlink()
    pair.new.directory.rmdir()
    assert pair.export().contents.items == 0
    assert pair.import_().contents.items == 0
    assert pair.new.lines() == []


SERIES, STATE, LOG = (1, b"{}"), (1, b"checkpoint"), (1, NOW_MS, 1, b"records")
FOLD = {"fold_series": [SERIES], "fold_state": [STATE], "fold_log": [LOG]}
OTHER_FOLD = {"fold_series": [(7, b'{"a":1}')], "fold_state": [(1, b"other")], "fold_log": []}
WITHOUT_SERIES = {"fold_series": [], "fold_state": [(1, b"young")], "fold_log": []}
EMPTY: dict[str, list[tuple[object, ...]]] = {table: [] for table in FOLD}


def write_fold(box: Box, rows: dict[str, list[tuple[object, ...]]]) -> None:
    """Put a fold's rows into a closed outbox."""
    with closing(sqlite3.connect(box.directory / schema.FILE_NAME)) as database, database:
        for table, its_rows in rows.items():
            for row in its_rows:
                database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - our own names


def fold_of(box: Box) -> dict[str, list[tuple[object, ...]]]:
    """Read a fold's rows, without the outbox."""
    with closing(sqlite3.connect(box.directory / schema.FILE_NAME)) as database:
        return {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in FOLD}  # noqa: S608 - our own names


@pytest.mark.parametrize(
    ("theirs", "mine", "after"),
    [
        (FOLD, EMPTY, FOLD),
        (FOLD, WITHOUT_SERIES, FOLD),
        (WITHOUT_SERIES, OTHER_FOLD, OTHER_FOLD),
        (EMPTY, OTHER_FOLD, OTHER_FOLD),
        (WITHOUT_SERIES, EMPTY, EMPTY),
        (EMPTY, WITHOUT_SERIES, WITHOUT_SERIES),
    ],
)
def test_a_fold_moves_where_there_is_none(
    pair: Pair,
    theirs: dict[str, list[tuple[object, ...]]],
    mine: dict[str, list[tuple[object, ...]]],
    after: dict[str, list[tuple[object, ...]]],
) -> None:
    """A state without series is a receiver's that has just started: it gives way, and moves nothing."""
    for box, rows in ((pair.old, theirs), (pair.new, mine)):
        box.close()
        write_fold(box, rows)
    export(pair.old.directory, pair.file)
    import_(pair.new.directory, pair.file, refuse)
    assert fold_of(pair.old) == EMPTY
    assert fold_of(pair.new) == after


def test_a_file_is_taken_once(pair: Pair) -> None:
    """By each outbox; the one that it came from may have it back."""
    pair.old.apply([submission(items(3))])
    pair.export()
    pair.import_()
    with pytest.raises(OutboxError, match=r"was imported into this outbox before, .*sent twice"):
        pair.import_()
    assert pair.new.lines() == items(3)
    pair.old.close()
    import_(pair.old.directory, pair.file, refuse)
    pair.old.open()
    pair.old.check()
    assert pair.old.lines() == items(3)
    assert (pair.old.total("exported"), pair.old.total("imported")) == (3, 3)


def test_a_copy_leaves_all_where_it_is(pair: Pair) -> None:
    """And is not taken by the outbox that still has it."""
    pair.old.apply([submission(items(3))])
    pair.export(copy=True)
    assert pair.old.lines() == items(3)
    assert pair.old.total("exported") == 0
    pair.import_()
    assert pair.new.lines() == items(3)
    pair.old.close()
    with pytest.raises(OutboxError, match=r"is a copy of this outbox"):
        import_(pair.old.directory, pair.file, refuse)
    pair.old.open()


def test_a_running_receivers_outbox_is_left_alone(pair: Pair) -> None:
    """Its lock says so; nothing is written, here or there."""
    pair.old.apply([submission(items(3))])
    with pytest.raises(OutboxError, match=r"in use by another receiver"):
        export(pair.old.directory, pair.file)
    assert not pair.file.exists()
    pair.export(copy=True)
    with pytest.raises(OutboxError, match=r"in use by another receiver"):
        import_(pair.new.directory, pair.file, refuse)
    assert pair.new.lines() == []


def test_a_directory_without_an_outbox_is_no_outbox(pair: Pair, tmp_path: Path) -> None:
    """A misspelt directory is said, and not made."""
    with pytest.raises(OutboxError, match=r"there is no outbox in .*--outbox-dir"):
        export(tmp_path / "nowhere", pair.file)
    assert not (tmp_path / "nowhere").exists()


def test_no_file_is_written_over(pair: Pair) -> None:
    """Another export may be all that is left of an outbox."""
    pair.old.apply([submission(items(3))])
    pair.file.write_text("precious")
    with pytest.raises(OutboxError, match=r"is there already; name another file"):
        pair.export()
    assert pair.file.read_text() == "precious"
    assert pair.old.lines() == items(3)


def test_a_place_that_takes_no_file_changes_nothing(pair: Pair, tmp_path: Path) -> None:
    """No such folder, a full disk: said in a sentence, the outbox as it was, no scraps."""
    pair.old.apply([submission(items(3000))])
    pair.old.close()
    with pytest.raises(OutboxError, match=r"nothing was exported to .*: No such file or directory"):
        export(pair.old.directory, tmp_path / "no" / "file")
    pair.old.open()
    assert pair.old.lines() == items(3000)
    assert pair.old.total("exported") == 0


def test_what_was_interrupted_before_it_moved_is_begun_anew(pair: Pair) -> None:
    """The file of the first try is nobody's: it is refused, and then removed."""
    pair.old.apply([submission(items(3))])
    pair.old.close()
    with closing(schema.open_database(pair.old.directory)) as database:
        database.execute(transfer.TRANSFERS)
        header = transfer._header(database, transfer.contents_of(database), moves=True)
        transfer._note(database, header.id, pair.file, 3, transfer.BEGUN)
        partial = partial_of(pair.file, header.id)
        with Writer(partial, header) as writer:
            for table, names in header.tables.items():
                for row in transfer._rows(database, table, names):
                    writer.row(table, row)
            writer.finish()
    pair.old.open()
    pair.new.close()
    with pytest.raises(OutboxError, match=r"is not complete: its export was interrupted"):
        import_(pair.new.directory, partial, refuse)
    pair.new.open()
    assert pair.export().contents.items == 3
    assert not partial.exists()
    pair.import_()
    assert pair.new.lines() == items(3)


def moved_but_not_complete(pair: Pair) -> Path:
    """Do what an export does until it is killed, after its transaction and before it says so in the file."""
    pair.old.close()
    with closing(schema.open_database(pair.old.directory)) as database:
        database.execute(transfer.TRANSFERS)
        contents = transfer.contents_of(database)
        header = transfer._header(database, contents, moves=True)
        transfer._note(database, header.id, pair.file, contents.items, transfer.BEGUN)
        with Writer(partial_of(pair.file, header.id), header) as writer:
            for table, names in header.tables.items():
                for row in transfer._rows(database, table, names):
                    writer.row(table, row)
            writer.finish()
        transfer._take_out(database, header.id, contents.items)
    pair.old.open()
    pair.old.check()
    return partial_of(pair.file, header.id)


def test_what_was_interrupted_after_it_moved_is_completed(pair: Pair) -> None:
    """The receiver may even have run meanwhile: what came since stays there."""
    pair.old.apply([submission(items(3, "a"))])
    moved_but_not_complete(pair)
    assert pair.old.lines() == []
    pair.old.apply([submission(items(2, "b"))])

    done = pair.export()

    assert (done.finished, done.contents.items, done.pending) == (pair.file, 3, 2)
    pair.import_()
    assert pair.new.lines() == items(3, "a")
    assert pair.old.lines() == items(2, "b")
    pair.file.unlink()
    assert pair.export().contents.items == 2


def test_an_interrupted_file_that_is_gone_is_said(pair: Pair) -> None:
    """The next export goes on without it: the items were there alone, or somebody imported them."""
    pair.old.apply([submission(items(3, "a"))])
    moved_but_not_complete(pair).unlink()
    pair.old.apply([submission(items(2, "b"))])
    done = pair.export()
    assert "an export of 3 items was interrupted, and the file is not there" in done.lost
    assert done.contents.items == 2
    assert pair.old.total("exported") == 5


def test_a_finished_file_whose_end_was_not_noted_is_left(pair: Pair) -> None:
    """Killed after the file had its name: there is nothing to do but to say so."""
    pair.old.apply([submission(items(3))])
    pair.export()
    with closing(sqlite3.connect(pair.old.directory / "outbox.db")) as database:
        database.execute("UPDATE transfers SET state = 'moved'")
        database.commit()
    assert pair.export().finished == pair.file
    pair.import_()
    assert pair.new.lines() == items(3)


@pytest.mark.parametrize("length", [0, 10, len(MAGIC) + 3, 60, 500, -100, -1])
def test_a_file_that_is_cut_off_is_refused(pair: Pair, length: int) -> None:
    """Anywhere; and nothing of it is taken."""
    pair.old.apply([submission(items(3000))])
    pair.export()
    whole = pair.file.read_bytes()
    pair.file.write_bytes(whole[:length])
    with pytest.raises(OutboxError, match=r"is cut off|is no export of an outbox"):
        pair.import_()
    assert pair.new.lines() == []
    pair.file.write_bytes(whole)
    pair.import_()
    assert pair.new.lines() == items(3000)


@pytest.mark.parametrize("place", [len(MAGIC + COMPLETE), len(MAGIC) + 100, -5000, -40, -20, -1])
def test_a_file_that_was_changed_is_refused(pair: Pair, place: int) -> None:
    """One bit, anywhere behind its name."""
    pair.old.apply([submission(items(3000))])
    pair.export()
    body = bytearray(pair.file.read_bytes())
    body[place] ^= 1
    pair.file.write_bytes(body)
    with pytest.raises(OutboxError, match=r"was changed|is cut off"):
        pair.import_()
    assert pair.new.lines() == []


def test_what_stands_behind_the_end_is_a_change(pair: Pair) -> None:
    """Two files that were joined are none."""
    pair.export()
    pair.file.write_bytes(pair.file.read_bytes() + b"x")
    with pytest.raises(OutboxError, match=r"was changed"):
        pair.import_()


def test_another_file_is_no_export(pair: Pair, tmp_path: Path) -> None:
    """A database, a text, a folder, nothing at all: each in one sentence."""
    pair.file.write_text("not ours\n" * 20)
    with pytest.raises(OutboxError, match=r"is no export of an outbox"):
        pair.import_()
    pair.file.unlink()
    with pytest.raises(OutboxError, match=r"cannot be read: No such file"):
        pair.import_()
    pair.file = tmp_path
    with pytest.raises(OutboxError, match=r"cannot be read: Is a directory"):
        pair.import_()


def header_of(pair: Pair) -> Header:
    """Make the header that an export of the old outbox would have."""
    with closing(schema.open_database(pair.old.directory)) as database:
        return transfer._header(database, transfer.contents_of(database), moves=True)


def write(pair: Pair, header: Header) -> None:
    """Write a complete file without rows."""
    with Writer(partial_of(pair.file, header.id), header) as writer:
        writer.finish()
    complete(partial_of(pair.file, header.id), pair.file)


def test_a_newer_receivers_file_is_refused(pair: Pair) -> None:
    """Its database's version says so, and an unknown table too."""
    header = header_of(pair)
    write(pair, replace(header, database_version=len(schema.MIGRATIONS) + 1, receiver="9.9"))
    with pytest.raises(OutboxError, match=r"written by a newer receiver \(9\.9\)"):
        pair.import_()
    for tables in ({"secrets": ["a"]}, {"totals": ["outcome"]}, {"batches": ["id"]}):
        pair.file.unlink()
        write(pair, replace(header, tables=tables))
        with pytest.raises(OutboxError, match=r"that this receiver does not know"):
            pair.import_()
    assert pair.new.lines() == []


def test_a_newer_form_of_the_file_is_refused(pair: Pair) -> None:
    """By its own version, whatever else is in the file."""
    pair.export()
    exported = pair.file.read_bytes()
    assert exported.count(b'{"version": 1,') == 1
    pair.file.write_bytes(exported.replace(b'{"version": 1,', b'{"version": 2,'))
    with pytest.raises(OutboxError, match=r"has version 2, written by a newer receiver"):
        pair.import_()


def test_each_table_is_moved_copied_or_kept(pair: Pair) -> None:
    """Who adds a table decides what becomes of it when the outbox moves."""
    pair.export()
    with closing(sqlite3.connect(pair.old.directory / "outbox.db")) as database:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        tables = {name for (name,) in database.execute(query)}
    assert tables == {*transfer.MOVED, *transfer.COPIED, *transfer.KEPT}


def test_every_kind_of_value_comes_through(pair: Pair, tmp_path: Path) -> None:
    """Whatever SQLite can hold, at its limits."""
    values = [None, 0, -(2**63), 2**63 - 1, -0.5, float("inf"), "", "λ\0\n", b"", bytes(range(256))]
    header = replace(header_of(pair), tables={"batches": [f"c{n}" for n in range(len(values))]})
    write_path = tmp_path / "values.partial"
    with Writer(write_path, header) as writer:
        writer.row("batches", values)
        writer.finish()
    assert list(Reader(write_path).rows()) == [("batches", values)]


def test_a_damaged_database_is_not_exported(pair: Pair) -> None:
    """Said, and the file is not left behind: half an outbox is none."""
    pair.old.apply([submission(items(3000))])
    pair.old.close()
    path = pair.old.directory / "outbox.db"
    body = bytearray(path.read_bytes())
    body[4096 * 3 :] = os.urandom(len(body) - 4096 * 3)
    path.write_bytes(body)
    with pytest.raises(OutboxError, match=r"the database is damaged"):
        export(pair.old.directory, pair.file)
    assert list(pair.file.parent.glob("outbox.export*")) == []
    pair.old.outbox = Outbox(pair.old.directory, 1 << 30, KEY, 10**12)
