"""The hour outlives a restart, and a broken file harms nobody."""

from pathlib import Path

from receiver.ledger import Ledger
from receiver.status import kept_history
from receiver.status.history import History, Point

NOW = 1_800_000_000.0


def history(*points: tuple[float, int]) -> History:
    """Make a history of so many samples received at these times."""
    made = History()
    for at, received in points:
        made.add(Point(at, Ledger(received, rendered=received, rejected={"other": 1}), 7, 2.5))
    return made


def test_points_of_the_hour_come_back(tmp_path: Path) -> None:
    """What is older than an hour, or more than this ledger has, does not."""
    kept_history.write(
        history((NOW - 4000, 1), (NOW - 60, 10), (NOW - 50, 20), (NOW - 40, 99)), tmp_path
    )
    again = History()
    kept_history.read(again, tmp_path, NOW, 20)
    assert again.columns(0)["at"] == [NOW - 60, NOW - 50]
    assert again.columns(0)["rejected"] == [1, 1]
    assert again.columns(0)["outbox_bytes"] == [7, 7]


def test_samples_of_before_the_restart_are_not_first_received_now(tmp_path: Path) -> None:
    """What this process has received is what counts for how long it has had samples."""
    kept_history.write(history((NOW - 60, 10)), tmp_path)
    again = History()
    kept_history.read(again, tmp_path, NOW, 20)
    again.add(Point(NOW, Ledger(20)))
    assert again.first_received_at == 0
    again.add(Point(NOW + 10, Ledger(21)))
    assert again.first_received_at == NOW + 10


def test_a_broken_file_is_none(tmp_path: Path) -> None:
    """Nor is one that cannot be written."""
    for text in (b"", b"[[1]]", b'[[1,{"x":2},3,4]]', b"null"):
        (tmp_path / kept_history.FILE_NAME).write_bytes(text)
        again = History()
        kept_history.read(again, tmp_path, NOW, 20)
        assert again.points() == []
    kept_history.write(history((NOW, 1)), tmp_path / "nowhere")
