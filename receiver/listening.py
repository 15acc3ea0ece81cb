"""Sockets to listen on, for one process or for several on one port.

In: an address that an operator has set. Out: a socket that listens; or one that only
holds the port, so that several processes can listen there with SO_REUSEPORT, and the
kernel spreads connections over them. One that holds does not listen: a listening one
that nobody accepts from would get its share of the connections too.
Rules: socket(7), ip(7).
"""

import socket

from receiver.errors import SettingsError
from receiver.settings import Address

BACKLOG = 1024


def listen(address: Address, *, shared: bool = False) -> socket.socket:
    """Listen at an address; `shared` with other processes of this user. Raises: SettingsError."""
    try:
        family, place = _resolve(address)
        return socket.create_server(place, family=family, backlog=BACKLOG, reuse_port=shared)
    except OSError as error:
        raise _cannot_listen(address, error) from error


def hold(address: Address) -> socket.socket:
    """Take a port, for processes that will share it, and find it where it is 0.

    Without SO_REUSEPORT, so that it fails where anybody listens already, another
    receiver with workers included. Raises: SettingsError.
    """
    held = None
    try:
        family, place = _resolve(address)
        held = socket.socket(family, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        held.bind(place)
    except OSError as error:
        if held:
            held.close()
        raise _cannot_listen(address, error) from error
    return held


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
