"""What a sender sends is what the service gets: name, value to the bit, time to the millisecond, labels."""

import json
import math
import struct
from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from receiver.azure.envelope import KEY_LIMIT, Identity, fit
from receiver.intake.decode import Message
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.pipeline import Outcome, Pipeline
from tests.property.strategies import Sent, requests

IDENTITY = Identity("11111111-2222-3333-4444-555555555555", "host")


def take(sent: Sent, *names: str) -> Outcome:
    """Select these names of a request."""
    selection = Pipeline(Allowlist([Entry(name) for name in names]), IDENTITY, 100_000)
    return selection.process(sent.raw, sent.message)


def milliseconds(text: str) -> int:
    """Read a time as the service does; whole numbers only."""
    passed = datetime.fromisoformat(text) - datetime.fromisoformat("1970-01-01T00:00:00Z")
    return (passed.days * 86400 + passed.seconds) * 1000 + passed.microseconds // 1000


def read_back(line: bytes) -> tuple[str, bytes, int, dict[str, str]]:
    """Read an item: name, the value's bits, the time, the properties."""
    document: Any = json.loads(line)
    data = document["data"]["baseData"]
    [point] = data["metrics"]
    bits = struct.pack("<d", float(point["value"]))
    return point["name"], bits, milliseconds(document["time"]), data.get("properties", {})


@given(requests())
def test_every_finite_sample_arrives_as_it_was_sent(sent: Sent) -> None:
    """In order; labels without a value are absent; the rest is dropped and counted."""
    intake = take(sent, "*")

    assert [read_back(line) for line in intake.lines] == [
        (
            labels["__name__"],
            struct.pack("<d", value),
            time,
            {name: text for name, text in labels.items() if text and name != "__name__"},
        )
        for labels, samples in sent.series
        for value, time in samples
        if math.isfinite(value)
    ]
    every = [sample for _, samples in sent.series for sample in samples]
    assert intake.received == intake.written_samples == len(every)
    assert intake.dropped.total() == sum(not math.isfinite(value) for value, _ in every)
    assert not intake.refused


@given(requests(), st.sampled_from(["nv_count", "nv_*", "up", "?p", "no_such"]))
def test_what_is_selected_is_a_part_of_all_and_the_rest_is_counted(sent: Sent, name: str) -> None:
    """Selecting changes nothing of what is selected."""
    everything, some = take(sent, "*"), take(sent, name)

    wanted = Allowlist([Entry(name)])
    assert some.lines == [
        line for line in everything.lines if wanted.wants(read_back(line)[0].encode())
    ]
    assert some.received == some.unselected + some.dropped.total() + len(some.lines)
    if sent.message is Message.V2:  # 1.0 is not told
        assert some.written_samples == everything.written_samples


@given(requests())
def test_both_protocols_give_the_same_items(sent: Sent) -> None:
    """And the second time, from the cache, the same again."""
    from tests.golden import make

    spelt = [(list(labels.items()), samples) for labels, samples in sent.series]
    selection = Pipeline(Allowlist([Entry("*")]), IDENTITY, 100_000)

    old = selection.process(make.v1(spelt), Message.V1)
    new = selection.process(make.v2(spelt), Message.V2)

    assert old == new
    if old.lines:
        times = [
            time for _, samples in sent.series for value, time in samples if math.isfinite(value)
        ]
        assert (old.oldest_ms, old.newest_ms) == (min(times), max(times))


@given(st.text(st.characters(codec="utf-8"), max_size=400), st.integers(10, KEY_LIMIT))
def test_a_text_is_cut_to_its_limit_and_the_same_way_each_time(text: str, limit: int) -> None:
    """Never over, never far under, never half a character."""
    cut = fit(text, limit)

    units = len(cut.encode("utf-16-le")) // 2
    assert units <= limit
    if cut != text:
        assert units >= limit - 1
        assert cut[-9] == "~"
        assert text.startswith(cut[:-9])
    assert fit(cut, limit) == cut
