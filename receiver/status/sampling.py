"""Sampling of the flow: the latest values of series, and the names that are not selected.

In: every request's `Outcome`, once, after its commit; the items of every flush of folded
windows. Out: for each metric its series, with the last value, its time and the last hour's
values by minute; for each arriving name an estimate of its samples.

Theory of operation: `observe` only keeps references and counts, so its cost is per request, not
per sample. `digest`, called every `LOOK_SECONDS`, opens up to `ROWS_AT_ONCE` of the kept rows,
and one random request every `BODY_SECONDS`. Up to that rate the numbers are complete; above it
they are a sample, and marked as such. All memory is bounded. A window's item is counted when it
is flushed, and plotted at the window's time: as its mean where it has one.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle, islice
from random import Random
from typing import TYPE_CHECKING

from receiver.azure.envelope import series_of
from receiver.azure.folded_item import CLOUD_LABELS, FoldedItem, read_item, read_series
from receiver.errors import ReceiverError
from receiver.intake.decode import Message, Raw, decode, read_labels
from receiver.intake.metrics_json import REMEMBERED_BYTES
from receiver.intake.pipeline import Outcome
from receiver.outbox.flushed import Flushed
from receiver.outbox.gzip_body import lines_of
from receiver.status.census import GONE_SECONDS, Census
from receiver.status.pairs import PICKED_MAX, Pairs, PickedSeries
from receiver.status.recent_metrics import Hour, MetricSeen, SeriesSeen, Tapped

if TYPE_CHECKING:
    from receiver.rows import Rows

LOOK_SECONDS = 0.1
"""Interval of `digest`, short, so that each call is short and delays no request."""
ROWS_AT_ONCE = 250
ROWS_PER_SECOND = 2_500
"""Rows opened by one call (a millisecond), and in a second: about a hundredth of a core."""
WAITING_ROWS = ROWS_PER_SECOND
ITEMS_AT_ONCE = 200
"""Items of windows opened by one call; they arrive all together, once a minute."""
BODY_SECONDS = 10.0
BODY_WATCHED_SECONDS = 1.0
"""Interval at which a request's names are counted: normally, and while the page is open."""
BODY_BYTES = 4 << 20
BODY_SERIES = 2_000
PAIRS_SECONDS = 5.0
"""Interval at which a request is checked for several senders of the same series."""
PAIRS_TURN_SECONDS = 1200.0
"""Time after which a watched series that has ended is replaced by another."""
COUNTED_AT_ONCE = 200
"""Series of a request that are decoded completely."""
WATCHED_SECONDS = 15.0
SERIES_LIMIT = 50_000
LABELS_BYTES = 32 << 20
SHORT_BYTES = 4 << 10
"""Limit of kept labels in total; and of one series' labels once the total is reached."""
PLOTTED_LIMIT = 5_000
"""Series with a kept hour of values: half a kilobyte each."""
METRICS_LIMIT = 5_000
NAMES_LIMIT = 20_000
TAP_ITEMS = 2_000
TAP_BYTES = 4 << 20


