"""How the receiver speaks to its operator: one line an event, on standard error.

For people when a terminal listens, JSON otherwise. The variables of a traceback are left
out: bodies and tokens are among them.
"""

import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog


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


def configure(**always: Any) -> None:
    """Set up structlog; called once, by the command line. Each line says what is `always` so."""
    file = Unfailing(sys.stderr)
    people = file.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if people
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            lambda _, __, event: {**always, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not people),
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            )
            if not people
            else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", file)),
        cache_logger_on_first_use=False,
    )
