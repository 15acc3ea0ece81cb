"""What aiohttp's server does where no request is: bad HTTP, and its own log.

In: its protocol's errors and log records. Out: an answer that says no more than that it is no
HTTP, and events: of peers that speak no HTTP, and of what is left, which is a defect.
"""

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from receiver.cross_origin import HEADERS
from receiver.events import Events, Kind
from receiver.server.close_reasons import CLOSE_REASONS, CLOSED

BAD_REQUEST = "This is no HTTP/1.1 request that the receiver can read.\n"
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


class HttpProtocol(RequestHandler):
    """aiohttp's protocol for one connection; what it says itself names no version and echoes nothing."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what never became a request, and what failed."""
        answer = super().handle_error(request, status, exc, message)
        if isinstance(answer, web.Response):
            answer.text = BAD_REQUEST if status < 500 else "internal error\n"
            answer.content_type = "text/plain"
        answer.headers.update(HEADERS)
        return answer
