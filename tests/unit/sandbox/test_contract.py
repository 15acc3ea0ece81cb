"""The sandbox's contract: what the ingestion service takes, refuses, and in which words."""

import gzip
import json
from typing import Any

import orjson
import pytest

from receiver.sandbox.contract import ItemError, Judgement, judge

KEY = "11111111-2222-3333-4444-555555555555"
NOW_MS = 1_800_000_000_000  # 2027-01-15T08:00:00Z
STREAM = "application/x-json-stream"


def envelope(**point: Any) -> dict[str, Any]:
    """Make an envelope that the service takes; `point` changes its data point."""
    return {
        "name": "Microsoft.ApplicationInsights.Metric",
        "time": "2027-01-15T08:00:00.123Z",
        "iKey": KEY,
        "tags": {"ai.cloud.role": "triton"},
        "data": {
            "baseType": "MetricData",
            "baseData": {
                "ver": 2,
                "metrics": [{"name": "nv_count", "value": 1.5} | point],
                "properties": {"model": "add_sub"},
            },
        },
    }


def changed(path: str, value: object) -> dict[str, Any]:
    """Make an envelope with one field set, or removed when the value is `...`."""
    made = envelope()
    *parents, last = path.split("/")
    place: Any = made
    for parent in parents:
        place = place[int(parent) if parent.isdigit() else parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return made


def judged(*envelopes: object, **options: Any) -> Judgement:
    """Judge envelopes sent as a stream."""
    body = b"\n".join(orjson.dumps(one) for one in envelopes)
    return judge(STREAM, "", body, now_ms=NOW_MS, **options)


def refusal(*envelopes: object, **options: Any) -> str:
    """Return the message with which the only item is refused."""
    judgement = judged(*envelopes, **options)
    assert judgement.status == 400
    assert judgement.accepted == {}
    [error] = judgement.errors
    assert (error.index, error.status) == (0, 400)
    return error.message


def test_a_good_item_is_taken_whole() -> None:
    """Every part of an accepted item is what was sent."""
    judgement = judged(envelope(ns="prom", kind="Measurement"))
    assert judgement.status == 200
    item = judgement.accepted[0]
    assert (item.name, item.value, item.time_ms) == ("nv_count", 1.5, NOW_MS + 123)
    assert item.properties == {"model": "add_sub"}
    assert item.tags == {"ai.cloud.role": "triton"}
    assert (item.ikey, item.namespace, item.spread, item.ignored_points) == (KEY, "prom", None, 0)
    assert json.loads(judgement.body()) == {
        "itemsReceived": 1, "itemsAccepted": 1, "appId": None, "errors": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["x-json-stream", STREAM, "application/json", "Application/JSON; charset=utf-8"]
)
@pytest.mark.parametrize("encoding", ["", "identity", "gzip", "GZIP"])
def test_every_documented_type_and_encoding_is_read(kind: str, encoding: str) -> None:
    """A body is read the same, whichever of the documented ways it is written."""
    items = [envelope(value=1), envelope(value=2)]
    body = (
        orjson.dumps(items) if "json-stream" not in kind else b"\n".join(map(orjson.dumps, items))
    )
    if encoding.lower() == "gzip":
        body = gzip.compress(body, mtime=0)
    judgement = judge(kind, encoding, body, now_ms=NOW_MS)
    assert [item.value for item in judgement.accepted.values()] == [1, 2]


def test_json_may_be_one_object_or_lines() -> None:
    """`application/json` also holds one envelope, or lines as the .NET exporter writes them."""
    one = orjson.dumps(envelope())
    assert judge("application/json", "", one, now_ms=NOW_MS).items_accepted == 1
    assert judge("application/json", "", one + b"\n" + one, now_ms=NOW_MS).items_accepted == 2


def test_gzip_members_are_joined() -> None:
    """A gzip body of several members is one body."""
    line = orjson.dumps(envelope())
    body = gzip.compress(line + b"\n", mtime=0) + gzip.compress(line + b"\n")
    assert judge(STREAM, "gzip", body, now_ms=NOW_MS).items_accepted == 2


@pytest.mark.parametrize(
    ("kind", "encoding", "body", "status"),
    [
        ("text/plain", "", b"{}", 415),
        ("", "", b"{}", 415),
        (STREAM, "br", b"{}", 415),
        (STREAM, "gzip", b"{}", 400),
        (STREAM, "gzip", gzip.compress(b"{}" * 99, mtime=0)[:-9], 400),
        (STREAM, "gzip", gzip.compress(b"x" * 1001, mtime=0), 413),
        (STREAM, "", b"", 400),
        ("application/json", "", b"[1,", 400),
        ("application/json", "", b'[{"value":NaN}]', 400),
    ],
)
def test_an_unreadable_request_is_refused_whole(
    kind: str, encoding: str, body: bytes, status: int
) -> None:
    """A body that cannot be split into items takes none of them."""
    judgement = judge(kind, encoding, body, now_ms=NOW_MS, decoded_limit_bytes=1000)
    assert (judgement.status, judgement.items_received, judgement.items_accepted) == (status, 0, 0)
    assert judgement.errors[0].status == status


def test_no_more_than_64000_items() -> None:
    """The documented batch limit holds, to the item."""
    assert judge(STREAM, "", b"{}\n" * 64_000, now_ms=NOW_MS).items_received == 64_000
    assert judge(STREAM, "", b"{}\n" * 64_001, now_ms=NOW_MS).status == 413


def test_a_bad_line_spoils_only_itself() -> None:
    """Lines are numbered from 0, and NaN in one leaves the others alone."""
    good = orjson.dumps(envelope())
    bad = good.replace(b"1.5", b"NaN")
    judgement = judge(STREAM, "", b"\n".join([good, bad, b"", good, b"[1", b"7"]), now_ms=NOW_MS)
    assert judgement.status == 206
    assert list(judgement.accepted) == [0, 3]
    assert judgement.errors == [
        ItemError(1, 400, "SyntaxError: Unexpected token N"),
        ItemError(2, 400, "SyntaxError: Unexpected end of JSON input"),
        ItemError(4, 400, "SyntaxError: Unexpected end of JSON input"),
        ItemError(5, 400, "Telemetry item is not an object: 7"),
    ]
    answer = json.loads(judgement.body())
    assert (answer["itemsReceived"], answer["itemsAccepted"]) == (6, 2)
    assert answer["errors"][0] == {
        "index": 1, "statusCode": 400, "message": "SyntaxError: Unexpected token N",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("offset_ms", "message"),
    [
        (-172_800_000, None),
        (-172_800_001, "103: Field 'time' on type 'Envelope' is older than the allowed min date. Expected: now - 172800000ms, Actual: now - 172800001ms"),
        (7_200_000, None),
        (7_200_001, "104: Field 'time' on type 'Envelope' is newer than the max date. Expected: now + 7200000ms, Actual: now + 7200001ms"),
    ],
)  # fmt: skip
def test_the_window_of_time(offset_ms: int, message: str | None) -> None:
    """48 h back and 2 h ahead are taken, a millisecond more is not."""
    sent = envelope() | {"time": "2027-01-15T08:00:00Z"}
    body = orjson.dumps(sent)
    judgement = judge(STREAM, "", body, now_ms=NOW_MS - offset_ms)
    assert [error.message for error in judgement.errors] == ([message] if message else [])


@pytest.mark.parametrize(
    "time",
    ["2027-01-15T08:00:00Z", "2027-01-15T08:00:00.5Z", "2027-01-15T08:00:00.1234567Z", "2027-01-15T08:00:00.123456789Z"],
)  # fmt: skip
def test_any_number_of_decimals_is_a_time(time: str) -> None:
    """Bond: "the number of decimal seconds digits provided are variable"."""
    assert judged(envelope() | {"time": time}).status == 200


@pytest.mark.parametrize(
    "time",
    ["yesterday", "2027-01-15T08:00:00", "2027-01-15T08:00:00+00:00", "2027-13-15T08:00:00Z", "1800000000000", "2027-W02-5T08:00:00Z"],
)  # fmt: skip
def test_a_time_without_the_documented_form_is_refused(time: str) -> None:
    """Bond: "formatted in UTC ISO 8601 format, with a trailing 'Z' character"."""
    wanted = (
        f"106: Field 'time' on type 'Envelope' is of incorrect type. Expected: date, Actual: {time}"
    )
    assert refusal(envelope() | {"time": time}) == wanted


POINT = "data/baseData/metrics/0"
MISSING = (
    "109: Field '{}' on type '{}' is required but missing or empty. Expected: {}, Actual: undefined"
)
WRONG = "106: Field '{}' on type '{}' is of incorrect type. Expected: {}, Actual: {}"
LONG = "100: Field '{}' on type '{}' is too long. Expected: {} characters, Actual: {}"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("name", ..., MISSING.format("name", "Envelope", "string")),
        ("name", "n" * 1025, LONG.format("name", "Envelope", 1024, 1025)),
        ("time", ..., MISSING.format("time", "Envelope", "string")),
        ("time", 5, WRONG.format("time", "Envelope", "string", 5)),
        ("time", "2" * 65, LONG.format("time", "Envelope", 64, 65)),
        ("ver", "1", WRONG.format("ver", "Envelope", "number", 1)),
        ("seq", "s" * 65, LONG.format("seq", "Envelope", 64, 65)),
        ("sampleRate", "100", WRONG.format("sampleRate", "Envelope", "number", 100)),
        ("iKey", ..., "Invalid instrumentation key"),
        ("iKey", "no-guid", "Invalid instrumentation key"),
        ("iKey", KEY + "6", "Invalid instrumentation key"),
        ("iKey", "1" * 41, LONG.format("iKey", "Envelope", 40, 41)),
        ("tags", [], WRONG.format("tags", "Envelope", "object", [])),
        ("tags/ai.cloud.role", "r" * 257, LONG.format("ai.cloud.role", "ContextTagKeys", 256, 257)),
        ("tags/ai.internal.sdkVersion", "v" * 65, LONG.format("ai.internal.sdkVersion", "ContextTagKeys", 64, 65)),
        ("tags/ai.cloud.role", 1, "200: Child value '1' for key 'ai.cloud.role' is of incorrect type. Expected: string, Actual: number"),
        ("data", ..., MISSING.format("data", "Envelope", "object")),
        ("data", "x", WRONG.format("data", "Envelope", "object", "x")),
        ("data/baseType", ..., MISSING.format("baseType", "Data", "string")),
        ("data/baseType", "Metrics", WRONG.format("baseType", "Data", "MetricData", "Metrics")),
        ("data/baseData", None, MISSING.format("baseData", "Data", "object")),
        ("data/baseData/ver", ..., MISSING.format("ver", "MetricData", "number")),
        ("data/baseData/metrics", [], MISSING.format("metrics", "MetricData", "array")),
        ("data/baseData/metrics", {}, WRONG.format("metrics", "MetricData", "array", {})),
        ("data/baseData/metrics", [7], WRONG.format("metrics", "MetricData", "DataPoint", 7)),
        (f"{POINT}/name", ..., MISSING.format("name", "DataPoint", "string")),
        (f"{POINT}/name", "", MISSING.format("name", "DataPoint", "string")),
        (f"{POINT}/name", 3440692220, WRONG.format("name", "DataPoint", "string", 3440692220)),
        (f"{POINT}/name", "m" * 1025, LONG.format("name", "DataPoint", 1024, 1025)),
        (f"{POINT}/name", "\N{GRINNING FACE}" * 513, LONG.format("name", "DataPoint", 1024, 1026)),
        (f"{POINT}/ns", "n" * 257, LONG.format("ns", "DataPoint", 256, 257)),
        (f"{POINT}/kind", 2, WRONG.format("kind", "DataPoint", "DataPointType", 2)),
        (f"{POINT}/kind", True, WRONG.format("kind", "DataPoint", "DataPointType", "true")),
        (f"{POINT}/value", ..., MISSING.format("value", "DataPoint", "number")),
        (f"{POINT}/value", None, MISSING.format("value", "DataPoint", "number")),
        (f"{POINT}/value", "NaN", WRONG.format("value", "DataPoint", "number", "NaN")),
        (f"{POINT}/value", True, WRONG.format("value", "DataPoint", "number", "true")),
        (f"{POINT}/count", 2**31, WRONG.format("count", "DataPoint", "number", 2**31)),
        (f"{POINT}/count", 1.5, WRONG.format("count", "DataPoint", "number", 1.5)),
        (f"{POINT}/min", "0", WRONG.format("min", "DataPoint", "number", 0)),
        ("data/baseData/properties", "p", WRONG.format("properties", "MetricData", "object", "p")),
        ("data/baseData/properties/code", 200, "200: Child value '200' for key 'code' is of incorrect type. Expected: string, Actual: number"),
        ("data/baseData/properties/code", None, "200: Child value 'null' for key 'code' is of incorrect type. Expected: string, Actual: object"),
        ("data/baseData/properties/" + "k" * 151, "v", LONG.format("properties.key", "MetricData", 150, 151)),
        ("data/baseData/properties/code", "v" * 8193, LONG.format("properties.code", "MetricData", 8192, 8193)),
    ],
)  # fmt: skip
def test_a_breach_is_answered_in_the_service_s_words(
    path: str, value: object, message: str
) -> None:
    """Each rule refuses what breaks it and says which."""
    assert refusal(changed(path, value)) == message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "n" * 1024),
        ("ver", 1),
        ("iKey", "ABCDEF00-0000-0000-0000-00000000ABCD"),
        ("tags", ...),
        ("tags", None),
        ("tags/ai.cloud.role", "r" * 256),
        ("data/baseData/properties", None),
        ("data/baseData/properties/" + "k" * 150, "v" * 8192),
        (f"{POINT}/name", "m" * 1024),
        (f"{POINT}/name", "\N{GRINNING FACE}" * 512),
        (f"{POINT}/ns", "n" * 256),
        (f"{POINT}/kind", 0),
        (f"{POINT}/kind", 1),
        (f"{POINT}/kind", "Aggregation"),
        (f"{POINT}/kind", None),
        (f"{POINT}/value", -1e308),
        (f"{POINT}/value", 0),
        (f"{POINT}/count", 2**31 - 1),
        (f"{POINT}/unknown", "ignored"),
    ],
)
def test_what_the_limits_allow_is_taken(path: str, value: object) -> None:
    """A value at its limit, and an absent optional field, are no breach."""
    assert judged(changed(path, value)).status == 200


