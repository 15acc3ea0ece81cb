"""routes.json is read, or says what is wrong with it, and where."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from receiver.intake.routes_json import ROUTES_MAX
from tests.unit.intake.route_files import FILE, refusal, route, routed


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "Team A"}, 'routes[0].name "Team A" is not a name for a route: use at most 63 of a-z, 0-9, dash, dot and underscore; did you mean "team-a"?'),
        ({"name": "default"}, 'routes[0].name "default" is the receiver\'s own route; choose another'),
        ({"name": 5}, "routes[0].name is a number, not a name in quotes"),
        ({"labels": {}}, 'unknown key "labels"; did you mean "match"?'),
        ({"senderz": 2}, 'unknown key "senderz"; did you mean "senders"?'),
        ({"match": "a_*"}, "routes[0].match is a text, not labels with their globs"),
        ({"match": {"model": "a_.*"}}, 'routes[0].match.model "a_.*" looks like a regular expression, and a match is a glob with * and ?; did you mean "a_*"?'),
        ({"match": {"model": "a|b"}}, "write a list of globs for several"),
        ({"match": {"model": "=~a"}}, 'did you mean "a"?'),
        ({"match": {"model=": "a"}}, '"model=" is not a label\'s name'),
        ({"match": {"model": []}}, "routes[0].match.model is an empty list, which matches nothing"),
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
