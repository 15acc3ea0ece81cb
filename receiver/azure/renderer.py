"""The renderer of rows to lines.

In: rows of a series' template, a time and a value, in the order sent. Out: lines of JSON in
chunks. A line is a head (its time, and the prefix common to all series of an identity), the
series' template, the value, and an end. Each distinct time is formatted once, and all values
of a request in one call. Lines of different lanes, each with an identity of its own,
are in different chunks.
"""

from collections.abc import Mapping, Sequence

import orjson

from receiver.azure.envelope import (
    LINE_END,
    LINE_START,
    Identity,
    Template,
    TimeTexts,
    common_start,
    make_template,
)
from receiver.outbox.gzip_body import cut_points
from receiver.outbox.values import OWN, Chunk, Lane
from receiver.rows import Rows


class Renderer:
    """Renders for the identity of each lane. Its templates lack the common prefix."""

    def __init__(self, *identities: Identity, lanes: Sequence[Lane] = (OWN,)) -> None:
        """Start with an empty cache of times; there is an identity for each lane."""
        self._identities = identities
        self._lanes = lanes
        self._times = TimeTexts()
        self._commons = [common_start(identity) for identity in identities]
        self.common_bytes = max(map(len, self._commons))

    def template_of(self, labels: Mapping[str, str], lane: int = 0) -> Template:
        """Return the template of a series; without `middle` it cannot be rendered."""
        made = make_template(labels, self._identities[lane])
        return Template(made.middle.removeprefix(self._commons[lane]), made.cut, made.left_out)

    def has_time(self, time_ms: int) -> bool:
        """Whether a time can be formatted: it is in the years 1 to 9999."""
        return self._times.get(time_ms) is not None

    def render(self, rows: Rows) -> list[Chunk]:
        """Return all lines, in chunks of one lane each. All times must pass `has_time`."""
        if not len(rows):
            return []
        text_of, commons = self._times.get, self._commons
        heads = tuple([b"".join((LINE_START, text_of(time) or b"", commons[lane])) for time, lane in zip(rows.times(), rows.lanes(), strict=True)])  # fmt: skip
        texts = orjson.dumps(rows.values())[1:-1]
        ends = memoryview(rows.layout(heads, texts, LINE_END)).cast("Q")
        return [
            Chunk(rows.text(first, stop), stop - first, self._lanes[lane])
            for lane, start, end in rows.spans()
            for first, stop in cut_points(ends, start, end)
        ]
