"""Know which ports of this machine can be had."""

import errno
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields

LOOPBACK = "127.0.0.1"
HIGHEST_PORT = 65535


class BadPorts(Exception):
    """The ports asked for cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Ports:
    """Where each part listens, on loopback."""

    triton_http: int = 8000
    triton_grpc: int = 8001
    triton_metrics: int = 8002
    prometheus: int = 9090
    receiver: int = 9201
    sandbox: int = 9202

    def moved(self, offset: int) -> "Ports":
        """Return these ports, each higher by `offset`."""
        return Ports(**{port.name: getattr(self, port.name) + offset for port in fields(self)})

    def named(self) -> dict[str, int]:
        """Return each port under the name that a person knows it by."""
        return {
            "Triton's HTTP": self.triton_http,
            "Triton's gRPC": self.triton_grpc,
            "Triton's metrics": self.triton_metrics,
            "Prometheus": self.prometheus,
            "the receiver": self.receiver,
            "the sandbox": self.sandbox,
        }


def ports_from(environ: Mapping[str, str]) -> Ports:
    """Return the default ports, moved by PORT_OFFSET.

    Raises: BadPorts.
    """
    text = environ.get("PORT_OFFSET") or "0"
    limit = HIGHEST_PORT - max(Ports().named().values())
    if not text.isascii() or not text.isdigit() or int(text) > limit:
        raise BadPorts(f"PORT_OFFSET={text} must be a number from 0 to {limit}.")
    return Ports().moved(int(text))


def refuse_taken(ports: Ports, offset_step: int = 100) -> None:
    """Return if each of `ports` is free.

    Raises: BadPorts, naming the first that is taken and an offset at which all are free.
    """
    taken = [(name, port) for name, port in ports.named().items() if not is_free(port)]
    if not taken:
        return
    name, port = taken[0]
    offsets = range(offset_step, HIGHEST_PORT - max(Ports().named().values()), offset_step)
    free = (o for o in offsets if all(map(is_free, Ports().moved(o).named().values())))
    raise BadPorts(
        f"Port {port}, which is for {name}, is taken by another program. "
        f"End that program, or move all ports: make run PORT_OFFSET={next(free, offset_step)}"
    )


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` of loopback now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen()
        except OSError as error:
            if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
                raise
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Return `count` ports, each different, that the system had free a moment ago."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((LOOPBACK, 0))
        return [probe.getsockname()[1] for probe in probes]
