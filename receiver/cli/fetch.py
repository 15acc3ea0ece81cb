"""HTTP requests to other programs: the receiver, Prometheus, Triton.

In: a URL, which may hold a user and password. Out: text or JSON, or `NoAnswer` with the
reason. Loopback addresses bypass any proxy; credentials do not follow a redirect.
"""

import base64
import json
import ssl
import urllib.error
from collections.abc import Iterable
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from receiver.errors import ReceiverError
from receiver.server.auth import is_loopback

TIMEOUT_SECONDS = 5.0
LIMIT_BYTES = 64 << 20


class NoAnswer(ReceiverError):
    """No usable answer; the message says why."""

    reason = "no_answer"


class Refused(NoAnswer):
    """An answer with another status than 200."""

    def __init__(self, message: str, status: int) -> None:
        """Keep the status beside the message."""
        super().__init__(message)
        self.status = status


def is_address(source: str) -> bool:
    """Whether a source is an HTTP address; else it is a file."""
    return source.startswith(("http://", "https://"))


def get(
    url: str,
    timeout_seconds: float = TIMEOUT_SECONDS,
    token: str = "",
    context: ssl.SSLContext | None = None,
    user: str = "",
    document: Any = None,
) -> tuple[int, str]:
    """GET a URL, or POST a document; any status is an answer. `context` is the TLS trust.

    Raises: NoAnswer.
    """
    bare, authorization = _authorized(url, token, user)
    parts = urlsplit(bare)
    if parts.scheme not in {"http", "https"}:
        raise NoAnswer(f"{bare} is not an http or https address")
    try:
        request = Request(bare)  # noqa: S310 - checked above
        if document is not None:
            request.data = json.dumps(document).encode()
            request.add_header("Content-Type", "application/json")
        if authorization:
            request.add_unredirected_header("Authorization", authorization)
        direct = [ProxyHandler({})] if is_loopback(parts.hostname or "") else []
        opener = build_opener(*direct, HTTPSHandler(context=context))
        with opener.open(request, timeout=timeout_seconds) as answer:
            return answer.status, answer.read(LIMIT_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(LIMIT_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError, HTTPException) as error:
        raise NoAnswer(f"{bare} does not answer: {_words(error)}") from error


def _words(error: Exception) -> str:
    cause = getattr(error, "reason", None) or error
    return " ".join(str(getattr(cause, "strerror", None) or cause or repr(error)).split())


def get_text(
    url: str,
    token: str = "",
    context: ssl.SSLContext | None = None,
    user: str = "",
    document: Any = None,
) -> str:
    """GET a URL, or POST a document, that must answer 200. Raises: NoAnswer, Refused."""
    status, text = get(url, token=token, context=context, user=user, document=document)
    if status != 200:
        hint = (
            "; give a user and password with --user-file or in RECEIVER_URL"
            if status == 401
            else ""
        )
        raise Refused(f"{_bare(url)} answers {status}: {text.strip()[:200]}{hint}", status)
    return text


def get_json(
    url: str,
    *keys: str,
    token: str = "",
    context: ssl.SSLContext | None = None,
    user: str = "",
    document: Any = None,
) -> dict[str, Any]:
    """GET a JSON object that has these keys, or POST a document for it. Raises: NoAnswer, Refused."""
    text = get_text(url, token, context, user, document)
    try:
        answer = json.loads(text)
    except ValueError as error:
        raise NoAnswer(f"{_bare(url)} does not answer in JSON: is it the right address?") from error
    if not isinstance(answer, dict) or not all(key in answer for key in keys):
        raise NoAnswer(
            f"{_bare(url)} answers with something else: is it the right address and version?"
        )
    return answer


def exposed(text: str) -> dict[str, int]:
    """Count the series by name in a text of Prometheus' exposition format."""
    counts: dict[str, int] = {}
    for name in _sample_names(text.splitlines()):
        counts[name] = counts.get(name, 0) + 1
    return counts


def _sample_names(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if line and not line.startswith("#"):
            yield line.partition("{")[0].partition(" ")[0]


def _bare(url: str) -> str:
    return _authorized(url)[0]


def _authorized(url: str, token: str = "", user: str = "") -> tuple[str, str]:
    """Return the URL without credentials, and the Authorization header."""
    try:
        parts = urlsplit(url)
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    except ValueError as error:  # the error's text may quote a password
        shown = url.rpartition("@")[2]
        raise NoAnswer(f"{shown} is not an address") from error
    named, at, _ = parts.netloc.rpartition("@")
    if user or at:
        both = user or unquote(named)
        return bare, f"Basic {base64.b64encode(both.encode()).decode()}"
    return bare, f"Bearer {token}" if token else ""
