"""A value is made again when its files change, and kept when they have become unusable."""

from collections.abc import Iterable
from pathlib import Path

from receiver.errors import SettingsError
from receiver.server.file_cache import Reread


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_file_is_read_when_it_changes_and_no_sooner(tmp_path: Path) -> None:
    """Looked at once a second; an unusable one is passed over, and read when it is mended."""
    path = tmp_path / "file"
    path.write_text("one")
    clock = Clock()
    made: list[str] = []

    def make() -> tuple[str, Iterable[Path]]:
        text = path.read_text()
        made.append(text)
        if text == "broken":
            raise SettingsError("broken")
        return text, [path]

    value = Reread(make, clock)
    clock.now = 5.0
    assert value.get() == "one"
    path.write_text("broken")
    assert value.get() == "one"  # not looked at again within the second
    clock.now = 6.0
    assert value.get() == "one"
    clock.now = 7.0
    assert value.get() == "one"
    assert made == ["one", "broken"]  # tried once, and not each second
    path.write_text("mended")
    clock.now = 8.0
    assert value.get() == "mended"


def test_files_are_those_of_the_newest_value(tmp_path: Path) -> None:
    """A configuration that names another file is watched with that one."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("first")
    second.write_text("a")
    clock = Clock()

    def make() -> tuple[str, Iterable[Path]]:
        name = first.read_text()
        return (tmp_path / name).read_text(), [first, tmp_path / name]

    value = Reread(make, clock)
    first.write_text("second")
    clock.now = 1.0
    assert value.get() == "a"
    second.write_text("later")
    clock.now = 2.0
    assert value.get() == "later"
