"""A followed file is read again when it has changed; what cannot be used changes nothing."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import structlog

from receiver.config.followed_file import FollowedFile, ReloadState, Watch
from receiver.errors import SettingsError
from receiver.events import Events


class Reader:
    """Makes a file's text its value; "broken" cannot be used. `meanwhile` runs once, after a reading."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.read: list[str] = []
        self.used: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self) -> tuple[str, Iterable[Path]]:
        try:
            text = self.file.read_text()
        except OSError as error:
            raise SettingsError(f"{self.file.name}: {error.strerror}") from error
        self.read.append(text)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if text == "broken":
            raise SettingsError("broken")
        return text, [self.file]

    def use(self, text: str) -> None:
        """Refuse what is less than what is in force."""
        if text == "less":
            raise SettingsError("asks for less")
        self.used.append(text)


def followed(reader: Reader, now: Callable[[], float] = time.time) -> FollowedFile[str]:
    """Follow the reader's file, which has been as it is for long."""
    os.utime(reader.file, (1, 1))
    return FollowedFile("a file", reader, now, reader.use)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """A reader of a file that says "one"."""
    file = tmp_path / "file"
    file.write_text("one")
    return Reader(file)


def test_a_changed_file_is_used_once(reader: Reader) -> None:
    """An unchanged one is not read, a touched one neither."""
    file = followed(reader)
    reader.read.clear()
    file.look_again()
    os.utime(reader.file)
    file.look_again()
    assert (reader.read, file.value) == ([], "one")
    reader.file.write_text("two")
    file.look_again()
    file.look_again()
    assert (reader.used, file.value) == (["two"], "two")


def test_what_changes_while_it_is_read_is_read_again(reader: Reader) -> None:
    """At the start as later: a complete file does not stay unread behind its half."""
    reader.meanwhile = lambda: reader.file.write_text("second half")
    file = followed(reader)
    assert file.value == "second half"
    reader.file.write_text("three")
    reader.meanwhile = lambda: reader.file.write_text("four, whole")
    file.look_again()
    assert (file.value, reader.used) == ("four, whole", ["four, whole"])


def test_a_half_that_cannot_be_used_is_not_the_last_word(reader: Reader) -> None:
    """Written on while its beginning is judged."""
    file = followed(reader)
    reader.file.write_text("broken")
    reader.meanwhile = lambda: reader.file.write_text("whole")
    file.look_again()
    assert (file.value, file.state.successful) == ("whole", True)


def test_a_change_within_one_tick_is_seen(reader: Reader) -> None:
    """The same size, the same times, the same file: its bytes tell."""
    now = time.time()
    file = FollowedFile("a file", reader, lambda: now, reader.use)
    times = reader.file.stat()
    with reader.file.open("r+") as same:
        same.write("two")
    os.utime(reader.file, ns=(times.st_atime_ns, times.st_mtime_ns))
    file.look_again()
    assert file.value == "two"


@pytest.mark.parametrize("text", ["broken", "less"])
def test_what_cannot_be_used_changes_nothing(reader: Reader, text: str) -> None:
    """The value before stays; the state says why, and when the last good reading was."""
    file = followed(reader, iter(range(100, 200)).__next__)
    before = file.state.succeeded_at
    reader.file.write_text(text)
    file.look_again()
    assert file.value == "one"
    assert not file.state.successful
    assert file.state.error
    assert file.state.succeeded_at == before
    reader.file.write_text("one")
    file.look_again()
    assert (file.value, file.state.successful, file.state.error) == ("one", True, "")


def test_a_file_that_is_gone_is_read_when_it_is_back(reader: Reader) -> None:
    """Though it is the one of before: a mount that was away for a moment."""
    file = followed(reader)
    reader.file.rename(reader.file.with_name("away"))
    file.look_again()
    assert "No such file" in file.state.error
    reader.file.with_name("away").rename(reader.file)
    file.look_again()
    assert file.state.successful


def test_a_pipe_in_its_place_blocks_nothing(tmp_path: Path) -> None:
    """Nor is it opened: nobody may ever write to it."""
    path = tmp_path / "file"
    path.write_text("one")
    file = FollowedFile("a file", lambda: ("made", [path]), time.time)
    path.unlink()
    os.mkfifo(path)
    file.look_again()
    assert file.value == "made"


def test_a_config_map_s_exchange_is_seen(tmp_path: Path) -> None:
    """The name is a link through `..data`, which is exchanged; size and date stay the same."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        os.utime(tmp_path / name / "file", (1, 1))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "file").symlink_to("..data/file")
    file = followed(Reader(tmp_path / "file"))
    (tmp_path / "..new").symlink_to("two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    file.look_again()
    assert file.value == "two"


def test_files_are_those_of_the_newest_value(tmp_path: Path) -> None:
    """A configuration that names another file is followed with that one, from its first reading."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("first")
    second.write_text("a")

    def make() -> tuple[str, Iterable[Path]]:
        name = first.read_text()
        try:
            return (tmp_path / name).read_text(), [first, tmp_path / name]
        except OSError as error:
            raise SettingsError(f"{name}: {error.strerror}") from error

    file = FollowedFile("a file", make, time.time)
    first.write_text("second")
    file.look_again()
    assert file.value == "a"
    second.write_text("later")
    file.look_again()
    assert file.value == "later"
    first.write_text("third")  # which comes a moment later
    file.look_again()
    (tmp_path / "third").write_text("third")
    file.look_again()
    assert file.value == "third"


def test_an_unusable_file_is_logged_once(reader: Reader) -> None:
    """In the log and among the recent errors, though it is tried at each look."""
    events = Events()
    file = followed(reader)
    watch = Watch([file, followed(reader)], events)
    with structlog.testing.capture_logs() as log:
        reader.file.write_text("broken")
        for _ in range(3):
            watch.look_again()
        assert [entry["log_level"] for entry in log] == ["error", "error"]
        assert not watch.state.successful
        assert watch.state.error == "broken; broken"
        reader.file.write_text("two")
        watch.look_again()
    assert watch.state == ReloadState(succeeded_at=file.state.succeeded_at)
    assert log[-1]["event"] == "changed file in force"
    assert len(events.latest()) == 1


def test_who_asks_needs_not_wait(reader: Reader) -> None:
    """SIGHUP has the files looked at without waiting for the next time."""

    async def asked() -> None:
        file = followed(reader)
        watch = Watch([file], Events(), poll_seconds=30)
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(0)
        reader.file.write_text("two")
        watch.ask()
        async with asyncio.timeout(5):
            while file.value != "two":
                await asyncio.sleep(0)
        running.cancel()

    asyncio.run(asked())


def test_who_asks_often_waits_for_the_same_look(reader: Reader) -> None:
    """A thousand reloads cost a look or two; each is told how the files are after it asked."""

    async def asked() -> None:
        file = followed(reader)
        watch = Watch([file], Events(), poll_seconds=30)
        running = asyncio.create_task(watch.run())
        reader.file.write_text("broken")
        states = await asyncio.gather(*(watch.asked() for _ in range(1000)))
        assert {state.error for state in states} == {"broken"}
        assert 1 <= reader.read.count("broken") <= 2
        running.cancel()

    asyncio.run(asked())
