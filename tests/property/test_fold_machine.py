"""The fold against a model of it: whatever happens in whatever order, sums are exact.

The outbox is a real one on disk. The model knows no window: it adds up, for each item (name,
target, labels), what its series grew between consecutive samples. At each step the items made
so far and what is still open must be that sum, and both equations of the ledger hold.
"""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from receiver.azure.envelope import Identity
from receiver.fold.accumulate import NEW_TARGET_MS
from receiver.fold.folder import Folder
from receiver.fold.registry import Registry
from receiver.fold.state import NEVER
from receiver.intake.entries import As, Entry
from receiver.intake.metrics_json import Allowlist, parse
from receiver.ledger import Key, read_ledger
from receiver.outbox.gzip_body import compress_chunks, cut, unpack
from receiver.outbox.store import Outbox
from receiver.outbox.values import Settlement, Submission
from receiver.rows import record_of
from tests.property.examples import examples

START_MS = 1_800_000_000_000
HOST = "host"
LISTS: Sequence[Sequence[Any]] = (
    [{"name": "c", "as": "delta"}, {"name": "us", "as": "mean", "per": "n", "keep": ["model"]}, {"name": "g", "as": "aggregate"}],
    [{"name": "c", "as": "delta", "drop": ["gpu"], "every": "5m"}, {"name": "us", "as": "mean", "per": ["n", "c"]}, "g"],
    ["c", {"name": "c", "as": "delta", "rename": "grown"}, {"name": "us", "as": "delta", "keep": []}],
    [{"name": "c", "as": "delta"}, {"name": "n", "as": "delta", "quiet": "10m"}],
)  # fmt: skip
NAMES = ("c", "us", "n", "g")
SERIES = [
    {"__name__": name, "job": "t", "instance": instance, "model": model, **gpu}
    for instance in ("h:1", "h:2")
    for model in ("a", "b")
    for gpu in ({}, {"gpu": "G"})
    for name in NAMES
]
Item = tuple[str, str, tuple[tuple[str, str], ...]]
Sample = tuple[int, int, float, int]
"""A series, a time, a value, a start timestamp (0 for none)."""


class Broken(Folder):
    """A fold whose flush can be told to be one that the disk does not take."""

    breaks = False

    def _flush(self, *items: Submission) -> Any:
        flush = super()._flush(*items)
        if self.breaks:
            bad = compress_chunks(Submission(cut([b"bad\n"]), 2**70, 2**70, {}))
            return replace(flush, items=[bad])
        return flush


