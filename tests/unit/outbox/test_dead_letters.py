"""What was rejected for good can be read by people, also beside a receiver that runs."""

import sqlite3
from pathlib import Path

import pytest

from receiver.azure.limits import EXPIRY_MS
from receiver.azure.rejections import REJECT_REASONS
from receiver.cli.rejected_items import RejectedItem, read_dead_letters
from receiver.outbox.gzip_body import compress_chunks, cut
from receiver.outbox.store import Outbox
from receiver.outbox.values import DeadLetter, Settlement, Submission

TOO_OLD = "103: Field 'time' on type 'Envelope' is older than the allowed min date."


def fill(directory: Path, *letters: DeadLetter) -> Outbox:
    """Make an outbox with dead letters in it, and leave it open."""
    outbox = Outbox(directory, 1 << 30, "key", EXPIRY_MS, lambda: 1_800_000_000.0)
    outbox.apply([compress_chunks(Submission(cut([b"a\n"]), 0, 0, {("received", ""): 1}))], [])
    [batch] = outbox.next_batches([], 0, 2)
    assert batch
    outbox.apply([], [Settlement(batch, rejected={"other": 1}, dead_letters=letters)])
    return outbox


def test_letters_are_read_beside_a_running_receiver_and_after_it(tmp_path: Path) -> None:
    """The newest first; the directory's lock is not needed."""
    outbox = fill(tmp_path, DeadLetter(400, TOO_OLD, '{"a": 1}'), DeadLetter(400, "odd", "b"))

    beside = read_dead_letters(tmp_path)
    outbox.close()

    assert [letter.message for letter in beside] == ["odd", TOO_OLD]
    assert read_dead_letters(tmp_path) == beside


def test_reading_makes_no_outbox(tmp_path: Path) -> None:
    """A wrong directory is an error, not an empty answer."""
    with pytest.raises(FileNotFoundError):
        read_dead_letters(tmp_path)
    (tmp_path / "outbox.db").write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        read_dead_letters(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["outbox.db"]


def test_special_characters_in_the_path_are_no_matter(tmp_path: Path) -> None:
    """A question mark would end a URI's path."""
    directory = tmp_path / "a?b#c d%20é"
    fill(directory, DeadLetter(400, "x", "y")).close()

    assert len(read_dead_letters(directory)) == 1


def test_a_letter_as_json() -> None:
    """All fields, the item as a document where it is one."""
    letter = RejectedItem(1_800_000_000.5, 400, TOO_OLD, '{"name": "a"}')

    assert letter.to_json() == {
        "rejected_at": "2027-01-15T08:00:00Z",
        "status": 400,
        "reason": "too_old",
        "message": TOO_OLD,
        "hint": REJECT_REASONS["too_old"][1],
        "route": "default",
        "item": {"name": "a"},
    }
    assert RejectedItem(0, 400, "x", '{"cut').to_json()["item"] == '{"cut'


@pytest.mark.parametrize("reason", sorted(REJECT_REASONS))
def test_each_reason_has_a_meaning_and_something_to_do(reason: str) -> None:
    """An operator who reads it knows what comes next."""
    meaning, hint = REJECT_REASONS[reason]

    assert meaning.endswith(".")
    assert hint.endswith(".")


def test_letters_for_one_answer_are_bounded_in_bytes(tmp_path: Path) -> None:
    """The newest, as many as fit; one in any case."""
    item = "x" * 400_000
    outbox = fill(tmp_path, *(DeadLetter(400, f"{number}", item) for number in range(10)))
    assert [message for _, _, message, _, _ in outbox.dead_letters(1000)] == ["9", "8"]
    outbox.close()
