"""Requests to measure with: the same for everybody, made from a seed.

Two kinds of series: `triton` (a few labels, the names of Triton's metrics) and
`kubernetes` (some 400 names, 8 to 12 labels). A request holds one sample of each of
its series, like Prometheus' own; a quarter of the series stay at 0. The series of one
target share a time. Every `SCRAPES` times through, times and values are the same
again: `unique` makes each body differ all the same, since the receiver knows a
request that comes twice.
"""

import itertools
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import snappy

from receiver.triton import METRIC_NAMES

SEED = 20260831
SCRAPES = 5
SERIES_PER_TARGET = 250
START_MS = 1_790_000_000_000
INTERVAL_MS = 15_000
ZERO_SHARE = 0.25
SELECTED_PREFIX = "selected_"
"""What the names of the series that are to be selected begin with."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sent: `series` in all, `per_request` at once, `selected` of 100 of them wanted.

    `churn` of 100 series are new in each request. `version` is remote-write's.
    """

    kind: str = "kubernetes"
    series: int = 20_000
    per_request: int = 2_000
    selected: int = 10
    churn: int = 0
    version: int = 1

    @property
    def name(self) -> str:
        """Say it in a few words, for a table."""
        parts = [self.kind, f"{self.per_request} a request", f"{self.selected} % selected"]
        parts += [f"{self.churn} % churn"] if self.churn else []
        parts += ["remote-write 2.0"] if self.version == 2 else []
        parts += [f"{self.series} series"] if self.series != 20_000 else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Request:
    """One body, and what is in it."""

    body: bytes
    samples: int
    selected: int


Labels = tuple[tuple[bytes, bytes], ...]


