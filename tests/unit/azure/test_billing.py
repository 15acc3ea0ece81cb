"""What an item is billed for, part by part."""

import pytest

from receiver.azure.billing import FIXED_BYTES, billed, billed_of_json
from receiver.azure.envelope import Identity, line, make_template
from receiver.azure.folded_item import (
    item_head,
    item_line,
    item_name,
    item_properties,
    many_values,
)

KEY = "11111111-2222-3333-4444-555555555555"
IDENTITY = Identity(KEY, "host")
TIME = b"2026-11-22T10:32:29.365Z"
LABELS = {
    "__name__": "nv_inference_request_success",
    "model": "add_sub",
    "version": "1",
    "job": "triton",
    "instance": "gpu-1:8002",
}


def test_an_item_of_one_value() -> None:
    """Its value is stored as value, sum, least and greatest; job and instance are stored twice."""
    item = line(TIME, make_template(LABELS, IDENTITY).middle, b"2721.0")
    parts = billed(item)
    assert parts.fixed == FIXED_BYTES == 143
    assert parts.name == len("nv_inference_request_success")
    assert parts.values == 3 * len("2721.0") + 1
    assert parts.properties == len(
        '{"model":"add_sub","version":"1","job":"triton","instance":"gpu-1:8002"}'
    )
    assert parts.target == len("triton") + len("gpu-1:8002")
    assert parts.total == 143 + 28 + 19 + 72 + 16


def test_an_item_that_stands_for_many() -> None:
    """Its count, min and max are its own; an item without properties has none."""
    head = item_head("triton", "gpu-1:8002", IDENTITY)
    item = item_line(
        TIME, head, item_properties({}), item_name("n"), many_values(123456, 600, 1.5, 20)
    )
    parts = billed(item)
    assert parts.values == len("123456") + len("600") + len("1.5") + len("20")
    assert parts.properties == 0


@pytest.mark.parametrize("value", [b"7.0", b"2721.0", b"8013447.25", b"150754820096.0"])
def test_the_size_of_json_alone_is_near(value: bytes) -> None:
    """What the status page has to go by, within some bytes a hundred."""
    item = line(TIME, make_template(LABELS, IDENTITY).middle, value)
    assert billed_of_json(len(item)) == pytest.approx(billed(item).total, rel=0.05)
