"""A port is taken whole, or an operator is told why not."""

import socket

import pytest

from receiver.config.settings import Address
from receiver.errors import SettingsError
from receiver.server.listening import address_of, listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_is_shared_with_no_other(host: str) -> None:
    """A second receiver at the same address is refused by name."""
    with (
        listen(Address(host, 0)) as alone,
        pytest.raises(SettingsError, match=r"cannot listen on .*--listen"),
    ):
        listen(address_of(alone))


def test_a_host_that_is_none_is_reported() -> None:
    """As a setting that cannot be used."""
    with pytest.raises(SettingsError, match=r"cannot listen on 192\.0\.2\.1:0"):
        listen(Address("192.0.2.1", 0))


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
def test_all_addresses_are_those_of_both_families() -> None:
    """[::]:9201 as Go means it, and :9201 too."""
    with listen(Address("::", 0)) as both:
        port = both.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()
        with pytest.raises(SettingsError, match="cannot listen"):
            listen(Address("127.0.0.1", port))


def test_all_addresses_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPv4's alone."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listen(Address("::", 0)) as alone:
        assert alone.family is socket.AF_INET
