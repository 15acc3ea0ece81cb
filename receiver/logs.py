"""How the receiver speaks to its operator: one line an event, on standard error.

For people when a terminal listens, JSON otherwise.
"""

import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog


class Unfailing:
    """A text file whose failures stop nothing: a full disk, a reader that is gone, a closed file.

    Without it a line that cannot be written would end the thread that wrote it.
    """

    def __init__(self, file: TextIO) -> None:
        """Write to `file`, as long as it takes it."""
        self._file = file

    def write(self, text: str) -> None:
        """Write, or lose the text."""
        with suppress(OSError, ValueError):  # Python's word for a closed file is ValueError
            self._file.write(text)

    def flush(self) -> None:
        """Flush, or leave it."""
        with suppress(OSError, ValueError):
            self._file.flush()


def configure(**always: Any) -> None:
    """Set up structlog; called once, by the command line. Each line says what is `always` so."""
    people = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if people else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            lambda _, __, event: {**always, **event},
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not people),
            structlog.processors.dict_tracebacks
            if not people
            else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", Unfailing(sys.stderr))),
        cache_logger_on_first_use=False,
    )
