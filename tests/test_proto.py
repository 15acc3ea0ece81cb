"""The committed wire code is what proto/ says, and proto/ is what the protocol says."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

from receiver.intake.wire import remote_write_lean_pb2, remote_write_v1_pb2, remote_write_v2_pb2

PROTO = Path(__file__).parent.parent / "proto"
COMMITTED = {
    "remote_write_v1.proto": remote_write_v1_pb2,
    "remote_write_v2.proto": remote_write_v2_pb2,
    "remote_write_lean.proto": remote_write_lean_pb2,
}

HISTOGRAM = {
    "count_int": (1, "uint64"),
    "count_float": (2, "double"),
    "sum": (3, "double"),
    "schema": (4, "sint32"),
    "zero_threshold": (5, "double"),
    "zero_count_int": (6, "uint64"),
    "zero_count_float": (7, "double"),
    "negative_spans": (8, "repeated BucketSpan"),
    "negative_deltas": (9, "repeated sint64"),
    "negative_counts": (10, "repeated double"),
    "positive_spans": (11, "repeated BucketSpan"),
    "positive_deltas": (12, "repeated sint64"),
    "positive_counts": (13, "repeated double"),
    "reset_hint": (14, "ResetHint"),
    "timestamp": (15, "int64"),
    "custom_values": (16, "repeated double"),
}
BUCKET_SPAN = {"offset": (1, "sint32"), "length": (2, "uint32")}
V1 = {
    "WriteRequest": {
        "timeseries": (1, "repeated TimeSeries"),
        "metadata": (3, "repeated MetricMetadata"),
    },
    "TimeSeries": {
        "labels": (1, "repeated Label"),
        "samples": (2, "repeated Sample"),
        "exemplars": (3, "repeated Exemplar"),
        "histograms": (4, "repeated Histogram"),
    },
    "Label": {"name": (1, "bytes"), "value": (2, "bytes")},
    "Sample": {"value": (1, "double"), "timestamp": (2, "int64")},
    "Exemplar": {
        "labels": (1, "repeated Label"),
        "value": (2, "double"),
        "timestamp": (3, "int64"),
    },
    "MetricMetadata": {
        "type": (1, "MetricType"),
        "metric_family_name": (2, "bytes"),
        "help": (4, "bytes"),
        "unit": (5, "bytes"),
    },
    "BucketSpan": BUCKET_SPAN,
    "Histogram": HISTOGRAM,
}
V2 = {
    "Request": {"symbols": (4, "repeated bytes"), "timeseries": (5, "repeated TimeSeries")},
    "TimeSeries": {
        "labels_refs": (1, "repeated uint32"),
        "samples": (2, "repeated Sample"),
        "histograms": (3, "repeated Histogram"),
        "exemplars": (4, "repeated Exemplar"),
        "metadata": (5, "Metadata"),
    },
    "Sample": {"value": (1, "double"), "timestamp": (2, "int64"), "start_timestamp": (3, "int64")},
    "Exemplar": {
        "labels_refs": (1, "repeated uint32"),
        "value": (2, "double"),
        "timestamp": (3, "int64"),
    },
    "Metadata": {"type": (1, "MetricType"), "help_ref": (3, "uint32"), "unit_ref": (4, "uint32")},
    "BucketSpan": BUCKET_SPAN,
    "Histogram": HISTOGRAM | {"start_timestamp": (17, "int64")},
}
LEAN_OF = {
    "WriteRequest": V1["WriteRequest"],
    "TimeSeries": V1["TimeSeries"],
    "Label": V1["Label"],
    "Sample": V1["Sample"],
    "StartedSample": V2["Sample"],
    "Request": V2["Request"],
    "ReferencingTimeSeries": V2["TimeSeries"] | {"created_timestamp": (6, "int64")},  # of rc.3
    "OpaqueWriteRequest": V1["WriteRequest"],
    "OpaqueRequest": V2["Request"],
}
"""Whose fields the messages are that the receiver really parses."""
OUR_NAMES = ("repeated ReferencingTimeSeries", "repeated StartedSample")
METRIC_TYPES = ["COUNTER", "GAUGE", "HISTOGRAM", "GAUGEHISTOGRAM", "SUMMARY", "INFO", "STATESET"]


def written(name: str) -> FileDescriptorProto:
    """Read what is committed."""
    found = FileDescriptorProto()
    COMMITTED[name].DESCRIPTOR.CopyToProto(found)
    return found


def compiled(name: str, directory: Path) -> FileDescriptorProto:
    """Compile one of proto/."""
    out = directory / "set.bin"
    code = protoc.main(["protoc", f"-I{PROTO}", f"--descriptor_set_out={out}", str(PROTO / name)])
    assert code == 0
    [found] = FileDescriptorSet.FromString(out.read_bytes()).file
    return found


def without_json_names(message: Any) -> Any:
    """Forget the spelling in JSON, which only one of the two ways tells."""
    for nested in message.nested_type if hasattr(message, "nested_type") else message.message_type:
        without_json_names(nested)
    for field in getattr(message, "field", ()):
        field.ClearField("json_name")
    return message


def table(name: str) -> dict[str, dict[str, tuple[int, str]]]:
    """List number and type of each field, by message."""
    return {
        message.name: {field.name: (field.number, spelt(field)) for field in message.field}
        for message in written(name).message_type
    }


def spelt(field: FieldDescriptorProto) -> str:
    """Spell a field's type as in a .proto file."""
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    text = field.type_name.rsplit(".", 1)[-1] or kind
    return f"repeated {text}" if field.label == FieldDescriptorProto.LABEL_REPEATED else text


