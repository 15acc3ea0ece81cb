"""Ask another program over HTTP: the receiver, Prometheus, Triton.

In: a URL, which may hold a user and password. Out: text or JSON, or `NoAnswer` with why.
This machine is asked directly, whatever proxy the environment names; credentials do not
follow a redirect.
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
    """It could not be asked; the message says why."""

    reason = "no_answer"


def get(
    url: str,
    timeout_seconds: float = TIMEOUT_SECONDS,
    token: str = "",
    context: ssl.SSLContext | None = None,
) -> tuple[int, str]:
    """GET a URL; any status is an answer. `context` says whom to trust. Raises: NoAnswer."""
    bare, authorization = _authorized(url, token)
    parts = urlsplit(bare)
    if parts.scheme not in {"http", "https"}:
        raise NoAnswer(f"{bare} is no http or https address")
    request = Request(bare)  # noqa: S310 - checked above
    if authorization:
        request.add_unredirected_header("Authorization", authorization)
    direct = [ProxyHandler({})] if is_loopback(parts.hostname or "") else []
    opener = build_opener(*direct, HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=timeout_seconds) as answer:
            return answer.status, answer.read(LIMIT_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(LIMIT_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError, HTTPException) as error:
        reason = " ".join(str(getattr(error, "reason", None) or error or repr(error)).split())
        raise NoAnswer(f"{bare} does not answer: {reason}") from error


def get_text(url: str, token: str = "", context: ssl.SSLContext | None = None) -> str:
    """GET a URL that must answer 200. Raises: NoAnswer."""
    status, text = get(url, token=token, context=context)
    if status != 200:
        hint = "; give a user and password as https://user:password@host" if status == 401 else ""
        raise NoAnswer(f"{_authorized(url)[0]} answers {status}: {text.strip()[:200]}{hint}")
    return text


def get_json(
    url: str, *keys: str, token: str = "", context: ssl.SSLContext | None = None
) -> dict[str, Any]:
    """GET a JSON object that has these keys. Raises: NoAnswer."""
    text = get_text(url, token, context)
    bare = _authorized(url)[0]
    try:
        document = json.loads(text)
    except ValueError as error:
        raise NoAnswer(f"{bare} does not answer in JSON: is it the right address?") from error
    if not isinstance(document, dict) or not all(key in document for key in keys):
        raise NoAnswer(f"{bare} answers with something else: is it the right address and version?")
    return document


def exposed(text: str) -> dict[str, int]:
    """Count the series of each name in a text of Prometheus' exposition format."""
    counts: dict[str, int] = {}
    for name in _sample_names(text.splitlines()):
        counts[name] = counts.get(name, 0) + 1
    return counts


def _sample_names(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        if line and not line.startswith("#"):
            yield line.partition("{")[0].partition(" ")[0]


def _authorized(url: str, token: str = "") -> tuple[str, str]:
    """Give the URL without what nobody may see, and what Authorization is to say."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise NoAnswer(f"{url} is no address: {error}") from error
    user, at, host = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=host))
    if at:
        return bare, f"Basic {base64.b64encode(unquote(user).encode()).decode()}"
    return bare, f"Bearer {token}" if token else ""
