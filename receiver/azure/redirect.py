"""Redirects of the service.

In: the Location of a 307 or 308. Out: the address to POST to, or nothing where it must not
be followed. Follows only to the configured host or to the service's own domains, and never
from https to http: otherwise items and the token would go to a stranger.
"""

import re
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

LIMIT = 10
"""Largest number of redirects that one POST follows."""
DEFAULT_SECONDS = 12 * 3600.0
"""Validity of a redirect without max-age. Source: the official SDKs."""
SHORTEST_SECONDS = 1.0
"""Validity of a redirect that must not be cached: it applies to the current POST."""
_CLOUDS = (
    (
        ".monitor.azure.com",
        ".services.visualstudio.com",
        ".applicationinsights.azure.com",
        ".applicationinsights.microsoft.com",
    ),
    (".monitor.azure.us", ".applicationinsights.azure.us", ".applicationinsights.us"),
    (".monitor.azure.cn", ".applicationinsights.azure.cn"),
)
"""The service's domains by cloud: no redirect leads from one cloud to another.

Source: the official SDKs' lists, and the endpoints in older connection strings.
"""


class Endpoint:
    """The current address for items: the configured one, or the target of a redirect."""

    def __init__(self, configured_url: str, clock: Callable[[], float]) -> None:
        """Start at the configured address. `clock` is monotonic, in seconds."""
        self._configured_url = configured_url
        self._clock = clock
        self._url = configured_url
        self._until = 0.0

    @property
    def url(self) -> str:
        """The address to POST to."""
        if self._url != self._configured_url and self._clock() >= self._until:
            self._url = self._configured_url
        return self._url

    def forget(self) -> None:
        """Return to the configured address, after a wrong answer at the redirect's target."""
        self._url = self._configured_url

    def follow(self, location: str, cache_control: str) -> bool:
        """Follow a redirect if allowed; returns whether it was followed."""
        try:
            target = urljoin(self.url, location.strip())
        except ValueError:
            return False
        if not location.strip() or not self._trusted(target):
            return False
        age = re.search(r"max-age\s*=\s*(\d{1,9})", cache_control, re.IGNORECASE)
        self._url = target
        seconds = float(age[1]) if age else DEFAULT_SECONDS
        self._until = self._clock() + max(seconds, SHORTEST_SECONDS)
        return True

    def _trusted(self, target: str) -> bool:
        try:
            old, new = urlsplit(self._configured_url), urlsplit(target)
            host, _ = new.hostname or "", new.port
        except ValueError:
            return False
        if new.username or new.scheme not in ("http", "https"):
            return False
        if old.scheme == "https" and new.scheme != "https":
            return False
        if host == old.hostname:
            return True
        return any(host.endswith(own) and (old.hostname or "").endswith(own) for own in _CLOUDS)
