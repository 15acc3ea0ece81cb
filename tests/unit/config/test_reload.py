"""metrics.json is read again when it has changed, and only a good one is used."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from receiver.config.reload import ReloadState, Watch
from receiver.events import Events
from receiver.intake.metrics_json import Allowlist, parse

ONE, TWO = '{"customMetrics": ["one"]}', '{"customMetrics": ["two"]}'


class Watched:
    """A watch on a file, its time standing still at 100, 101, … for each reading."""

    def __init__(self, file: Path) -> None:
        self.used: list[str] = []
        times = iter(range(100, 200))
        self.watch = Watch(
            str(file),
            lambda: (
                parse(file.read_bytes(), "metrics.json") if file.exists() else parse("", "gone")
            ),
            self._use,
            lambda: float(next(times)),
            Events(),
            poll_seconds=0.01,
        )

    def _use(self, allowlist: Allowlist) -> None:
        self.used += [entry.name for entry in allowlist.entries]


def test_a_changed_file_is_used_once(tmp_path: Path) -> None:
    """An unchanged one is not read at all."""
    file = tmp_path / "metrics.json"
    file.write_text(ONE)
    watched = Watched(file)
    watched.watch.look_again()
    assert watched.used == []
    file.write_text(TWO + " ")
    watched.watch.look_again()
    watched.watch.look_again()
    assert watched.used == ["two"]
    assert watched.watch.state == ReloadState(successful=True, succeeded_at=101)


def test_a_config_map_s_exchange_is_seen(tmp_path: Path) -> None:
    """The name is a link through `..data`, which is exchanged; size and date stay the same."""
    for name, text in (("first", ONE), ("second", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(text)
        os.utime(tmp_path / name / "metrics.json", (1, 1))
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "metrics.json").symlink_to("..data/metrics.json")
    watched = Watched(tmp_path / "metrics.json")
    (tmp_path / "..new").symlink_to("second")
    (tmp_path / "..new").rename(tmp_path / "..data")
    watched.watch.look_again()
    assert watched.used == ["two"]


def test_a_broken_file_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    """Broken or gone, the list before stays; once mended it is used, and the state is good again."""
    file = tmp_path / "metrics.json"
    file.write_text(ONE)
    watched = Watched(file)
    with structlog.testing.capture_logs() as log:
        for change in (lambda: file.write_text('{"customMetrics": ['), file.unlink):
            change()
            watched.watch.look_again()
            watched.watch.look_again()
            assert watched.used == []
            state = watched.watch.state
            assert state == ReloadState(successful=False, succeeded_at=100, error=state.error)
            assert state.error
        assert [entry["log_level"] for entry in log] == ["error", "error"]
        file.write_text(TWO)
        watched.watch.look_again()
    assert watched.used == ["two"]
    assert watched.watch.state.successful


def test_who_asks_gets_it_read_at_once(tmp_path: Path) -> None:
    """SIGHUP reads an unchanged file too; without a file there is nothing to see."""

    async def asked(path: str, load: Callable[[], Allowlist]) -> int:
        used: list[Allowlist] = []
        watch = Watch(path, load, used.append, lambda: 0.0, Events(), poll_seconds=30)
        running = asyncio.create_task(watch.run())
        await asyncio.sleep(0)
        watch.ask()
        async with asyncio.timeout(5):
            while not used:
                await asyncio.sleep(0)
        running.cancel()
        return len(used)

    file = tmp_path / "metrics.json"
    file.write_text(ONE)
    assert asyncio.run(asked(str(file), lambda: parse(ONE, "x"))) == 1
    assert asyncio.run(asked("", lambda: parse(ONE, "x"))) == 1
