"""Protection against requests of other sites' web pages. Pure.

In: a request's method and headers. Out: why it is refused, or nothing; and the headers of
every answer. A browser sends requests to any address that a page names, from the user's
machine: a page of any site can POST to 127.0.0.1, and, by a name that resolves there (DNS
rebinding), read the answers too. Of these headers other programs send only Host.

Rules: Fetch, 3.2 "Origin" (sent with every method but GET and HEAD); Fetch Metadata
("Sec-Fetch-Site"; not sent over plain HTTP to a name, which is not a secure context);
RFC 9110, 7.2 "Host".
"""

from collections.abc import Collection, Mapping
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

HEADERS = {
    "Server": "appinsights-receiver",  # without a version
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Default headers of every answer."""


def refusal(
    method: str, headers: Mapping[str, str], own_names: Collection[str] | None = None
) -> str:
    """Return why a request is refused as another site's; empty if it is not.

    `own_names` are this machine's names where the server listens only on loopback and asks
    for no credentials: requests with another Host are then refused, with any method. None
    allows any Host.
    """
    host = headers.get("Host", "").strip().lower()
    if own_names is not None and not _is_ours(host, tuple(own_names)):
        return "its Host is not a name of this machine, and the receiver requires no credentials"
    if method in {"GET", "HEAD"}:
        return ""
    if headers.get("Sec-Fetch-Site", "none").strip().lower() not in {"none", "same-origin"}:
        return "a web page of another site sent it"
    origin = headers.get("Origin")
    if origin is not None and _authority(origin) != _with_port(host, origin):
        return "a web page of another site sent it: its Origin is not its Host"
    return ""


@lru_cache(maxsize=32)  # a sender's is the same each time
def _is_ours(host: str, own_names: tuple[str, ...]) -> bool:
    """Whether a Host cannot be a name that a stranger's DNS resolves to this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ip_address(name)
    except ValueError:
        # A name without a dot, or an empty one, is not in the public DNS.
        name = name.removesuffix(".")
        return "." not in name or name.endswith(".localhost") or name in own_names
    return True


def _authority(origin: str) -> str | None:
    """Return an origin's host and port; None for "null" and invalid origins."""
    origin = origin.strip().lower()
    scheme, separator, rest = origin.partition("://")
    if not separator or scheme not in {"http", "https"}:
        return None
    return _with_port(rest, origin)


def _with_port(host: str, origin: str) -> str:
    """Add the scheme's default port."""
    if host.rpartition(":")[2].isdecimal() and not host.endswith("]"):
        return host
    return f"{host}:{443 if origin.strip().lower().startswith('https:') else 80}"
