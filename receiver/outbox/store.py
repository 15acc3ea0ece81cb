"""The store of waiting items on disk.

In: submissions (the rendered items of one request each) and settlements (the outcome of
one batch). Out: batches that are ready to be POSTed, and the ledger. Never parses an item,
never opens a socket.

Theory of operation: `apply` commits any number of submissions and settlements in one
SQLite transaction, WAL with synchronous=FULL: when it returns all are on disk, and
when it raises none is. Settlements alone are written without waiting for the disk
(synchronous=NORMAL): they outlast the process, but a power failure may undo the last of
them, as if the service's answer had been lost. The next submission's sync covers them.
The ledger's totals change in the same transaction: at all times, and after any crash,
`receiver.ledger`'s equations hold. Records to fold are in `receiver.outbox.fold_log`,
in the same transactions. One thread at a time may call: `receiver.outbox.committer`'s.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from receiver.errors import Damaged, OutboxError, OutboxFull
from receiver.events import Events, Kind
from receiver.ledger import ROUTE_FULL, Key, Totals
from receiver.outbox import order, schema
from receiver.outbox.dead_letters import LetterRow, latest, store_dead_letters
from receiver.outbox.dedup import Repeats
from receiver.outbox.directory import DirectoryLock
from receiver.outbox.flushed import Flushed
from receiver.outbox.fold_log import FoldLog, all_series, series_after
from receiver.outbox.folding import Flush, Folding, SeriesRow
from receiver.outbox.gzip_body import compress, compress_chunks, pack
from receiver.outbox.lanes import BATCHES, SIZE_BYTES, Lanes, lanes_of
from receiver.outbox.values import Batch, Lane, PackedBatch, Settlement, Statistics, Submission

EXPIRE_BATCHES = 64
"""Limit of batches that one transaction expires, so that requests do not wait."""
NOT_FLUSHED = "the windows of the metrics.json before could not be written yet"
COMPACT_PAGES = 4096
"""Limit of pages freed by one transaction, so that requests do not wait."""

Result = TypeVar("Result")

LOST = Kind("outbox", "outbox was lost", 0.0, "error")
SET_ASIDE = Kind("outbox", "outbox set aside", 0.0, "error")
FOLD_LOST = Kind("outbox", "the fold's checkpoint cannot be used", 0.0, "error")


class Outbox:
    """The database. Its methods raise sqlite3.Error where the disk fails."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        destination: str,
        lifetime_ms: int,
        clock: Callable[[], float] = time.time,
        folding: Folding | None = None,
        flushed: Flushed | None = None,
        events: Events | None = None,
    ) -> None:
        """Lock the directory for this process; `open`, or the first use, opens the database.

        New batches are for `destination`, a text that is stored with them. A batch is expired
        when its newest sample is older than `lifetime_ms`. `folding` folds the records of
        requests, and `flushed` receives the items of committed flushes. Damage is reported to `events`.

        Raises: OutboxError, which says what to do.
        """
        self._directory, self._path = directory, str(directory / schema.FILE_NAME)
        self._max_bytes = max_bytes
        self._destination = destination
        self._lifetime_ms = lifetime_ms
        self._clock = clock
        self._repeats = Repeats(clock)
        self._set_aside = 0
        self._batches = self._size_bytes = 0
        self._last_id = 0
        self.inserted = 0
        """Batches inserted since the start, those of failed transactions among them."""
        self._open_database: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._lock = DirectoryLock(directory)
        self._pending = self._lock.items_left or 0
        self._fold = FoldLog(folding) if folding else None
        self._flushed = flushed
        self._lanes = Lanes()
        self._events = events or Events(clock)

    def share_out(self, shares: Mapping[str, int]) -> None:
        """Limit the bytes of each lane; callable from any thread. Empty: the outbox's limit alone.

        Items of a full lane are dropped, with their reason, and delay no other lane.
        """
        self._lanes.shares = shares

    @property
    def _database(self) -> sqlite3.Connection:
        """The open database; opened or created if it is not."""
        if self._open_database is None:
            self._open()
        assert self._open_database
        return self._open_database

    def open(self) -> None:
        """Open or create the database; on failure the directory is unlocked.

        Raises: OutboxError, which says what to do.
        """
        try:
            if self._open_database is None:
                self._open()
        except OutboxError:
            self.close()
            raise
        except sqlite3.Error as error:
            self.close()
            message = (
                f"the outbox in {self._directory} cannot be opened: {error}; "
                f"{schema.why_not_opened(error)}"
            )
            raise OutboxError(message) from error

    def _open(self) -> None:
        try:
            database = self._opened()
        except sqlite3.Error as error:
            if not schema.is_broken(error):
                raise
            self._put_aside(error)
            database = self._opened()
        self._open_database = database
        self._identity = schema.identity(self._path)
        self._waits_for_disk = True  # open_database sets synchronous=FULL

    def _opened(self) -> sqlite3.Connection:
        database = schema.open_database(self._directory)
        try:
            self._begin(database)
        except BaseException:
            database.close()
            raise
        return database

    def _begin(self, database: sqlite3.Connection) -> None:
        """Count the waiting items; if some are missing, record the loss."""
        newest_id = order.newest_id(database)
        if not newest_id and self._pending:
            self._account_for_loss(database)
        if self._last_id > newest_id:  # batches of the damaged database may be in flight
            insert = "INSERT INTO sqlite_sequence VALUES ('batches', ?)"
            database.execute(insert, (self._last_id,))
        self._batches, self._size_bytes = database.execute("SELECT * FROM waiting").fetchone()
        row = database.execute("SELECT samples FROM totals WHERE outcome = 'pending'").fetchone()
        self._pending = row[0] if row else 0
        self._lanes.read(database)
        if self._fold:
            self._fold.forget()
            self._read_fold(self._fold, database)

    def _account_for_loss(self, database: sqlite3.Connection) -> None:
        """Record, in a new ledger, the items of a lost database."""
        lost = self._pending
        totals = ("received", "", lost), ("rendered", "", lost), ("rejected", Damaged.reason, lost)
        insert = "INSERT INTO totals VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        database.executemany(insert, totals)
        hint = (
            f"{schema.FILE_NAME} was damaged, emptied or removed: its items are not delivered, and "
            "count as damaged. A new one is begun."
        )
        words = f"{lost} items were lost"
        self._events.happened(LOST, Damaged.reason, words, hint, items=lost, directory=str(self._directory))  # fmt: skip

    def _put_aside(self, error: sqlite3.Error) -> None:
        kept = schema.set_aside(self._directory)
        self._set_aside += 1
        hint = "The database was damaged; its items are not delivered. A new one is begun."
        self._events.happened(SET_ASIDE, Damaged.reason, str(error), hint, file=str(kept))

    def replace_if_broken(self, error: BaseException) -> bool:
        """Set the database aside if an error means damage; the next use creates a new one."""
        if not isinstance(error, sqlite3.Error) or not schema.is_broken(error):
            return False
        if self._open_database:
            self._open_database.close()
            self._open_database = None
        self._put_aside(error)
        return True

    def close(self) -> None:
        """Checkpoint and close the database, and release the directory."""
        if self._open_database:
            self._open_database.close()
        self._lock.close()

    def apply(
        self, submissions: Sequence[Submission], settlements: Sequence[Settlement]
    ) -> list[bytes | OutboxFull | Sequence[int] | None]:
        """Commit compressed submissions and settlements: all, or none and raise.

        Returns, for each submission: None when it is committed now; its first answer when it
        was committed before; OutboxFull when there is no room, and then nothing of it is kept.
        Then, for each settlement: the numbers of the batches put back.
        """
        folds = any(submission.folded for submission in submissions)
        if folds:
            self._prepare_fold()
        self._sync(wait=folds or any(submission.deflated_chunks for submission in submissions))
        with self._transaction() as totals:
            put_back = [self._settle(settlement, totals) for settlement in settlements]
            self._expire_when_full(submissions, totals)
            results = [*self._take(submissions, totals), *put_back]
        if self._fold:
            self._fold.committed()
        return results

    def _read_fold(self, fold: FoldLog, database: sqlite3.Connection) -> None:
        if problem := fold.read(database, self._now_ms()):
            hint = "Counters continue with their next samples; the windows that were open are lost. Report it, please."
            self._events.happened(FOLD_LOST, Damaged.reason, problem, hint)

    def _prepare_fold(self) -> None:
        """Load the fold from disk, and apply the current list."""
        assert self._fold, "records without a fold"
        self._read_fold(self._fold, self._database)
        if self._fold.folding.must_flush:
            self.flush()

    def flush(self, *, is_last: bool = False) -> bool:
        """Make items of finished windows, in one transaction; returns whether there were any.

        `is_last` includes open windows. With a full outbox windows wait, as requests do.
        """
        if not self._fold or self._why_full():
            return False
        database = self._database
        self._read_fold(self._fold, database)
        flush = self._fold.folding.flush(
            self._now_ms(),
            lambda: all_series(database),
            is_long=self._fold.is_long,
            is_last=is_last,
        )
        if flush is None:
            return False
        try:
            self._write_flush(flush)
        except BaseException:
            self._fold.forget()
            raise
        return any(submission.items for submission in flush.items)

    def _write_flush(self, flush: Flush) -> None:
        """Write the items and the state of a flush in one transaction."""
        assert self._fold
        self._sync(wait=True)
        with self._transaction() as totals:
            self._take_flushed(flush, totals)
            self._fold.write_flush(self._database, flush)
        self._fold.flushed()
        if self._flushed:
            for submission in flush.items:
                self._flushed.put((*submission.chunks, *submission.deflated_chunks))

    def folded_series(self, after: int, limit: int) -> list[SeriesRow]:
        """Read up to `limit` folded series with numbers above `after`, with the fold as on disk."""
        self._prepare_fold()
        return series_after(self._database, after, limit)

    def change_fold(self, change: Callable[[], tuple[Result, Flush]]) -> Result:
        """Call `change` on the fold, and write the state and items that it returns: all or nothing.

        Numbered series get their rows before. Raises: OutboxFull.
        """
        self._prepare_fold()
        assert self._fold
        if why := self._why_full() or (NOT_FLUSHED if self._fold.folding.must_flush else ""):
            raise OutboxFull(why)
        self._sync(wait=True)
        with self._transaction():
            self._fold.write(self._database, b"", self._now_ms())
        self._fold.committed()
        try:
            answer, flush = change()
            self._write_flush(flush)
        except BaseException:
            self._fold.forget()
            raise
        return answer

    def _take_flushed(self, flush: Flush, totals: Counter[Key]) -> None:
        """Insert the items of a flush; items of a full lane are rejected: windows do not wait for a lane."""
        submissions = [compress_chunks(submission) for submission in flush.items]
        full_lanes = self._full_lanes(submissions)
        kept: list[Submission] = []
        for submission in submissions:
            totals.update(submission.totals)
            for chunk in submission.deflated_chunks:
                self._lanes.count(chunk.lane.name, "flushed", chunk.items)
            items, gone = self._lanes.without(submission, full_lanes)
            for lane, count in gone.items():
                totals["rejected", ROUTE_FULL] += count
                self._lanes.count(lane, "rejected", count, ROUTE_FULL)
            kept.append(items)
        self._insert_all(kept, totals)

    @property
    def wants_flush(self) -> bool:
        """Whether the log is so long that a checkpoint is due."""
        return bool(self._fold and self._fold.is_long)

    def _now_ms(self) -> int:
        return round(self._clock() * 1000)

    def _sync(self, *, wait: bool) -> None:
        """Set whether the next transaction waits for the disk."""
        database = self._database  # may open it, which sets FULL
        if wait is not self._waits_for_disk:
            database.execute(f"PRAGMA synchronous={'FULL' if wait else 'NORMAL'}")
            self._waits_for_disk = wait

    @contextmanager
    def _transaction(self) -> Iterator[Counter[Key]]:
        """Run one transaction; the yielded totals become part of it."""
        database = self._database
        self._lock.check()
        if schema.identity(self._path) != self._identity:
            raise OutboxError(schema.GONE)  # an unlinked file ends with this process
        before = self._batches, self._size_bytes, self._pending
        totals: Counter[Key] = Counter()
        try:
            database.execute("BEGIN IMMEDIATE")
            self._repeats.forget(database)
            yield totals
            self._add_totals([(*key, samples) for key, samples in totals.items() if samples])
            waiting = self._batches, self._size_bytes
            if waiting != before[:2]:
                self._database.execute("UPDATE waiting SET batches = ?, size_bytes = ?", waiting)
            self._lanes.write(self._database)
            self._pending += totals["pending", ""]
            self._database.execute("COMMIT")
        except BaseException as error:
            self._batches, self._size_bytes, self._pending = before
            self._lanes.rolled_back()
            if self._fold:
                self._fold.rolled_back()
            self._undo(error)
            raise
        self._lanes.committed()
        self._lock.note(self._pending)

    def _add_totals(self, rows: Sequence[tuple[str, str, int]]) -> None:
        if rows:  # one statement: each statement releases the GIL
            self._database.execute(
                f"INSERT INTO totals VALUES {', '.join(['(?, ?, ?)'] * len(rows))}"  # noqa: S608 - question marks
                " ON CONFLICT DO UPDATE SET samples = samples + excluded.samples",
                [value for row in rows for value in row],
            )

    def _undo(self, error: BaseException) -> None:
        database = self._open_database
        if not self.replace_if_broken(error) and database and database.in_transaction:
            database.execute("ROLLBACK")

    def _take(
        self, submissions: Sequence[Submission], totals: Counter[Key]
    ) -> list[bytes | OutboxFull | None]:
        results: list[bytes | OutboxFull | None] = []
        taken: list[Submission] = []
        full = (
            self._why_full()
            if any(submission.deflated_chunks or submission.folded for submission in submissions)
            else ""
        )
        cannot_fold = full or (NOT_FLUSHED if self._fold and self._fold.folding.must_flush else "")
        full_lanes = self._full_lanes(submissions)
        answers = self._repeats.answers(self._database, submissions)
        for submission in submissions:
            result: bytes | OutboxFull | None
            result = answers.get(submission.digest)
            if result is None and submission.folded and cannot_fold:
                result = OutboxFull(cannot_fold)
            elif result is None and submission.deflated_chunks and full:
                result = OutboxFull(full)
            if result is None:
                totals.update(submission.totals)
                kept, gone = self._lanes.without(submission, full_lanes)
                for lane, count in gone.items():
                    totals["dropped", ROUTE_FULL] += count
                    self._lanes.count(lane, "dropped", count, ROUTE_FULL)
                for chunk in kept.deflated_chunks:
                    self._lanes.count(chunk.lane.name, "rendered", chunk.items)
                totals["rendered", ""] += kept.items
                taken.append(kept)
                if submission.digest:
                    answers[submission.digest] = submission.answer
            results.append(result)
        self._repeats.remember(self._database, taken)
        self._insert_all(taken, totals)
        self._write_notes(taken)
        if self._fold and (records := b"".join(submission.folded for submission in taken)):
            self._fold.write(self._database, records, self._now_ms())
        return results

    def _write_notes(self, taken: Sequence[Submission]) -> None:
        notes = {name: note for submission in taken for name, note in submission.notes.items()}
        if notes:
            rows = [row for row in notes.items() if row[1]]
            self._database.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", rows)
            gone = [(name,) for name, note in notes.items() if not note]
            self._database.executemany("DELETE FROM notes WHERE name = ?", gone)

    def notes(self) -> dict[str, bytes]:
        """Return the committed notes, by name."""
        rows = self._database.execute("SELECT name, note FROM notes ORDER BY name")
        return {name: bytes(note) for name, note in rows}

    def _why_full(self) -> str:
        """Return the reason for a full outbox; empty while there is room."""
        if self._size_bytes >= self._max_bytes:
            return f"{self._size_bytes} bytes wait for delivery; the limit is {self._max_bytes}"
        return schema.short_of_space(self._directory)

    def _full_lanes(self, submissions: Sequence[Submission]) -> set[str]:
        """Return the full lanes of these submissions."""
        return self._lanes.full(lanes_of(submissions), self._size_bytes)

    def _insert_all(self, submissions: Sequence[Submission], totals: Counter[Key]) -> None:
        for packed in pack(submissions):
            totals["pending", ""] += packed.items
            self._lanes.count(packed.lane.name, "pending", packed.items)
            self._insert(packed)

    def _insert(self, packed: PackedBatch) -> int:
        lane, destination = packed.lane
        added = self._database.execute(
            "INSERT INTO batches (items, oldest_ms, newest_ms, destination, size_bytes, body, lane)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                packed.items,
                packed.oldest_ms,
                packed.newest_ms,
                destination or self._destination,
                len(packed.body),
                packed.body,
                lane,
            ),
        )
        number = added.lastrowid or 0
        self._last_id = max(self._last_id, number)
        self._batches += 1
        self.inserted += 1
        self._size_bytes += len(packed.body)
        self._lanes.count(lane, BATCHES, 1)
        self._lanes.count(lane, SIZE_BYTES, len(packed.body))
        return number

    def _delete(self, number: int, size_bytes: int, lane: str) -> bool:
        """Delete a batch; returns whether it existed."""
        if not self._database.execute("DELETE FROM batches WHERE id = ?", (number,)).rowcount:
            return False
        self._batches -= 1
        self._size_bytes -= size_bytes
        self._lanes.count(lane, BATCHES, -1)
        self._lanes.count(lane, SIZE_BYTES, -size_bytes)
        return True

    def _settle(self, settlement: Settlement, totals: Counter[Key]) -> Sequence[int]:
        batch = settlement.batch
        if not self._delete(batch.id, len(batch.body), batch.lane):
            return ()  # settled before, and counted
        outcomes: Totals = {
            ("pending", ""): sum(map(len, settlement.again)) - batch.items,
            ("accepted", ""): settlement.accepted,
            ("expired", ""): settlement.expired,
            **{("rejected", reason): items for reason, items in settlement.rejected.items()},
        }
        totals.update(outcomes)
        for (word, reason), items in outcomes.items():
            self._lanes.count(batch.lane, word, items, reason)
        lane = Lane(batch.lane, batch.destination)
        put_back = []
        for lines in settlement.again:
            body = compress(lines)
            packed = PackedBatch(body, len(lines), batch.oldest_ms, batch.newest_ms, lane)
            put_back.append(self._insert(packed))
        store_dead_letters(self._database, settlement.dead_letters, self._clock(), batch.lane)
        return put_back

    def _expire_when_full(self, submissions: Sequence[Submission], totals: Counter[Key]) -> None:
        """Make room by expiring batches that the service would refuse as too old.

        Too old by this machine's clock and by the newest sample at hand: either alone may have
        jumped.
        """
        newest_ms = max(
            (
                submission.newest_ms
                for submission in submissions
                if submission.deflated_chunks or submission.folded
            ),
            default=0,
        )
        full_lanes = self._full_lanes(submissions)
        if not newest_ms or not (full_lanes or self._why_full()):
            return
        cutoff_ms = min(newest_ms, self._now_ms()) - self._lifetime_ms
        for lane in sorted(full_lanes) or (None,):
            self._expire(cutoff_ms, lane, totals)

    def _expire(self, cutoff_ms: int, lane: str | None, totals: Counter[Key]) -> bool:
        """Expire some batches older than `cutoff_ms`, of a lane or of all; returns whether there may be more."""
        expired = self._database.execute(
            "SELECT id, items, size_bytes, lane FROM batches"
            " WHERE newest_ms < ? AND lane = IFNULL(?, lane) ORDER BY newest_ms LIMIT ?",
            (cutoff_ms, lane, EXPIRE_BATCHES),
        ).fetchall()
        for batch_id, items, size_bytes, its_lane in expired:
            self._delete(batch_id, size_bytes, its_lane)
            totals["pending", ""] -= items
            totals["expired", ""] += items
            self._lanes.count(its_lane, "pending", -items)
            self._lanes.count(its_lane, "expired", items)
        return len(expired) == EXPIRE_BATCHES

    def expire_held(self, served: Collection[str]) -> None:
        """Expire batches that are too old in all lanes but those `served`. Raises: OutboxError."""
        for lane in self._lanes.statistics(self._database, {}, 0, 0):
            if lane not in served:
                self._expire_lane(lane)

    def _expire_lane(self, lane: str) -> None:
        cutoff_ms = self._now_ms() - self._lifetime_ms
        query = "SELECT 1 FROM batches WHERE lane = ? AND newest_ms < ? LIMIT 1"
        if not self._database.execute(query, (lane, cutoff_ms)).fetchone():
            return
        self._sync(wait=False)
        more = True
        while more:
            with self._transaction() as totals:
                more = self._expire(cutoff_ms, lane, totals)

    def probe(self) -> None:
        """Write and sync a test transaction without changes."""
        self._sync(wait=True)
        version = self._database.execute("PRAGMA user_version").fetchone()[0]
        self._database.execute(f"PRAGMA user_version={version}")

    def next_batches(
        self, busy: Collection[int], fresh_from_id: int, most: int, lane: str = ""
    ) -> list[Batch]:
        """Fetch the batches of a lane to send next, in the order of `receiver.outbox.order`.

        Raises: OutboxError if another receiver has the directory, and sends them.
        """
        self._lock.check()
        return order.next_batches(self._database, busy, fresh_from_id, most, lane)

    def batch(self, number: int) -> Batch | None:
        """Fetch one batch, if it still exists. Raises: as `next_batches`."""
        self._lock.check()
        return order.batch(self._database, number)

    def smallest_batch(self, lane: str = "") -> list[Batch]:
        """Fetch a lane's batch with the fewest bytes, if any: a cheap probe. Raises: as `next_batches`."""
        self._lock.check()
        return order.smallest_batch(self._database, lane)

    def newest_id(self) -> int:
        """Return the highest batch number so far; 0 before the first."""
        return order.newest_id(self._database)

    def totals(self) -> dict[Key, int]:
        """Read the ledger: samples by (outcome, reason), with `pending` as an outcome."""
        rows = self._database.execute("SELECT outcome, reason, samples FROM totals")
        return {(outcome, reason): samples for outcome, reason, samples in rows}

    def statistics(self) -> Statistics:
        """Return the statistics of waiting items."""
        query = "SELECT oldest_ms FROM batches ORDER BY id LIMIT 1"
        (oldest_ms,) = self._database.execute(query).fetchone() or (0,)
        totals = self.totals()
        return Statistics(
            items=totals.get(("pending", ""), 0),
            batches=self._batches,
            size_bytes=self._size_bytes,
            max_bytes=self._max_bytes,
            oldest_ms=oldest_ms,
            set_aside=self._set_aside,
            full=self._why_full(),
            lanes=self._lanes.statistics(self._database, totals, self._batches, self._size_bytes),
        )

    def dead_letters(self, limit: int) -> list[LetterRow]:
        """Read the latest rejected items, the newest first."""
        return latest(self._database, limit)

    def compact(self) -> bool:
        """Free some disk space of an emptied outbox; returns whether there is more."""
        (free,) = self._database.execute("PRAGMA freelist_count").fetchone()
        if self._batches or (free <= 1024 and not schema.short_of_space(self._directory)):
            return False
        self._database.executescript(  # execute() would free one page and think it done
            f"PRAGMA incremental_vacuum({COMPACT_PAGES}); PRAGMA wal_checkpoint(TRUNCATE);"
        )
        return bool(free > COMPACT_PAGES)
