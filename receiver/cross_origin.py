"""What a web page of another site may not do with a server of ours. Pure.

In: a request's method and headers. Out: why it is refused, or nothing; and the headers that
each answer bears. A browser sends requests wherever a page tells it to, with the reach of the
machine that it runs on: a page of any site can POST to 127.0.0.1, and by a name that it points
there (DNS rebinding) read the answers too. Programs send none of these headers but Host.

Rules: Fetch, 3.2 "Origin" (sent with every method but GET and HEAD); Fetch Metadata
("Sec-Fetch-Site"; not sent over plain HTTP to a name, since that is no secure context);
RFC 9110, 7.2 "Host".
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

HEADERS = {
    "Server": "appinsights-receiver",  # and no versions
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""On every answer that does not set them itself."""


def refusal(
    method: str, headers: Mapping[str, str], own_names: Collection[str] | None = None
) -> str:
    """Say why a request is refused as another site's; empty where it is not.

    `own_names` are names of this machine where the server listens on loopback alone and asks
    for no credentials: what names another machine is refused, whatever the method. None
    where the Host may be any.
    """
    host = headers.get("Host", "").strip().lower()
    if own_names is not None and not _is_ours(host, own_names):
        return "its Host is no name of this machine, and others are not asked for credentials"
    if method in {"GET", "HEAD"}:
        return ""
    if headers.get("Sec-Fetch-Site", "none").strip().lower() not in {"none", "same-origin"}:
        return "a web page of another site sent it"
    origin = headers.get("Origin")
    if origin is not None and _authority(origin) != _with_port(host, origin):
        return "a web page of another site sent it: its Origin is not its Host"
    return ""


def _is_ours(host: str, own_names: Collection[str]) -> bool:
    """Whether a Host can be no name that a stranger has pointed at this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    try:
        ip_address(name)
    except ValueError:
        # A name without a dot, or none at all, is no stranger's: it is not in the public DNS.
        name = name.removesuffix(".")
        return "." not in name or name.endswith(".localhost") or name in own_names
    return True


def _authority(origin: str) -> str | None:
    """Give an origin's host and port; None for "null" and what is no origin."""
    origin = origin.strip().lower()
    scheme, separator, rest = origin.partition("://")
    if not separator or scheme not in {"http", "https"}:
        return None
    return _with_port(rest, origin)


def _with_port(host: str, origin: str) -> str:
    """Write out the port that a scheme implies."""
    if host.rpartition(":")[2].isdecimal() and not host.endswith("]"):
        return host
    return f"{host}:{443 if origin.strip().lower().startswith('https:') else 80}"
