"""Ask another program over HTTP: the receiver, Prometheus, Triton.

In: a URL, which may hold a user and password. Out: text or JSON, or `NoAnswer` with why.
"""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from receiver.errors import ReceiverError
from receiver.settings import Address, Settings

TIMEOUT_SECONDS = 5.0
LIMIT_BYTES = 64 << 20


class NoAnswer(ReceiverError):
    """It could not be asked; the message says why."""

    reason = "no_answer"


def receiver_url(given: str | None, settings: Settings) -> str:
    """Where the receiver's pages are: what was given, or where this configuration listens."""
    if given:
        return given.rstrip("/")
    host = settings.listen.host
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound
        host = "127.0.0.1"
    return f"http://{Address(host, settings.listen.port)}"


def get(url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> tuple[int, str]:
    """GET a URL; any status is an answer. Raises: NoAnswer."""
    bare, headers = _authorized(url)
    if urlsplit(bare).scheme not in {"http", "https"}:
        raise NoAnswer(f"{bare} is no http or https address")
    request = urllib.request.Request(bare, headers=headers)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=timeout_seconds) as answer:  # noqa: S310
            return answer.status, answer.read(LIMIT_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read(LIMIT_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise NoAnswer(f"{bare} does not answer: {reason}") from error


def get_text(url: str) -> str:
    """GET a URL that must answer 200. Raises: NoAnswer."""
    status, text = get(url)
    if status != 200:
        hint = "; give a user and password as https://user:password@host" if status == 401 else ""
        raise NoAnswer(f"{_authorized(url)[0]} answers {status}: {text.strip()[:200]}{hint}")
    return text


def get_json(url: str) -> Any:
    """GET JSON. Raises: NoAnswer."""
    text = get_text(url)
    try:
        return json.loads(text)
    except ValueError as error:
        raise NoAnswer(f"{_authorized(url)[0]} does not answer in JSON: is it the right address?") from error  # fmt: skip


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


def _authorized(url: str) -> tuple[str, dict[str, str]]:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise NoAnswer(f"{url} is no address: {error}") from error
    user, at, host = parts.netloc.rpartition("@")
    bare = urlunsplit(parts._replace(netloc=host))
    if not at:
        return bare, {}
    return bare, {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
