"""What is in the outbox stays there until it has an end, and every sample has exactly one."""

import fcntl
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import structlog

from receiver.azure.limits import EXPIRY_MS
from receiver.cli.rejected_items import read_dead_letters
from receiver.errors import OutboxError, OutboxFull
from receiver.ledger import Totals, Word, read_ledger
from receiver.outbox.dead_letters import KEPT
from receiver.outbox.directory import LOCK_NAME
from receiver.outbox.gzip_body import compress_chunks, cut, unpack
from receiver.outbox.schema import FILE_NAME
from receiver.outbox.store import COMPACT_PAGES, EXPIRE_BATCHES, Outbox
from receiver.outbox.values import Batch, DeadLetter, Settlement, Submission

KEY = "11111111-2222-3333-4444-555555555555"
NOW = 1_800_000_000.0
NOW_MS = 1_800_000_000_000


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Box:
    """An outbox in a directory: each step checks the ledger, and can close and open it again."""

    def __init__(self, directory: Path, *, max_bytes: int = 1 << 30, reopen: bool = False) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self.reopen = reopen
        self.clock = Clock()
        self.open()

    def open(self, key: str = KEY) -> Outbox:
        """Open it, for the first time or again."""
        self.outbox = Outbox(self.directory, self.max_bytes, key, EXPIRY_MS, self.clock)
        self.outbox.open()
        return self.outbox

    def close(self) -> None:
        """Close it."""
        self.outbox.close()

    def apply(
        self, submissions: Sequence[Submission] = (), settlements: Sequence[Settlement] = ()
    ) -> list[bytes | OutboxFull | Sequence[int] | None]:
        """Apply, and hold the ledger and the statistics to what is on disk."""
        answers = self.outbox.apply(submissions, settlements)
        if self.reopen:
            self.close()
            self.open()
        self.check()
        return answers

    def check(self) -> None:
        """Assert the ledger's sum, and that what is counted is what is there."""
        ledger = read_ledger(self.outbox.totals())
        assert ledger.adds_up
        batches = self.batches()
        found = self.outbox.statistics()
        assert ledger.pending == sum(len(unpack(batch.body)) for batch in batches)
        assert ledger.pending == sum(batch.items for batch in batches) == found.items
        assert found.batches == len(batches)
        assert found.size_bytes == sum(len(batch.body) for batch in batches)

    def batches(self) -> list[Batch]:
        """List what waits, in order."""
        return self.outbox.next_batches([], 0, 1_000_000)

    def lines(self) -> list[bytes]:
        """List the lines that wait."""
        return [line for batch in self.batches() for line in unpack(batch.body)]

    def total(self, word: Word, reason: str = "") -> int:
        """Read one total."""
        return self.outbox.totals().get((word, reason), 0)