def make_requests(workload: Workload) -> list[Request]:
    """Make `SCRAPES` scrapes of all series, cut into requests."""
    chance = random.Random(f"{SEED} {workload}")
    series = [make_labels(workload, number, chance) for number in range(workload.series)]
    requests = []
    newcomers = workload.series
    for scrape in range(SCRAPES):
        for start in range(0, len(series), workload.per_request):
            part = series[start : start + workload.per_request]
            for _ in range(len(part) * workload.churn // 100):
                part[chance.randrange(len(part))] = make_labels(workload, newcomers, chance)
                newcomers += 1
            requests.append(_request(workload, part, start, scrape, chance))
    return requests


def _request(
    workload: Workload, part: Sequence[Labels], start: int, scrape: int, chance: random.Random
) -> Request:
    samples = [
        (_value(start + place, chance), _time(scrape, start + place)) for place in range(len(part))
    ]
    encode = encode_v1 if workload.version == 1 else encode_v2
    raw = encode(part, samples)
    wanted = sum(labels[0][1].startswith(SELECTED_PREFIX.encode()) for labels in part)
    return Request(bytes(snappy.compress(raw)), len(part), wanted)


def _time(scrape: int, number: int) -> int:
    target = number // SERIES_PER_TARGET
    return START_MS + scrape * INTERVAL_MS + target * 7919 % INTERVAL_MS


def _value(number: int, chance: random.Random) -> float:
    if number * 61 % 100 < ZERO_SHARE * 100:  # a counter of what never happens stays at 0
        return 0.0
    kind = chance.random()
    if kind < 0.6:
        return float(chance.randrange(1, 10_000_000))
    return float(chance.random() * 10 ** chance.randrange(-3, 9))


_HEADS = [
    "container_cpu",
    "container_memory",
    "kube_pod",
    "kube_deployment",
    "apiserver_request",
    "node_network",
    "node_disk",
    "etcd_request",
    "rest_client",
    "workqueue",
]
_TAILS = [
    "seconds_total",
    "bytes",
    "requests_total",
    "duration_seconds_bucket",
    "errors_total",
    "usage_bytes",
    "info",
    "status_phase",
]


def make_labels(workload: Workload, number: int, chance: random.Random) -> Labels:
    """Make up the labels of series `number`, the name first; other labels sorted."""
    make = _triton if workload.kind == "triton" else _kubernetes
    name, labels = make(number, chance)
    if number * 37 % 100 < workload.selected:
        name = SELECTED_PREFIX + name
    pairs = [("__name__", name), *sorted(labels.items())]
    return tuple((label.encode(), value.encode()) for label, value in pairs)


def _triton(number: int, _: random.Random) -> tuple[str, dict[str, str]]:
    names = sorted(METRIC_NAMES)
    labels = {
        "instance": f"10.0.{number // 8000}.{number // 500 % 16}:8002",
        "job": "triton",
        "model": f"model_{number // len(names):04}",
        "version": "1",
    }
    return names[number % len(names)], labels


def _kubernetes(number: int, chance: random.Random) -> tuple[str, dict[str, str]]:
    name = f"{_HEADS[number % 10]}_{number // 10 % 5}_{_TAILS[number // 50 % 8]}"
    pod = f"service-{number // 40 % 200:03}-{number * 2654435761 % 2**32:08x}-{number % 1000:05}"
    labels = {
        "cluster": "production-westeurope-1",
        "container": f"container-{number % 7}",
        "endpoint": "https-metrics",
        "id": f"/kubepods/burstable/pod{chance.getrandbits(64):016x}",
        "instance": f"10.240.{number // SERIES_PER_TARGET % 256}.4:10250",
        "job": "kubelet",
        "namespace": f"namespace-{number // 400 % 50}",
        "node": f"aks-nodepool1-{number // SERIES_PER_TARGET % 256:08}-vmss",
        "pod": pod,
    }
    if number % 3 == 0:
        labels |= {"le": str(chance.choice((0.005, 0.05, 0.5, 5, "+Inf")))}
        labels |= {"method": "GET", "code": "200"}
    return name, labels


def encode_v1(part: Sequence[Labels], samples: Sequence[tuple[float, int]]) -> bytes:
    """Spell a `prometheus.WriteRequest` as Prometheus does."""
    texts = []
    for labels, (value, time_ms) in zip(part, samples, strict=True):
        section = b"".join(
            wire_field(1, wire_field(1, name) + wire_field(2, text)) for name, text in labels
        )
        texts.append(wire_field(1, section + wire_field(2, _sample(value, time_ms))))
    return b"".join(texts)


def encode_v2(part: Sequence[Labels], samples: Sequence[tuple[float, int]]) -> bytes:
    """Spell an `io.prometheus.write.v2.Request` as Prometheus does, metadata left empty."""
    numbers: dict[bytes, int] = {b"": 0}
    texts = []
    for labels, (value, time_ms) in zip(part, samples, strict=True):
        references = b"".join(
            varint(numbers.setdefault(text, len(numbers))) for pair in labels for text in pair
        )
        series = (
            wire_field(1, references) + wire_field(2, _sample(value, time_ms)) + wire_field(5, b"")
        )
        texts.append(wire_field(5, series))
    return b"".join(wire_field(4, symbol) for symbol in numbers) + b"".join(texts)


def _sample(value: float, time_ms: int) -> bytes:
    spelt = b"\x09" + struct.pack("<d", value) if value else b""
    return spelt + b"\x10" + varint(time_ms)


def wire_field(number: int, content: bytes) -> bytes:
    """Encode a field of protobuf that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Encode a number as protobuf does."""
    spelt = bytearray()
    while number > 0x7F:
        spelt.append(number & 0x7F | 0x80)
        number >>= 7
    spelt.append(number)
    return bytes(spelt)


def unique(body: bytes, number: int) -> bytes:
    """Make a body differ from all others: one field more, which no message has, uncompressed.

    A snappy block is its length and then elements; one more literal at the end adds
    the bytes of field 100, a fixed64.
    """
    length = place = 0
    while True:
        length |= (body[place] & 0x7F) << (7 * place)
        place += 1
        if body[place - 1] < 0x80:
            break
    extra = b"\xa1\x06" + struct.pack("<Q", number)
    literal = bytes([(len(extra) - 1) << 2]) + extra
    return varint(length + len(extra)) + body[place:] + literal


def churning(workload: Workload, newcomers: int) -> Iterator[Request]:
    """Make requests for ever in each of which `newcomers` series are new, and seen never again.

    The others come every scrape, as in `make_requests`; times go on from scrape to scrape.
    """
    chance = random.Random(f"{SEED} {workload}")
    series = [make_labels(workload, number, chance) for number in range(workload.series)]
    number = workload.series
    for scrape in itertools.count():
        for start in range(0, len(series), workload.per_request):
            part = series[start : start + workload.per_request]
            for place in chance.sample(range(len(part)), newcomers):
                part[place] = make_labels(workload, number, chance)
                number += 1
            yield _request(workload, part, start, scrape, chance)


def endless(requests: Sequence[Request], first: int = 0) -> Iterator[Request]:
    """Repeat the requests for ever, no two bodies alike; `first` numbers the first of them."""
    number = first
    while True:
        for request in requests:
            yield Request(unique(request.body, number), request.samples, request.selected)
            number += 1
