"""Items have the shape of the service's contracts, keep within its limits, and lose nothing in silence."""

import json
import random
import string
from typing import Any

import pytest
from applicationinsights.channel import contracts

from receiver.azure.envelope import (
    ITEM_LIMIT_BYTES,
    KEY_LIMIT,
    ROLE_LIMIT,
    VALUE_LIMIT,
    Identity,
    Template,
    TimeTexts,
    common_start,
    fit,
    format_time,
    line,
    make_template,
    order_labels,
    series_of,
    with_key,
)
from receiver.azure.limits import NAME_LIMIT
from receiver.errors import Damaged
from receiver.outbox.gzip_body import compress, unpack

KEY = "11111111-2222-3333-4444-555555555555"
IDENTITY = Identity(KEY, host="the-host")
TIME = "2026-11-22T10:32:29.365Z"


def item(labels: dict[str, str], identity: Identity = IDENTITY, value: str = "1.5") -> Any:
    """Render one item and read it back."""
    made = line(TIME.encode(), make_template(labels, identity).middle, value.encode())
    assert made.endswith(b"\n")
    assert made.count(b"\n") == 1
    return json.loads(made)


def properties(labels: dict[str, str]) -> dict[str, str]:
    """Render a series and return its properties."""
    found: dict[str, str] = item({"__name__": "n"} | labels)["data"]["baseData"].get(
        "properties", {}
    )
    return found


def units(text: str) -> int:
    """Count as the service does."""
    return len(text.encode("utf-16-le")) // 2


def by_contract(labels: dict[str, str], value: float) -> dict[str, Any]:
    """Build an item as a user of the package would, object by object."""
    point = contracts.DataPoint()
    point.name, point.value = labels["__name__"], value
    data = contracts.MetricData()
    data.metrics.append(point)
    data.properties.update({k: v for k, v in labels.items() if k != "__name__"})
    envelope = contracts.Envelope()
    envelope.name, envelope.time, envelope.ikey = "Microsoft.ApplicationInsights.Metric", TIME, KEY
    envelope.tags.update(IDENTITY.tags(labels))
    wrapped = contracts.Data()
    wrapped.base_type, wrapped.base_data = "MetricData", data
    envelope.data = wrapped
    document: dict[str, Any] = json.loads(json.dumps(envelope.write()))
    return document


def test_an_item_is_what_the_contracts_make() -> None:
    """For random labels: the same document, but for what is so by default."""
    chance = random.Random(7)
    letters = string.printable + "äßé日本🎉\u2028\u0000\\\"'"
    for _ in range(300):
        labels = {"__name__": "".join(chance.choices(letters, k=chance.randint(1, 40)))}
        for _ in range(chance.randint(0, 12)):
            name = chance.choice(
                ["model", "job", "instance", "".join(chance.choices(letters, k=5))]
            )
            labels[name] = "".join(chance.choices(letters, k=chance.randint(1, 60)))
        value = chance.uniform(-1e9, 1e9)

        expected = by_contract(labels, value)

        assert expected.pop("ver") == 1
        assert expected.pop("sampleRate") == 100.0
        assert expected["data"]["baseData"]["metrics"][0].pop("kind") == 0
        if not expected["data"]["baseData"].get("properties"):
            expected["data"]["baseData"].pop("properties", None)
        assert item(labels, value=repr(value)) == expected


def test_an_item_byte_for_byte() -> None:
    """Nothing but what the service bills us for and users need."""
    labels = {"__name__": "nv_count", "version": "1", "model": "add_sub", "job": "triton"}

    assert line(TIME.encode(), make_template(labels, IDENTITY).middle, b"412.0") == (
        b'{"time":"2026-11-22T10:32:29.365Z","name":"Microsoft.ApplicationInsights.Metric",'
        b'"iKey":"11111111-2222-3333-4444-555555555555",'
        b'"tags":{"ai.cloud.role":"triton","ai.cloud.roleInstance":"the-host"},'
        b'"data":{"baseType":"MetricData","baseData":{"ver":2,'
        b'"properties":{"model":"add_sub","version":"1","job":"triton"},'
        b'"metrics":[{"name":"nv_count","value":412.0}]}}}\n'
    )


def test_a_series_without_labels_has_no_properties() -> None:
    """Not even an empty object."""
    assert "properties" not in item({"__name__": "up"})["data"]["baseData"]


def test_what_users_slice_by_goes_first() -> None:
    """The first ten properties become dimensions: model … quantile, the rest by name, job and instance."""
    labels = ["instance", "zone", "job", "quantile", "Alpha", "reason", "gpu_uuid", "version", "model", "__name__", "alpha"]  # fmt: skip
    expected = ["model", "version", "gpu_uuid", "reason", "quantile", "Alpha", "alpha", "zone", "job", "instance"]  # fmt: skip

    for seed in range(20):
        random.Random(seed).shuffle(labels)
        assert order_labels(labels) == expected
        assert list(properties({label: "x" for label in labels if label != "__name__"})) == expected


