"""What aiohttp's own server logs, made into what an operator can use.

In: its log records. Out: counts of those who speak no HTTP, and one line a minute for
each kind of what is left, which is a defect.
"""

import logging
import time
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from receiver.server.log_throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger()


class Noise(logging.Filter):
    """Takes what aiohttp's server logs: a traceback for each sender that speaks no HTTP.

    Those are handed to `on_no_http`, which counts them; what else there is is a defect
    and is logged, each kind once in a while.
    """

    def __init__(self) -> None:
        """Make a logger, for the server to log to."""
        super().__init__()
        self.on_no_http: Callable[[Exception], object] = lambda _: None
        self._throttle = Throttle(time.monotonic)
        self.logger = logging.Logger("receiver.http")  # noqa: LOG001 - this server's alone
        self.logger.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let nothing through."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            self.on_no_http(error)
        elif record.levelno >= logging.WARNING:
            kind = f"{type(error).__name__}: {record.msg}"
            if times := self._throttle.due(kind):
                hint = "A defect of the receiver: please report it."
                log.error("server failed", error=kind, hint=hint, times=times, exc_info=error)
        return False
