"""A port is taken whole, or an operator is told why not."""

import pytest

from receiver.config.settings import Address
from receiver.errors import SettingsError
from receiver.server.listen import address_of, listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_is_shared_with_no_other(host: str) -> None:
    """A second receiver at the same address is refused by name."""
    with (
        listen(Address(host, 0)) as alone,
        pytest.raises(SettingsError, match=r"cannot listen on .*--listen"),
    ):
        listen(address_of(alone))


def test_a_host_that_is_none_is_told() -> None:
    """As a setting that cannot be used."""
    with pytest.raises(SettingsError, match=r"cannot listen on 192\.0\.2\.1:0"):
        listen(Address("192.0.2.1", 0))
