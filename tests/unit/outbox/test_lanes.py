"""What waits in one lane takes no other's room, and each lane's ledger adds up by itself."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.azure.limits import EXPIRY_MS
from receiver.ledger import ROUTE_FULL, Word, read_ledger
from receiver.outbox import schema, transfer
from receiver.outbox.folding import Flush
from receiver.outbox.gzip_body import compress_chunks, cut, pack, unpack
from receiver.outbox.lanes import shares_of
from receiver.outbox.store import EXPIRE_BATCHES, Outbox
from receiver.outbox.values import OWN, Batch, DeadLetter, Lane, Settlement, Submission

NOW_MS = 1_800_000_000_000
A, B = Lane("a", "key-a"), Lane("b", "key-b")


OPEN: list[Outbox] = []
"""Those of the test that runs."""


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close what a test has opened: Python 3.13 minds a database that nobody closes."""
    yield
    while OPEN:
        OPEN.pop().close()


def lines(lane: Lane, count: int) -> list[bytes]:
    """Make lines that are told apart."""
    return [b"%s/%d\n" % (lane.name.encode(), number) for number in range(count)]


def request(counts: dict[Lane, int], digest: bytes = b"", at_ms: int = NOW_MS) -> Submission:
    """Submit so many lines in each lane."""
    chunks = [chunk for lane, count in counts.items() for chunk in cut(lines(lane, count), lane)]
    return compress_chunks(Submission(chunks, at_ms, at_ms, {("received", ""): sum(counts.values())}, digest, b"answer"))  # fmt: skip


class Lanes:
    """An outbox; each look holds the ledgers of all lanes to their equations."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = NOW_MS / 1000
        self.outbox = self.opened()

    def opened(self) -> Outbox:
        outbox = Outbox(self.directory, 1 << 30, "own", EXPIRY_MS, lambda: self.now)
        OPEN.append(outbox)
        outbox.open()
        return outbox

    def again(self) -> None:
        """Close it and open it again."""
        self.outbox.close()
        self.outbox = self.opened()

    def batches(self, lane: str) -> list[Batch]:
        return self.outbox.next_batches([], 0, 10_000, lane)

    def total(self, lane: str, word: Word, reason: str = "") -> int:
        """Read one of a lane's totals, after all of them were held to the outbox's."""
        found = self.outbox.statistics()
        assert read_ledger(self.outbox.totals()).adds_up
        if not found.lanes:
            return self.outbox.totals().get((word, reason), 0)
        for name, each in found.lanes.items():
            batches = self.batches(name)
            assert read_ledger(each.totals).items_add_up, name
            assert each.batches == len(batches), name
            assert each.size_bytes == sum(len(batch.body) for batch in batches), name
            assert each.totals.get(("pending", ""), 0) == sum(batch.items for batch in batches), name  # fmt: skip
        assert sum(each.size_bytes for each in found.lanes.values()) == found.size_bytes
        return found.lanes[lane].totals.get((word, reason), 0) if lane in found.lanes else 0


@pytest.fixture
def lanes(tmp_path: Path) -> Lanes:
    """An empty outbox without lanes."""
    return Lanes(tmp_path)


def test_a_batch_is_of_one_lane(lanes: Lanes) -> None:
    """However requests mix them; each has the destination that it was rendered for."""
    lanes.outbox.apply([request({A: 3, OWN: 2, B: 1}), request({B: 2, A: 1})], [])

    for lane, count in ((A, 4), (B, 3), (OWN, 2)):
        [batch] = lanes.batches(lane.name)
        assert (batch.items, batch.lane) == (count, lane.name)
        assert batch.destination == (lane.destination or "own")
        assert all(line.startswith(lane.name.encode() + b"/") for line in unpack(batch.body))
        assert lanes.total(lane.name, "rendered") == count


def test_full_batches_are_filled_lane_by_lane() -> None:
    """Lanes that take turns in requests make no batch smaller."""
    packed = list(pack([request({A: 250, B: 250}) for _ in range(8)]))
    assert sorted((each.lane.name, each.items) for each in packed) == [("a", 1000)] * 2 + [("b", 1000)] * 2  # fmt: skip


def test_the_counts_of_lanes_outlive_a_restart(lanes: Lanes) -> None:
    """With what was settled, put back and rejected, by lane; the own lane's are the rest."""
    lanes.outbox.apply([request({A: 10, B: 4, OWN: 3})], [])
    [batch] = lanes.batches("a")
    some = unpack(batch.body)
    letters = [DeadLetter(400, "no", "item")]
    outcome = Settlement(batch, accepted=5, rejected={"other": 2}, again=(some[:3],), dead_letters=letters)  # fmt: skip
    lanes.outbox.apply([], [outcome])
    lanes.again()

    assert lanes.total("a", "accepted") == 5
    assert lanes.total("a", "rejected", "other") == 2
    assert lanes.total("a", "pending") == 3
    assert lanes.total("b", "pending") == 4
    assert lanes.total("", "pending") == 3
    assert lanes.total("", "accepted") == 0
    [again] = lanes.batches("a")
    assert (again.lane, again.destination) == ("a", "key-a")
    assert [letter[4] for letter in lanes.outbox.dead_letters(9)] == ["a"]


