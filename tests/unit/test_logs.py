"""Logging stops nothing: neither a full disk nor a reader that is gone ends who writes."""

import io
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


def test_a_line_that_cannot_be_written_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivery logs from its tasks and the outbox from its thread: neither may end for it."""
    for file in (Full(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", file)
        logs.configure()
        if type(file) is io.StringIO:
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
