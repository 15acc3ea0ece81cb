"""What each golden request must become, worked out without the receiver.

Reads tests/golden/CASE/{request.bin,headers.json,metrics.json} and writes
expected.jsonl, one item a line. Snappy, protobuf and the rules for items are written
down here once more, in the plainest way, from their specifications: a mistake of the
receiver's cannot be in both. `python -m tests.golden.generate` renews all cases; look
at the difference before it is committed.
"""

import fnmatch
import hashlib
import json
import math
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEY = "11111111-2222-3333-4444-555555555555"
HOST = "golden-host"
FIRST = ["model", "version", "gpu_uuid", "reason", "quantile"]
LAST = ["job", "instance"]


def read_varint(data: bytes, place: int) -> tuple[int, int]:
    """Read a base-128 number; returns it and the place behind it."""
    number = shift = 0
    while True:
        byte = data[place]
        number |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return number, place


def unsnap(body: bytes) -> bytes:
    """Undo snappy's block format: literals and three kinds of copies."""
    length, place = read_varint(body, 0)
    out = bytearray()
    while place < len(body):
        tag = body[place]
        place += 1
        if tag & 3 == 0:
            size = tag >> 2
            if size >= 60:
                width = size - 59
                size = int.from_bytes(body[place : place + width], "little")
                place += width
            out += body[place : place + size + 1]
            place += size + 1
            continue
        if tag & 3 == 1:
            size, offset = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | body[place]
            place += 1
        else:
            width = 2 if tag & 3 == 2 else 4
            size, offset = (tag >> 2) + 1, int.from_bytes(body[place : place + width], "little")
            place += width
        for _ in range(size):
            out.append(out[-offset])
    assert len(out) == length
    return bytes(out)


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Walk a protobuf message: (number, value), bytes for what has a length."""
    place = 0
    while place < len(data):
        tag, place = read_varint(data, place)
        match tag & 7:
            case 0:
                value: Any
                value, place = read_varint(data, place)
            case 1:
                value, place = data[place : place + 8], place + 8
            case 2:
                size, place = read_varint(data, place)
                value, place = data[place : place + size], place + size
            case 5:
                value, place = data[place : place + 4], place + 4
        yield tag >> 3, value


def packed(value: int | bytes) -> list[int]:
    """Read repeated numbers, packed or one by one."""
    if isinstance(value, int):
        return [value]
    numbers, place = [], 0
    while place < len(value):
        number, place = read_varint(value, place)
        numbers.append(number)
    return numbers


def sample(data: bytes) -> tuple[float, int]:
    """Read a sample: value and time in milliseconds."""
    value, time = 0.0, 0
    for number, content in fields(data):
        if number == 1:
            (value,) = struct.unpack("<d", content)
        elif number == 2:
            time = content - (1 << 64) if content >= 1 << 63 else content
    return value, time


Series = tuple[list[tuple[bytes, bytes]], list[tuple[float, int]]]


def series_v1(data: bytes) -> Iterator[Series]:
    """List the series of prometheus.WriteRequest."""
    for number, content in fields(data):
        if number == 1:
            parts = list(fields(content))
            labels = [dict(fields(part)) for each, part in parts if each == 1]
            pairs = [(label.get(1, b""), label.get(2, b"")) for label in labels]
            yield pairs, [sample(part) for each, part in parts if each == 2]


def series_v2(data: bytes) -> Iterator[Series]:
    """List the series of io.prometheus.write.v2.Request."""
    symbols = [content for number, content in fields(data) if number == 4]
    for number, content in fields(data):
        if number == 5:
            parts = list(fields(content))
            refs = [ref for each, part in parts if each == 1 for ref in packed(part)]
            texts = [symbols[ref] for ref in refs]
            labels = list(zip(texts[::2], texts[1::2], strict=True))
            yield labels, [sample(part) for each, part in parts if each == 2]


def units(text: str) -> int:
    """Count as Application Insights does."""
    return len(text.encode("utf-16-le")) // 2


def cut(text: str, limit: int) -> str:
    """Shorten what is too long: what fits, `~`, and a digest of the whole."""
    if units(text) <= limit:
        return text
    kept = text
    while units(kept) > limit - 9:
        kept = kept[:-1]
    return kept + "~" + hashlib.blake2s(text.encode(), digest_size=4).hexdigest()


def place(label: str) -> tuple[int, str]:
    """Say where a label stands among an item's properties."""
    if label in FIRST:
        return FIRST.index(label) - 100, ""
    return (LAST.index(label) + 100, "") if label in LAST else (0, label)


def item(labels: dict[str, str], value: float, time_ms: int) -> dict[str, Any]:
    """Make the item of one sample."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    instance = labels.get("instance", HOST)
    if instance.split(":")[0] in ("localhost", "127.0.0.1"):
        instance = HOST
    properties = {
        cut(name, 150): cut(labels[name], 8192)
        for name in sorted(labels, key=place)
        if name != "__name__"
    }
    data: dict[str, Any] = {"ver": 2}
    if properties:
        data["properties"] = properties
    data["metrics"] = [{"name": labels["__name__"], "value": value}]
    return {
        "time": moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z",
        "name": "Microsoft.ApplicationInsights.Metric",
        "iKey": KEY,
        "tags": {
            "ai.cloud.role": cut(labels.get("job", "prometheus"), 256),
            "ai.cloud.roleInstance": cut(instance, 256),
        },
        "data": {"baseType": "MetricData", "baseData": data},
    }


def expected(case: Path) -> list[dict[str, Any]]:
    """Work out the items that a case's request must become, in the order sent."""
    headers = json.loads((case / "headers.json").read_text())
    wanted = json.loads((case / "metrics.json").read_text())["customMetrics"]
    data = unsnap((case / "request.bin").read_bytes())
    read = series_v2 if "write.v2" in headers["Content-Type"] else series_v1
    items = []
    for pairs, samples in read(data):
        try:
            labels = {name.decode(): value.decode() for name, value in pairs if value}
        except UnicodeDecodeError:
            continue
        name = labels.get("__name__", "")
        repeated = len({name for name, _ in pairs}) < len(pairs)
        if repeated or not name or units(name) > 1024:
            continue
        if any(fnmatch.fnmatchcase(name, glob) for glob in wanted):
            items += [item(labels, value, time) for value, time in samples if math.isfinite(value)]
    return items


def main() -> None:
    """Renew every case."""
    for case in sorted(path.parent for path in HERE.glob("*/request.bin")):
        lines = [json.dumps(each, ensure_ascii=False) + "\n" for each in expected(case)]
        (case / "expected.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{case.name}: {len(lines)} items")


if __name__ == "__main__":
    main()
