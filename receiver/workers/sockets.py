"""Frames over sockets, for a thread that waits and for an event loop that does not.

In and out: frames. Raises EOFError or OSError when whoever is at the other end is gone,
amid a frame as well.
"""

import asyncio
import socket
from typing import Self

from receiver.workers.wire import PREFIX, Frame, read_head, to_bytes

BUFFER_BYTES = 1 << 20


def send(to: socket.socket, frame: Frame) -> None:
    """Send a frame, and wait until the system has it."""
    to.sendall(to_bytes(frame))


def receive(source: socket.socket) -> Frame:
    """Wait for a frame."""
    head_length, tail_length = PREFIX.unpack(_receive_exactly(source, PREFIX.size))
    head = _receive_exactly(source, head_length)
    return Frame(read_head(head), _receive_exactly(source, tail_length))


def _receive_exactly(source: socket.socket, length: int) -> bytes:
    found = bytearray(length)
    rest = memoryview(found)
    while rest:
        count = source.recv_into(rest)
        if not count:
            raise EOFError("the other process is gone")
        rest = rest[count:]
    return bytes(found)


class Frames:
    """Frames over a socket, in an event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use an open connection."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, connection: socket.socket) -> Self:
        """Take a connected socket, which is closed with this."""
        return cls(*await asyncio.open_connection(sock=connection, limit=BUFFER_BYTES))

    async def send(self, frame: Frame) -> None:
        """Send a frame; returns when there is room for another."""
        self._writer.write(to_bytes(frame))
        await self._writer.drain()

    async def receive(self) -> Frame:
        """Wait for a frame."""
        head_length, tail_length = PREFIX.unpack(await self._reader.readexactly(PREFIX.size))
        head = await self._reader.readexactly(head_length)
        return Frame(read_head(head), await self._reader.readexactly(tail_length))

    def close(self) -> None:
        """Close the socket."""
        self._writer.close()
