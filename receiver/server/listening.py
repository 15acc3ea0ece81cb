"""The listening socket, and the number of connections that file descriptors allow.

In: an address, and the configured number of connections. Out: a socket, and the possible number:
the process' limit on open files is raised as far as permitted, and some are reserved for the
outbox, delivery and the log. Rules: socket(7), ip(7), getrlimit(2).
"""

import errno
import resource
import socket

import structlog

from receiver.config.settings import Address
from receiver.errors import SettingsError

BACKLOG = 1024
RESERVED = 64
"""File descriptors for the outbox, delivery and the log."""

log = structlog.get_logger()


def listen(address: Address) -> socket.socket:
    """Listen at an address. Raises: SettingsError."""
    try:
        if address.host == "::":
            return _listen_everywhere(address.port)
        family, socket_address = _resolve(address)
        return socket.create_server(socket_address, family=family, backlog=BACKLOG)
    except OSError as error:
        raise _cannot_listen(address, error) from error


def _listen_everywhere(port: int) -> socket.socket:
    """Listen on IPv6 and IPv4 at once, as Go means [::]; on IPv4 alone where there is no IPv6."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
            )
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise
    return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104 - as configured


def address_of(listener: socket.socket) -> Address:
    """Return a socket's bound address."""
    return Address(*listener.getsockname()[:2])


def _resolve(address: Address) -> tuple[socket.AddressFamily, tuple[str, int]]:
    candidates = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    family, *_, socket_address = candidates[0]
    return family, (str(socket_address[0]), int(socket_address[1]))


def _cannot_listen(address: Address, error: OSError) -> SettingsError:
    return SettingsError(
        f"cannot listen on {address}: {error.strerror}; name another with RECEIVER_LISTEN or --listen"
    )


def allow(connections: int) -> None:
    """Raise the limit on open files for these connections and the reserve, as far as permitted."""
    wanted = connections + RESERVED
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= wanted:
        return
    allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    if allowed < wanted:
        log.warning(
            "fewer connections than configured",
            file_descriptors=allowed,
            hint="Raise the limit on open files (ulimit -n), or lower RECEIVER_CONNECTIONS_MAX.",
        )


def room_for(connections: int) -> int:
    """Return the possible number of connections: fewer where descriptors are scarce."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return connections
    return min(connections, max(files - RESERVED, files // 2))
