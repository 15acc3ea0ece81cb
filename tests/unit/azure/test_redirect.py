"""Redirects lead only to whom the items may go, and hold as long as they say."""

import pytest
from yarl import URL

from receiver.azure.redirect import DEFAULT_SECONDS, Endpoint

AZURE = "https://westeurope-5.in.applicationinsights.azure.com/v2.1/track"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def follow(start: str, location: str) -> str | None:
    """Return where a redirect leads; None where it is not followed."""
    route = Endpoint(start, Clock())
    followed = route.follow(location, "")
    assert followed or route.url == start
    return route.url if followed else None


@pytest.mark.parametrize(
    ("start", "location"),
    [
        (AZURE, "https://westus-0.in.applicationinsights.azure.com/v2.1/track"),
        (AZURE, "https://dc.services.visualstudio.com/v2.1/track"),
        (AZURE, "https://eastus.livediagnostics.monitor.azure.com/v2.1/track"),
        (AZURE, "https://WESTUS.IN.ApplicationInsights.Azure.com/v2.1/track"),
        ("https://dc.applicationinsights.azure.cn/v2.1/track", "https://x.monitor.azure.cn/t"),
        ("https://dc.applicationinsights.us/v2.1/track", "https://dc.applicationinsights.us:444/t"),
        (
            "https://dc.applicationinsights.us/v2.1/track",
            "https://usgovvirginia-1.in.applicationinsights.azure.us/v2.1/track",
        ),
        ("https://dc.applicationinsights.microsoft.com/v2.1/track", AZURE),
        (AZURE, "https://dc.applicationinsights.microsoft.com/v2.1/track"),
        ("https://gate.example/v2.1/track", "https://gate.example:8443/other"),
        ("http://127.0.0.1:1/v2.1/track", "http://127.0.0.1:2/v2.1/track"),
        ("http://gate.example/v2.1/track", "https://gate.example/v2.1/track"),
    ],
)
def test_the_same_host_and_azure_s_own_are_followed(start: str, location: str) -> None:
    """Other ports of the same host; from one of the service's domains to another."""
    assert follow(start, location) == location


@pytest.mark.parametrize(
    ("start", "location"),
    [
        (AZURE, "https://evil.example/v2.1/track"),
        (AZURE, "https://usgovvirginia-1.in.applicationinsights.azure.us/v2.1/track"),
        (AZURE, "https://evilapplicationinsights.microsoft.com/v2.1/track"),
        (AZURE, "https://applicationinsights.us/v2.1/track"),
        ("https://dc.applicationinsights.us/v2.1/track", AZURE),
        (AZURE, "https://applicationinsights.azure.com.evil.example/v2.1/track"),
        (AZURE, "https://evilapplicationinsights.azure.com/v2.1/track"),
        (AZURE, "https://x.azure.com/v2.1/track"),
        (AZURE, "http://westeurope-5.in.applicationinsights.azure.com/v2.1/track"),
        (AZURE, "http://dc.services.visualstudio.com/v2.1/track"),
        (AZURE, "https://user@dc.services.visualstudio.com/v2.1/track"),
        (AZURE, "https://dc.services.visualstudio.com@evil.example/"),
        (AZURE, "https://dc.services.visualstudio.com:port/"),
        (AZURE, "https://[::1/"),
        (AZURE, "ftp://dc.services.visualstudio.com/"),
        (AZURE, "file:///etc/passwd"),
        (AZURE, "//evil.example/v2.1/track"),
        (AZURE, "javascript:alert(1)"),
        (AZURE, ""),
        (AZURE, "   "),
        ("https://gate.example/v2.1/track", "https://dc.services.visualstudio.com/v2.1/track"),
        ("https://gate.example/v2.1/track", "https://a.gate.example/v2.1/track"),
        ("http://127.0.0.1:1/v2.1/track", "http://127.0.0.2:1/v2.1/track"),
    ],
)
def test_no_other_host_gets_the_items(start: str, location: str) -> None:
    """Neither a stranger nor a look-alike, never from https to http, no credentials in the address."""
    assert follow(start, location) is None


@pytest.mark.parametrize("location", ["https:\\\\evil.example", "\\\\evil.example", "evil.example"])
def test_what_only_looks_like_another_host_stays_at_home(location: str) -> None:
    """Back slashes and bare names are paths, as urllib and aiohttp read them."""
    followed = follow(AZURE, location)

    assert followed is None or URL(followed).host == URL(AZURE).host


def test_a_relative_location_is_resolved() -> None:
    """As RFC 9110 allows."""
    assert follow(AZURE, "/other") == AZURE.replace("/v2.1/track", "/other")
    assert follow(AZURE, " track2 ") == AZURE + "2"


def test_trust_is_in_the_configured_host_not_in_the_last_hop() -> None:
    """A chain cannot walk away from home one step at a time."""
    route = Endpoint("https://gate.example/v2.1/track", Clock())

    assert route.follow("https://gate.example:2/x", "")
    assert not route.follow("https://other.example/x", "")
    assert route.url == "https://gate.example:2/x"


@pytest.mark.parametrize(
    ("cache_control", "seconds"),
    [
        ("", DEFAULT_SECONDS),
        ("no-cache", DEFAULT_SECONDS),
        ("max-age=60", 60.0),
        ("private, MAX-AGE = 60, must-revalidate", 60.0),
        ("max-age=x", DEFAULT_SECONDS),
    ],
)
def test_a_redirect_holds_as_long_as_it_says(cache_control: str, seconds: float) -> None:
    """Its max-age, or 12 hours; then the configured address is asked again."""
    clock = Clock()
    route = Endpoint(AZURE, clock)
    target = "https://dc.services.visualstudio.com/v2.1/track"
    route.follow(target, cache_control)

    clock.now += seconds - 0.1
    assert route.url == target
    clock.now += 0.1
    assert route.url == AZURE


def test_a_redirect_that_may_not_be_cached_is_followed_still() -> None:
    """max-age=0 forbids to remember it, not to obey it."""
    clock = Clock()
    route = Endpoint(AZURE, clock)
    target = "https://dc.services.visualstudio.com/v2.1/track"

    assert route.follow(target, "no-store, max-age=0")
    assert route.url == target
    clock.now += 1.0
    assert route.url == AZURE


def test_a_route_that_does_not_answer_is_forgotten() -> None:
    """Back to what is configured."""
    route = Endpoint(AZURE, Clock())
    route.follow("https://dc.services.visualstudio.com/v2.1/track", "")
    route.forget()

    assert route.url == AZURE
