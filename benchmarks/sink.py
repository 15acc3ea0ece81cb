"""Where all contestants deliver to: it counts what arrives, and accepts everything.

A program of its own: `python -m benchmarks.sink PORT`. It knows Application Insights'
batches (gzip, a line an item) and remote-write (snappy, a sample a series), tells them
apart by their headers, and says at GET /count what it has seen. It checks nothing.
"""

import asyncio
import json
import sys

import snappy
from isal import igzip

from receiver.intake.wire.remote_write_lean_pb2 import OpaqueWriteRequest


class Counts:
    """What has arrived: items, or samples; requests; bytes as they came."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.items = self.requests = self.size_bytes = 0

    def take(self, headers: bytes, body: bytes) -> bytes:
        """Count one body, and answer as its sender expects."""
        self.requests += 1
        self.size_bytes += len(body)
        if b"content-encoding: snappy" in headers:
            self.items += len(OpaqueWriteRequest.FromString(snappy.uncompress(body)).timeseries)
            return b""
        items = igzip.decompress(body).count(b"\n")  # type: ignore[no-untyped-call]
        self.items += items
        return b'{"itemsReceived":%d,"itemsAccepted":%d,"errors":[]}' % (items, items)


class Connection(asyncio.Protocol):
    """HTTP, as much of it as the contestants need: bodies of known length, kept alive."""

    def __init__(self, counts: Counts) -> None:
        """Count into `counts`."""
        self._counts = counts
        self._received = bytearray()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers go to."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            headers = bytes(self._received[:end]).lower()
            _, _, after = headers.partition(b"content-length:")
            size = int(after.split(b"\r\n", 1)[0]) if after else 0
            if len(self._received) < end + 4 + size:
                return
            body = bytes(self._received[end + 4 : end + 4 + size])
            del self._received[: end + 4 + size]
            answer = self._answer(headers, body)
            assert isinstance(self._transport, asyncio.WriteTransport)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
            self._transport.write(answer)

    def _answer(self, headers: bytes, body: bytes) -> bytes:
        if headers.startswith(b"get /count"):
            return json.dumps(vars(self._counts)).encode()
        return self._counts.take(headers, body) if body else b""


async def serve(port: int) -> None:
    """Listen until the process is ended."""
    counts = Counts()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(counts), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
