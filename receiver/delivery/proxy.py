"""The proxy for an address, by the environment.

In: an address, and the environment's variables: HTTPS_PROXY or HTTP_PROXY by the address'
scheme, else ALL_PROXY; NO_PROXY names the exceptions. Lower-case names take precedence, an
empty value counts as unset. Out: a `Proxy`, or None. Opens nothing.

These variables have no RFC. The rules are those that curl, Go and Python share: a proxy
without a scheme is http, and NO_PROXY's names include their subdomains.
"""

import base64
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from receiver.errors import SettingsError

_DEFAULT_PORTS = {"http": 80, "https": 443}
"""The supported schemes: both proxies get a CONNECT, https over TLS."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, set by `variable`; `authorization` is its Proxy-Authorization, or empty."""

    variable: str
    scheme: str
    host: str
    port: int
    authorization: str = ""

    @property
    def address(self) -> str:
        """The proxy's address without its password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def proxy_of(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for `url`; None for a direct connection.

    Raises: SettingsError for an unsupported or invalid proxy; it names the variable and never
    repeats a password.
    """
    parts = urlsplit(url)
    names = (f"{parts.scheme}_proxy", "all_proxy")
    variable = next(filter(None, (_variable(name, environ) for name in names)), "")
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    if not variable or _is_exempt(parts.hostname or "", port, environ):
        return None
    return _parse(environ[variable].strip(), variable)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    """Return the spelling of a variable that is set; empty if none is."""
    return next(
        (spelling for spelling in (name, name.upper()) if environ.get(spelling, "").strip()), ""
    )


def _is_exempt(host: str, port: int, environ: Mapping[str, str]) -> bool:
    host = host.lower().rstrip(".")
    exceptions = environ.get(_variable("no_proxy", environ), "")
    return any(_covers(entry, host, port) for entry in re.split(r"[,\s]+", exceptions.lower()))


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY (`*`, a host, host:port, an address or a network) matches the host."""
    if entry in ("", "*"):
        return entry == "*"
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass  # at least one of them is a name
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal() and (":" not in name or name.startswith("[")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").strip(".")
    return bool(entry) and (host == entry or host.endswith(f".{entry}"))


def _parse(text: str, variable: str) -> Proxy:
    shown = re.sub(r"^([a-z0-9+.-]*://)?.*@", r"\1", text, flags=re.IGNORECASE | re.DOTALL)[:100]
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if scheme and scheme not in _DEFAULT_PORTS:
        raise SettingsError(
            f'{variable} is "{shown}": a {scheme} proxy is not supported, only http:// and '
            "https:// ones; name one of those, or the ingestion endpoint's host in NO_PROXY"
        )
    if not host or port == 0:
        raise SettingsError(f'{variable} is "{shown}", not an address like http://proxy:3128')
    authorization = ""
    if parts.username or parts.password:
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(user.encode()).decode()}"
    return Proxy(variable, scheme, host, port or _DEFAULT_PORTS[scheme], authorization)
