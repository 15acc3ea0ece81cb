"""A port can be held for several, and is never shared unasked."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from receiver.errors import SettingsError
from receiver.listening import address_of, hold, listen
from receiver.settings import Address


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Close all sockets in the end."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_held_is_shared_by_those_who_were_told(stack: ExitStack, host: str) -> None:
    """The holder gets no connection; each that listens gets some."""
    held = stack.enter_context(hold(Address(host, 0)))
    address = address_of(held)
    listeners = [stack.enter_context(listen(address, shared=True)) for _ in range(2)]
    got = [0, 0]
    for _ in range(64):
        stack.enter_context(socket.create_connection((address.host, address.port)))
    for number, listener in enumerate(listeners):
        listener.settimeout(0)
        while True:
            try:
                stack.enter_context(listener.accept()[0])
            except BlockingIOError:
                break
            got[number] += 1

    assert sum(got) == 64
    assert all(got)


def test_nobody_else_takes_a_port_where_others_listen(stack: ExitStack) -> None:
    """Neither one that would listen alone, nor one that would hold it for its own workers."""
    alone = stack.enter_context(listen(Address("127.0.0.1", 0)))
    held = stack.enter_context(hold(Address("127.0.0.1", 0)))
    stack.enter_context(listen(address_of(held), shared=True))

    for address in (address_of(alone), address_of(held)):
        for take in (listen, hold):
            with pytest.raises(SettingsError, match=f"cannot listen on {address}.*--listen"):
                take(address)
    with pytest.raises(SettingsError, match="cannot listen"):
        listen(address_of(alone), shared=True)


def test_a_host_that_is_none_is_told() -> None:
    """As a setting that cannot be used."""
    for take in (listen, hold):
        with pytest.raises(SettingsError, match=r"cannot listen on 192\.0\.2\.1:0"):
            take(Address("192.0.2.1", 0))