def test_an_item_may_have_65536_bytes_and_no_more() -> None:
    """The limit counts the item's own bytes, in a stream and in an array."""
    empty = envelope()
    empty["pad"] = ""
    pad = 65_536 - len(orjson.dumps(empty))
    fits, over = dict(empty, pad="x" * pad), dict(empty, pad="x" * (pad + 1))
    expected = [ItemError(1, 400, "Telemetry item length must not exceed 65536")]
    assert judged(fits, over).errors == expected
    array = orjson.dumps([fits, over])
    assert judge("application/json", "", array, now_ms=NOW_MS).errors == expected


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 300 + b'"' + b"x" * 70_000 + b'"' + b"]" * 300,
        b"[" * 5000,
        b'{"a":"\xff"}',
        b'[{"a":"\\ud800"}]',
        b'{"ver":1e999}',
        b"\xef\xbb\xbf{}",
        b'{"name":{"a":[]},"time":[]}',
    ],
)
@pytest.mark.parametrize("kind", [STREAM, "application/json"])
def test_unusual_bodies_are_refused_with_an_answer(kind: str, body: bytes) -> None:
    """Whatever comes, there is a JSON answer and nothing is accepted."""
    judgement = judge(kind, "", body, now_ms=NOW_MS)
    assert judgement.status == 400
    assert json.loads(judgement.body())["itemsAccepted"] == 0