@pytest.mark.parametrize("name", sorted(COMMITTED))
def test_the_committed_code_is_what_proto_compiles_to(name: str, tmp_path: Path) -> None:
    """Nobody has changed one and not the other."""
    assert without_json_names(written(name)) == without_json_names(compiled(name, tmp_path))


def test_every_proto_file_is_committed_as_code() -> None:
    """And none is left out of these tests."""
    assert {path.name for path in PROTO.glob("*.proto")} == set(COMMITTED)


def test_1_0_is_the_protocol_s() -> None:
    """Each message, each field, its number and type; names and values as bytes."""
    assert table("remote_write_v1.proto") == V1


def test_2_0_is_the_protocol_s() -> None:
    """Each message, each field, its number and type; symbols as bytes."""
    assert table("remote_write_v2.proto") == V2


def test_the_lean_messages_are_the_same_on_the_wire() -> None:
    """Same numbers; a field is of the same type, or the bytes of a message that stays closed."""
    lean = table("remote_write_lean.proto")

    assert set(lean) == set(LEAN_OF)
    for message, fields in lean.items():
        for name, (number, kind) in fields.items():
            whole_number, whole_kind = LEAN_OF[message][name]
            assert number == whole_number
            closed = whole_kind.rsplit(" ", 1)[-1] in (*V1, *V2)
            assert kind in (whole_kind, *OUR_NAMES) or (closed and kind == "repeated bytes")
    dropped = {
        (message, field)
        for message, fields in LEAN_OF.items()
        for field in set(fields) - set(lean[message])
    }
    assert dropped == set(), "a field that is not there would be lost in silence"


def test_what_is_reserved_is_not_used() -> None:
    """Numbers that old or other senders use for something else."""
    by_name = {message.name: message for message in written("remote_write_v2.proto").message_type}
    reserved = {
        name: [number for each in message.reserved_range for number in range(each.start, each.end)]
        for name, message in by_name.items()
    }

    assert reserved["Request"] == [1, 2, 3]
    assert reserved["TimeSeries"] == [6]


@pytest.mark.parametrize(("name", "message"), [("remote_write_v1.proto", "MetricMetadata"), ("remote_write_v2.proto", "Metadata")])  # fmt: skip
def test_metric_types_have_the_protocol_s_numbers(name: str, message: str) -> None:
    """Nought is unknown; the rest are the same in both."""
    [found] = (each for each in written(name).message_type if each.name == message)
    [enum] = found.enum_type

    assert [value.number for value in enum.value] == list(range(8))
    assert [value.name.removeprefix("METRIC_TYPE_") for value in enum.value][1:] == METRIC_TYPES
