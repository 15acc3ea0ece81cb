"""The answers to refused requests.

In: an error that a stage raised, and the request. Out: a response with the error's status and
hint, an event, and the count of what a sender loses. A remote-write sender with a wrong path or
method is told the right url. Rules: Remote-Write 1.0 and 2.0, "Protocol", retries.
"""

import random
import re

from aiohttp import web

from receiver.errors import (
    FINAL_REASONS,
    WRITE_PATH,
    NotCommitted,
    RequestRefused,
    Unauthorized,
    WrongAddress,
    WrongMethod,
)
from receiver.events import Events, Kind
from receiver.intake.decode import Message
from receiver.server.auth import Access
from receiver.server.write_handler import TEXT_LIMIT, Reply, WriteCounts
from receiver.text import printable

RETRY_AFTER_SECONDS = 5
RETRY_AFTER_LIMIT_SECONDS = 80
REFUSED = Kind("request", "request refused")
PAGE_REFUSED = Kind("page", "page refused")
_SENDERS = re.compile("prometheus|vmagent|opentelemetry|alloy|grafana", re.IGNORECASE)


class Refusals:
    """Refuses requests."""

    def __init__(self, counts: WriteCounts, access: Access, events: Events) -> None:
        """Wire the counts and events; `access` has the challenge for credentials."""
        self._counts = counts
        self._access = access
        self._events = events

    def response(
        self, error: RequestRefused, request: web.Request, message: Message | None = None
    ) -> web.Response:
        """Return the answer, and record the refusal."""
        by_sender = is_write_attempt(request)
        if by_sender and error.reason in FINAL_REASONS:
            self._counts.lost_bytes += request.content_length or 0
        is_first_question = (
            isinstance(error, Unauthorized) and "Authorization" not in request.headers
        )
        # A browser first asks without credentials, then with them.
        if by_sender or not is_first_question:
            self._events.happened(
                REFUSED if by_sender else PAGE_REFUSED,
                error.reason,
                f"{error.status} {error}",
                error.hint,
                sender=request.headers.get("User-Agent", ""),
            )
        if isinstance(error, Unauthorized):
            challenge = {"WWW-Authenticate": self._access.rules.challenge}
            return web.Response(status=error.status, text="Unauthorized\n", headers=challenge)
        response = response_of(Reply(error.status, f"{error}. {error.hint}"), message)
        if isinstance(error, WrongMethod):
            response.headers["Allow"] = "POST"
        if isinstance(error, NotCommitted):
            response.headers["Retry-After"] = str(
                retry_after_seconds(request.headers.get("Retry-Attempt", ""))
            )
        return response

    def early_response(self, error: RequestRefused, request: web.Request) -> web.Response:
        """Refuse a request before its handler; a sender's counts as a write attempt."""
        response = self.response(error, request)
        if is_write_attempt(request):
            self._counts.answered(response.status)
        return response


def is_write_attempt(request: web.Request) -> bool:
    """Whether a request is a sender's, or to the path of senders."""
    return request.path == WRITE_PATH or is_a_sender(request)


def is_a_sender(request: web.Request) -> bool:
    """Whether the headers are a remote-write sender's, whatever the path and method."""
    headers = request.headers
    return (
        "X-Prometheus-Remote-Write-Version" in headers
        or headers.get("Content-Encoding", "").lower() in {"snappy", "zstd"}
        or "protobuf" in headers.get("Content-Type", "")
        or (request.method != "GET" and bool(_SENDERS.search(headers.get("User-Agent", ""))))
    )


def misled(request: web.Request) -> RequestRefused:
    """Return the refusal of a sender with a wrong path or method, with the right url."""
    right = request.url.with_path(WRITE_PATH).with_query(None)
    asked = request.url.with_query(None)
    if request.path == WRITE_PATH:
        return WrongMethod(
            f"{request.method} {str(asked)[:200]} cannot write: remote-write is POST {right}"
        )
    text = f"{request.method} {str(asked)[:200]} takes no writes: the url is {str(right)[:200]}"
    return WrongAddress(text)


def response_of(reply: Reply, message: Message | None) -> web.Response:
    """Return the HTTP response; the Written headers only for 2.0, whose senders check them."""
    headers = {}
    if message is Message.V2:
        for name in ("samples", "histograms", "exemplars"):
            header = f"X-Prometheus-Remote-Write-{name.capitalize()}-Written"
            headers[header] = str(getattr(reply, f"written_{name}"))
    if not reply.text:
        return web.Response(status=reply.status, headers=headers)
    text = printable(" ".join(reply.text[:TEXT_LIMIT].split()))
    return web.Response(status=reply.status, text=f"{text}\n", headers=headers)


def retry_after_seconds(attempt: str) -> int:
    """Return the delay before a retry: longer with every attempt, with jitter."""
    number = int(attempt) if attempt.isdecimal() and len(attempt) < 4 else 0
    longest = min(RETRY_AFTER_SECONDS << min(number, 10), RETRY_AFTER_LIMIT_SECONDS)
    return max(1, round(longest * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter, not a secret