def test_without_lanes_nothing_is_counted_by_lane(lanes: Lanes) -> None:
    """An outbox of one resource is what it was."""
    lanes.outbox.apply([request({OWN: 3})], [])
    assert lanes.outbox.statistics().lanes == {}


def test_a_full_lane_drops_its_own_samples_alone(lanes: Lanes) -> None:
    """The request is taken: what the lane has no room for is dropped with its reason, all else commits."""
    lanes.outbox.share_out({"": 1000, "a": 1, "b": 1000})
    lanes.outbox.apply([request({A: 3})], [])
    assert lanes.outbox.statistics().lanes["a"].is_full

    assert lanes.outbox.apply([request({A: 4, B: 2, OWN: 1}, b"d")], []) == [None]
    assert lanes.total("a", "dropped", ROUTE_FULL) == 4
    assert lanes.outbox.totals()["dropped", ROUTE_FULL] == 4
    assert lanes.total("a", "rendered") == 3
    assert (lanes.total("b", "rendered"), lanes.total("", "rendered")) == (2, 1)
    assert lanes.outbox.apply([request({A: 4, B: 2, OWN: 1}, b"d")], []) == [b"answer"]
    assert lanes.total("a", "dropped", ROUTE_FULL) == 4

    [batch] = lanes.batches("a")
    lanes.outbox.apply([], [Settlement(batch, accepted=3)])
    lanes.outbox.apply([request({A: 4})], [])
    assert lanes.total("a", "rendered") == 7


def test_a_full_own_lane_holds_no_other_up(lanes: Lanes) -> None:
    """With routes the receiver's own lane has a share like every other."""
    lanes.outbox.share_out({"": 1, "a": 1000})
    lanes.outbox.apply([request({OWN: 1})], [])
    assert lanes.outbox.apply([request({OWN: 2, A: 2})], []) == [None]
    assert lanes.total("", "dropped", ROUTE_FULL) == 2
    assert lanes.total("a", "rendered") == 2
    lanes.outbox.share_out({"": 1, "a": 1})
    assert lanes.outbox.apply([request({OWN: 3, A: 4})], []) == [None]
    assert lanes.total("", "dropped", ROUTE_FULL) == 5
    assert lanes.total("a", "dropped", ROUTE_FULL) == 4


def test_another_lane_s_bytes_fill_no_share(lanes: Lanes) -> None:
    """Nor the receiver's own: a lane is full of what is in it."""
    lanes.outbox.apply([request({A: 900, OWN: 1})], [])
    found = lanes.outbox.statistics()
    own = found.lanes[""].size_bytes
    assert own * 2 < found.size_bytes
    lanes.outbox.share_out({"": own + 1, "a": 1, "b": 1})

    lanes.outbox.apply([request({OWN: 1, B: 1})], [])
    assert lanes.total("", "rendered") == 2
    assert lanes.total("b", "rendered") == 1
    assert lanes.outbox.totals().get(("dropped", ROUTE_FULL), 0) == 0


def test_all_chunks_of_a_full_lane_are_dropped_and_counted(lanes: Lanes) -> None:
    """A large request has several."""
    lanes.outbox.share_out({"": 1 << 20, "a": 1})
    lanes.outbox.apply([request({A: 1})], [])
    assert len(request({A: 5000}).deflated_chunks) > 1

    lanes.outbox.apply([request({A: 5000})], [])

    assert lanes.total("a", "dropped", ROUTE_FULL) == 5000
    assert lanes.total("a", "pending") == 1


