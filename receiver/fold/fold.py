"""The fold of one metrics.json: samples in, items out, and a checkpoint between them. Pure.

The fold is a function of committed data: the same series, and the same records with the same
times of commit, make the same items. So memory is a copy of the disk, and can be discarded
and read again at any time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import orjson

from receiver.azure.envelope import Identity, TimeTexts
from receiver.azure.folded_item import (
    item_head,
    item_line,
    item_name,
    item_properties,
    many_values,
    one_value,
)
from receiver.fold import checkpoint
from receiver.fold.accumulate import COMPILED, add_records
from receiver.fold.closing import Closed, close, close_oldest, is_due
from receiver.fold.plan import Plan
from receiver.fold.state import FORGOTTEN, NEVER, NONE, Kind
from receiver.fold.windows import Windows
from receiver.intake.entries import Entry
from receiver.intake.metrics_json import Allowlist
from receiver.intake.routes import NO_ROUTES, Routing
from receiver.outbox.flushed import WAITING_BYTES
from receiver.outbox.gzip_body import CHUNK_ITEMS, cut, deflate
from receiver.outbox.values import Chunk, DeflatedChunk, Lane, Submission

SHOWN_BYTES = WAITING_BYTES
"""Limit of the uncompressed lines of a flush. Of a larger flush the page shows only every second
or third chunk, a different one each time."""
SENT_KEPT_MS = 3 * 3_600_000
"""Time for which `sent_until_ms` outlasts an entry: windows last an hour at most."""
OLDER_MAX = 100_000
"""Limit of open windows older than their output's newest; above it the oldest are closed early."""


