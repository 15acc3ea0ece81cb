"""Remote-write requests, made and read without the receiver's own decoder.

`Point` is one sample with its labels; `encode` makes a request's body of points,
`decode` reads one. Plain protobuf (the generated classes) and snappy, nothing else.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import aiohttp
import snappy

from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.intake.wire.remote_write_v2_pb2 import Request

HEADERS: Mapping[int, Mapping[str, str]] = {
    1: {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
        "User-Agent": "Prometheus/2.42.0",
    },
    2: {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "X-Prometheus-Remote-Write-Version": "2.0.0",
        "User-Agent": "Prometheus/3.5.3",
    },
}


class Point(NamedTuple):
    """A sample; `labels` are (name, value) pairs in byte order, the name label not among them."""

    name: str
    labels: tuple[tuple[str, str], ...]
    timestamp_ms: int
    value: float

    @property
    def is_finite(self) -> bool:
        """Whether Application Insights can hold it."""
        return math.isfinite(self.value)


def numbered(shard: int, first: int, count: int, timestamp_ms: int) -> list[Point]:
    """Make `count` points of a stream: value and time both say the number; 50 series a shard."""
    return [
        Point(
            "nv_stream",
            (("series", str(number % 50)), ("shard", str(shard))),
            timestamp_ms + number,
            float(number),
        )
        for number in range(first, first + count)
    ]


def encode(points: Iterable[Point], version: int = 1) -> bytes:
    """Make the body of a request, one series a point, as Prometheus does."""
    return _encode_v1(points) if version == 1 else _encode_v2(points)


def _encode_v1(points: Iterable[Point]) -> bytes:
    request = WriteRequest()
    for point in points:
        series = request.timeseries.add()
        named = [("__name__", point.name)] if point.name else []
        for label, value in [*named, *point.labels]:
            series.labels.add(name=label.encode(), value=value.encode())
        series.samples.add(value=point.value, timestamp=point.timestamp_ms)
    return bytes(snappy.compress(request.SerializeToString()))


def _encode_v2(points: Iterable[Point]) -> bytes:
    symbols = {b"": 0}
    request = Request()
    for point in points:
        series = request.timeseries.add()
        named = [("__name__", point.name)] if point.name else []
        for label, value in [*named, *point.labels]:
            for text in (label.encode(), value.encode()):
                series.labels_refs.append(symbols.setdefault(text, len(symbols)))
        series.samples.add(value=point.value, timestamp=point.timestamp_ms)
    request.symbols.extend(symbols)
    return bytes(snappy.compress(request.SerializeToString()))


def decode(body: bytes, version: int) -> list[Point]:
    """Read the points of a body."""
    raw = snappy.uncompress(body)
    points: list[Point] = []
    if version == 1:
        for series in WriteRequest.FromString(raw).timeseries:
            labels = {each.name.decode(): each.value.decode() for each in series.labels}
            points += [_point(labels, each.timestamp, each.value) for each in series.samples]
        return points
    request = Request.FromString(raw)
    texts = [symbol.decode() for symbol in request.symbols]
    for series2 in request.timeseries:
        refs = series2.labels_refs
        labels = {texts[refs[i]]: texts[refs[i + 1]] for i in range(0, len(refs), 2)}
        points += [_point(labels, each.timestamp, each.value) for each in series2.samples]
    return points


def _point(labels: dict[str, str], timestamp_ms: int, value: float) -> Point:
    name = labels.pop("__name__", "")
    return Point(name, tuple(sorted(labels.items())), timestamp_ms, value)


class Reply(NamedTuple):
    """What the receiver answered."""

    status: int
    headers: Mapping[str, str]
    text: str


async def post(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    version: int = 1,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send a body to a receiver at `url`; `headers` replace what Prometheus sends."""
    async with session.post(
        f"{url}/api/v1/write", data=body, headers={**HEADERS[version], **(headers or {})}
    ) as response:
        return Reply(response.status, response.headers, await response.text())


async def half_sent(url: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the first half of a request, and return when the receiver has it."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS[1].items())
    writer.write(
        f"POST /api/v1/write HTTP/1.1\r\nHost: a\r\n{head}Content-Length: {len(body)}\r\n"
        "Expect: 100-continue\r\n\r\n".encode()
    )
    assert b" 100 " in await reader.readline()
    await reader.readline()
    writer.write(body[: len(body) // 2])
    await writer.drain()
    return reader, writer
