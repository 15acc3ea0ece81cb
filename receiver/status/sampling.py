"""What flows through, seen in samples: the latest value of each metric, and names nobody asked for.

In: each request's `Outcome`, once, after its commit. Out: per metric the number of
series, the last value and time, and a mean for each minute of the last hour; per name
that arrives an estimate of its samples.

Theory of operation: `saw` keeps references and counts, nothing else, so a request
pays for it once and a sample never. `digest`, called every `LOOK_SECONDS`, opens some
`LINES_AT_ONCE` of the kept rows, and one request in `BODY_SECONDS`. Up to that pace
the account is complete; past it, it is a sample, and says so. All is bounded.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from receiver.azure.envelope import name_of, spell_time
from receiver.azure.renderer import Rows
from receiver.errors import ReceiverError
from receiver.intake.decode import Message, decode
from receiver.intake.metrics_json import REMEMBERED_BYTES
from receiver.intake.pipeline import Outcome
from receiver.outbox.batch import Chunk, lines_of

LOOK_SECONDS = 0.1
"""How often `digest` is to be called: a little each time, so that no request waits for it."""
LINES_AT_ONCE = 500
LINES_PER_SECOND = 5_000
"""Lines that are opened at once (a millisecond), and in a second: a hundredth of a core or so."""
WAITING_LINES = LINES_PER_SECOND
BODY_SECONDS = 10.0
BODY_WATCHED_SECONDS = 1.0
"""How often a request's names are counted: always, and while somebody looks."""
BODY_BYTES = 4 << 20
BODY_SERIES = 2_000
WATCHED_SECONDS = 15.0
SERIES_LIMIT = 100_000
METRICS_LIMIT = 5_000
NAMES_LIMIT = 20_000
GONE_SECONDS = 900.0
"""A series that was not seen for so long is not counted any more."""
MINUTES = 60
TAP_ITEMS = 2_000


@dataclass(slots=True)
class Minute:
    """The samples of a metric within one minute."""

    number: int
    total: float = 0.0
    count: int = 0