def test_only_the_first_data_point_counts() -> None:
    """swagger: "If multiple data points were sent only the first one will be used."."""
    sent = envelope(value=1)
    sent["data"]["baseData"]["metrics"] += [{"name": "b", "value": 2}, {"broken": True}]
    item = judged(sent).accepted[0]
    assert (item.value, item.ignored_points) == (1, 2)


def test_an_aggregation_keeps_its_spread() -> None:
    """Count, min and max of an aggregated point are kept; no count is a count of 1."""
    spread = judged(envelope(value=2, count=2, min=0.5, max=1.5)).accepted[0].spread
    assert spread is not None
    assert (spread.count, spread.min, spread.max, spread.std_dev) == (2, 0.5, 1.5, None)
    single = judged(envelope(min=1.5)).accepted[0].spread
    assert single is not None
    assert single.count == 1


def test_only_known_keys_are_taken_when_there_are_any() -> None:
    """A well-formed key that is not known is refused; the case of letters is not looked at."""
    other = "aaaaaaaa-2222-3333-4444-555555555555"
    sent = envelope() | {"iKey": other.upper()}
    assert refusal(sent, known_keys=frozenset({KEY})) == "Invalid instrumentation key"
    assert judged(sent, known_keys=frozenset({other})).accepted[0].ikey == other


