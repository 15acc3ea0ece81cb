"""An item's line is read back as it was written."""

import json

import pytest

from receiver.azure.envelope import Identity, format_time
from receiver.azure.folded_item import (
    FoldedItem,
    item_head,
    item_line,
    item_name,
    item_properties,
    many_values,
    one_value,
    read_item,
    read_series,
)

IDENTITY = Identity("11111111-2222-3333-4444-555555555555", "host")
NASTY = 'a","value":1,"count":2}]}}}\n"'


def line(numbers: bytes, time_ms: int = 1_795_000_020_000, name: str = "us") -> bytes:
    """Write one, with a label and a name that try to look like its end."""
    time_text = format_time(time_ms)
    assert time_text
    head = item_head("triton", "h:8002", IDENTITY)
    return item_line(time_text, head, item_properties({"model": NASTY}), item_name(name), numbers)


@pytest.mark.parametrize("time_ms", [0, 1, 1_795_000_020_999, -62_135_596_800_000])
def test_one_value(time_ms: int) -> None:
    """To the millisecond, in any year that can be written."""
    item = read_item(line(one_value(-2.5e-7), time_ms, NASTY))
    assert (item.time_ms, item.value, item.count, item.mean) == (time_ms, -2.5e-7, None, None)


def test_many_values() -> None:
    """The mean is what Azure shows."""
    item = read_item(line(many_values(1500.0, 30, 40.5, 70.0)))
    assert item == FoldedItem(item.series, 1_795_000_020_000, 1500, 30, 40.5, 70)
    assert item.mean == 50


def test_series_are_distinguished_and_named() -> None:
    """Items of one series share their bytes, whatever their numbers and times."""
    first, second = line(many_values(1.0, 2, 0.0, 1.0)), line(many_values(3.0, 4, 0.0, 9.0), 60_000)
    assert read_item(first).series == read_item(second).series
    assert read_item(first).series != read_item(line(one_value(1.0), name="other")).series
    labels = {"model": NASTY, "cloud_RoleName": "triton", "cloud_RoleInstance": "h:8002"}
    name, text = read_series(first)
    assert (name, json.loads(text)) == ("us", labels)