def test_each_lane_s_share_and_oldest_sample_are_known(lanes: Lanes) -> None:
    """By lane, also of one in which nothing waits."""
    for lane, at_ms in ((A, NOW_MS - 3), (OWN, NOW_MS - 9), (A, NOW_MS - 2), (OWN, NOW_MS)):
        lanes.outbox.apply([request({lane: 1}, at_ms=at_ms)], [])
    found = lanes.outbox.statistics().lanes
    assert {name: (each.max_bytes, each.oldest_ms) for name, each in found.items()} == {
        "": (0, NOW_MS - 9),
        "a": (0, NOW_MS - 3),
    }
    lanes.outbox.share_out({"": 1000, "a": 500, "b": 70})
    [first, _] = lanes.batches("a")
    lanes.outbox.apply([], [Settlement(first, accepted=1)])
    found = lanes.outbox.statistics().lanes
    assert {name: (each.max_bytes, each.oldest_ms) for name, each in found.items()} == {
        "": (1000, NOW_MS - 9),
        "a": (500, NOW_MS - 2),
        "b": (70, 0),
    }
    assert (found["b"].batches, found["b"].size_bytes, found["b"].totals) == (0, 0, {})


def test_a_lane_that_is_full_of_old_batches_makes_room(lanes: Lanes) -> None:
    """Its own that are too old; another's stay."""
    old_ms = NOW_MS - EXPIRY_MS - 60_000
    lanes.outbox.apply([request({A: 3, B: 3}, at_ms=old_ms)], [])
    lanes.outbox.share_out({"": 1000, "a": 1, "b": 1000})

    lanes.outbox.apply([request({A: 2})], [])
    assert lanes.total("a", "expired") == 3
    assert lanes.total("a", "rendered") == 5
    assert lanes.total("b", "expired") == 0


def test_what_has_no_delivery_expires(lanes: Lanes) -> None:
    """Batch by batch, when it is too old; what is served is delivery's to judge."""
    old_ms = NOW_MS - EXPIRY_MS - 60_000
    lanes.outbox.apply([request({A: 3, B: 3, OWN: 3}, at_ms=old_ms)], [])
    lanes.outbox.apply([request({A: 2})], [])

    lanes.outbox.expire_held({"", "b"})
    assert lanes.total("a", "expired") == 3
    assert lanes.total("a", "pending") == 2
    assert lanes.total("b", "pending") == lanes.total("", "pending") == 3


def test_any_number_of_batches_without_a_delivery_expires(lanes: Lanes) -> None:
    """In several transactions, so that no request waits for all of it."""
    old_ms = NOW_MS - EXPIRY_MS - 60_000
    for _ in range(EXPIRE_BATCHES + 1):
        lanes.outbox.apply([request({A: 1}, at_ms=old_ms)], [])

    lanes.outbox.expire_held({""})

    assert lanes.total("a", "expired") == EXPIRE_BATCHES + 1


def test_a_transaction_that_fails_counts_in_no_lane(lanes: Lanes) -> None:
    """Neither in memory nor on disk."""
    lanes.outbox.apply([request({A: 1})], [])
    with pytest.raises(OverflowError):
        lanes.outbox.apply([request({A: 2, B: 2}, at_ms=2**70)], [])
    assert lanes.total("a", "rendered") == 1
    assert lanes.total("b", "rendered") == 0
    lanes.outbox.apply([request({A: 1})], [])
    assert lanes.total("a", "rendered") == 2
    lanes.again()
    assert lanes.total("a", "rendered") == 2


class Windows:
    """A fold that has items in two lanes at each flush."""

    must_flush = False

    def restore(self, *_: object) -> None: ...

    def flush(self, now_ms: int, *_: object, **__: object) -> Flush:
        chunks = [*cut(lines(A, 2), A), *cut(lines(B, 1), B), *cut(lines(OWN, 3))]
        return Flush([Submission(chunks, now_ms, now_ms, {("flushed", ""): 6})], b"state")

    def flushed(self) -> None: ...


def test_items_of_windows_are_in_their_lanes(tmp_path: Path) -> None:
    """Those of a full lane are rejected, since a window that waits would hold the others up."""
    outbox = Outbox(tmp_path, 1 << 30, "own", EXPIRY_MS, lambda: NOW_MS / 1000, Windows())  # type: ignore[arg-type]
    outbox.open()
    outbox.share_out({"": 1 << 20, "a": 1, "b": 1})
    assert outbox.flush()
    assert outbox.flush()
    found = outbox.statistics().lanes
    assert found["a"].totals == {("flushed", ""): 4, ("pending", ""): 2, ("rejected", ROUTE_FULL): 2}  # fmt: skip
    assert found["b"].totals == {("flushed", ""): 2, ("pending", ""): 1, ("rejected", ROUTE_FULL): 1}  # fmt: skip
    assert outbox.totals()["rejected", ROUTE_FULL] == 3
    assert found[""].totals["pending", ""] == found[""].totals["flushed", ""] == 6
    assert read_ledger(outbox.totals()).adds_up
    outbox.close()