@pytest.fixture(params=[False, True], ids=["open", "reopened"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Box]:
    """An empty outbox; in every other run it is closed and opened again after each step."""
    made = Box(tmp_path, reopen=request.param)
    yield made
    made.close()


def items(count: int, mark: str = "x", size: int = 20) -> list[bytes]:
    """Make lines."""
    return [f"{mark}{number}".encode().ljust(size - 1, b"-") + b"\n" for number in range(count)]


def unlike_each_other(count: int, seed: int) -> list[bytes]:
    """Make lines of 900 bytes that hardly compress."""
    chance = random.Random(seed)
    return [chance.randbytes(450).hex().encode() + b"\n" for _ in range(count)]


def submission(
    lines: Sequence[bytes],
    at_ms: int = NOW_MS,
    digest: bytes = b"",
    answer: bytes = b"",
    **more: int,
) -> Submission:
    """Submit lines, with an account of them and of more that was not selected or dropped."""
    totals: Totals = {
        ("received", ""): len(lines) + sum(more.values()),
        ("unselected", ""): more.get("unselected", 0),
        ("dropped", "nan"): more.get("nan", 0),
    }
    return compress_chunks(Submission(cut(lines), at_ms, at_ms, totals, digest, answer))


def test_what_is_committed_waits(box: Box) -> None:
    """Every line, in order, with its account; as a body ready to be POSTed."""
    assert box.apply(
        [submission(items(3, "a"), unselected=5, nan=2), submission(items(2, "b"))]
    ) == [None, None]

    assert box.lines() == items(3, "a") + items(2, "b")
    [batch] = box.batches()
    assert (batch.items, batch.oldest_ms, batch.newest_ms) == (5, NOW_MS, NOW_MS)
    assert batch.destination == KEY
    assert box.total("received") == 12
    assert box.total("unselected") == 5
    assert box.total("dropped", "nan") == 2
    assert box.outbox.statistics().oldest_ms == NOW_MS


def test_an_account_without_items_makes_no_batch(box: Box) -> None:
    """What was not selected is only counted."""
    box.apply([submission([], unselected=7)])

    assert box.batches() == []
    assert box.total("received") == 7


def test_a_batch_that_is_accepted_is_gone(box: Box) -> None:
    """And counted, once."""
    box.apply([submission(items(4))])
    [batch] = box.batches()

    box.apply([], [Settlement(batch, accepted=4)])

    assert box.batches() == []
    assert (box.total("accepted"), box.total("pending")) == (4, 0)


def test_a_batch_settled_twice_counts_once(box: Box) -> None:
    """A write that was done, but not known to be done, may be repeated."""
    box.apply([submission(items(4))])
    [batch] = box.batches()

    box.apply([], [Settlement(batch, accepted=4)])
    box.apply([], [Settlement(batch, accepted=4)])
    box.apply([], [Settlement(batch, again=(unpack(batch.body),))])

    assert (box.total("accepted"), box.batches()) == (4, [])


def test_the_outcomes_of_a_206_are_written_together(box: Box) -> None:
    """Some are in, some are gone, some come again: as a new batch, with the old one's times and key."""
    box.apply([submission(items(10), at_ms=NOW_MS - 5)])
    [batch] = box.batches()
    lines = unpack(batch.body)

    outcome = Settlement(
        batch, accepted=3, expired=2, rejected={"too_long": 2, "sampled_out": 1}, again=(lines[:2],)
    )
    box.apply([], [outcome])

    [again] = box.batches()
    assert unpack(again.body) == lines[:2]
    assert again.id > batch.id
    assert (again.oldest_ms, again.newest_ms) == (NOW_MS - 5, NOW_MS - 5)
    assert box.total("accepted") == 3
    assert box.total("expired") == 2
    assert box.total("rejected", "too_long") == 2
    assert box.total("pending") == 2


def test_a_split_keeps_every_item(box: Box) -> None:
    """Two halves, in order."""
    box.apply([submission(items(5))])
    [batch] = box.batches()
    lines = unpack(batch.body)

    [numbers] = box.apply([], [Settlement(batch, again=(lines[:2], lines[2:]))])
    assert numbers == [each.id for each in box.batches()]
    assert box.outbox.batch(batch.id) is None
    assert [box.outbox.batch(each.id) for each in box.batches()] == box.batches()

    assert [each.items for each in box.batches()] == [2, 3]
    assert box.lines() == lines


def test_what_goes_back_keeps_its_key(box: Box) -> None:
    """The lines hold the old key inside, so the batch must still say so after a restart with another."""
    box.apply([submission(items(2))])
    [batch] = box.batches()
    box.close()
    box.open(key="99999999-0000-0000-0000-000000000000")

    box.outbox.apply(
        [submission(items(1, "new"))], [Settlement(batch, again=(unpack(batch.body),))]
    )

    assert [each.destination[0] for each in box.batches()] == ["1", "9"]


def test_a_body_seen_again_is_not_committed_again(box: Box) -> None:
    """It gets the answer of its first coming, also in the same transaction and after a restart."""
    first = submission(items(3), digest=b"d1", answer=b"first")
    same = submission(items(3), digest=b"d1", answer=b"second")
    other = submission(items(1), digest=b"d2", answer=b"other")

    assert box.apply([first, same, other]) == [None, b"first", None]
    assert box.apply([same, first]) == [b"first", b"first"]
    assert (box.total("received"), len(box.lines())) == (4, 4)


def test_requests_without_a_digest_are_never_the_same(box: Box) -> None:
    """An empty digest is not remembered."""
    box.apply([submission(items(1)), submission(items(1))])

    assert len(box.lines()) == 2


def test_a_digest_is_kept_for_ten_minutes_and_then_forgotten(box: Box) -> None:
    """A sender that comes again within its time-out is known; the table does not grow for ever."""
    one = submission(items(1), digest=b"d", answer=b"a")
    box.apply([one])
    box.clock.now += 599
    assert box.apply([one]) == [b"a"]

    box.clock.now += 61
    assert box.apply([one]) == [None]
    assert box.total("received") == 2


def test_a_digest_is_forgotten_though_nothing_came_meanwhile(box: Box) -> None:
    """After a night of silence, and of being off, the first request is as new as any."""
    one = submission(items(1), digest=b"d", answer=b"a")
    box.apply([one])
    box.clock.now += 8 * 3600

    assert box.apply([one]) == [None]


def test_forgetting_keeps_up_with_what_comes(box: Box) -> None:
    """A day of requests leaves some minutes' worth of digests."""
    for minute in range(120):
        box.apply([submission([], digest=b"%d" % minute, unselected=1)])
        box.clock.now += 60

    with closing(sqlite3.connect(box.directory / FILE_NAME)) as database:
        [(kept,)] = database.execute("SELECT COUNT(*) FROM requests")
    assert 9 <= kept <= 12


def test_a_clock_set_back_does_not_hold_on_to_digests(box: Box) -> None:
    """An hour back: what was remembered under the future is forgotten, not kept for an hour."""
    one = submission(items(1), digest=b"d", answer=b"a")
    box.apply([one])
    box.clock.now -= 3600
    box.apply([submission([], unselected=1)])
    box.clock.now += 61
    box.apply([submission([], unselected=1)])

    assert box.apply([one]) == [None]


def test_a_clock_set_back_a_little_still_knows_a_repeat(box: Box) -> None:
    """As time services do it, by seconds."""
    one = submission(items(1), digest=b"d", answer=b"a")
    box.apply([one])
    box.clock.now -= 30

    assert box.apply([one]) == [b"a"]


def test_a_full_outbox_takes_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    """Newcomers are refused whole, and not remembered as committed; what waits still goes out."""
    box = Box(tmp_path, max_bytes=100)
    newcomer = submission(items(2), digest=b"d", answer=b"a")
    box.apply([submission(items(200))])
    found = box.outbox.statistics()
    assert found.size_bytes >= found.max_bytes == 100
    assert "bytes wait for delivery" in found.full

    [refused] = box.apply([newcomer])
    assert isinstance(refused, OutboxFull)
    assert "bytes wait for delivery; the limit is 100" in str(refused)
    assert (box.total("received"), box.total("pending")) == (200, 200)

    known = box.apply([submission([], unselected=3)])
    assert known == [None], "counting needs no room"

    [batch] = box.batches()
    box.apply([], [Settlement(batch, accepted=200)])
    found = box.outbox.statistics()
    assert (found.full, found.oldest_ms, found.batches) == ("", 0, 0)
    assert box.apply([newcomer]) == [None]
    assert box.lines() == items(2)
    box.close()


def test_notes_are_written_with_their_requests(box: Box) -> None:
    """The latest of each name stays, an empty one is deleted; a request that fails changes none."""

    def noted(lines: list[bytes], at_ms: int = NOW_MS, **notes: bytes) -> Submission:
        return replace(submission(lines, at_ms), notes=notes)

    assert box.outbox.notes() == {}
    box.apply([noted(items(1), b=b"1", a=b"1"), noted([], b=b"2", c=b"3")])
    assert box.outbox.notes() == {"a": b"1", "b": b"2", "c": b"3"}
    box.apply([submission(items(1))])
    box.apply([noted([], a=b""), noted([], c=b""), noted([], c=b"4")])
    with pytest.raises(OverflowError):
        box.outbox.apply([noted(items(1), 2**70, b=b"no")], [])

    assert box.outbox.notes() == {"b": b"2", "c": b"4"}


def test_room_made_in_a_transaction_is_used_in_it(tmp_path: Path) -> None:
    """Settlements come first."""
    box = Box(tmp_path, max_bytes=100)
    box.apply([submission(items(200))])
    [batch] = box.batches()

    assert box.apply([submission(items(1))], [Settlement(batch, accepted=200)]) == [None, []]
    box.close()


def test_a_repeat_of_what_is_committed_is_known_though_the_outbox_is_full(tmp_path: Path) -> None:
    """Else a sender would come again for ever with what is long on disk."""
    box = Box(tmp_path, max_bytes=10)
    one = submission(items(200), digest=b"d", answer=b"a")
    box.apply([one])

    assert box.apply([one]) == [b"a"]
    box.close()


def test_a_full_outbox_gives_up_what_is_too_old(tmp_path: Path) -> None:
    """Batches that the service would refuse make room for those that it takes, and count as expired."""
    box = Box(tmp_path, max_bytes=100)
    box.apply([submission(items(200), at_ms=NOW_MS)])
    box.clock.now += EXPIRY_MS / 1000 + 1
    fresh_ms = round(box.clock.now * 1000)

    assert box.apply([submission(items(3), at_ms=fresh_ms)]) == [None]
    assert (box.total("expired"), box.total("pending")) == (200, 3)
    box.close()


def test_an_outbox_with_room_gives_up_nothing(box: Box) -> None:
    """The service judges ages by its own clock; ours may be off."""
    box.apply([submission(items(5), at_ms=NOW_MS - 10 * EXPIRY_MS)])
    box.apply([submission(items(1))])

    assert (box.total("expired"), box.total("pending")) == (0, 6)


@pytest.mark.parametrize(
    ("clock_ms", "sample_ms"), [(10 * EXPIRY_MS, 0), (0, 10 * EXPIRY_MS), (0, 0)]
)
def test_one_clock_alone_expires_nothing(tmp_path: Path, clock_ms: int, sample_ms: int) -> None:
    """This machine's clock and the newest sample must agree that it is late: either may have jumped."""
    box = Box(tmp_path, max_bytes=100)
    box.apply([submission(items(200))])
    box.clock.now += clock_ms / 1000

    [refused] = box.apply([submission(items(1), at_ms=NOW_MS + sample_ms)])

    assert isinstance(refused, OutboxFull)
    assert box.total("expired") == 0
    box.close()


def test_a_batch_that_expired_in_flight_counts_once(tmp_path: Path) -> None:
    """Its outcome comes too late to be counted again."""
    box = Box(tmp_path, max_bytes=100)
    box.apply([submission(items(200))])
    [batch] = box.batches()
    box.clock.now += EXPIRY_MS / 1000 + 1
    box.apply([submission(items(1), at_ms=round(box.clock.now * 1000))])

    box.apply([], [Settlement(batch, accepted=200)])

    assert (box.total("expired"), box.total("accepted"), box.total("pending")) == (200, 0, 1)
    box.close()


def test_fresh_batches_go_first_and_then_the_oldest(box: Box) -> None:
    """None twice, none that is busy."""
    for number in range(4):
        box.apply([submission(items(1, f"{number}-"))])
    ids = [batch.id for batch in box.batches()]

    def order(fresh_from: int) -> list[int]:
        found = []
        for most in range(6):
            busy: list[int] = []
            while batches := box.outbox.next_batches(busy, fresh_from, most):
                assert len(batches) <= most
                busy += [batch.id for batch in batches]
            found.append(busy)
        assert found[1:] == [found[1]] * 5
        assert found[0] == []
        return found[1]

    assert order(0) == ids
    assert order(ids[2]) == [ids[2], ids[3], ids[0], ids[1]]
    assert order(ids[3] + 1) == ids
    assert box.outbox.newest_id() == ids[3]


def test_numbers_are_never_given_twice(box: Box) -> None:
    """A late settlement must not hit another batch."""
    assert box.outbox.newest_id() == 0
    box.apply([submission(items(1))])
    [batch] = box.batches()
    box.apply([], [Settlement(batch, accepted=1)])
    box.apply([submission(items(1))])

    [other] = box.batches()
    assert other.id > batch.id


def test_the_probe_is_the_smallest_batch(box: Box) -> None:
    """After a used-up quota little is risked."""
    assert box.outbox.smallest_batch() == []
    for count in (500, 1, 300):
        box.apply([submission(items(count))])

    [probe] = box.outbox.smallest_batch()
    assert probe.items == 1


def test_dead_letters_are_kept_and_bounded(box: Box) -> None:
    """The latest of them, with the service's words."""
    for number in range(4):
        box.apply([submission(items(3))])
        [batch] = box.batches()
        letters = [DeadLetter(400, f"{number}: é\x00", f"item {i}") for i in range(KEPT // 2)]
        box.apply([], [Settlement(batch, rejected={"other": 3}, dead_letters=letters)])

    kept = read_dead_letters(box.directory)
    assert len(kept) == KEPT
    assert {each.message[0] for each in kept} == {"2", "3"}
    assert kept[0].item == f"item {KEPT // 2 - 1}"
    assert kept[0].message == "3: é\x00"
    assert kept[0].rejected_at == box.clock.now


@pytest.mark.parametrize("when", ["with a settlement", "after others"])
def test_a_transaction_that_fails_leaves_everything_as_it_was(box: Box, when: str) -> None:
    """All or nothing: a bad one among good ones takes them all back, in memory and on disk."""
    box.apply([submission(items(3))])
    [batch] = box.batches()
    before = box.outbox.totals(), box.outbox.statistics(), box.lines()
    good = submission(items(2), digest=b"d")
    bad = submission(items(1), at_ms=2**70)
    settled = Settlement(batch, accepted=3)

    with pytest.raises(OverflowError):
        box.outbox.apply([good, bad], [settled] if when == "with a settlement" else [])

    assert (box.outbox.totals(), box.outbox.statistics(), box.lines()) == before
    box.check()
    assert box.apply([good], [settled]) == [None, []]
    assert box.lines() == items(2)


def test_a_second_receiver_is_refused(box: Box) -> None:
    """It does not start, and the first is not disturbed."""
    with pytest.raises(
        OutboxError, match=r"in use by another receiver \(process \d+\); stop that one"
    ):
        Outbox(box.directory, 1, KEY, EXPIRY_MS)

    box.apply([submission(items(1))])


def test_the_directory_is_free_after_closing(box: Box) -> None:
    """A restart finds it unlocked, also when the opening failed."""
    box.close()
    database = sqlite3.connect(box.directory / FILE_NAME)
    (version,) = database.execute("PRAGMA user_version").fetchone()
    database.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(OutboxError, match="has version 99, made by a newer receiver"):
            box.open()
    database.execute(f"PRAGMA user_version = {version}")
    database.close()

    box.open()
    box.check()


def test_a_newer_receiver_s_outbox_is_not_touched(tmp_path: Path) -> None:
    """Neither changed nor set aside: the newer one can go on with it."""
    box = Box(tmp_path)
    box.apply([submission(items(3))])
    box.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database, database:
        database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(OutboxError):
        box.open()

    assert [path.name for path in tmp_path.glob("*corrupt*")] == []
    database = sqlite3.connect(tmp_path / FILE_NAME)
    assert database.execute("SELECT SUM(items) FROM batches").fetchone() == (3,)
    database.close()


def garbage(content: bytes) -> bytes:
    """Replace everything."""
    return b"this is no database" * (len(content) // 19)


def half(content: bytes) -> bytes:
    """Cut in the middle of a page."""
    return content[: len(content) // 2 + 100]


def scribbled(content: bytes) -> bytes:
    """Keep the header, and spoil every page behind it."""
    return content[:4096] + b"\xa5" * (len(content) - 4096)


@pytest.mark.parametrize("damage", [garbage, half, scribbled])
def test_a_damaged_file_is_set_aside_and_the_receiver_continues(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Under a name that says so, whole, and counted; the new one works, and accounts for what waited."""
    box = Box(tmp_path)
    for _ in range(20):
        box.apply([submission(items(500, size=300))])
    box.close()
    path = tmp_path / FILE_NAME
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)

    with structlog.testing.capture_logs() as log:
        box.open()
        with suppress(sqlite3.DatabaseError):  # as damaged pages are read: at once, or later
            box.batches()
        if not box.outbox._set_aside:
            with pytest.raises(sqlite3.DatabaseError) as found:
                box.batches()
            assert box.outbox.replace_if_broken(found.value)
        box.batches()

    [kept] = tmp_path.glob("outbox.db.corrupt-*")
    assert kept.read_bytes()[4096:] == damaged[4096:]
    assert [(line["event"], line.get("file"), line.get("directory")) for line in log] == [
        ("outbox set aside", str(kept), None),
        ("outbox was lost", None, str(tmp_path)),
    ]
    assert all(line["error"] in {"file is not a database", "database disk image is malformed"} for line in log[:1])  # fmt: skip
    assert box.outbox.statistics().set_aside == 1
    box.check()
    box.apply([submission(items(2))])
    assert box.lines() == items(2)
    assert (box.total("rejected", "damaged"), box.total("received")) == (10_000, 10_002)
    box.close()


def test_an_empty_file_is_a_new_outbox(tmp_path: Path) -> None:
    """What a crash leaves that came before the first write."""
    (tmp_path / FILE_NAME).write_bytes(b"")
    box = Box(tmp_path)

    with structlog.testing.capture_logs() as log:
        assert box.apply([submission(items(2))]) == [None]
    assert box.outbox.statistics().set_aside == 0
    assert not log
    box.close()


@pytest.mark.parametrize("lost", ["emptied", "removed"])
def test_a_database_that_vanished_is_accounted_for(tmp_path: Path, lost: str) -> None:
    """Nothing is left that says what was in it, but the number beside it: logged, and counted."""
    box = Box(tmp_path)
    box.apply([submission(items(1505))])
    box.close()
    for path in tmp_path.glob(f"{FILE_NAME}*"):
        path.unlink()
    if lost == "emptied":
        (tmp_path / FILE_NAME).touch()

    with structlog.testing.capture_logs() as log:
        box.open()
        box.check()

    [line] = log
    assert (line["event"], line["items"], line["log_level"]) == ("outbox was lost", 1505, "error")
    assert box.total("rejected", "damaged") == box.total("received") == 1505
    box.close()
    with structlog.testing.capture_logs() as log:
        box.open()
        box.check()
    assert not log, "once"
    assert box.total("rejected", "damaged") == 1505
    box.close()


def test_what_waited_before_the_last_start_is_lost_too(tmp_path: Path) -> None:
    """The number beside the database is of all that waits, not of what this process was given."""
    box = Box(tmp_path)
    box.apply([submission(items(1505))])
    box.close()
    box.open()
    box.apply([submission(items(2))])
    box.close()
    (tmp_path / FILE_NAME).unlink()

    box.open()
    box.check()

    assert box.total("rejected", "damaged") == 1507
    box.close()


def test_a_damaged_file_is_noticed_by_the_first_use(tmp_path: Path) -> None:
    """As where the database is opened again, after it was set aside: by what comes next."""
    (tmp_path / FILE_NAME).write_bytes(garbage(bytes(8192)))
    outbox = Outbox(tmp_path, 1 << 30, KEY, EXPIRY_MS)

    assert outbox.apply([submission(items(2))], []) == [None]

    assert outbox.statistics().set_aside == 1
    outbox.close()


def test_a_stop_with_nothing_waiting_is_no_loss(tmp_path: Path) -> None:
    """Whoever removes an emptied database has lost nothing."""
    box = Box(tmp_path)
    box.apply([submission(items(3))])
    box.apply([], [Settlement(batch, accepted=3) for batch in box.batches()])
    box.close()
    (tmp_path / FILE_NAME).unlink()

    with structlog.testing.capture_logs() as log:
        box.open()
        box.check()
    assert not log
    box.close()


def test_the_start_reads_nothing_of_what_waits(tmp_path: Path) -> None:
    """A gibibyte on a slow disk must not keep the receiver deaf: the file's start is all that is read."""
    box = Box(tmp_path)
    for number in range(40):
        box.outbox.apply([submission(unlike_each_other(500, number))], [])
    box.close()
    assert (tmp_path / FILE_NAME).stat().st_size > 8 << 20
    before = _bytes_read()
    box.outbox = Outbox(tmp_path, box.max_bytes, KEY, EXPIRY_MS, box.clock)

    box.outbox.open()
    found = box.outbox.statistics()

    assert _bytes_read() - before < 200_000
    assert (found.batches, found.items) == (40, 20_000)
    box.close()


def _bytes_read() -> int:
    """Say what this process has read by system calls."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_who_has_lost_the_directory_sends_nothing(tmp_path: Path) -> None:
    """Another receiver sends it: the same items twice is what the lock is against."""
    box = Box(tmp_path)
    box.apply([submission(items(1))])
    (tmp_path / LOCK_NAME).unlink()
    with (tmp_path / LOCK_NAME).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for use in (
            box.batches,
            box.outbox.smallest_batch,
            lambda: box.outbox.batch(1),
            lambda: box.outbox.apply([submission(items(1))], []),
        ):
            with pytest.raises(OutboxError, match="another receiver"):
                use()
    box.check()
    box.close()


def test_expiry_of_much_is_done_in_steps(tmp_path: Path) -> None:
    """Days of it, given up in one transaction, would keep the requests waiting that need the room."""
    box = Box(tmp_path)
    for _ in range(EXPIRE_BATCHES + 10):
        box.outbox.apply([submission(items(1))], [])
    box.close()
    box.max_bytes = 100
    box.open()
    box.clock.now += EXPIRY_MS / 1000 + 1
    fresh_ms = round(box.clock.now * 1000)

    box.apply([submission(items(1), at_ms=fresh_ms)])
    assert box.total("expired") == EXPIRE_BATCHES
    assert box.apply([submission(items(1), at_ms=fresh_ms)]) == [None]
    assert box.total("expired") == EXPIRE_BATCHES + 10
    box.close()


def test_a_batch_expires_by_its_newest_sample(tmp_path: Path) -> None:
    """One young item in it, and the service takes that: it stays."""
    box = Box(tmp_path, max_bytes=100)
    late_ms = NOW_MS + EXPIRY_MS
    box.apply([submission(items(200)), submission(items(1), at_ms=late_ms)])
    box.clock.now += EXPIRY_MS / 1000 + 1

    [refused] = box.apply([submission(items(1), at_ms=late_ms)])

    assert isinstance(refused, OutboxFull)
    assert (box.total("expired"), box.total("pending")) == (0, 201)
    box.close()


@pytest.mark.parametrize("found_by", ["a question", "a request"])
def test_damage_found_while_at_work_is_set_aside_too(tmp_path: Path, found_by: str) -> None:
    """What finds it fails, and the next use is in a new file; each time it happens."""
    box = Box(tmp_path)
    for times in (1, 2):
        box.outbox.apply([submission(unlike_each_other(500, number)) for number in range(20)], [])
        path = tmp_path / FILE_NAME
        sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()
        path.write_bytes(scribbled(path.read_bytes()))

        with pytest.raises(sqlite3.DatabaseError) as found:
            box.lines() if found_by == "a question" else box.apply([submission(items(2))])
        assert found.value.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CORRUPT
        if found_by == "a question":
            assert box.outbox.replace_if_broken(found.value)

        assert box.outbox.statistics().set_aside == times
        assert len(list(tmp_path.glob("outbox.db.corrupt-*"))) >= 1
        box.apply([submission(items(2))])
        assert box.lines() == items(2)
    box.close()


def test_a_transaction_that_cannot_begin_says_why(box: Box) -> None:
    """There is nothing to roll back, and the disk's own words are what the operator gets."""
    box.apply([submission(items(2))])
    box.outbox._database.execute("PRAGMA query_only=1")

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        box.outbox.apply([submission(items(1))], [])
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        box.outbox.probe()

    box.outbox._database.execute("PRAGMA query_only=0")
    before = box.outbox._database.execute("PRAGMA user_version").fetchone()
    box.outbox.probe()
    assert box.outbox._database.execute("PRAGMA user_version").fetchone() == before != (0,)
    box.check()
    assert box.lines() == items(2)


def test_a_late_outcome_does_not_meet_a_batch_of_the_new_database(tmp_path: Path) -> None:
    """Batches of the damaged one may be under way: numbers go on behind theirs."""
    box = Box(tmp_path)
    box.apply([submission(items(3))])
    [late] = box.batches()
    damage = sqlite3.DatabaseError("malformed")
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    assert box.outbox.replace_if_broken(damage)
    box.apply([submission(items(2))])

    box.apply([], [Settlement(late, accepted=3)])

    assert [batch.id > late.id for batch in box.batches()] == [True]
    assert (box.total("accepted"), box.total("pending")) == (0, 2)
    box.close()


@pytest.mark.parametrize(
    "error",
    [OSError("x"), sqlite3.ProgrammingError("closed"), sqlite3.OperationalError("disk full")],
)
def test_only_damage_is_set_aside(box: Box, error: Exception) -> None:
    """A full disk or a mistake of ours must not cost what waits."""
    box.apply([submission(items(2))])

    assert not box.outbox.replace_if_broken(error)
    box.check()
    assert box.lines() == items(2)


def test_a_directory_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    """A file where the directory should be; a directory where the database should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutboxError, match="RECEIVER_OUTBOX_DIR"):
        Outbox(tmp_path / "file" / "outbox", 1, KEY, EXPIRY_MS)
    (tmp_path / "odd" / FILE_NAME).mkdir(parents=True)
    with pytest.raises(OutboxError, match="cannot be opened"):
        Outbox(tmp_path / "odd", 1, KEY, EXPIRY_MS).open()
    (tmp_path / "odd" / FILE_NAME).rmdir()
    Box(tmp_path / "odd").close()  # it is let go


def test_the_directory_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Labels may say more than a stranger should know."""
    Box(tmp_path / "a" / "b").close()

    assert (tmp_path / "a" / "b").stat().st_mode & 0o077 == 0


def test_an_emptied_outbox_gives_the_disk_back(tmp_path: Path) -> None:
    """After an outage of days the file shrinks again."""
    box = Box(tmp_path)
    for number in range(24):
        box.outbox.apply([submission(unlike_each_other(500, number))], [])
    grown = box.outbox.statistics().size_bytes
    box.outbox.apply([], [Settlement(batch, accepted=batch.items) for batch in box.batches()])
    before = (tmp_path / FILE_NAME).stat().st_size

    box.outbox.compact()

    assert grown > 4 << 20
    assert (tmp_path / FILE_NAME).stat().st_size < before / 10
    box.check()
    box.close()


def leave_free(box: Box, size_bytes: int) -> int:
    """Have so many bytes of the file free; returns its size."""
    database = box.outbox._database
    database.execute("CREATE TABLE large (content BLOB)")
    database.execute("INSERT INTO large VALUES (zeroblob(?))", (size_bytes,))
    database.execute("DROP TABLE large")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return (box.directory / FILE_NAME).stat().st_size


def test_much_disk_is_given_back_in_steps(tmp_path: Path) -> None:
    """Each says whether there is more: requests get their turn between them."""
    box = Box(tmp_path)
    sizes = [leave_free(box, 2 * COMPACT_PAGES * 4096 + (8 << 20))]
    for has_more in (True, True, False):
        assert box.outbox.compact() is has_more
        sizes.append((tmp_path / FILE_NAME).stat().st_size)

    step = COMPACT_PAGES * 4096
    for before, after in pairwise(sizes[:3]):
        assert step <= before - after < step * 1.01  # with SQLite's own pages among them
    assert sizes[-1] < 1 << 20
    box.close()


@pytest.mark.parametrize(("waiting", "free_bytes"), [(0, 3 << 20), (1, 8 << 20)])
def test_little_is_kept_and_what_is_in_use_is_not_compacted(
    tmp_path: Path, waiting: int, free_bytes: int
) -> None:
    """The next batches are written there."""
    box = Box(tmp_path)
    box.apply([submission(items(waiting))])
    size = leave_free(box, free_bytes)

    assert box.outbox.compact() is False

    assert (tmp_path / FILE_NAME).stat().st_size == size
    box.close()


@pytest.mark.parametrize("instead", ["nothing", "another file"])
def test_a_file_that_was_taken_away_is_not_written(tmp_path: Path, instead: str) -> None:
    """What is written to a file without a name goes with the process: nobody is told otherwise."""
    box = Box(tmp_path)
    box.apply([submission(items(1))])
    (tmp_path / FILE_NAME).unlink()
    if instead == "another file":
        (tmp_path / FILE_NAME).write_bytes(b"")
    for _ in range(2):
        with pytest.raises(OutboxError, match="restart the receiver"):
            box.outbox.apply([submission(items(1))], [])
    assert box.outbox.next_batches((), 0, 1), "what waits can still be sent"
    box.close()


def test_only_what_was_acknowledged_waits_for_the_disk(tmp_path: Path) -> None:
    """A submission is synced (FULL, 2), whatever came before; its settlement need not be (NORMAL, 1)."""
    outbox = Outbox(tmp_path, 1 << 20, "key", EXPIRY_MS)

    def synchronous() -> int:
        (level,) = outbox._database.execute("PRAGMA synchronous").fetchone()
        return int(level)

    for _ in range(2):
        outbox.apply([submission(items(1))], [])
        assert synchronous() == 2
        [batch] = outbox.next_batches([], 0, 2)
        outbox.apply([], [Settlement(batch, accepted=1)])
        assert synchronous() == 1
    outbox.apply([submission([])], [])
    assert synchronous() == 1
    outbox.probe()
    assert synchronous() == 2
    outbox.close()
