"""routes.json sends each series one way, and says what is wrong with it, and where."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from receiver.azure.envelope import Identity
from receiver.azure.renderer import NO_LANE
from receiver.errors import SettingsError
from receiver.intake.decode import Message
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import Pipeline
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.routes import ROUTES_MAX, UNROUTED, Routing, parse
from receiver.outbox.gzip_body import lines_of
from receiver.outbox.values import OWN
from tests.golden import make

FILE = "conf/routes.json"
KEYS = ("aaaaaaaa-0000-0000-0000-000000000000", "bbbbbbbb-0000-0000-0000-000000000000")
OWN_KEY = "00000000-1111-1111-1111-111111111111"
TIME_MS = 1_790_000_000_000


def route(name: str = "a", **fields: Any) -> dict[str, Any]:
    """Make a route; its connection string is in a file."""
    return {"name": name, "match": {"model": "a_*"}, "connection_string_file": "secret"} | fields


def routed(*routes: dict[str, Any], **more: Any) -> Routing:
    """Read a routes.json of these."""
    return parse(json.dumps({"routes": routes, **more}), FILE)


def refusal(document: Any) -> str:
    """Return the message with which a routes.json is refused."""
    text = document if isinstance(document, str | bytes) else json.dumps(document)
    with pytest.raises(SettingsError) as refused:
        parse(text, FILE)
    return str(refused.value)


def test_the_first_route_that_fits_is_taken() -> None:
    """All labels have to fit; the receiver's own route has the rest."""
    routing = routed(
        route("a", match={"model": "a_*", "job": ["triton", "t?"]}),
        route("b", match={"model": ["b_*", "a_*"]}),
        route("nameless", match={"model": "", "__name__": "nv_gpu_*"}),
    )
    for labels, number in (
        ({"model": "a_1", "job": "triton"}, 1),
        ({"model": "a_1", "job": "t2"}, 1),
        ({"model": "a_1", "job": "other"}, 2),
        ({"model": "b_", "job": "triton"}, 2),
        ({"__name__": "nv_gpu_power_usage"}, 3),
        ({"__name__": "nv_gpu_power_usage", "model": "c"}, 0),
        ({}, 0),
    ):
        assert routing.number_of(labels) == number, labels
    assert routing.name_of({"model": "b_"}) == "b"
    assert routing.name_of({}) == ""


def test_a_route_may_take_everything() -> None:
    """With no label to fit; behind it there can be no other."""
    routing = routed(route("a"), route("rest", match={}))
    assert routing.number_of({"model": "x"}) == 2
    assert "can never be taken: routes[1] before it takes all series" in refusal(
        {"routes": [route("a"), route("rest", match={}), route("late", match={"model": "late"})]}
    )


