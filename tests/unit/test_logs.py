"""Logging stops nothing: neither a full disk nor a reader that is gone ends who writes."""

import io
import json
import logging
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


@pytest.mark.parametrize("form", ["json", "logfmt", "console"])
def test_libraries_speak_as_we_do(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """azure-identity's many lines, aiohttp's tracebacks and Python's warnings are lines of our log."""
    logs.configure(form=form, colors=False)
    library = logging.getLogger("azure.identity.aio")
    library.info("a request, told in ten lines")
    library.warning("no token: %s", "first\nsecond")
    try:
        raise RuntimeError("boom")
    except RuntimeError:
        logging.getLogger("aiohttp.client").exception("a defect")

    written = capsys.readouterr().err
    assert "ten lines" not in written
    if form == "json":
        first, second = map(json.loads, written.splitlines())
        assert (first["event"], first["logger"]) == (
            "no token: first\nsecond",
            "azure.identity.aio",
        )
        assert (first["level"], second["level"]) == ("warning", "error")
        assert first["hint"]
        assert second["exception"][0]["exc_value"] == "boom"
    else:
        assert "boom" in written
        assert "\nsecond" not in written


def test_a_library_s_line_comes_once(capsys: pytest.CaptureFixture[str]) -> None:
    """However often the log was set up."""
    for _ in range(2):
        logs.configure()
    logging.getLogger("asyncio").warning("slow")
    assert capsys.readouterr().err.count("slow") == 1


@pytest.mark.parametrize(
    ("form", "begins"),
    [
        ("json", '{"event": "delivery waits", "reason": "429", "hint": "Wait.", '),
        ("logfmt", 'event="delivery waits" reason=429 hint=Wait. '),
        ("", '{"event": "delivery waits"'),
    ],
)
def test_a_line_begins_with_what_happened_and_why(
    form: str, begins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The event first, then the reason and what to do, whatever else is in the line."""
    logs.configure(form=form)
    structlog.get_logger().warning("delivery waits", attempt=3, hint="Wait.", reason="429")
    assert capsys.readouterr().err.startswith(begins)


def test_the_console_is_for_people_and_has_no_colours_unwanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Asked for, it is used in a pipe too."""
    logs.configure(form="console", colors=False)
    structlog.get_logger().warning("delivery waits", attempt=3, hint="Wait.", reason="429")
    line = capsys.readouterr().err
    assert "delivery waits" in line
    assert line.index("reason=429") < line.index("hint=Wait.") < line.index("attempt=3")
    assert "\x1b[" not in line


def test_a_level_silences_what_is_less(capsys: pytest.CaptureFixture[str]) -> None:
    """Of --log.level."""
    logs.configure("warning")
    structlog.get_logger().info("receiver listens")
    structlog.get_logger().error("delivery waits", hint="Wait.")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["delivery waits"]  # fmt: skip
