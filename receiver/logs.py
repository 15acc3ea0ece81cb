"""How the receiver speaks to its operator: one line an event, on standard error.

For people when a terminal listens, JSON otherwise. What senders have written is in both: the
terminal gets it as printable text, JSON escapes it. The variables of a traceback are left
out: bodies and tokens are among them.
"""

import io
import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from receiver.text import printable

LIBRARY_HINT = (
    "A line of a library that the receiver uses; the receiver's own lines say what follows."
)
_FIRST = ("event", "reason", "error", "problem", "entry", "hint")


class Unfailing:
    """A text file whose failures stop nothing: a full disk, a reader that is gone, a closed file.

    Without it a line that cannot be written would end the thread that wrote it. There may be
    no file at all: a process can be started with its standard error closed.
    """

    def __init__(self, file: TextIO | None) -> None:
        """Write to `file`, as long as it takes it."""
        self._file = file

    def write(self, text: str) -> None:
        """Write, or lose the text."""
        with suppress(OSError, ValueError):  # Python's word for a closed file is ValueError
            if self._file:
                self._file.write(text)

    def flush(self) -> None:
        """Flush, or leave it."""
        with suppress(OSError, ValueError):
            if self._file:
                self._file.flush()

    def isatty(self) -> bool:
        """Whether a person reads it."""
        with suppress(OSError, ValueError):
            return bool(self._file and self._file.isatty())
        return False


def configure(level: str = "info", form: str = "", *, colors: bool = True, **always: Any) -> None:
    """Set up structlog; called once, by the command line. Each line says what is `always` so.

    `form` is console, json or logfmt; without it console for people and json elsewhere.
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
    _take_in_libraries()


class _FromLibrary(logging.Handler):
    """Writes what a library logs as a line of ours: whoever reads JSON meets nothing else."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            fields = {"logger": record.name, "hint": LIBRARY_HINT}
            more = {"exc_info": record.exc_info} if record.exc_info else {}
            structlog.get_logger().log(record.levelno, record.getMessage(), **fields, **more)
        except Exception:  # noqa: BLE001 - a line that cannot be made must not end what wrote it
            self.handleError(record)


def _take_in_libraries() -> None:
    """Let azure-identity, aiohttp, asyncio and Python's warnings speak through our log."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _FromLibrary)]:
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
    """Put first what a person looks for: the event, why, and what to do."""
    return {key: event[key] for key in (*_FIRST, *event) if key in event}


def _printable_values(_: object, __: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
    """Make an event's texts printable; a list or mapping is shown by its `repr`, which is."""
    return {
        printable(key): printable(value) if isinstance(value, str) else value
        for key, value in event.items()
    }


def _printable_traceback(file: TextIO, error: structlog.typing.ExcInfo) -> None:
    """Write a traceback, each line indented: an error's own words cannot look like a log line."""
    traceback = io.StringIO()
    structlog.dev.plain_traceback(traceback, error)
    file.writelines(f"  {printable(line)}\n" for line in traceback.getvalue().split("\n"))
