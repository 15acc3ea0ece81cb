"""A web page of another site can neither write nor read; programs are not in the way."""

import pytest

from receiver.cross_origin import refusal

HOST = "127.0.0.1:9201"
OWN = ("gpu-box.example.com",)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "chrome-extension://127.0.0.1:9201"},
        {"Origin": "http://127.0.0.1:9201.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "whatever comes"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_another_site_s_page_changes_nothing(method: str, headers: dict[str, str]) -> None:
    """Whatever the method; over plain HTTP to a name there is an Origin alone."""
    assert refusal(method, {"Host": HOST, **headers})


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", {"Host": HOST}),
        ("POST", {}),
        ("POST", {"Host": HOST, "Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"}),
        ("POST", {"Host": HOST, "Origin": f"HTTP://{HOST}"}),
        ("POST", {"Host": "receiver.example", "Origin": "https://receiver.example"}),
        ("POST", {"Host": "receiver.example:443", "Origin": "https://receiver.example"}),
        ("POST", {"Host": "receiver.example", "Origin": "http://receiver.example:80"}),
        ("POST", {"Host": "[::1]:9201", "Origin": "http://[::1]:9201"}),
        ("POST", {"Host": "[::1]", "Origin": "http://[::1]"}),
        ("POST", {"Host": "[::1]:80", "Origin": "http://[::1]"}),
        ("POST", {"Host": "[::1]", "Origin": "https://[::1]:443"}),
        ("POST", {"Host": HOST, "Sec-Fetch-Site": "none"}),
        ("GET", {"Host": HOST, "Origin": "http://evil.example"}),
        ("HEAD", {"Host": HOST, "Sec-Fetch-Site": "cross-site"}),
    ],
)
def test_our_page_and_programs_may(method: str, headers: dict[str, str]) -> None:
    """And whoever reads: no answer says that another site's page may see it."""
    assert refusal(method, headers) == ""


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:9201", "127.0.0.1.evil.example:9201", "localhost.evil.example",
        "evil.example.", "xlocalhost.example", "[::1", "evil.example@127.0.0.1.x.y",
    ],
)  # fmt: skip
def test_a_name_that_somebody_points_here_is_refused(method: str, host: str) -> None:
    """DNS rebinding: the page's own name, on our address."""
    assert refusal(method, {"Host": host, "Origin": f"http://{host}"}, OWN)
    assert refusal("GET", {"Host": host}, OWN)


@pytest.mark.parametrize(
    "host",
    [
        HOST, "localhost:9201", "LOCALHOST", "[::1]:9201", "10.0.0.1:80", "receiver:9201", "",
        "a.localhost:9201", "gpu-box.example.com:9201", "GPU-box.example.com.",
    ],
)  # fmt: skip
def test_names_of_this_machine_are_served(host: str) -> None:
    """Addresses, names that no public DNS has, and its own."""
    assert refusal("GET", {"Host": host}, OWN) == ""


def test_where_credentials_are_asked_for_any_host_will_do() -> None:
    """A proxy's name, a service's: a stranger's page has no credentials."""
    assert refusal("GET", {"Host": "receiver.example"}, None) == ""
