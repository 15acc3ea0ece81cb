"""The socket to listen on, as an operator has set it. Rules: socket(7), ip(7)."""

import socket

from receiver.config.settings import Address
from receiver.errors import SettingsError

BACKLOG = 1024


def listen(address: Address) -> socket.socket:
    """Listen at an address. Raises: SettingsError."""
    try:
        family, place = _resolve(address)
        return socket.create_server(place, family=family, backlog=BACKLOG)
    except OSError as error:
        raise _cannot_listen(address, error) from error


def address_of(listener: socket.socket) -> Address:
    """Say where a socket is, its port known."""
    return Address(*listener.getsockname()[:2])


def _resolve(address: Address) -> tuple[socket.AddressFamily, tuple[str, int]]:
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    family, *_, place = found[0]
    return family, (str(place[0]), int(place[1]))


def _cannot_listen(address: Address, error: OSError) -> SettingsError:
    return SettingsError(
        f"cannot listen on {address}: {error.strerror}; name another with RECEIVER_LISTEN or --listen"
    )
