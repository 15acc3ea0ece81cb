"""A remote_write's address leads to the receiver, or is answered 404, or goes through a proxy."""

import pytest

from receiver.cli.prometheus.addresses import Fit, best, fit, masked, right


@pytest.mark.parametrize(
    ("url", "how"),
    [
        ("http://localhost:9201/api/v1/write", Fit.LOCAL),
        ("http://127.0.0.1:9201/api/v1/write", Fit.LOCAL),
        ("https://[::1]:9201/api/v1/write", Fit.LOCAL),
        ("http://user:secret@receiver:9201/api/v1/write", Fit.EXACT),
        ("http://receiver/api/v1/write", Fit.PROXIED),
        ("https://telemetry.example.com/api/v1/write", Fit.PROXIED),
        ("http://receiver:9201/api/v1/write/", Fit.MISSPELT),
        ("http://receiver:9201/prefix/api/v1/write", Fit.MISSPELT),
        ("http://receiver:9201", Fit.MISSPELT),
        ("http://receiver:9201/api/v1/push", Fit.MISSPELT),
        ("https://telemetry.example.com/triton/api/v1/write", Fit.PREFIXED),
        ("https://telemetry.example.com/api/v1/write/", Fit.PREFIXED),
        ("http://mimir:9009/api/v1/push", Fit.OTHER),
        ("http://[", Fit.OTHER),
        ("", Fit.OTHER),
        ("http://x:99999/api/v1/write", Fit.OTHER),
    ],
)
def test_how_an_address_fits(url: str, how: Fit) -> None:
    """The receiver answers one path; what stands between may map any port to it."""
    assert fit(url, 9201) is how


def test_the_nearest_of_several_counts() -> None:
    """That of this machine before another's of the same port."""
    entries = [("http://other:9201/api/v1/write", 1), ("http://localhost:9201/api/v1/write", 2), ("http://x/", 3)]  # fmt: skip
    assert best(entries, 9201) == (Fit.LOCAL, [2])
    assert best([], 9201) == (Fit.OTHER, [])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://prom:hunter2@localhost:9201/x", "http://***@localhost:9201/x"),
        ("http://token@r/x and https://a:b@c", "http://***@r/x and https://***@c"),
        ("http://a:p@ss@host/x", "http://***@host/x"),
        ("http://host/a@b", "http://host/a@b"),
    ],
)
def test_passwords_are_masked(text: str, shown: str) -> None:
    """In any text, whatever else is there."""
    assert masked(text) == shown


def test_the_right_spelling_has_no_password() -> None:
    """It is shown to people."""
    assert right("http://a:b@r:9201/prefix/api/v1/write/?x=1") == "http://***@r:9201/api/v1/write"
