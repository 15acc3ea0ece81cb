"""Every case of the official receiver suite, and of Prometheus' own write handler.

Sources, the cases and not the code: prometheus/compliance, remotewrite/receiver; and
prometheus/prometheus, storage/remote/write_handler_test.go. Stricter than both: where
they let any 2xx or 4xx pass, a case here has one status and three exact counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.conformance.messages import CUSTOM, HISTOGRAM, INF, NAN, STALE, Labels, S, T, one, v1, v2

SUITE = "compliance"
HANDLER = "write_handler"
OWN = "ours"
V1 = "application/x-protobuf"
V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
NAMED = {"__name__": "test_metric"}
HOUR = 3_600_000


@dataclass(frozen=True)
class Case:
    """A request and its outcome: a status; of 2.0 samples, histograms, exemplars written."""

    source: str
    name: str
    raw: bytes
    status: int = 204
    written: tuple[int, int, int] = (1, 0, 0)
    says: str = ""
    version: int = 2
    is_compressed: bool = True
    headers: Mapping[str, str | None] = field(default_factory=dict)
    method: str = "POST"


def _single() -> list[Case]:
    cases = []
    values = {"a number": 1.0, "StaleNaN": STALE, "NaN": NAN, "+Inf": INF, "-Inf": -INF}
    shapes: dict[str, Labels] = {
        "simple": NAMED,
        "many labels": {**NAMED, "job": "j", "instance": "i:1", "method": "GET", "status": "200"},
        "newlines in values": {**NAMED, "path": "a\nb\tc"},
        "dots": {"__name__": "resource.cpu.usage", "service.name": "x"},
        "spaces": {"__name__": "resource cpu usage", "service name": "x y"},
    }
    for what, value in values.items():
        for shape, labels in shapes.items():
            cases.append(
                Case(SUITE, f"single sample, {what}, {shape}", v2(S(labels, [(value, T)])))
            )
        for shape, labels in {"no name": {"job": "j"}, "no labels": {}}.items():
            raw = v2(S(labels, [(value, T)]))
            cases.append(
                Case(SUITE, f"single sample, {what}, {shape}", raw, 400, (0, 0, 0), "no_name: 1")
            )
    return cases


def _metadata() -> list[Case]:
    kinds = [
        "unspecified",
        "counter",
        "gauge",
        "histogram",
        "gauge histogram",
        "summary",
        "info",
        "stateset",
    ]
    cases = [
        Case(
            SUITE,
            f"metadata, {kind}",
            v2(S(NAMED, [(1.0, T)], metadata=(number, "help", "seconds"))),
        )
        for number, kind in enumerate(kinds)
    ]
    return cases + [
        Case(
            SUITE,
            "metadata, special characters",
            v2(S(NAMED, [(1.0, T)], metadata=(2, 'π "quoted"\n\\', "µs"))),
        ),
        Case(
            SUITE, "metadata, no help and no unit", v2(S(NAMED, [(1.0, T)], metadata=(1, "", "")))
        ),
        Case(
            SUITE,
            "metadata, no name",
            v2(S({"job": "j"}, [(1.0, T)], metadata=(1, "h", ""))),
            400,
            (0, 0, 0),
            "no_name: 1",
        ),
        Case(
            SUITE,
            "metadata, empty name",
            v2(S({"__name__": ""}, [(1.0, T)], metadata=(1, "h", ""))),
            400,
            (0, 0, 0),
            "no_name: 1",
        ),
        Case(
            SUITE,
            "metadata with many labels",
            v2(S({**NAMED, **{f"l{n}": "v" for n in range(9)}}, [(1.0, T)], metadata=(1, "h", ""))),
        ),
        Case(
            SUITE,
            "metadata of several families",
            v2(
                *(S({"__name__": f"m{n}"}, [(1.0, T)], metadata=(n, f"h{n}", "")) for n in range(4))
            ),
            written=(4, 0, 0),
        ),
        Case(
            SUITE,
            "counter with metadata and start timestamp",
            v2(S({"__name__": "c_total"}, [(1.0, T)], metadata=(1, "h", ""), start_ms=T - HOUR)),
        ),
        Case(
            SUITE,
            "counter with created timestamp, of rc.3",
            v2(S({"__name__": "c_total"}, [(1.0, T)], created_ms=T - HOUR)),
        ),
        Case(
            SUITE, "metadata without data", v2(S(NAMED, metadata=(1, "h", ""))), written=(0, 0, 0)
        ),
    ]


def _histograms() -> list[Case]:
    negative = {"negative_spans": [(0, 2)], "negative_deltas": [1, 1]}
    shapes = {
        "basic": HISTOGRAM,
        "custom buckets": CUSTOM,
        "positive only": {"count_int": 3, "positive_spans": [(0, 2)], "positive_deltas": [1, 1]},
        "negative only": {"count_int": 3, **negative},
        "minimal": {"count_int": 0},
        "floats": {
            "count_float": 2.5,
            "zero_count_float": 0.5,
            "positive_spans": [(0, 1)],
            "positive_counts": [2.0],
        },
        "stale": {"sum": STALE},
        "sum not a number": {**HISTOGRAM, "count_int": 9, "sum": NAN},
    }
    cases = [
        Case(SUITE, f"histogram, {name}", v2(S(NAMED, histograms=[fields])), written=(0, 1, 0))
        for name, fields in shapes.items()
    ]
    bad = {
        "count that is not its buckets'": {**HISTOGRAM, "count_int": 9},
        "custom buckets with a zero count": {**CUSTOM, "zero_count_int": 1},
        "custom buckets beside negative ones": {**CUSTOM, **negative},
        "custom bounds that fall": {**CUSTOM, "custom_values": [1.0, 5.0, 2.0]},
        "more custom buckets than bounds": {**CUSTOM, "custom_values": [1.0]},
        "spans for other buckets": {**HISTOGRAM, "positive_spans": [(0, 5)]},
        "bucket below zero": {
            "count_int": 0,
            "positive_spans": [(0, 2)],
            "positive_deltas": [1, -2],
        },
        "schema that is none": {"schema": 99},
    }
    cases += [
        Case(
            HANDLER if "custom" in name else SUITE,
            f"histogram, {name}",
            v2(S(NAMED, histograms=[fields])),
            400,
            (0, 0, 0),
            "bad_histogram: 1",
        )
        for name, fields in bad.items()
    ]
    exemplar = [({"trace_id": "abc"}, 0.5, T)]
    return cases + [
        Case(
            SUITE,
            "histograms, several series",
            v2(*(S({**NAMED, "n": str(n)}, histograms=[HISTOGRAM]) for n in range(3))),
            written=(0, 3, 0),
        ),
        Case(
            SUITE,
            "histogram with metadata",
            v2(S(NAMED, histograms=[HISTOGRAM], metadata=(3, "h", "s"))),
            written=(0, 1, 0),
        ),
        Case(
            SUITE,
            "histogram with an exemplar",
            v2(S(NAMED, histograms=[HISTOGRAM], exemplars=exemplar)),
            written=(0, 1, 1),
        ),
        Case(
            SUITE,
            "histogram with metadata and an exemplar",
            v2(S(NAMED, histograms=[HISTOGRAM], exemplars=exemplar, metadata=(3, "h", "s"))),
            written=(0, 1, 1),
        ),
        Case(
            SUITE,
            "custom buckets with an exemplar",
            v2(S(NAMED, histograms=[CUSTOM], exemplars=exemplar)),
            written=(0, 1, 1),
        ),
        Case(
            SUITE,
            "fifty histograms",
            v2(*(S({**NAMED, "n": str(n)}, histograms=[HISTOGRAM]) for n in range(50))),
            written=(0, 50, 0),
        ),
        Case(
            HANDLER,
            "one histogram good, one bad",
            v2(
                S(NAMED, histograms=[HISTOGRAM]),
                S({"__name__": "b"}, histograms=[{"count_int": 1}]),
            ),
            400,
            (0, 1, 0),
            "bad_histogram: 1",
        ),
    ]


def _exemplars() -> list[Case]:
    shapes: dict[str, Labels] = {
        "trace_id": {"trace_id": "0123"},
        "span_id": {"trace_id": "0123", "span_id": "45"},
        "no trace": {"user": "x"},
        "many labels": {f"l{n}": "v" for n in range(20)},
        "no labels": {},
        "special characters": {"q": 'a"b\\c\n'},
        "unicode": {"ключ": "значение 🙂"},
    }
    cases = [
        Case(
            SUITE,
            f"exemplar, {name}",
            v2(S(NAMED, [(1.0, T)], exemplars=[(labels, 1.0, T)])),
            written=(1, 0, 1),
        )
        for name, labels in shapes.items()
    ]
    cases += [
        Case(
            SUITE,
            f"exemplar of value {value}",
            v2(S(NAMED, [(1.0, T)], exemplars=[({}, value, T)])),
            written=(1, 0, 1),
        )
        for value in (0.0, -1.0, 1e10, 1e-10, NAN, INF, -INF)
    ]
    times: list[tuple[Labels, float, int]] = [({}, 1.0, T - HOUR), ({}, 1.0, T), ({}, 1.0, T + 1)]
    return cases + [
        Case(
            SUITE, "several exemplars", v2(S(NAMED, [(1.0, T)], exemplars=times)), written=(1, 0, 3)
        ),
        Case(
            SUITE,
            "exemplar, no name",
            v2(S({"a": "b"}, [(1.0, T)], exemplars=[({}, 1.0, T)])),
            400,
            (0, 0, 0),
            "no_name: 1",
        ),
        Case(
            SUITE,
            "exemplars without data",
            v2(S(NAMED, exemplars=[({"trace_id": "1"}, 1.0, T)])),
            written=(0, 0, 1),
        ),
        Case(
            HANDLER,
            "exemplars without data, 1.0",
            v1(S(NAMED, exemplars=[({"trace_id": "1"}, 1.0, T)])),
            version=1,
        ),
    ]


def _several() -> list[Case]:
    four = [one(f"m{n}", n) for n in range(4)]
    nameless = S({"job": "j"}, [(1.0, T)])
    emoji = one("emoji_🙂", 1.0, дата="日本", quote='"')
    return [
        Case(SUITE, "four series", v2(*four), written=(4, 0, 0)),
        Case(
            SUITE,
            "four series, all without names",
            v2(*[nameless] * 4),
            400,
            (0, 0, 0),
            "no_name: 4",
        ),
        Case(
            SUITE,
            "four series, one without a name",
            v2(*four[:3], nameless),
            400,
            (3, 0, 0),
            "no_name: 1",
        ),
        Case(
            SUITE,
            "samples of an hour ago and of now",
            v2(S(NAMED, [(1.0, T - HOUR), (2.0, T)])),
            written=(2, 0, 0),
        ),
        Case(
            SUITE,
            "fifty samples",
            v2(*(one("many", n, n=str(n)) for n in range(50))),
            written=(50, 0, 0),
        ),
        Case(SUITE, "emoji and other alphabets", v2(emoji)),
        Case(
            SUITE,
            "labels in no order",
            v2(S([("z", "1"), ("__name__", "m"), ("a", "2")], [(1.0, T)])),
        ),
        Case(
            SUITE,
            "all kinds in one request",
            v2(
                one(),
                S({"__name__": "h"}, histograms=[HISTOGRAM]),
                S({"__name__": "e"}, exemplars=[({}, 1.0, T)]),
            ),
            written=(1, 1, 1),
        ),
        Case(
            HANDLER,
            "a sample out of order",
            v2(S(NAMED, [(1.0, T), (2.0, T - 1)])),
            written=(2, 0, 0),
        ),
        Case(HANDLER, "the same sample twice", v2(one(), one()), written=(2, 0, 0)),
        Case(
            HANDLER,
            "an empty name",
            v2(one(), S({"__name__": ""}, [(1.0, T)])),
            400,
            (1, 0, 0),
            "no_name: 1",
        ),
        Case(
            HANDLER,
            "a label twice",
            v2(one(), S([*NAMED.items(), ("a", "1"), ("a", "2")], [(1.0, T)])),
            400,
            (1, 0, 0),
            "duplicate_label: 1",
        ),
        Case(
            HANDLER,
            "a label without a name",
            v2(S({**NAMED, "": "x"}, [(1.0, T)])),
            400,
            (0, 0, 0),
            "empty_label_name: 1",
        ),
        Case(HANDLER, "a label without a value", v2(S({**NAMED, "a": ""}, [(1.0, T)]))),
        Case(
            HANDLER,
            "an odd number of references",
            v2(one(), S({}, [(1.0, T)], refs=[1, 2, 3])),
            400,
            (1, 0, 0),
            "bad_reference: 1",
        ),
        Case(
            HANDLER,
            "a reference beyond the symbols",
            v2(one(), S({}, [(1.0, T)], refs=[1, 999])),
            400,
            (1, 0, 0),
            "bad_reference: 1",
        ),
        Case(
            HANDLER,
            "a help reference beyond the symbols",
            v2(one(), S(NAMED, [(1.0, T)], metadata_refs=(999, 0))),
            400,
            (1, 0, 0),
            "bad_reference: 1",
        ),
        Case(
            HANDLER,
            "a unit reference beyond the symbols",
            v2(one(), S(NAMED, [(1.0, T)], metadata_refs=(0, 999))),
            400,
            (1, 0, 0),
            "bad_reference: 1",
        ),
        Case(HANDLER, "no symbols", v2(one(), symbols=[]), 400, (0, 0, 0), "bad_reference: 1"),
        Case(
            HANDLER,
            "a label twice, 1.0",
            v1(one(), S([*NAMED.items(), ("a", "1"), ("a", "2")], [(1.0, T)])),
            400,
            says="duplicate_label: 1",
            version=1,
        ),
        Case(OWN, "a sample far ahead of time", v2(S(NAMED, [(1.0, T + 9 * HOUR)]))),
    ]


def _requests() -> list[Case]:
    raw = v2(one())
    old = v1(one())
    corrupt = {"is_compressed": False, "says": "snappy", "status": 400, "written": (0, 0, 0)}
    cases = [
        Case(
            SUITE,
            f"content type {kind}",
            raw,
            415,
            says="Content-Type",
            version=0,
            headers={"Content-Type": kind},
        )
        for kind in ("application/json", "image/png")
    ]
    cases += [
        Case(
            SUITE,
            f"content encoding {kind}, corrupt",
            b"\x00garbage",
            415,
            (0, 0, 0),
            "Content-Encoding",
            version=0,
            is_compressed=False,
            headers={"Content-Encoding": kind},
        )
        for kind in ("gzip", "deflate", "zstd", "br")
    ]
    return cases + [
        Case(SUITE, "a corrupt body", b"\xff\xfe garbage", **corrupt),  # type: ignore[arg-type]
        Case(SUITE, "an empty body", b"", 400, (0, 0, 0), "empty", is_compressed=False),
        Case(SUITE, "1.0, a sample", old, version=1),
        Case(SUITE, "1.0, a corrupt body", b"\xff\xfe garbage", 400, says="snappy", version=1, is_compressed=False),
        Case(SUITE, "1.0, without the version header", old, version=1, headers={"X-Prometheus-Remote-Write-Version": None}),
        Case(SUITE, "1.0, no name", v1(S({"job": "j"}, [(1.0, T)])), 400, says="no_name: 1", version=1),
        Case(HANDLER, "no content type: 1.0", old, version=1, headers={"Content-Type": None}),
        Case(HANDLER, "1.0 named in full", old, version=1, headers={"Content-Type": V1 + ";proto=prometheus.WriteRequest"}),
        Case(HANDLER, "no content encoding: snappy", raw, headers={"Content-Encoding": None}),
        Case(HANDLER, "a version header that says otherwise", raw, headers={"X-Prometheus-Remote-Write-Version": "0.1.0"}),
        Case(HANDLER, "a proto that is none", raw, 415, says="proto is", version=0, headers={"Content-Type": V1 + ";proto=yolo.Request"}),
        Case(HANDLER, "a malformed parameter", raw, 415, says="malformed", version=0, headers={"Content-Type": V1 + ";proto"}),
        Case(HANDLER, "another media type", raw, 415, says="Content-Type", version=0, headers={"Content-Type": "yolo"}),
        Case(OWN, "quotes and capitals in the content type", raw, headers={"Content-Type": 'Application/X-Protobuf ; Proto="io.prometheus.write.v2.Request"'}),
        Case(OWN, "2.0 declared as 1.0", raw, 400, says="none of the fields", version=1),
        Case(OWN, "1.0 declared as 2.0", old, 400, (0, 0, 0), "none of the fields"),
        Case(OWN, "nothing in it, 1.0", b"", version=1),
        Case(OWN, "nothing in it, 2.0", b"", written=(0, 0, 0)),
        Case(OWN, "metadata alone, 1.0, contradicting itself", v1(metadata=[(1, "m", "h", ""), (2, "m", "other", "s")]), version=1),
        Case(OWN, "unknown fields", raw + b"\xfa\x01\x03abc"),
        Case(OWN, "cut off", raw[:-1], 400, (0, 0, 0), "is not a"),
        Case(OWN, "a GET", b"", 405, says="POST", version=0, method="GET"),
    ]  # fmt: skip


CASES = [*_single(), *_several(), *_metadata(), *_histograms(), *_exemplars(), *_requests()]
