"""What is recognised of a request, and what recognising costs: shared by both fast paths.

`receiver.intake.recogniser` and `receiver.intake.fastpath` take the same bytes and give the same `Found`;
what a newcomer's labels mean is decided here, once for the two. Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from receiver.azure.envelope import Template
from receiver.errors import InvalidSeries, TooMuchToRender
from receiver.intake.decode import read_labels
from receiver.intake.limits import Limits
from receiver.intake.metrics_json import Allowlist
from receiver.intake.wire.remote_write_lean_pb2 import TimeSeries
from receiver.outbox.batch import Chunk

NAMES_LIMIT_BYTES = 4 << 20
LINE_OVERHEAD_BYTES = 150
"""What a rendered sample costs beside its series' part: time, value, object."""

Learn = Callable[[Mapping[str, str]], Template]
"""Makes the template of a series from its labels."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was recognised in a request.

    Each of the `series` is one of `unselected`, a line, `not_finite` (their values) and
    `odd`: the series' bytes. `finish` takes the lines that were made of each odd series
    and puts them between the others. `span_ms` is the oldest and the newest of the lines'
    times, empty where there is none; `learnt` are the templates of newcomers.
    """

    series: int
    unselected: int
    odd: Sequence[bytes]
    symbols: Sequence[bytes]
    not_finite: Sequence[float]
    span_ms: Sequence[int]
    rendered_bytes: int
    learnt: Sequence[Template]
    finish: Callable[[Sequence[Sequence[bytes]]], list[Chunk]]


def learn_series(
    pairs: Sequence[bytes], allowlist: Allowlist, limits: Limits, learn: Learn
) -> Template | None:
    """Make a wanted series' template from its labels, names and values in turn.

    None leaves the series to the full parser, which says what is the matter with it.
    """
    if len(pairs) > 2 * limits.labels or sum(map(len, pairs)) > limits.label_bytes:
        return None
    try:
        labels = read_labels(pairs)
    except InvalidSeries:
        return None
    if not allowlist.wants(labels["__name__"].encode()):
        return None
    template = learn(labels)
    return template if template.middle else None


def check_rendered(rendered_bytes: int, limits: Limits) -> None:
    """Refuse a request of which few bytes would become very many. Raises: TooMuchToRender."""
    if rendered_bytes > limits.rendered_bytes:
        message = (
            f"the samples would take more than {limits.rendered_bytes} bytes, each with its labels"
        )
        raise TooMuchToRender(message)


def only_labels(section: bytes) -> tuple[bytes, ...]:
    """Read labels, as name, value, name, value, …, from bytes that hold nothing else; else nothing."""
    try:
        fields = TimeSeries.FromString(section)
    except DecodeError:
        return ()
    if fields.samples or fields.histograms or fields.exemplars:
        return ()
    return tuple(part for label in fields.labels for part in (label.name, label.value))
