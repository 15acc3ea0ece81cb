"""The handling of invalid HTTP, and of the log of aiohttp's server.

In: protocol errors and log records of aiohttp. Out: an answer without details, and events:
a closed connection for invalid HTTP, a defect for anything else.
"""

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from receiver.cross_origin import HEADERS
from receiver.events import Events, Kind
from receiver.server.connection_guard import CLOSE_REASONS, CLOSED

BAD_REQUEST = "This is not a valid HTTP/1.1 request.\n"
SERVER_FAILED = Kind("server", "server failed")


class ServerLog(logging.Filter):
    """Turns the log records of aiohttp's server into events, without tracebacks.

    Invalid HTTP is a closed connection; anything else is a defect.
    """

    def __init__(self, events: Events) -> None:
        """Make the logger that the server logs to."""
        super().__init__()
        self._events = events
        self.logger = logging.Logger("receiver.http")  # noqa: LOG001 - only for this server
        self.logger.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Record the event, and drop the record."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            meaning, hint = CLOSE_REASONS["not_http"]
            self._events.happened(CLOSED, "not_http", meaning, hint, cause=str(error))
        elif record.levelno >= logging.WARNING:
            kind = f"{type(error).__name__}: {record.msg}"
            hint = "A defect of the receiver: please report it."
            self._events.happened(SERVER_FAILED, kind, kind, hint, defect=error)
        return False


class HttpProtocol(RequestHandler):
    """aiohttp's protocol for one connection; its own answers name no version and echo no input."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer invalid and failed requests."""
        answer = super().handle_error(request, status, exc, message)
        if isinstance(answer, web.Response):
            answer.text = BAD_REQUEST if status < 500 else "internal error\n"
            answer.content_type = "text/plain"
        answer.headers.update(HEADERS)
        return answer
