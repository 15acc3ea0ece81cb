"""The log: one line for each event, on standard error.

Console format on a terminal, JSON otherwise. Both may contain text from senders: the console
format makes it printable, JSON escapes it. Tracebacks omit local variables, since bodies and
tokens are among them.
"""

import io
import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from receiver.text import printable

LIBRARY_HINT = "A log line of a library; see the receiver's own lines for the effect."
_FIRST = ("event", "reason", "error", "problem", "entry", "hint")


class Unfailing:
    """A text file that ignores its errors: a full disk, a closed pipe, a closed file.

    Otherwise a failed write would end the writing thread. The file may be missing: a process
    can be started with its standard error closed.
    """

    def __init__(self, file: TextIO | None) -> None:
        """Write to `file`, as long as that works."""
        self._file = file

    def write(self, text: str) -> None:
        """Write the text, or discard it."""
        with suppress(OSError, ValueError):  # a closed file raises ValueError
            if self._file:
                self._file.write(text)

    def flush(self) -> None:
        """Flush, ignoring errors."""
        with suppress(OSError, ValueError):
            if self._file:
                self._file.flush()

    def isatty(self) -> bool:
        """Whether the file is a terminal."""
        with suppress(OSError, ValueError):
            return bool(self._file and self._file.isatty())
        return False


def configure(level: str = "info", form: str = "", *, colors: bool = True, **always: Any) -> None:
    """Set up structlog; called once, by the command line. `always` is added to every line.

    `form` is console, json or logfmt; by default console on a terminal and json elsewhere.
    """
    file = Unfailing(sys.stderr)
    people = form == "console" or (not form and file.isatty())
    structlog.configure(
        processors=[
            lambda _, __, event: {**always, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            )
            if not people
            else _printable_values,
            _in_reading_order,
            _renderer("console" if people else form, colors=colors),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", file)),
        cache_logger_on_first_use=False,
    )
    _capture_libraries()


class _FromLibrary(logging.Handler):
    """Writes libraries' log records in the receiver's format, so that all lines are JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            fields = {"logger": record.name, "hint": LIBRARY_HINT}
            more = {"exc_info": record.exc_info} if record.exc_info else {}
            structlog.get_logger().log(record.levelno, record.getMessage(), **fields, **more)
        except Exception:  # noqa: BLE001 - a failed line must not end the caller
            self.handleError(record)


def _capture_libraries() -> None:
    """Route the logs of azure-identity, aiohttp and asyncio, and Python's warnings, into this log."""
    root = logging.getLogger()
    for handler in [known for known in root.handlers if isinstance(known, _FromLibrary)]:
        root.removeHandler(handler)
    root.addHandler(_FromLibrary(logging.WARNING))
    logging.captureWarnings(capture=True)


def _renderer(form: str, *, colors: bool) -> structlog.typing.Processor:
    match form:
        case "console":
            return structlog.dev.ConsoleRenderer(
                colors=colors, sort_keys=False, exception_formatter=_printable_traceback
            )
        case "logfmt":
            return structlog.processors.LogfmtRenderer()
    return structlog.processors.JSONRenderer()


def _in_reading_order(_: object, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Put the event, the reason and the hint first."""
    return {key: event[key] for key in (*_FIRST, *event) if key in event}


def _printable_values(_: object, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Make an event's texts printable; lists and mappings are shown by `repr`, which is printable."""
    return {
        printable(key): printable(value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def _printable_traceback(file: TextIO, error: structlog.typing.ExcInfo) -> None:
    """Write a traceback with indented lines, so that an error's text cannot imitate a log line."""
    traceback = io.StringIO()
    structlog.dev.plain_traceback(traceback, error)
    file.writelines(f"  {printable(line)}\n" for line in traceback.getvalue().split("\n"))