class Sampling:
    """Counts every request, and opens some. `clock` is in seconds since the epoch."""

    def __init__(
        self,
        clock: Callable[[], float],
        flushed: Flushed | None = None,
        pairs: Pairs | None = None,
        census: Census | None = None,
        fold_times: Callable[[], Mapping[int, int]] = dict,
        choose: Callable[[int], int] | None = None,
    ) -> None:
        """Start empty. `flushed` has the items of folded windows.

        `pairs` gets the samples that reveal two senders of the same series: of names that `wants`
        selects, and the latest times of some folded series. `choose` returns a number below its
        argument, by default at random.
        """
        self.pairs = pairs or Pairs()
        self.wants: Callable[[bytes], bool] = lambda _: True
        self._fold_times = fold_times
        self._picked: tuple[Raw, Message] | None = None
        self._picked_at = self._pairs_turned_at = clock()
        self._skip, self._skips = 0, cycle(range(5))
        self._clock = clock
        self._choose = choose or Random().randrange  # noqa: S311 - no secret
        self.census = census or Census()
        self._flushed = flushed or Flushed()
        self._lines: list[bytes] = []
        self._started_at = clock()
        self._waiting: deque[tuple[Rows, int]] = deque()
        self._waiting_rows = 0
        self._body: tuple[Raw, Message] | None = None
        self._bodies = 0
        self._body_at = 0.0
        self._watched_at = self._tapped_at = -math.inf
        self._pruned_at = clock()
        self._by_series: dict[int, tuple[MetricSeen, SeriesSeen]] = {}
        self._plotted = self._labels_bytes = 0
        self.series_are_all_counted = True
        self._names = self._names_before = Counter[bytes]()
        self._turned_at = clock()
        self._tap: deque[Tapped] = deque()
        self._tap_bytes = 0
        self._tap_number = 0
        self.metrics: dict[str, MetricSeen] = {}
        self.rows_seen = self.rows_skipped = 0
        self._items = self._item_bytes = 0
        self.newest_ms = 0

    def observe(self, outcome: Outcome, raw: Raw, message: Message) -> None:
        """Keep references to a committed request."""
        if outcome.chunks or outcome.folded:
            self.newest_ms = outcome.newest_ms
        if outcome.chunks:
            self._items += outcome.rendered
            self._item_bytes += sum(len(chunk.text) for chunk in outcome.chunks)
            if self._waiting_rows < WAITING_ROWS:
                self._waiting.append((outcome.rows, 0))
                self._waiting_rows += len(outcome.rows)
            else:
                self.rows_skipped += len(outcome.rows)
        if self._picked is None and (outcome.chunks or outcome.folded):
            self._skip -= 1
            if (
                self._skip < 0 and len(raw) <= BODY_BYTES
            ):  # in turns, so that every sender is picked
                self._picked = (raw, message)
        if outcome.received and len(raw) <= BODY_BYTES:
            self._bodies += 1  # all have the same chance to be opened
            if not self._choose(self._bodies):
                self._body = (raw, message)

    def watch(self) -> None:
        """Note that the page is open: names are counted more often for a while."""
        self._watched_at = self._clock()

    def digest(self) -> None:
        """Open some of the kept rows. Bounded work: call it every `LOOK_SECONDS`."""
        now = self._clock()
        budget = ROWS_AT_ONCE
        tapping = now - self._tapped_at < WATCHED_SECONDS
        while self._waiting and budget > 0:
            rows, first = self._waiting.popleft()
            some = rows.sample(first, budget)
            for template, time_ms, value in some:
                self._open(template, time_ms, value, now, tapping=tapping)
            budget -= len(some)
            self._waiting_rows -= len(some)
            if some and first + len(some) < len(rows):
                self._waiting.appendleft((rows, first + len(some)))
        self._open_flushed(now, tapping=tapping)
        while len(self._tap) > TAP_ITEMS or self._tap_bytes > TAP_BYTES:
            self._tap_bytes -= self._tap.popleft().size_bytes
        if not tapping:
            self._tap.clear()
            self._tap_bytes = 0
        self._count_names(now)
        self._look_for_pairs(now)
        if now - self._pruned_at >= 60:
            self._pruned_at = now
            self._prune(now)
            self.census.forget(now)

    def _open(
        self, template: bytes, time_ms: int, value: float, now: float, *, tapping: bool
    ) -> None:
        self.rows_seen += 1
        digest = hash(template)
        known = self._by_series.get(digest) or self._learn(digest, *series_of(template))
        if known is None:
            return
        metric, series = known
        metric.add(series, value, time_ms, now)
        if self.pairs.wants_times(digest):
            self.pairs.observe_time(digest, metric.name, time_ms)
        if tapping:
            self._keep_tapped(metric, series, time_ms, value)

    def _open_flushed(self, now: float, *, tapping: bool) -> None:
        """Open some items of windows; a chunk is split into lines when its turn comes."""
        for _ in range(ITEMS_AT_ONCE):
            if not self._lines:
                chunk = self._flushed.take()
                if chunk is None:
                    return
                self._lines = lines_of(chunk, chunk.items)[::-1]
            line = self._lines.pop()
            self.rows_seen += 1
            item = read_item(line)
            digest = item.series
            known = self._by_series.get(digest) or self._learn(digest, *read_series(line))
            if known is None:
                continue
            metric, series = known
            value = item.value if item.mean is None else item.mean
            metric.add(series, value, item.time_ms, now, item)
            if tapping:
                self._keep_tapped(metric, series, item.time_ms, item.value, item)

    def _keep_tapped(
        self,
        metric: MetricSeen,
        series: SeriesSeen,
        time_ms: int,
        value: float,
        item: FoldedItem | None = None,
    ) -> None:
        self._tap_number += 1
        tapped = Tapped(self._tap_number, metric.name, series.labels, time_ms, value, item)
        self._tap.append(tapped)
        self._tap_bytes += tapped.size_bytes

    def _learn(
        self, digest: int, name: str, labels_json: bytes
    ) -> tuple[MetricSeen, SeriesSeen] | None:
        """Add a series; above the limits it is counted only with its metric."""
        metric = self.metrics.get(name)
        if metric is None:
            if len(self.metrics) >= METRICS_LIMIT:
                return None
            metric = self.metrics[name] = MetricSeen(name)
        series, size = SeriesSeen(labels_json), len(labels_json)
        if len(self._by_series) >= SERIES_LIMIT or self._labels_bytes + size > LABELS_BYTES:
            self.series_are_all_counted = False
            return metric, series if size <= SHORT_BYTES else SeriesSeen(b"{}")
        self._labels_bytes += size
        if self._plotted < PLOTTED_LIMIT:
            self._plotted += 1
            series.minutes = Hour()
        metric.series[digest] = series
        self._by_series[digest] = metric, series
        return metric, series

    def _count_names(self, now: float) -> None:
        watched = now - self._watched_at < WATCHED_SECONDS
        if self._body is None or now - self._body_at < (
            BODY_WATCHED_SECONDS if watched else BODY_SECONDS
        ):
            return
        (raw, message), self._body, self._body_at, self._bodies = self._body, None, now, 0
        if now - self._turned_at >= GONE_SECONDS / 2 or len(self._names) >= NAMES_LIMIT:
            self._names_before, self._names, self._turned_at = self._names, Counter(), now
        try:
            some = list(islice(decode(bytes(raw), message), BODY_SERIES))
        except ReceiverError:  # it was refused, and reported
            return
        names = (series.name for series in some)
        self._names.update(name for name in names if 0 < len(name) <= REMEMBERED_BYTES)
        first = self._choose(max(1, len(some) - COUNTED_AT_ONCE + 1))
        for series in some[first : first + COUNTED_AT_ONCE]:
            self.census.observe(series, now)

    def _look_for_pairs(self, now: float) -> None:
        """Check whether two senders send the same series."""
        for number, time_ms in self._fold_times().items():
            self.pairs.observe_time(("fold", number), "", time_ms)
        if now - self._pairs_turned_at >= PAIRS_TURN_SECONDS:
            self._pairs_turned_at = now
            self.pairs.stop_waiting()
        if self._picked is None or now - self._picked_at < PAIRS_SECONDS:
            return
        (raw, message), self._picked, self._picked_at = self._picked, None, now
        self._skip = next(self._skips)
        try:
            wanted = (series for series in decode(bytes(raw), message) if self.wants(series.name))
            self.pairs.observe(
                [
                    PickedSeries(
                        read_labels(series.label_pairs()),
                        [(sample.timestamp, sample.value) for sample in series.samples],
                    )
                    for series in islice(wanted, PICKED_MAX)
                ]
            )
        except ReceiverError:  # it was refused, and reported
            return

    def _prune(self, now: float) -> None:
        for metric in self.metrics.values():
            gone = [digest for digest, series in metric.series.items() if series.is_gone(now)]
            for digest in gone:
                series = metric.series.pop(digest)
                self._plotted -= series.minutes is not None
                self._labels_bytes -= len(series.labels_json)
                self._by_series.pop(digest, None)
                self.series_are_all_counted = True

    @property
    def share_seen(self) -> float:
        """Share of all rows that were opened, 0 to 1."""
        total = self.rows_seen + self.rows_skipped + self._flushed.counts.skipped
        return self.rows_seen / total if total else 1.0

    @property
    def raw_bytes_per_item(self) -> float:
        """Average JSON length of an item of one sample; 0 before the first."""
        return self._item_bytes / self._items if self._items else 0.0

    @property
    def folded_bytes_per_item(self) -> float:
        """Average JSON length of a window's item; 0 before the first."""
        flushed = self._flushed.counts
        return flushed.size_bytes / flushed.items if flushed.items else 0.0

    def in_metrics_store(self) -> tuple[int, int]:
        """Return the number of known series, and the largest number of dimensions."""
        columns = set(CLOUD_LABELS)
        firsts = (next(iter(metric.series.values())) for metric in self.metrics.values() if metric.series)  # fmt: skip
        dimensions = max((len(series.labels.keys() - columns) for series in firsts), default=0)
        return len(self._by_series), dimensions

    def per_minute(self, metric: MetricSeen) -> float:
        """Estimate a metric's items a minute, over the last ten minutes."""
        now = self._clock()
        minutes = min(now - self._started_at, 600 + now % 60) / 60
        return metric.lately(now) / max(minutes, 1.0) / max(self.share_seen, 1e-9)

    def names(self) -> dict[str, float]:
        """Return the arriving names, selected or not, with their shares of the samples."""
        both = self._names + self._names_before
        total = both.total()
        return {name.decode("utf-8", "replace"): n / total for name, n in both.items()}

    def tapped(self, after: int) -> Iterator[Tapped]:
        """Return the items tapped since number `after`; the call keeps the tap open for a while."""
        self._tapped_at = self._clock()
        return (tapped for tapped in tuple(self._tap) if tapped.number > after)
