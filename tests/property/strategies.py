"""Requests as senders could make them, of both protocols, spelt without the receiver's code."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from receiver.intake.decode import Message
from tests.golden import make

MIN_MS, MAX_MS = -62135596800000, 253402300799999
"""What a calendar has: years 1 to 9999."""

texts = st.text(st.characters(codec="utf-8"), max_size=12)
label_names = st.one_of(
    st.sampled_from(["model", "version", "job", "instance", "quantile", "le", "Zone"]),
    texts.filter(bool),
).filter(lambda name: name != "__name__")
metric_names = st.one_of(
    st.sampled_from(["nv_count", "nv_count_irate", "up", "ALERTS"]), texts.filter(bool)
)
values = st.floats(width=64)
times = st.integers(MIN_MS, MAX_MS)
samples = st.lists(st.tuples(values, times), max_size=4)


@dataclass(frozen=True)
class Sent:
    """A request: the decompressed body, which message it is, and what is in it."""

    message: Message
    raw: bytes
    series: Sequence[tuple[dict[str, str], Sequence[tuple[float, int]]]]


@st.composite
def series(draw: st.DrawFn) -> tuple[dict[str, str], list[tuple[float, int]]]:
    """Draw a series: labels in any order, its name somewhere among them."""
    labels = draw(st.dictionaries(label_names, texts, max_size=6))
    labels["__name__"] = draw(metric_names)
    order = draw(st.permutations(list(labels)))
    return {name: labels[name] for name in order}, draw(samples)


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """Draw a request."""
    message = draw(st.sampled_from(Message))
    drawn = draw(st.lists(series(), max_size=5))
    spelt = [(list(labels.items()), made) for labels, made in drawn]
    raw = make.v1(spelt) if message is Message.V1 else make.v2(spelt)
    return Sent(message, raw, drawn)