def test_what_no_route_takes_may_be_dropped() -> None:
    """Where the file says so."""
    assert routed(route(), unmatched="drop").number_of({}) == NO_LANE
    assert routed(route(), unmatched="default").number_of({}) == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "Team A"}, 'routes[0].name "Team A" is no name of a route: at most 63 of a-z, 0-9, dash, dot and underscore; did you mean "team-a"?'),
        ({"name": "default"}, 'routes[0].name "default" is the receiver\'s own route; choose another'),
        ({"name": 5}, "routes[0].name is a number, not a name in quotes"),
        ({"labels": {}}, 'unknown key "labels"; did you mean "match"?'),
        ({"senderz": 2}, 'unknown key "senderz"; did you mean "senders"?'),
        ({"match": "a_*"}, "routes[0].match is a text, not labels with what they have to be"),
        ({"match": {"model": "a_.*"}}, 'routes[0].match.model "a_.*" looks like a regular expression, and a match is a glob with * and ?; did you mean "a_*"?'),
        ({"match": {"model": "a|b"}}, "write a list of globs for several"),
        ({"match": {"model": "=~a"}}, 'did you mean "a"?'),
        ({"match": {"model=": "a"}}, '"model=" is no label\'s name'),
        ({"match": {"model": []}}, "routes[0].match.model is an empty list, which nothing fits"),
        ({"match": {"model": [1]}}, "routes[0].match.model is a number, not a text in quotes"),
        ({"connection_string": "InstrumentationKey=x"}, '"connection_string" and "connection_string_file" are both set'),
        ({"connection_string_file": ""}, "routes[0].connection_string_file is empty"),
        ({"items_per_second": 0}, "routes[0].items_per_second is not a whole number of at least 1"),
        ({"senders": True}, "routes[0].senders is not a whole number of at least 1"),
        ({"outbox_max_bytes": True}, "routes[0].outbox_max_bytes is not a size"),
        ({"outbox_max_bytes": ["1"]}, "routes[0].outbox_max_bytes is not a size"),
        ({"outbox_max_bytes": "lots"}, 'routes[0].outbox_max_bytes is not a size like 104857600, "100MiB" or "1GiB"'),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(fields: dict[str, Any], words: str) -> None:
    """And with the nearest right spelling; the line is the file's."""
    text = json.dumps({"routes": [route(**fields)]}, indent=1)
    message = refusal(text)
    assert words in message
    assert message.startswith(FILE + ":"), message


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "conf/routes.json:1:2: not JSON"),
        ([], "the file holds a list, not an object like"),
        ({}, 'the key "routes" is missing'),
        ({"routes": []}, '"routes" is empty'),
        ({"routs": []}, 'unknown key "routs"; did you mean "routes"?'),
        ({"routes": {}}, '"routes" is an object, not a list of routes'),
        ({"routes": ["a"]}, 'routes[0], "a": is a text, not a route like'),
        ({"routes": [{"name": "a", "match": {}}]}, 'has no "connection_string_file"'),
        ({"routes": [{"match": {}, "connection_string_file": "x"}]}, 'has no "name"'),
        ({"routes": [{"name": "a", "connection_string_file": "x"}]}, 'has no "match"'),
        ({"routes": [route("a"), route("a", match={"model": "b"})]}, "is the name of routes[0] too"),
        ({"routes": [route("a"), route("b")]}, "routes[1].match is that of routes[0]"),
        ({"routes": [route()], "unmatched": "own"}, '"unmatched" is "own"; it is "default"'),
        ('{"routes": [{"name": "a", "name": "b"}]}', "routes[0].name occurs twice"),
        ('{"routes": [{"name":"a","connection_string_file":"x","match":{"a":"1","a":"2"}}]}', 'routes[0].match names "a" twice'),
        ({"routes": [route(f"r{n}", match={"n": str(n)}) for n in range(ROUTES_MAX + 1)]}, "101 routes, more than the 100"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_refused(document: Any, words: str) -> None:
    """With a sentence, whatever it holds."""
    assert words in refusal(document)


def test_no_secret_is_shown() -> None:
    """Neither in what a route looks like nor in a message."""
    inline = {"name": "a", "match": {}, "connection_string": "InstrumentationKey=s3cret"}
    assert "s3cret" not in repr(routed(inline))
    assert "s3cret" not in refusal({"routes": [inline | {"senders": 0}]})


def test_sizes_are_read() -> None:
    """As the settings have them, fractions included; the schema has them too."""
    given = (1024, "1KiB", "2 MB", "1GiB", "1.5MB", "0.5GiB")
    sizes = [routed(route(outbox_max_bytes=size)).routes[0].outbox_max_bytes for size in given]
    assert sizes == [1024, 1024, 2_000_000, 1 << 30, 1_500_000, 1 << 29]
    for size in given:
        jsonschema.validate({"routes": [route(outbox_max_bytes=size)]}, SCHEMA)


@pytest.mark.parametrize("compiled", sorted({False, IS_COMPILED}))
def test_each_sample_is_in_the_chunk_of_its_route(*, compiled: bool) -> None:
    """With its resource's key, in the order sent; known series and new ones, and a drop has its reason."""
    routing = routed(route("a"), route("none", match={"model": "b_*"}), unmatched="drop")
    routing = Routing(routing.routes, KEYS, drops_unmatched=True)
    pipeline = Pipeline(Allowlist([Entry("nv_*")]), Identity(OWN_KEY, "host"), 1 << 20, routing=routing, compiled=compiled)  # fmt: skip
    series = [
        ([("__name__", "nv_x"), ("model", model)], [(float(number), TIME_MS + number % 2)])
        for number, model in enumerate(("a_1", "b_1", "c_1", "a_2", "b_1", "a_1"))
    ]
    for _ in range(2):
        outcome = pipeline.process(make.v1(series), Message.V1)
        assert [(chunk.lane.name, chunk.items) for chunk in outcome.chunks] == [("a", 3), ("none", 2)]  # fmt: skip
        for chunk, key in zip(outcome.chunks, KEYS, strict=True):
            assert chunk.lane.destination == key
            assert all(f'"iKey":"{key}"'.encode() in line for line in lines_of(chunk, 9))
        values = [json.loads(line)["data"]["baseData"]["metrics"][0]["value"] for line in outcome.lines]  # fmt: skip
        assert values == [0, 3, 5, 1, 4]
        assert outcome.dropped == {UNROUTED: 1}
        assert outcome.received == 6


def test_without_routes_all_is_the_own_lane() -> None:
    """As ever."""
    pipeline = Pipeline(Allowlist([Entry("nv_*")]), Identity(OWN_KEY, "host"), 1 << 20)
    outcome = pipeline.process(make.v1([([("__name__", "nv_x")], [(1.0, TIME_MS)])]), Message.V1)
    assert [chunk.lane for chunk in outcome.chunks] == [OWN]


SCHEMA = json.loads(resources.files("receiver.config").joinpath("routes.schema.json").read_bytes())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"match": {}},
        {"match": {"model": ["a", "b?*"], "__name__": ""}},
        {"items_per_second": 5, "senders": 1, "outbox_max_bytes": "10 MiB", "proxy": ""},
        {"outbox_max_bytes": 7, "authentication_string": ""},
    ],
)  # fmt: skip
def test_the_schema_takes_what_the_parser_takes(fields: dict[str, Any]) -> None:
    """An editor shows no mistake where there is none."""
    document = {"$schema": "x", "routes": [route(**fields)], "unmatched": "drop"}
    routed(route(**fields))
    jsonschema.validate(document, SCHEMA)


@pytest.mark.parametrize(
    "document",
    [
        {"routes": []},
        {"routes": [route("Team A")]},
        {"routes": [route("default")]},
        {"routes": [route(match={"model": "a_.*"})]},
        {"routes": [route(match={"model": []})]},
        {"routes": [route(match={"model=": "a"})]},
        {"routes": [route(connection_string="x")]},
        {"routes": [{"name": "a", "match": {}}]},
        {"routes": [route(other=1)]},
        {"routes": [route(senders=0)]},
        {"routes": [route(outbox_max_bytes="lots")]},
        {"routes": [route(outbox_max_bytes=0)]},
        {"routes": [route()], "unmatched": "own"},
    ],
)
def test_the_schema_refuses_what_the_parser_refuses(document: dict[str, Any]) -> None:
    """And shows one where there is."""
    assert refusal(document)
    assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def test_the_schema_of_the_docs_is_the_one_that_is_used() -> None:
    """Byte by byte."""
    packaged = resources.files("receiver.config").joinpath("routes.schema.json").read_bytes()
    assert (Path(__file__).parents[3] / "docs/routes.schema.json").read_bytes() == packaged
