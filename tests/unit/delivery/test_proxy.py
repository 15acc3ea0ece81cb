"""Which proxy an address is reached through."""

import pytest

from receiver.delivery.proxy import Proxy, proxy_of
from receiver.errors import SettingsError

URL = "https://westeurope-5.in.applicationinsights.azure.com/v2.1/track"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": " "}, None),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://p:3128"}, Proxy("HTTPS_PROXY", "http", "p", 3128)),
        ({"HTTPS_PROXY": "http://a:1", "https_proxy": "b:2"}, Proxy("https_proxy", "http", "b", 2)),
        ({"HTTPS_PROXY": "p"}, Proxy("HTTPS_PROXY", "http", "p", 80)),
        ({"HTTPS_PROXY": "HTTPS://p/"}, Proxy("HTTPS_PROXY", "https", "p", 443)),
        ({"ALL_PROXY": "[::1]:8"}, Proxy("ALL_PROXY", "http", "::1", 8)),
        ({"ALL_PROXY": "http://a", "HTTPS_PROXY": "http://b"}, Proxy("HTTPS_PROXY", "http", "b", 80)),
        ({"HTTPS_PROXY": "http://u%40x:p%3A@p:1"}, Proxy("HTTPS_PROXY", "http", "p", 1, "Basic dUB4OnA6")),
        ({"HTTPS_PROXY": "http://:w@p:1"}, Proxy("HTTPS_PROXY", "http", "p", 1, "Basic Onc=")),
        ({"HTTPS_PROXY": "http://u@p:1"}, Proxy("HTTPS_PROXY", "http", "p", 1, "Basic dTo=")),
        ({"HTTPS_PROXY": "u:w@p:1"}, Proxy("HTTPS_PROXY", "http", "p", 1, "Basic dTp3")),
    ],
)  # fmt: skip
def test_the_environment_names_the_proxy(environ: dict[str, str], proxy: Proxy | None) -> None:
    """Lower case wins, ALL_PROXY is for what has none of its own, no scheme means http."""
    assert proxy_of(URL, environ) == proxy


def test_a_plain_address_has_a_proxy_of_its_own() -> None:
    """HTTP_PROXY is for http, HTTPS_PROXY is not."""
    environ = {"HTTP_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:1"}
    found = proxy_of("http://127.0.0.1:8/x", environ)
    assert found
    assert found.address == "http://a:1"


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", URL, True),
        ("azure.com", URL, True),
        (".azure.com", URL, True),
        ("*.azure.com", URL, True),
        ("localhost, AZURE.com", URL, True),
        ("localhost  azure.com", URL, True),
        ("azure.com:443", URL, True),
        ("azure.com:8443", URL, False),
        ("re.com", URL, False),
        ("azure.com", "https://AZURE.com./", True),
        (".azure.com.", URL, True),
        (",", URL, False),
        (".", URL, False),
        ("10.0.0.0/8", "https://10.2.3.4/", True),
        ("10.0.0.0/8", "https://11.2.3.4/", False),
        ("10.9.9.9/8", "https://10.2.3.4/", True),
        ("10.2.3.4", "https://10.2.3.4:8/", True),
        ("10.2.3.4:8", "https://10.2.3.4:8/", True),
        ("10.2.3.4:9", "https://10.2.3.4:8/", False),
        ("::1", "https://[::1]:8/", True),
        ("[::1]:8", "https://[::1]:8/", True),
        ("[::1]", "https://[::1]:8/", True),
        ("[::1]:9", "https://[::1]:8/", False),
        ("::1:8", "https://[::1]:8/", False),
        ("fe80::/10", "https://[::1]:8/", False),
    ],
)
def test_no_proxy_names_the_hosts_that_need_none(no_proxy: str, url: str, direct: bool) -> None:  # noqa: FBT001
    """Names with their subdomains, addresses, networks, and each of them at one port."""
    environ = {"HTTPS_PROXY": "http://p:1", "no_proxy": no_proxy}
    assert (proxy_of(url, environ) is None) is direct


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("socks5://user:hunter2@p:1080", r'HTTPS_PROXY is "socks5://p:1080": a socks5 proxy'),
        ("SOCKS4://p", "a socks4 proxy is not supported"),
        ("SOCKS5://user:hunter2@p:1080", r'HTTPS_PROXY is "SOCKS5://p:1080": a socks5 proxy'),
        ("http://user:hunt\ner2@[", r'HTTPS_PROXY is "http://\["'),
        ("http://", "not an address like"),
        ("http://user:hunter2@", "not an address like"),
        ("http://p:99999", "not an address like"),
        ("http://p:0", "not an address like"),
        ("http://p:hunter2@x:port", "not an address like"),
        ("http://[::1", "not an address like"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(text: str, said: str) -> None:
    """The variable and what may stand there, and no password; but not where NO_PROXY has the host."""
    with pytest.raises(SettingsError, match=said) as refused:
        proxy_of(URL, {"HTTPS_PROXY": text})
    assert "hunter2" not in str(refused.value)
    assert proxy_of(URL, {"HTTPS_PROXY": text, "NO_PROXY": "azure.com"}) is None


def test_a_proxy_is_shown_as_an_address() -> None:
    """Without its password; an IPv6 address in brackets."""
    assert (
        Proxy("HTTPS_PROXY", "https", "::1", 3128, "Basic secret").address == "https://[::1]:3128"
    )
    assert Proxy("HTTPS_PROXY", "http", "p", 80).address == "http://p:80"


def test_what_is_shown_of_a_wrong_address_is_bounded() -> None:
    """A text that was put into the wrong variable is no reason for a page of it."""
    with pytest.raises(SettingsError) as refused:
        proxy_of(URL, {"HTTPS_PROXY": "http://" + "z" * 500 + ":0"})
    assert str(refused.value).count("z") == 93