@dataclass(slots=True)
class MetricSeen:
    """One metric, as its items were seen. `seen_at` in seconds since the epoch."""

    name: str
    series: dict[int, float] = field(default_factory=dict)
    minutes: deque[Minute] = field(default_factory=lambda: deque(maxlen=MINUTES))
    last_value: float = math.nan
    last_ms: int = 0
    seen_at: float = 0.0
    items: int = 0
    bytes: int = 0

    def add(self, digest: int, value: float, time_ms: int, size: int, now: float) -> None:
        """Take one item."""
        self.series[digest] = now
        if time_ms >= self.last_ms:
            self.last_value, self.last_ms = value, time_ms
        self.seen_at = now
        self.items += 1
        self.bytes += size
        number = int(now // 60)
        if not self.minutes or self.minutes[-1].number != number:
            self.minutes.append(Minute(number))
        self.minutes[-1].total += value
        self.minutes[-1].count += 1

    @property
    def last_time(self) -> str:
        """The last value's time, as its item has it; empty while none was seen."""
        return (spell_time(self.last_ms) or b"").decode() if self.items else ""

    def means(self, now: float) -> list[float | None]:
        """Give the mean of all series for each minute, from the first of the last 60 to the present."""
        last = int(now // 60)
        known = {each.number: each.total / each.count for each in self.minutes}
        first = min((n for n in known if n > last - MINUTES), default=last + 1)
        return [known.get(number) for number in range(first, last + 1)]

    def lately(self, now: float) -> int:
        """Count the items seen in the last ten whole minutes and the present one."""
        first = int(now // 60) - 10
        return sum(each.count for each in self.minutes if each.number >= first)


@dataclass(frozen=True, slots=True)
class Tapped:
    """One item that went by; `number` counts those that were tapped."""

    number: int
    line: bytes


@dataclass(slots=True)
class _Waiting:
    """A request's rows that are still to be opened, chunk by chunk."""

    rows: Rows
    chunks: Sequence[Chunk]
    chunk: int = 0
    first: int = 0


class Sampling:
    """Sees every request, looks into some. `clock` is in seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Start with nothing seen."""
        self._clock = clock
        self._started_at = clock()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_lines = 0
        self._body: tuple[bytes, Message] | None = None
        self._body_at = 0.0
        self._watched_at = self._tapped_at = -math.inf
        self._pruned_at = clock()
        self._by_series: dict[int, MetricSeen] = {}
        self._names = self._names_before = Counter[bytes]()
        self._turned_at = clock()
        self._tap: deque[Tapped] = deque(maxlen=TAP_ITEMS)
        self._tap_number = 0
        self.metrics: dict[str, MetricSeen] = {}
        self.lines_seen = self.lines_skipped = self.line_bytes = 0
        self.newest_ms = 0

    def saw(self, intake: Outcome, raw: bytes, message: Message) -> None:
        """Take note of a request that was committed: references only, whatever its size."""
        if intake.rendered:
            self.newest_ms = intake.newest_ms
            if self._waiting_lines < WAITING_LINES:
                self._waiting.append(_Waiting(intake.rows, intake.chunks))
                self._waiting_lines += intake.rendered
            else:
                self.lines_skipped += intake.rendered
        if self._body is None and intake.received and len(raw) <= BODY_BYTES:
            self._body = (raw, message)

    @property
    def wants_a_body(self) -> bool:
        """Whether names are to be counted soon, and no request is kept for it."""
        return self._body is None and self._clock() - self._body_at >= BODY_WATCHED_SECONDS

    def watch(self) -> None:
        """Say that somebody looks: names are counted more often for a while."""
        self._watched_at = self._clock()

    def digest(self) -> None:
        """Look into some of what is kept. Bounded work: call it every `LOOK_SECONDS`."""
        now = self._clock()
        budget = LINES_AT_ONCE
        tapping = now - self._tapped_at < WATCHED_SECONDS
        while self._waiting and budget > 0:
            waiting = self._waiting[0]
            chunk = waiting.chunks[waiting.chunk]
            rows = waiting.rows.sample(waiting.first, chunk.items)
            self._open(rows, chunk, now)
            if tapping:
                for line in lines_of(chunk, chunk.items):
                    self._tap_number += 1
                    self._tap.append(Tapped(self._tap_number, line))
            waiting.first += chunk.items
            waiting.chunk += 1
            if waiting.chunk == len(waiting.chunks):
                self._waiting.popleft()
            budget -= chunk.items
            self._waiting_lines -= chunk.items
        if not tapping:
            self._tap.clear()
        self._count_names(now)
        if now - self._pruned_at >= 60:
            self._pruned_at = now
            self._prune(now)

    def _open(self, rows: Sequence[tuple[bytes, int, float]], chunk: Chunk, now: float) -> None:
        """Take the rows of a chunk; an item has its template's size, and its share of the rest."""
        rest = (len(chunk.text) - sum(len(template) for template, _, _ in rows)) // len(rows)
        self.line_bytes += len(chunk.text)
        self.lines_seen += len(rows)
        for template, time_ms, value in rows:
            digest = hash(template)
            metric = self._by_series.get(digest)
            if metric is None:
                name = name_of(template)
                metric = self.metrics.get(name)
                if metric is None:
                    if len(self.metrics) >= METRICS_LIMIT:
                        continue
                    metric = self.metrics[name] = MetricSeen(name)
                if len(self._by_series) < SERIES_LIMIT:
                    self._by_series[digest] = metric
            metric.add(digest, value, time_ms, len(template) + rest, now)

    def _count_names(self, now: float) -> None:
        watched = now - self._watched_at < WATCHED_SECONDS
        if self._body is None or now - self._body_at < (
            BODY_WATCHED_SECONDS if watched else BODY_SECONDS
        ):
            return
        (raw, message), self._body, self._body_at = self._body, None, now
        if now - self._turned_at >= GONE_SECONDS / 2 or len(self._names) >= NAMES_LIMIT:
            self._names_before, self._names, self._turned_at = self._names, Counter(), now
        try:
            names = (each.name for each in islice(decode(raw, message), BODY_SERIES))
            self._names.update(name for name in names if 0 < len(name) <= REMEMBERED_BYTES)
        except ReceiverError:  # it was refused, and said so
            return

    def _prune(self, now: float) -> None:
        gone = now - GONE_SECONDS
        for metric in self.metrics.values():
            old = [digest for digest, seen_at in metric.series.items() if seen_at < gone]
            for digest in old:
                del metric.series[digest]
                self._by_series.pop(digest, None)

    @property
    def series_are_all_counted(self) -> bool:
        """Whether there was room for every series."""
        return len(self._by_series) < SERIES_LIMIT

    @property
    def share_seen(self) -> float:
        """Which share of all items was looked at, 0 to 1."""
        total = self.lines_seen + self.lines_skipped
        return self.lines_seen / total if total else 1.0

    @property
    def bytes_per_item(self) -> float:
        """How long an item is in JSON, on average; 0 while none was seen."""
        return self.line_bytes / self.lines_seen if self.lines_seen else 0.0

    def per_minute(self, metric: MetricSeen) -> float:
        """Estimate a metric's items a minute, over the last ten minutes."""
        now = self._clock()
        minutes = min(now - self._started_at, 600 + now % 60) / 60
        return metric.lately(now) / max(minutes, 1.0) / max(self.share_seen, 1e-9)

    def names(self) -> dict[str, float]:
        """Give each name that arrives, selected or not, with its share of the samples."""
        both = self._names + self._names_before
        total = both.total()
        return {name.decode("utf-8", "replace"): n / total for name, n in both.items()}

    def tapped(self, after: int) -> Iterator[Tapped]:
        """Give what went by since number `after`; asking keeps the tap open for a while."""
        self._tapped_at = self._clock()
        return (each for each in tuple(self._tap) if each.number > after)
