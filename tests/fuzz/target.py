"""The long fuzz run: any bytes, as either message, are taken as a slow reading says.

    python -m tests.fuzz.target CORPUS [-max_total_time=1800] [-rss_limit_mb=768] ...

Needs the package `atheris`; the arguments are libFuzzer's. CORPUS is a folder; an
empty one is begun from the captures in tests/data. The invariant: a body ends in
items and an account that equal the slow reading's, or in a RequestRefused, and in
nothing else, within memory's limit. The first byte of an input says what it is.
"""

import struct
import sys
from pathlib import Path
from typing import Any

import atheris
import snappy

with atheris.instrument_imports(include=["receiver"]):
    from receiver.errors import RequestRefused, UnsupportedMedia
    from receiver.intake.decode import Message, decompress
    from receiver.intake.parse_cost import check_parts
    from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
    from receiver.intake.wire.remote_write_v2_pb2 import Request
    from receiver.server.negotiation import negotiate
    from tests.property.reading import LIMITS, check, new_selections

CAPTURES = Path(__file__).parent.parent / "data/remote-write"
SEED_SERIES = 12
NAMES = (b"__name__", b"nv_a", b"a", b"", b"other", b"job", b"nv_\xff", b"nv_" + b"n" * 1030)
SELECTIONS = new_selections()


def one_input(data: bytes) -> None:
    """Try one input."""
    if not data:
        return
    kind, body = data[0] % 7, data[1:]
    if kind == 4:
        try_headers(body)
        return
    if kind > 4:
        message = Message.V1 if kind == 5 else Message.V2
        raw = build(atheris.FuzzedDataProvider(body), message)
        for selection in SELECTIONS * 2:  # the second time as a series that is known
            check(selection, raw, message)
        return
    message = Message.V1 if kind % 2 else Message.V2
    if kind >= 2:  # a body as it comes over the network
        try:
            body = bytes(decompress(body, LIMITS.decoded_bytes))
            check_parts(body, message, LIMITS)
        except RequestRefused:
            return
    for selection in SELECTIONS:
        check(selection, body, message)


def build(choose: atheris.FuzzedDataProvider, message: Message) -> bytes:
    """Make a message that parses, of whatever is in it."""
    if message is Message.V1:
        request = WriteRequest()
        while choose.remaining_bytes() and len(request.timeseries) < 70:
            series = request.timeseries.add()
            for _ in range(choose.ConsumeIntInRange(0, 14)):
                series.labels.add(name=text(choose), value=text(choose))
            contents(choose, series)
        return request.SerializeToString()
    request2 = Request(symbols=[text(choose) for _ in range(choose.ConsumeIntInRange(0, 12))])
    while choose.remaining_bytes() and len(request2.timeseries) < 70:
        series2 = request2.timeseries.add()
        for _ in range(choose.ConsumeIntInRange(0, 27)):
            series2.labels_refs.append(choose.ConsumeIntInRange(0, 13))
        contents(choose, series2)
        if choose.ConsumeBool():
            series2.metadata.help_ref = choose.ConsumeIntInRange(0, 13)
            series2.metadata.type = choose.ConsumeIntInRange(0, 7)
    return request2.SerializeToString()


def text(choose: atheris.FuzzedDataProvider) -> bytes:
    """Choose a name or a value."""
    if number := choose.ConsumeIntInRange(0, len(NAMES)):
        return NAMES[number - 1]
    return bytes(choose.ConsumeBytes(choose.ConsumeIntInRange(0, 40)))


def contents(choose: atheris.FuzzedDataProvider, series: Any) -> None:
    """Put samples, histograms and exemplars into a series."""
    for _ in range(choose.ConsumeIntInRange(0, 3)):
        [value] = struct.unpack("<d", bytes(choose.ConsumeBytes(8)).ljust(8, b"\0"))
        series.samples.add(value=value, timestamp=choose.ConsumeIntInRange(-(2**63), 2**63 - 1))
    if choose.ConsumeBool():
        series.samples.add(value=choose.ConsumeInt(4), timestamp=choose.ConsumeInt(6))
    if choose.ConsumeIntInRange(0, 3) == 3:
        made = series.histograms.add(schema=choose.ConsumeIntInRange(-54, 54))
        made.positive_spans.add(offset=choose.ConsumeInt(1), length=choose.ConsumeIntInRange(0, 3))
        made.positive_deltas.extend(choose.ConsumeIntListInRange(2, -3, 3))
        made.custom_values.extend(choose.ConsumeFloatList(choose.ConsumeIntInRange(0, 2)))
        made.count_int = choose.ConsumeIntInRange(0, 9)
    if choose.ConsumeIntInRange(0, 3) == 3:
        series.exemplars.add(value=1.0)


def try_headers(data: bytes) -> None:
    """Try a pair of headers."""
    content_type, _, encoding = data.decode("utf-8", "surrogateescape").partition("\n")
    try:
        assert isinstance(negotiate(content_type, encoding), Message)
    except UnsupportedMedia:
        return


def begin(corpus: Path) -> None:
    """Make a corpus of the captures, decompressed and as they came, cut short."""
    corpus.mkdir(parents=True, exist_ok=True)
    if any(corpus.iterdir()):
        return
    for version in (1, 2):
        for path in sorted((CAPTURES / f"v{version}").glob("*.bin"))[::6]:
            body = path.read_bytes()
            request = (WriteRequest if version == 1 else Request).FromString(
                snappy.uncompress(body)
            )
            del request.timeseries[SEED_SERIES:]
            raw = request.SerializeToString()
            (corpus / f"raw-{version}-{path.stem}").write_bytes(bytes([version % 2]) + raw)
            whole = snappy.compress(raw)
            (corpus / f"body-{version}-{path.stem}").write_bytes(bytes([2 + version % 2]) + whole)
    for number, text in enumerate(
        ("application/x-protobuf;proto=prometheus.WriteRequest\nsnappy", 'a/b; c="d\\"e"\nzstd')
    ):
        (corpus / f"headers-{number}").write_bytes(b"\x04" + text.encode())


if __name__ == "__main__":
    begin(Path(sys.argv[1]))
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
