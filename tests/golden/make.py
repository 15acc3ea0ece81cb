"""The golden requests that no sender was asked for: odd values, odd labels.

Spelt with a few lines of protobuf and snappy of their own, so that nothing of the
receiver is in them. `python -m tests.golden.make` writes them again.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
V1 = "application/x-protobuf"
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
TIME = 1795344181884
STALE: float = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]

Labels = Sequence[tuple[str | bytes, str | bytes]]
Series = tuple[Labels, Sequence[tuple[float, int]]]


def varint(number: int) -> bytes:
    """Spell a base-128 number."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def part(number: int, content: bytes) -> bytes:
    """Spell a field that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def snap(data: bytes) -> bytes:
    """Spell a snappy block of literals alone."""
    out = varint(len(data))
    for start in range(0, len(data), 60):
        piece = data[start : start + 60]
        out += bytes([len(piece) - 1 << 2]) + piece
    return out


def as_bytes(text: str | bytes) -> bytes:
    """Names and values are bytes on the wire."""
    return text.encode() if isinstance(text, str) else text


def sample(value: float, time: int) -> bytes:
    """Spell a sample."""
    return b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time)


def v1(series: Iterable[Series]) -> bytes:
    """Spell a request of 1.0."""
    out = b""
    for labels, samples in series:
        content = b"".join(
            part(1, part(1, as_bytes(name)) + part(2, as_bytes(value))) for name, value in labels
        )
        out += part(1, content + b"".join(part(2, sample(*each)) for each in samples))
    return out


def v2(series: Iterable[Series]) -> bytes:
    """Spell a request of 2.0."""
    symbols: dict[bytes, int] = {b"": 0}
    out = b""
    for labels, samples in series:
        refs = [
            symbols.setdefault(as_bytes(text), len(symbols)) for pair in labels for text in pair
        ]
        content = part(1, b"".join(map(varint, refs)))
        out += part(5, content + b"".join(part(2, sample(*each)) for each in samples))
    return b"".join(part(4, symbol) for symbol in symbols) + out


def named(name: str, **labels: str) -> Labels:
    """List labels with the name first."""
    return [("__name__", name), *labels.items()]


VALUES = (math.nan, STALE, math.inf, -math.inf, -0.0, 0.1, 5e-324, 1.7976931348623157e308, -1e22, 2**53 + 2)  # fmt: skip

CASES: Mapping[str, tuple[str, Sequence[Series], Sequence[str]]] = {
    "made-values-that-are-no-numbers": (
        V1,
        [
            *((named("nv_a", n=str(n)), [(value, TIME + n)]) for n, value in enumerate(VALUES)),
            (named("nv_many"), [(value, TIME + n) for n, value in enumerate(VALUES)]),
            (named("nv_times"), [(1.0, 0), (2.0, -1), (3.0, 253402300799999), (4.0, 999)]),
        ],
        ["nv_*"],
    ),
    "made-labels-of-many-tongues": (
        V2,
        [
            (named("nv_ünï.code d", größe="日本語 🎉", quote='"\\\n\t\x00\x7f', line="a\u2028b"), [(1.5, TIME)]),
            (named("nv_order", zone="z", job="j", instance="gpu-7:8002", Alpha="A", alpha="a", quantile="0.5", reason="r", gpu_uuid="GPU-1", version="1", model="m"), [(2.0, TIME)]),
            (named("nv_empty", job="", instance="", model="", x="1"), [(3.0, TIME)]),
            (named("nv_here", job="triton", instance="localhost:8002"), [(4.0, TIME)]),
            (named("nv_there", job="triton", instance="127.0.0.1:8002"), [(5.0, TIME)]),
            ([("Zone", "first"), ("model", "m"), ("__name__", "nv_last")], [(6.0, TIME)]),
        ],
        ["nv_*"],
    ),
    "made-labels-that-are-too-long": (
        V1,
        [
            (named("nv_limit", **{"k" * 150: "v" * 8192}), [(1.0, TIME)]),
            (named("nv_over", **{"k" * 151: "v" * 8193}), [(2.0, TIME)]),
            (named("nv_pair", a="x" * 8182 + "🎉" * 10, b="é" * 9000), [(3.0, TIME)]),
            (named("nv_alike", **{"k" * 150 + "1": "1", "k" * 150 + "2": "2"}), [(4.0, TIME)]),
            (named("nv_role", job="j" * 300, instance="i" * 300), [(5.0, TIME)]),
            (named("nv_" + "n" * 1021), [(6.0, TIME)]),
            (named("nv_" + "n" * 1022), [(7.0, TIME)]),
        ],
        ["nv_*"],
    ),
    "made-bad-series-among-good": (
        V1,
        [
            (named("nv_good", model="a"), [(1.0, TIME)]),
            ([("job", "nameless")], [(2.0, TIME)]),
            ([("__name__", "nv_twice"), ("x", "1"), ("x", "2")], [(3.0, TIME)]),
            ([("__name__", "nv_broken"), ("x", b"\xff\xfe")], [(4.0, TIME)]),
            ([("__name__", b"nv_\xc3")], [(5.0, TIME)]),
            (named("other"), [(6.0, TIME)]),
            (named("nv_good", model="b"), [(7.0, TIME)]),
        ],
        ["nv_*"],
    ),
}  # fmt: skip


def main() -> None:
    """Write every case's request, headers and metrics.json."""
    for name, (content_type, series, wanted) in CASES.items():
        case = HERE / name
        case.mkdir(exist_ok=True)
        raw = v1(series) if content_type == V1 else v2(series)
        (case / "request.bin").write_bytes(snap(raw))
        headers = {"Content-Type": content_type, "Content-Encoding": "snappy"}
        (case / "headers.json").write_text(json.dumps(headers, indent=2) + "\n")
        metrics = json.dumps({"customMetrics": wanted}, indent=2)
        (case / "metrics.json").write_text(metrics + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