class FoldMachine(RuleBasedStateMachine):
    """Scrapes, replays, kills, fails and changes lists; `self.expected` is what must have been said."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.now_ms = START_MS
        self.serial = 0
        self.values: dict[int, float] = {}
        self.last: dict[int, tuple[int, float]] = {}
        self.starts: dict[tuple[str, str], int] = {}
        self.told_starts: dict[int, int] = {}
        self.watched: dict[str, int] = {}
        self.since_ms = 0
        self.expected: defaultdict[Item, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.said: defaultdict[Item, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.windows: Counter[tuple[Item, str]] = Counter()
        self.requests: list[tuple[list[Sample], bytes]] = []
        self.received = 0
        self.asked: set[int] = set()
        self.heard: set[int] = set()

    @initialize(which=st.integers(0, len(LISTS) - 1))
    def begin(self, which: int) -> None:
        """Open it for the first time."""
        self.use(which)
        self.open()

    def use(self, which: int) -> None:
        """Take one of the lists."""
        self.which = which
        self.allowlist = parse(json.dumps({"customMetrics": LISTS[which]}), "metrics.json")

    def open(self) -> None:
        """Start as a process does: nothing is in memory."""
        self.registry = Registry(1 << 30)
        self.folder = Broken(self.allowlist, Identity("key", HOST), self.registry)
        clock = lambda: self.now_ms / 1000  # noqa: E731
        self.outbox = Outbox(
            Path(self.directory.name), 1 << 30, "key", 10**12, clock, folding=self.folder
        )
        self.outbox.open()

    def teardown(self) -> None:
        """Everything that is open comes out in the end, and the sums are whole."""
        if hasattr(self, "outbox"):
            for _ in range(3):
                self.now_ms += 3 * 3_600_000
                self.outbox.flush()
                self.deliver()
            self.sums_are_exact()
            outputs = self.folder.fold.plan.state.outputs
            assert all(start == NEVER for start in outputs.start_ms)
            self.outbox.close()
        self.directory.cleanup()

    # What a request is

    @rule(
        instance=st.sampled_from(["h:1", "h:2"]),
        chosen=st.sets(st.integers(0, 15), max_size=16),
        grown=st.lists(st.integers(0, 9), min_size=16, max_size=16),
        begins_anew=st.sampled_from([None, "a", "b"]),
        leap=st.sampled_from([0, 40]),
        tells_start=st.booleans(),
        seconds=st.sampled_from([1, 15, 45, 61, 400]),
    )
    def scrape(
        self, instance: str, chosen: set[int], grown: list[int], begins_anew: str | None,
        leap: int, tells_start: bool, seconds: int,  # noqa: FBT001
    ) -> None:  # fmt: skip
        """A target is scraped: some of its series are there, a model may have begun anew.

        Since then it may have grown past its old value: then its start timestamp alone says so.
        """
        self.now_ms += seconds * 1000
        samples = []
        if begins_anew:
            self.starts[instance, begins_anew] = self.now_ms - 900
        for place, number in enumerate(n for n, each in enumerate(SERIES) if each["instance"] == instance):  # fmt: skip
            if place not in chosen:
                continue
            value = self.values.get(number, 0.0)
            if SERIES[number]["model"] == begins_anew:
                value = leap
            self.values[number] = value + grown[place]
            start_ms = self.starts.get(
                (instance, SERIES[number]["model"]), START_MS - 7 * NEW_TARGET_MS
            )
            told = start_ms if tells_start else 0
            samples.append((number, self.now_ms - 500, self.values[number], told))
        self.send(samples)

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 9), part=st.integers(1, 3))
    def replay_overlapping(self, which: int, part: int) -> None:
        """A sender reads its log again and cuts it otherwise: the same samples in other bodies."""
        samples, _ = self.requests[which % len(self.requests)]
        self.send(samples[::part])

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 2))
    def repeat(self, which: int) -> None:
        """The very same body again: it is known for ten minutes, and harmless after."""
        samples, digest = self.requests[-1 - which % len(self.requests)]
        self.send(samples, digest)

    @rule(data=st.data())
    def send_late(self, data: st.DataObject) -> None:
        """A shard that is minutes behind sends old samples of a series that others have passed."""
        number = data.draw(st.integers(0, len(SERIES) - 1))
        back = data.draw(st.sampled_from([70, 130, 600])) * 1000
        at_ms, value = self.last.get(number, (0, 0.0))
        if at_ms < self.now_ms - back:
            self.send([(number, self.now_ms - back, value + 1, 0)])

    def made(self, samples: Sequence[Sample], digest: bytes) -> Submission:
        """Make what the pipeline makes of a request."""
        records, lines = [], []
        totals: Counter[Key] = Counter()
        for number, at_ms, value, start_ms in samples:
            labels = SERIES[number]
            name = labels["__name__"]
            raw = any(not entry.is_folded for entry in self.allowlist.matches(name))
            totals["received", ""] += 1
            if self.allowlist.folds(name):
                self.asked.add(number)
                fold_number = self.registry.number_of(labels)
                records.append(record_of(fold_number, at_ms, value, start_ms))
                totals["folded", ""] += not raw
            elif not raw:
                totals["unselected", ""] += 1
            if raw:
                lines.append(b'{"raw":%d}\n' % number)
        newest = max((at_ms for _, at_ms, *_ in samples), default=0)
        return compress_chunks(
            Submission(
                cut(lines), newest, newest, totals, digest, b"answer", folded=b"".join(records)
            )
        )

    def send(self, samples: list[Sample], digest: bytes = b"") -> None:
        """Commit a request, and expect its growth if it is new."""
        self.serial += 1
        digest = digest or b"%d" % self.serial
        [answer] = self.outbox.apply([self.made(samples, digest)], [])
        if answer is None:
            self.requests = [*self.requests[-9:], (samples, digest)]
            self.received += len(samples)
            if any(self.allowlist.folds(SERIES[number]["__name__"]) for number, *_ in samples):
                self.heard |= self.asked
            for sample in samples:
                self.expect(*sample)
        else:
            assert answer == b"answer"

    @rule(grown=st.integers(1, 5))
    def fail_to_commit(self, grown: int) -> None:
        """The disk does not take a transaction: nothing of it is folded, in memory either."""
        self.now_ms += 1000
        samples = [
            (number, self.now_ms, self.values.get(number, 0.0) + grown, self.now_ms - 1)
            for number in range(8)
        ]
        bad = compress_chunks(Submission(cut([b"bad\n"]), 2**70, 2**70, {}))
        try:
            self.outbox.apply([self.made(samples, b""), bad], [])
        except OverflowError:
            return
        raise AssertionError

    # The model

    def entries_of(self, name: str) -> list[tuple[Entry, int]]:
        """List the folded entries that a series feeds, as their value (0) or count (1)."""
        values = [(entry, 0) for entry in self.allowlist.matches(name) if entry.is_folded]
        return values + [(entry, 1) for entry in self.allowlist.entries if name in entry.per]

    def item_of(self, entry: Entry, name: str, labels: Mapping[str, str]) -> Item:
        """Name the item that a series of these labels feeds."""
        kept = {
            label: value
            for label, value in labels.items()
            if label not in {"__name__", "job", "instance"} and entry.keeps(label)
        }
        return entry.item_name(name), labels["instance"], tuple(sorted(kept.items()))

    def expect(self, number: int, at_ms: int, value: float, start_ms: int) -> None:
        """Add what a committed sample must count."""
        labels = SERIES[number]
        name, target = labels["__name__"], labels["instance"]
        if not self.allowlist.folds(name):
            return
        last = self.last.get(number)
        if last and at_ms <= last[0]:
            return
        watched = self.watched.setdefault(target, at_ms)
        self.since_ms = self.since_ms or at_ms
        self.last[number] = at_ms, value
        is_new = at_ms > watched or max(self.since_ms, at_ms - NEW_TARGET_MS) <= start_ms
        is_restarted = last and last[0] <= start_ms and self.told_starts.get(number, 0) < start_ms
        self.told_starts[number] = start_ms or self.told_starts.get(number, 0)
        for entry, part in self.entries_of(name):
            if entry.as_ is As.AGGREGATE:
                item = self.item_of(entry, name, labels)
                self.expected[item][0] += value
                self.expected[item][1] += 1
                continue
            if last is None:
                amount = value if is_new else 0.0
            else:
                amount = value if is_restarted or value < last[1] else value - last[1]
            if part == 0:
                self.expected[self.item_of(entry, name, labels)][0] += amount
            else:
                for item in self.fed(entry, labels):
                    self.expected[item][1] += amount

    def fed(self, entry: Entry, labels: Mapping[str, str]) -> set[Item]:
        """Name the means whose count a series is: those of which a value is known."""
        items = set()
        for number in self.heard:
            each = SERIES[number]
            if (entry, 0) in self.entries_of(each["__name__"]):
                item = self.item_of(entry, each["__name__"], each)
                if item[1:] == self.item_of(entry, "", labels)[1:]:
                    items.add(item)
        return items

    # What may happen at any time

    @rule(seconds=st.sampled_from([1, 20, 130]))
    def flush(self, seconds: int) -> None:
        """Windows that are over become items, and items are delivered."""
        self.now_ms += seconds * 1000
        self.outbox.flush()
        self.deliver()

    @rule(seconds=st.sampled_from([61, 200]))
    def fail_to_flush(self, seconds: int) -> None:
        """The disk does not take a flush: memory goes back to what the disk has."""
        self.now_ms += seconds * 1000
        self.folder.breaks = True
        try:
            self.outbox.flush()
        except OverflowError:
            pass
        finally:
            self.folder.breaks = False
        assert self.outbox._fold
        self.outbox._fold.read(self.outbox._database, self.now_ms)  # as before any next use

    @rule()
    def kill(self) -> None:
        """The process is gone; another one begins."""
        self.outbox.close()
        self.heard &= set(self.last)  # numbers that no sample ever had are given anew
        self.asked = set(self.heard)
        self.open()

    @rule(which=st.integers(0, len(LISTS) - 1), at_once=st.booleans())
    def change_list(self, which: int, at_once: bool) -> None:  # noqa: FBT001
        """metrics.json is read again; the same one or another."""
        before = self.allowlist
        self.use(which)
        self.folder.want(self.allowlist)
        if before.entries != self.allowlist.entries:
            self.watched.clear()
            self.since_ms = 0
            ends = self.means(before) - self.means(self.allowlist)
            self.outbox.flush()
            self.deliver()
            for item, _ in ends:  # what waits for an event ends with its entry
                assert self.expected[item][1] - self.said[item][1] == 0
                self.expected[item] = list(self.said[item])
        self.outbox.flush()
        if at_once:
            self.deliver()

    def means(self, allowlist: Allowlist) -> set[tuple[Item, Entry]]:
        """List the means that are made of the series that were heard of."""
        made = set()
        for number in self.heard:
            name = SERIES[number]["__name__"]
            for entry in allowlist.matches(name):
                if entry.as_ is As.MEAN:
                    made.add((self.item_of(entry, name, SERIES[number]), entry))
        return made

    def deliver(self) -> None:
        """Take all batches, and add up what their items say."""
        for batch in self.outbox.next_batches([], 0, 1000):
            for line in unpack(batch.body):
                item = orjson.loads(line)
                if "raw" in item:
                    continue
                data = item["data"]["baseData"]
                (metric,) = data["metrics"]
                labels = tuple(sorted(data.get("properties", {}).items()))
                key = metric["name"], item["tags"]["ai.cloud.roleInstance"], labels
                self.windows[key, item["time"]] += 1
                self.said[key][0] += metric["value"]
                self.said[key][1] += metric.get("count", 0)
                if "min" in metric:
                    mean = metric["value"] / metric["count"]
                    slack = 1e-9 * (1 + abs(mean))
                    assert metric["min"] - slack <= mean <= metric["max"] + slack
            self.outbox.apply([], [Settlement(batch, accepted=batch.items)])

    # What must hold

    @invariant()
    def both_equations_hold(self) -> None:
        """Each sample has one end, each item has one end."""
        if hasattr(self, "outbox"):
            ledger = read_ledger(self.outbox.totals())
            assert ledger.adds_up
            assert ledger.received == self.received

    @invariant()
    def a_series_has_one_item_a_window(self) -> None:
        """So copies can be told from items."""
        assert all(count == 1 for count in self.windows.values())

    @invariant()
    def sums_are_exact(self) -> None:
        """What was said, what waits on disk to be said, and what is open is what was grown."""
        if not hasattr(self, "outbox"):
            return
        self.deliver()
        total = defaultdict(lambda: [0.0, 0.0], {key: list(both) for key, both in self.said.items()})  # fmt: skip
        fold = self.folder.fold
        outputs = fold.plan.state.outputs
        for output in range(len(outputs)):
            name = fold.plan.names.texts[outputs.name[output]].decode()
            labels = orjson.loads(fold.plan.labels.texts[outputs.labels[output]])
            key = name, fold.plan.targets[outputs.target[output]][1], tuple(sorted(labels.items()))
            behind = fold.windows.older.get(output, [])
            sums = total[key]
            sums[0] += outputs.total[output] + outputs.left_total[output]
            sums[0] += sum(window.total for window in behind)
            sums[1] += outputs.count[output] + outputs.left_count[output]
            sums[1] += sum(window.count for window in behind)
        for key, both in total.items():
            assert both[0] == self.expected[key][0], key
            if both[1] or self.expected[key][1]:
                assert both[1] == self.expected[key][1], key


TestFold = FoldMachine.TestCase
TestFold.settings = settings(max_examples=examples(15), stateful_step_count=25)
