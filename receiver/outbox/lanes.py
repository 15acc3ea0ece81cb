"""The content of each lane and its share of the outbox: no lane takes another's room.

In: changes of all lanes but the default one, within the outbox's transactions. Out: each
lane's counts, after a restart too, and whether its share of the outbox is used up. A lane
is a name, no more.

The default lane's counts are the whole outbox's less those of all other lanes: an outbox
without other lanes writes nothing here.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from receiver.ledger import Totals, Word
from receiver.outbox.values import DeflatedChunk, LaneStatistics, Submission

BATCHES: Final = "batches"
SIZE_BYTES: Final = "size_bytes"
"""Counts beside the ledger's."""
_Key = tuple[str, str, str]
"""A lane, an outcome (or one of the two above), a reason."""


class Lanes:
    """The counts. Without `shares` the outbox's limit is the only one."""

    def __init__(self) -> None:
        """Start empty; call `read`."""
        self.shares: Mapping[str, int] = {}
        self._counts: Counter[_Key] = Counter()
        self._change: Counter[_Key] = Counter()

    def read(self, database: sqlite3.Connection) -> None:
        """Load the counts from disk."""
        query = "SELECT lane, outcome, reason, count FROM lane_totals"
        self._counts = Counter({(lane, outcome, reason): count for lane, outcome, reason, count in database.execute(query)})  # fmt: skip
        self._change.clear()

    def count(
        self, lane: str, word: Word | Literal["batches", "size_bytes"], count: int, reason: str = ""
    ) -> None:
        """Count, as part of the open transaction; the default lane is not counted here."""
        if lane and count:
            self._change[lane, word, reason] += count

    def write(self, database: sqlite3.Connection) -> None:
        """Write the transaction's counts."""
        if self._change:
            database.executemany(
                "INSERT INTO lane_totals VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET count = count + excluded.count",
                [(*key, count) for key, count in self._change.items()],
            )

    def committed(self) -> None:
        """Note that the transaction is on disk."""
        self._counts.update(self._change)
        self._change.clear()

    def rolled_back(self) -> None:
        """Discard the counts of a failed transaction."""
        self._change.clear()

    def size_bytes(self, lane: str, all_bytes: int) -> int:
        """Return the bytes in a lane, of `all_bytes` in the outbox."""
        if lane:
            key = lane, SIZE_BYTES, ""
            return self._counts[key] + self._change[key]
        others = sum(self.size_bytes(name, 0) for name in self._names())
        return all_bytes - others

    def full(self, lanes: Iterator[str], all_bytes: int) -> set[str]:
        """Return the lanes with a used-up share; a lane without a share has no limit."""
        shares = self.shares  # `Outbox.share_out` may replace them meanwhile
        if not shares:
            return set()
        return {
            lane
            for lane in set(lanes)
            if lane in shares and self.size_bytes(lane, all_bytes) >= shares[lane]
        }

    def without(self, submission: Submission, full: set[str]) -> tuple[Submission, Counter[str]]:
        """Take the chunks of full lanes out of a compressed submission; returns their items by lane."""
        if not full:
            return submission, Counter()
        kept: list[DeflatedChunk] = []
        dropped: Counter[str] = Counter()
        for chunk in submission.deflated_chunks:
            if chunk.lane.name in full:
                dropped[chunk.lane.name] += chunk.items
            else:
                kept.append(chunk)
        return (
            replace(submission, deflated_chunks=tuple(kept)) if dropped else submission
        ), dropped

    def _names(self) -> set[str]:
        return {lane for lane, _, _ in (*self._counts, *self._change)}

    def statistics(
        self, database: sqlite3.Connection, totals: Totals, batches: int, all_bytes: int
    ) -> dict[str, LaneStatistics]:
        """Return the statistics of all lanes, from the whole outbox's numbers; empty without lanes."""
        names = self._names() | set(self.shares) - {""}
        if not names:
            return {}
        own = Counter(totals)
        measured: dict[str, LaneStatistics] = {}
        for name in sorted(names):
            mine: dict[Any, int] = {(outcome, reason): count for (lane, outcome, reason), count in self._counts.items() if lane == name}  # fmt: skip
            waiting, size_bytes = mine.pop((BATCHES, ""), 0), mine.pop((SIZE_BYTES, ""), 0)
            share, oldest_ms = self.shares.get(name, 0), _oldest_ms(database, name)
            measured[name] = LaneStatistics(waiting, size_bytes, share, oldest_ms, mine)
            own.subtract(mine)
            batches -= waiting
            all_bytes -= size_bytes
        share, oldest_ms = self.shares.get("", 0), _oldest_ms(database, "")
        return {"": LaneStatistics(batches, all_bytes, share, oldest_ms, dict(own)), **measured}


def recount(database: sqlite3.Connection, word: Word, sign: int) -> None:
    """Count the items of each lane again, after batches moved in or out; part of a transaction.

    The items added, or with a `sign` of -1 removed, are counted as `word`.
    """
    query = "SELECT lane, COUNT(*), SUM(items), SUM(size_bytes) FROM batches WHERE lane != '' GROUP BY lane"
    now = {lane: counts for lane, *counts in database.execute(query)}
    query = "SELECT lane, count FROM lane_totals WHERE outcome = 'pending'"
    before: dict[str, int] = dict(database.execute(query).fetchall())
    for lane in sorted({*now, *before}):
        batches, items, size_bytes = now.get(lane, (0, 0, 0))
        moved = sign * (items - before.get(lane, 0))
        put = "INSERT OR REPLACE INTO lane_totals VALUES (?, ?, '', ?)"
        for outcome, count in ((BATCHES, batches), ("pending", items), (SIZE_BYTES, size_bytes)):
            database.execute(put, (lane, outcome, count))
        add = "INSERT INTO lane_totals VALUES (?, ?, '', ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
        database.execute(add, (lane, word, moved))


def _oldest_ms(database: sqlite3.Connection, lane: str) -> int:
    query = "SELECT oldest_ms FROM batches WHERE lane = ? ORDER BY id LIMIT 1"
    (oldest_ms,) = database.execute(query, (lane,)).fetchone() or (0,)
    return int(oldest_ms)


def shares_of(wanted: Mapping[str, int], max_bytes: int) -> dict[str, int]:
    """Divide an outbox among lanes: their configured bytes, 0 for an equal part of the rest.

    Each lane has at least one byte.
    """
    rest = max_bytes - sum(wanted.values())
    without = sum(not share for share in wanted.values()) or 1
    return {lane: share or max(1, rest // without) for lane, share in wanted.items()}


def lanes_of(submissions: Sequence[Submission]) -> Iterator[str]:
    """Return the lanes of compressed submissions' chunks."""
    return (chunk.lane.name for submission in submissions for chunk in submission.deflated_chunks)
