"""What aiohttp's own server logs, made into what an operator can use.

In: its log records. Out: events: of those who speak no HTTP, and of what is left, which
is a defect.
"""

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from receiver.events import Events, Kind
from receiver.server.close_reasons import CLOSE_REASONS, CLOSED

SERVER_FAILED = Kind("server", "server failed")


class Noise(logging.Filter):
    """Takes what aiohttp's server logs: a traceback for each sender that speaks no HTTP.

    Those are connections closed; what else there is is a defect.
    """

    def __init__(self, events: Events) -> None:
        """Make a logger, for the server to log to."""
        super().__init__()
        self._events = events
        self.logger = logging.Logger("receiver.http")  # noqa: LOG001 - this server's alone
        self.logger.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let nothing through."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            meaning, hint = CLOSE_REASONS["not_http"]
            self._events.happened(CLOSED, "not_http", meaning, hint, cause=str(error))
        elif record.levelno >= logging.WARNING:
            kind = f"{type(error).__name__}: {record.msg}"
            hint = "A defect of the receiver: please report it."
            self._events.happened(SERVER_FAILED, kind, kind, hint, defect=error)
        return False
