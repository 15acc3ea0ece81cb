"""The match of a remote_write's address with this receiver. Pure.

In: an address, and the receiver's port. Out: how the two match. The receiver accepts one
path, so a prefix or a trailing slash is answered 404; the port may differ where a Service,
an Ingress or a container's port mapping is in between.
"""

import re
from collections.abc import Iterable, Sequence
from enum import IntEnum
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit, urlunsplit

from receiver.errors import WRITE_PATH

_PORTS = {"http": 80, "https": 443}


class Fit(IntEnum):
    """How an address matches the receiver's, the best match last."""

    OTHER = 0
    PREFIXED = 1
    """Another port, and a prefix before the path: right only where a proxy strips the prefix."""
    MISSPELT = 2
    """The receiver's port, but a path that it answers with 404."""
    PROXIED = 3
    """The right path at another port."""
    EXACT = 4
    LOCAL = 5
    """Exact, and on this machine."""


def fit(url: str, port: int) -> Fit:
    """Compare a remote_write's address with a receiver at `port`."""
    parts, url_port = _split(url)
    if parts is None:
        return Fit.OTHER
    if parts.path == WRITE_PATH:
        if url_port != port:
            return Fit.PROXIED
        return Fit.LOCAL if _is_here(parts.hostname or "") else Fit.EXACT
    if url_port == port:
        return Fit.MISSPELT
    return Fit.PREFIXED if parts.path.rstrip("/").endswith(WRITE_PATH) else Fit.OTHER


Entry = TypeVar("Entry")


def best(entries: Iterable[tuple[str, Entry]], port: int) -> tuple[Fit, Sequence[Entry]]:
    """Return the best match, and the entries that reach it."""
    rated = [(fit(url, port), entry) for url, entry in entries]
    highest = max((fit for fit, _ in rated), default=Fit.OTHER)
    return highest, [entry for fit, entry in rated if fit is highest]


def right(url: str) -> str:
    """Return an address with the receiver's path, without its password."""
    parts, _ = _split(masked(url))
    return urlunsplit(parts._replace(path=WRITE_PATH, query="", fragment="")) if parts else ""


def masked(text: str) -> str:
    """Mask user and password in all addresses of a text."""
    return re.sub(r"(\w+://)[^/@\s\"']*(?:@[^/@\s\"']*)*@", r"\1***@", text)


def _split(url: str) -> tuple[SplitResult | None, int]:
    try:
        parts = urlsplit(url)
        return parts, parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None, 0


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