def test_shares_are_what_is_wished_or_equal() -> None:
    """The sum is the outbox; each lane has some."""
    assert shares_of({"": 0, "a": 0}, 1000) == {"": 500, "a": 500}
    assert shares_of({"": 0, "a": 200, "b": 0}, 1000) == {"": 400, "a": 200, "b": 400}
    assert shares_of({"": 0, "a": 0, "b": 0}, 2) == {"": 1, "a": 1, "b": 1}
    assert shares_of({"": 0, "a": 100, "b": 0}, 1001) == {"": 450, "a": 100, "b": 450}


def test_what_is_moved_to_another_outbox_stays_in_its_lane(tmp_path: Path) -> None:
    """Exported there and imported here, lane by lane; and both ledgers add up."""
    there, here = Lanes(tmp_path / "there"), Lanes(tmp_path / "here")
    there.outbox.apply([request({A: 5, B: 2, OWN: 1})], [])
    here.outbox.apply([request({A: 1})], [])
    there.outbox.close()
    here.outbox.close()

    def merge(*_: object) -> transfer.MergedFold:
        raise AssertionError("there is no fold")

    transfer.export(tmp_path / "there", tmp_path / "file")
    transfer.import_(tmp_path / "here", tmp_path / "file", merge)
    there.outbox, here.outbox = there.opened(), here.opened()
    assert [there.total(lane, "exported") for lane in ("a", "b", "")] == [5, 2, 1]
    assert there.total("a", "pending") == 0
    assert [here.total(lane, "imported") for lane in ("a", "b", "")] == [5, 2, 1]
    assert here.total("a", "pending") == 6
    for batch in here.batches("a"):
        assert batch.destination == "key-a"
        here.outbox.apply([], [Settlement(batch, accepted=batch.items)])
    assert here.total("a", "accepted") == 6


def test_an_older_outbox_continues(tmp_path: Path) -> None:
    """A database of version 3: what waits in it is in the own lane, and its ledger goes on."""
    database = sqlite3.connect(tmp_path / schema.FILE_NAME, isolation_level=None)
    database.execute("PRAGMA auto_vacuum=INCREMENTAL")
    for number, statements in enumerate(schema.MIGRATIONS[:3], 1):
        database.executescript(f"{statements} PRAGMA user_version={number};")
    [packed] = pack([request({OWN: 7})])
    insert = "INSERT INTO batches (items, oldest_ms, newest_ms, destination, size_bytes, body) VALUES (7, ?, ?, 'own', ?, ?)"  # fmt: skip
    database.execute(insert, (NOW_MS, NOW_MS, len(packed.body), packed.body))
    database.execute("UPDATE waiting SET batches = 1, size_bytes = ?", (len(packed.body),))
    database.executemany("INSERT INTO totals VALUES (?, '', 7)", [("received",), ("rendered",), ("pending",)])  # fmt: skip
    database.execute("INSERT INTO dead_letters (rejected_at, status, message, item) VALUES (1.0, 400, 'no', 'item')")  # fmt: skip
    database.close()

    lanes = Lanes(tmp_path)
    [batch] = lanes.batches("")
    assert (batch.items, batch.lane, batch.destination) == (7, "", "own")
    assert lanes.outbox.dead_letters(9) == [(1.0, 400, "no", "item", "")]
    lanes.outbox.apply([request({A: 2})], [])
    assert lanes.total("", "pending") == 7
    assert lanes.total("a", "pending") == 2
    lanes.outbox.apply([], [Settlement(batch, accepted=7)])
    assert lanes.total("", "accepted") == 7


def test_shares_may_be_replaced_while_a_request_is_committed(tmp_path: Path) -> None:
    """routes.json is followed in another thread: a request sees the shares before, or those after."""
    lanes = Lanes(tmp_path)

    class Replaced(dict[str, int]):
        def __contains__(self, lane: object) -> bool:
            lanes.outbox.share_out({})
            return super().__contains__(lane)

    lanes.outbox.share_out(Replaced({"a": 1000}))
    assert lanes.outbox.apply([request({A: 1})], []) == [None]
    lanes.total("a", "rendered")
