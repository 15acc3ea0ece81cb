"""Logging stops nothing: neither a full disk nor a reader that is gone ends who writes."""

import io
import json
import re
import sys

import pytest
import structlog

from receiver import logs


class Full(io.StringIO):
    """A file on a full disk."""

    def write(self, _: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def _closed() -> io.StringIO:
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.parametrize("file", [Full(), _closed(), None], ids=["full disk", "closed", "none"])
def test_a_line_that_cannot_be_written_is_lost(
    file: io.StringIO | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delivery logs from its tasks and the outbox from its thread: neither may end for it."""
    monkeypatch.setattr(sys, "stderr", file)
    logs.configure()
    structlog.get_logger().warning("delivery waits", reason="429")


def test_a_file_that_is_closed_later_loses_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the log's file is when a test that set it up has ended."""
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    logs.configure()
    file.close()
    structlog.get_logger().warning("delivery waits", reason="429")


def test_without_a_terminal_a_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """With level and time, for those who collect logs."""
    logs.configure()
    structlog.get_logger().info("receiver listens", address="http://127.0.0.1:9201")
    line = capsys.readouterr().err
    assert '"event": "receiver listens"' in line
    assert '"level": "info"' in line
    assert '"timestamp": "' in line


def test_a_traceback_holds_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    """Bodies and tokens are among the variables of those who fail."""
    logs.configure()
    secret = "a token " * 3
    try:
        raise RuntimeError(f"it failed after {len(secret)} signs")
    except RuntimeError:
        structlog.get_logger().exception("request failed")
    line = capsys.readouterr().err
    assert "it failed after 24 signs" in line
    assert secret not in line


class Terminal(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_printable_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a sender's words nor an error's set a title, clear the screen or forge a line."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logs.configure()
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b\u202e\nreceiver stopped"
    try:
        raise RuntimeError(hostile)
    except RuntimeError:
        structlog.get_logger().exception(hostile, sender=hostile, names=[hostile])
    text = terminal.getvalue()
    written = re.sub("\x1b\\[\\d+m", "", text)  # structlog's own colours
    assert r"\x1b]0;owned\x07" in written
    assert all(line.isprintable() for line in written.splitlines())
    assert not any(line.startswith("receiver stopped") for line in written.splitlines())


def test_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON escapes by itself; what was said is read back as it was said."""
    logs.configure()
    structlog.get_logger().warning("refused", sender="\x1b[2J\nforged")
    assert json.loads(capsys.readouterr().err)["sender"] == "\x1b[2J\nforged"