def test_other_telemetry_is_taken_and_is_no_metric() -> None:
    """A trace message is accepted by the service and carries no metric."""
    sent = envelope() | {"data": {"baseType": "MessageData", "baseData": {"message": "hello"}}}
    judgement = judged(sent, envelope())
    assert (judgement.status, judgement.items_accepted) == (200, 2)
    assert judgement.others == {0}
    assert list(judgement.accepted) == [1]


def test_more_items_can_be_refused_afterwards() -> None:
    """Refusing accepted items makes 206 of 200, and 400 when none is left."""
    judgement = judged(envelope(), envelope(), {})
    some = judgement.refusing([ItemError(0, 429, "later"), ItemError(2, 500, "told already")])
    assert (some.status, list(some.accepted)) == (206, [1])
    assert [(error.index, error.status) for error in some.errors] == [(0, 429), (2, 400)]
    assert some.refusing([ItemError(1, 503, "later")]).status == 400


@pytest.mark.parametrize(
    ("numbers", "is_taken"),
    [
        ({"value": 10.0, "count": 4, "min": 1, "max": 4}, True),
        ({"value": 0.3, "count": 3, "min": 0.1, "max": 0.1}, True),  # 0.3 / 3 is not 0.1
        ({"value": 10.0, "count": 4, "min": 3, "max": 4}, False),
        ({"value": 10.0, "count": 4, "max": 2}, False),
        ({"value": 10.0, "count": 2**31, "min": 0, "max": 4}, False),
    ],
)
def test_an_aggregate_lies_between_its_least_and_most(
    numbers: dict[str, float],
    is_taken: bool,  # noqa: FBT001
) -> None:
    """A mean outside of them, and a count beyond int32, are a sender's fault."""
    document = envelope()
    document["data"]["baseData"]["metrics"] = [{"name": "a", "kind": "Aggregation", **numbers}]

    assert bool(judged(document).accepted) is is_taken