class Fold:
    """The series and windows of one metrics.json."""

    def __init__(
        self, allowlist: Allowlist, identity: Identity, routing: Routing = NO_ROUTES
    ) -> None:
        """Start without series; `identity` is the default route's."""
        self.allowlist = allowlist
        self.routing = routing
        self.upto = 0
        self._identity = identity
        self._lanes = {lane.name: lane for lane in routing.lanes}
        self.plan = Plan(allowlist, item_properties, routing)
        self.windows = Windows(self.plan.state, self.plan.entries)
        self.loop = COMPILED
        self._times = TimeTexts()
        self._heads: list[bytes] = []
        self._names: list[bytes] = []
        self.sent_until_ms: dict[bytes, int] = {}
        """The end of the last item, by item, of items that no entry makes now."""
        self._flushes, self._shown_every = 0, 1

    @property
    def entries(self) -> Sequence[Entry]:
        """All entries of metrics.json, not only those that fold."""
        return self.allowlist.entries

    def add_series(self, number: int, labels: bytes) -> None:
        """Add a series; numbers increase. `labels` is JSON."""
        outputs = self.plan.state.outputs
        first = len(outputs)
        self.plan.add_series(number, orjson.loads(labels))
        self.upto = number
        if self.sent_until_ms:
            for output in range(first, len(outputs)):
                sent_ms = self.sent_until_ms.get(self.plan.item(output), NEVER)
                outputs.until_ms[output] = max(outputs.until_ms[output], sent_ms)

    def take(self, records: bytes, now_ms: int) -> None:
        """Fold committed samples, each a `receiver.rows.RECORD`."""
        add_records(self.windows, records, now_ms, self.loop)

    def is_due(self, now_ms: int) -> bool:
        """Whether there are items to make."""
        return self.windows.older_count > OLDER_MAX or is_due(self.windows, now_ms)

    def close(self, now_ms: int) -> Submission:
        """Return the items of finished windows."""
        windows = self.windows
        return self._render(chain(close(windows, now_ms), close_oldest(windows, OLDER_MAX // 2)))

    def close_all(self, now_ms: int) -> Submission:
        """Return the items of all windows, including unfinished ones."""
        return self._render(close(self.windows, now_ms, of=lambda _: True))

    def close_released(self, now_ms: int) -> Submission:
        """Return the items of windows with only forgotten series: no sample can follow."""
        state = self.plan.state

        def is_released(output: int) -> bool:
            place = state.outputs.link[output]
            while place != NONE:
                if state.series.time_ms[state.links.series[place]] != FORGOTTEN:
                    return False
                place = state.links.beside[place]
            return True

        return self._render(list(close(self.windows, now_ms, of=is_released)))

    def encode(self) -> bytes:
        """Return the state as bytes."""
        return checkpoint.encode(
            self.entries, self.upto, self.windows, self.routing, self.sent_until_ms
        )

    @classmethod
    def decode(
        cls,
        body: bytes,
        identity: Identity,
        series: Iterable[tuple[int, bytes]],
        routing: Routing = NO_ROUTES,
    ) -> "tuple[Fold, bool]":
        """Read a checkpoint, under its own entries and routes; `series` are all its series.

        Routes get their keys from `routing`, by name. False: the windows are lost.

        Raises: checkpoint.Unusable.
        """
        document, raw = checkpoint.header(body)
        routes = checkpoint.routing_of(document, routing)
        fold = cls(Allowlist(checkpoint.entries_of(document)), identity, routes)
        for number, labels in series:
            if number <= document["upto"]:
                fold.add_series(number, labels)
        fold.upto = document["upto"]
        fold.plan.state.series.grow(fold.upto)
        is_whole = checkpoint.restore(document, raw, fold.plan, fold.windows)
        fold.sent_until_ms = checkpoint.sent_until_of(document)
        return fold, is_whole

    def forgotten(self, *, unseen: bool = False) -> set[int]:
        """Return the forgotten series; with `unseen` also those never seen."""
        series = self.plan.state.series
        return {
            number
            for number, time_ms in enumerate(series.time_ms)
            if series.target[number] != NONE
            and (time_ms == FORGOTTEN or (unseen and time_ms == NEVER))
        }

    def changed_to(
        self,
        allowlist: Allowlist,
        series: Iterable[tuple[int, bytes]],
        now_ms: int,
        routing: Routing | None = None,
    ) -> "tuple[Fold, Submission]":
        """Continue under another list, or with other routes; returns the new fold and the old one's last items.

        The `series` that stay keep their last values. A window with the same entry and route goes
        on; the others become items. Targets count as not yet watched, unless the list is the same:
        a series that was not selected before is not a new series.
        """
        new = Fold(allowlist, self._identity, self.routing if routing is None else routing)
        for number, labels in series:
            new.add_series(number, labels)
        new.upto = max(new.upto, self.upto)
        state, mine = new.plan.state, self.plan.state
        state.series.grow(new.upto)
        for number in range(len(mine.series.time_ms)):
            if state.series.target[number] != NONE:
                state.series.copy(number, mine.series, number)
        if list(allowlist.entries) == list(self.entries):
            watched = dict(zip(self.plan.targets, mine.targets.first_ms, strict=True))
            for number, target in enumerate(new.plan.targets):
                state.targets.first_ms[number] = watched.get(target, NEVER)
            state.since_ms = mine.since_ms
        successors = self.successors(new)
        closed = close(self.windows, now_ms, of=lambda output: output not in successors)
        items = self._render(closed)
        self.move_windows(new, successors)
        new.sent_until_ms = {
            item: at for item, at in new.sent_until_ms.items() if now_ms < at + SENT_KEPT_MS
        }
        new.windows.counts = self.windows.counts
        return new, items

    def successors(self, new: "Fold") -> dict[int, int]:
        """Map this fold's outputs to the new fold's outputs of the same item and entry."""
        theirs = {}
        for output in range(len(new.plan.state.outputs)):
            theirs[new.identity_of(output)] = output
        mine = range(len(self.plan.state.outputs))
        return {
            number: theirs[key] for number in mine if (key := self.identity_of(number)) in theirs
        }

    def identity_of(self, output: int) -> tuple[bytes, Entry]:
        """Return an output's identity: its items' name, and its entry."""
        return self.plan.item(output), self.plan.entries[self.plan.state.outputs.entry[output]]

    def move_windows(self, new: "Fold", successors: Mapping[int, int]) -> None:
        """Move the windows to continuing outputs, and the end of the last item to all outputs.

        Items that the new list does not make stay in `sent_until_ms`: a list may come back within
        the window, and a window has one item.
        """
        mine, theirs = self.plan.state, new.plan.state
        until = dict(self.sent_until_ms)
        for output in range(len(mine.outputs)):
            item = self.plan.item(output)
            until[item] = max(until.get(item, NEVER), mine.outputs.until_ms[output])
        made = set()
        for output in range(len(theirs.outputs)):
            made.add(item := new.plan.item(output))
            sent_ms = until.get(item, NEVER)
            theirs.outputs.until_ms[output] = max(theirs.outputs.until_ms[output], sent_ms)
        new.sent_until_ms |= {
            item: at for item, at in until.items() if at != NEVER and item not in made
        }
        for output, successor in successors.items():
            theirs.outputs.copy_window(successor, mine.outputs, output)
            first, second = mine.outputs.scrapes[output], theirs.outputs.scrapes[successor]
            if first != NONE:
                new.windows.put_scrapes(second, self.windows.scrapes_at(first))
            if behind := self.windows.older.get(output):
                new.windows.older[successor] = behind
                new.windows.older_count += len(behind)

    def _render(self, closed: Iterable[Closed]) -> Submission:
        """Make items, a chunk of lines at a time.

        A minute of 200,000 series is more than 100 MB of lines: only some stay uncompressed, for
        the status page.
        """
        self._render_texts()
        chunks: list[Chunk] = []
        deflated: list[DeflatedChunk] = []
        by_lane: dict[Lane, list[bytes]] = {}
        starts_ms: set[int] = set()
        size_bytes, room_bytes = 0, SHOWN_BYTES
        self._flushes += 1

        def put(lane: Lane) -> None:
            nonlocal size_bytes, room_bytes
            for chunk in cut(by_lane.pop(lane), lane):
                number = self._flushes + len(chunks) + len(deflated)
                size_bytes += len(chunk.text)
                if number % self._shown_every == 0 and len(chunk.text) <= room_bytes:
                    room_bytes -= len(chunk.text)
                    chunks.append(chunk)
                else:
                    deflated.append(deflate(chunk))

        for window in closed:
            time_text = self._times.get(window.start_ms)
            if time_text is None:
                continue  # a sample with a time outside the calendar is dropped earlier
            lane, line = self._line(window, time_text)
            lines = by_lane.setdefault(lane, [])
            lines.append(line)
            starts_ms.add(window.start_ms)
            if len(lines) == CHUNK_ITEMS:
                put(lane)
        for lane in list(by_lane):
            put(lane)
        self._shown_every = max(1, -(-size_bytes // SHOWN_BYTES))
        items = sum(chunk.items for chunk in chunks) + sum(chunk.items for chunk in deflated)
        span = min(starts_ms, default=0), max(starts_ms, default=0)
        return Submission(chunks, *span, {("flushed", ""): items}, deflated_chunks=deflated)

    def _line(self, window: Closed, time_text: bytes) -> tuple[Lane, bytes]:
        state, labels = self.plan.state.outputs, self.plan.labels.texts
        output = window.output
        if state.kind[output] in {Kind.AGGREGATE, Kind.MEAN}:
            numbers = many_values(window.value, window.count, window.least, window.most)
        else:
            numbers = one_value(window.value)
        target = state.target[output]
        head, name = self._heads[target], self._names[state.name[output]]
        properties = labels[state.labels[output]]
        line = item_line(time_text, head, properties, name, numbers)
        return self._lanes[self.plan.places[target][2]], line

    def _render_texts(self) -> None:
        """Render the new shared parts of items."""
        for job, instance, lane in self.plan.places[len(self._heads) :]:
            key = self._lanes[lane].destination or self._identity.instrumentation_key
            identity = replace(self._identity, instrumentation_key=key)
            self._heads.append(item_head(job, instance, identity))
        for name in self.plan.names.texts[len(self._names) :]:
            self._names.append(item_name(name.decode()))