@pytest.mark.parametrize(
    ("labels", "identity", "role", "instance"),
    [
        ({}, IDENTITY, "prometheus", "the-host"),
        ({"job": "triton", "instance": "gpu-7:8002"}, IDENTITY, "triton", "gpu-7:8002"),
        ({"job": "triton", "instance": "localhost:8002"}, IDENTITY, "triton", "the-host"),
        ({"instance": "127.0.0.1:8002"}, IDENTITY, "prometheus", "the-host"),
        ({"instance": "[::1]:8002"}, IDENTITY, "prometheus", "the-host"),
        ({"instance": "localhost"}, IDENTITY, "prometheus", "the-host"),
        ({"instance": "localhost.example:80"}, IDENTITY, "prometheus", "localhost.example:80"),
        ({"instance": "127.0.0.1.example:80"}, IDENTITY, "prometheus", "127.0.0.1.example:80"),
        ({"instance": "[2001:db8::1]:80"}, IDENTITY, "prometheus", "[2001:db8::1]:80"),
        ({"job": "a", "instance": "b"}, Identity(KEY, "h", "role", "inst"), "role", "inst"),
        ({"job": "a", "instance": "b"}, Identity(KEY, "h", role="role"), "role", "b"),
        ({"job": "a", "instance": "b"}, Identity(KEY, "h", role_instance="localhost:1"), "a", "localhost:1"),
    ],
)  # fmt: skip
def test_role_and_instance(
    labels: dict[str, str], identity: Identity, role: str, instance: str
) -> None:
    """What is set holds; else the series' job and instance; loopback says nothing, so the host does."""
    tags = item({"__name__": "n"} | labels, identity)["tags"]

    assert tags == {"ai.cloud.role": role, "ai.cloud.roleInstance": instance}


def test_roles_keep_within_their_limit() -> None:
    """The item would be refused for a tag that is too long."""
    tags = item({"__name__": "n", "job": "j" * 300, "instance": "i" * 300})["tags"]

    assert [len(tag) for tag in tags.values()] == [ROLE_LIMIT, ROLE_LIMIT]


@pytest.mark.parametrize("char", ["x", "ü", "日", "🎉"])
def test_labels_at_their_limit_stay_and_past_it_are_cut(char: str) -> None:
    """Counted in UTF-16 units, as the service does; a cut one ends in ~ and a digest of the whole."""
    width = units(char)
    key, value = char * (KEY_LIMIT // width), char * (VALUE_LIMIT // width)

    assert properties({key: value}) == {key: value}
    assert make_template({"__name__": "n", key: value}, IDENTITY).cut == 0

    cut = properties({key + char: value + char})
    [(cut_key, cut_value)] = cut.items()
    assert KEY_LIMIT - 2 < units(cut_key) <= KEY_LIMIT
    assert VALUE_LIMIT - 2 < units(cut_value) <= VALUE_LIMIT
    assert cut_key[-9] == cut_value[-9] == "~"
    assert set(cut_key[:-9]) == set(cut_value[:-9]) == {char}
    assert make_template({"__name__": "n", key + char: value + char}, IDENTITY).cut == 2


def test_labels_that_begin_alike_stay_apart_when_cut() -> None:
    """Two series must not become one, nor one two from scrape to scrape."""
    long = "x" * 200

    found = properties({long + "a": "1", long + "b": "2", long + "c": "3"})

    assert sorted(found.values()) == ["1", "2", "3"]
    assert fit(long + "a", 150) == fit(long + "a", 150) != fit(long + "b", 150)


def test_a_name_at_its_limit_is_sent_and_past_it_is_not() -> None:
    """A name that is cut would be another metric: such a series has no item."""
    assert (
        item({"__name__": "n" * NAME_LIMIT})["data"]["baseData"]["metrics"][0]["name"]
        == "n" * NAME_LIMIT
    )
    assert make_template({"__name__": "n" * (NAME_LIMIT + 1)}, IDENTITY) == Template(b"")
    assert make_template({"__name__": "🎉" * (NAME_LIMIT // 2 + 1)}, IDENTITY) == Template(b"")


@pytest.mark.parametrize("char", ["x", "日", "\x01", '"'])
def test_an_item_is_never_over_64_kib(char: str) -> None:
    """The longest labels go, only as many as must, and are counted."""
    labels = {f"label_{number:02}": char * (5000 + number) for number in range(20)}

    template = make_template({"__name__": "n"} | labels, IDENTITY)
    made = line(b"9999-12-31T23:59:59.999Z", template.middle, b"-1.7976931348623157e+308")

    kept = json.loads(made)["data"]["baseData"]["properties"]
    assert len(made) <= ITEM_LIMIT_BYTES
    assert template.left_out == 20 - len(kept) > 0
    assert list(kept) == sorted(labels)[: len(kept)], "the longest have gone"
    longest_that_fits = {f"label_{len(kept):02}": labels[f"label_{len(kept):02}"]}
    added = len(json.dumps(longest_that_fits, ensure_ascii=False).encode())
    assert len(made) + added > ITEM_LIMIT_BYTES - 64, "one more would not have fitted"


@pytest.mark.timeout(20)
def test_a_hundred_thousand_labels_do_not_hold_up_the_others() -> None:
    """One hostile series costs a moment, not an hour."""
    labels = {"__name__": "n"} | {f"label_{number:06}": "0123456789" for number in range(100_000)}

    template = make_template(labels, IDENTITY)

    assert len(template.middle) <= ITEM_LIMIT_BYTES
    assert template.left_out > 95_000
    assert len(template.middle) + len(',"label_000000":"0123456789"') > ITEM_LIMIT_BYTES - 64


def test_an_item_of_the_largest_name_and_roles_fits() -> None:
    """When all labels are gone there is still room: the rest cannot reach the limit."""
    labels = {"__name__": "\x01" * NAME_LIMIT, "job": "\x01" * 9000, "instance": "\x01" * 9000}
    made = line(TIME.encode(), make_template(labels, IDENTITY).middle, b"1.0")

    assert len(made) <= ITEM_LIMIT_BYTES


@pytest.mark.parametrize(
    ("timestamp_ms", "text"),
    [
        (0, b"1970-01-01T00:00:00.000Z"),
        (1, b"1970-01-01T00:00:00.001Z"),
        (-1, b"1969-12-31T23:59:59.999Z"),
        (1795343549365, b"2026-11-22T10:32:29.365Z"),
        (253402300799999, b"9999-12-31T23:59:59.999Z"),
        (-62135596800000, b"0001-01-01T00:00:00.000Z"),
        (253402300800000, None),
        (-62135596800001, None),
        (2**63 - 1, None),
        (-(2**63), None),
    ],
)
def test_times_are_spelt_to_the_millisecond(timestamp_ms: int, text: bytes | None) -> None:
    """In UTC; what no calendar has is nothing, not an error."""
    assert format_time(timestamp_ms) == text
    assert TimeTexts().get(timestamp_ms) == text


def test_each_time_is_spelt_once_and_few_are_remembered() -> None:
    """A scrape has one time for all its samples; a year of them must not fill the memory."""
    times = TimeTexts(limit=10)

    for timestamp_ms in range(1000):
        assert times.get(timestamp_ms) is times.get(timestamp_ms)
        assert len(times._known) <= 10
    assert times.get(3) == b"1970-01-01T00:00:00.003Z"


@pytest.mark.parametrize(
    "text",
    ["x", 'a"},"data":{"b', "é\\", "}]}}}", '"properties":{', '"metrics":[{"name":"a","value":'],
)
def test_a_series_is_read_back_from_its_template(text: str) -> None:
    """Whatever its labels say, and without what all templates begin with."""
    labels = {"__name__": f"nv_{text}", "job": text, "model": text}
    identity = Identity("11111111-2222-3333-4444-555555555555", "host", role=text)
    template = make_template(labels, identity).middle
    for end in (template, template.removeprefix(common_start(identity))):
        name, properties = series_of(end)
        assert (name, json.loads(properties)) == (f"nv_{text}", {"job": text, "model": text})


def test_a_series_without_labels_is_read_back() -> None:
    """It has its name alone."""
    template = make_template({"__name__": "up"}, Identity("key", "host")).middle
    assert series_of(template) == ("up", b"{}")


def test_a_slim_item_says_job_and_instance_once() -> None:
    """They are role and role instance already; where those say something else, they stay."""
    labels = {"__name__": "n", "job": "triton", "instance": "gpu-1:8002", "model": "m"}
    slim = Identity(KEY, host="the-host", slim=True)
    found = item(labels, slim)
    assert found["data"]["baseData"]["properties"] == {"model": "m"}
    assert found["tags"] == item(labels)["tags"]

    def kept(identity: Identity, **changes: str) -> set[str]:
        return set(item(labels | changes, identity)["data"]["baseData"]["properties"])

    assert kept(Identity(KEY, "the-host", role="mine", slim=True)) == {"model", "job"}
    assert kept(Identity(KEY, "the-host", role_instance="pod-1", slim=True)) == {
        "model",
        "instance",
    }
    assert kept(slim, instance="localhost:8002") == {"model", "instance"}
    assert kept(slim, job="j" * 300) == {"model", "job"}


OLD, NEW = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"


def keyed(key: str, label: str) -> bytes:
    """Make an item whose label may look like the key's field."""
    return f'{{"time":"t","name":"n","iKey":"{key}","data":{{"label":{label}}}}}\n'.encode()


def test_a_body_of_another_key_gets_this_one_s() -> None:
    """Once an item: what a label holds is nobody's key."""
    trap = '"\\"iKey\\":\\"' + OLD + '\\""'
    body = compress([keyed(OLD, trap), keyed(OLD, '"b"')])
    assert unpack(with_key(body, OLD, NEW)) == [keyed(NEW, trap), keyed(NEW, '"b"')]


def test_a_damaged_body_gets_no_other_key() -> None:
    """It is said so."""
    with pytest.raises(Damaged):
        with_key(b"rubbish", OLD, NEW)
