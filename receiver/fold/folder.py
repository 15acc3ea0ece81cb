"""The fold as the outbox uses it: a copy of the disk in memory, in the outbox's thread.

In: committed records; another metrics.json, from the event loop. Out: items, checkpoints.
`receiver.outbox.fold_log` calls it; `receiver.fold.fold` does the work.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from receiver.azure.envelope import Identity
from receiver.fold.checkpoint import Unusable
from receiver.fold.events import JOIN_REFUSED, RELEASED, TAKEN_OVER
from receiver.fold.fold import Fold
from receiver.fold.gaps import Gaps
from receiver.fold.registry import Registry
from receiver.fold.takeover import Held, Taken, held, release, take
from receiver.intake.metrics_json import Allowlist
from receiver.intake.routes import NO_ROUTES, Routing
from receiver.outbox.folding import Flush, LogRow, SeriesRow
from receiver.outbox.values import Submission
from receiver.rows import RECORD

FORGET_EVERY_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class FoldCounts:
    """The fold's size, and its events since the process started."""

    series: int = 0
    size_bytes: int = 0
    max_bytes: int = 0
    windows_behind: int = 0
    events: Mapping[str, int] = field(default_factory=dict)
    gap_share: float = 0.0
    """Share of too long intervals between samples of watched series (`receiver.fold.gaps`)."""


class Folder:
    """Implements `receiver.outbox.folding.Folding`. `want` alone may be called from the event loop."""

    def __init__(
        self,
        allowlist: Allowlist,
        identity: Identity,
        registry: Registry,
        routing: Routing = NO_ROUTES,
    ) -> None:
        """Fold by `allowlist`, to the lanes of `routing`."""
        self.registry = registry
        self._wanted = allowlist, routing
        self._identity = identity
        self.on_forget: Callable[[], object] = lambda: None
        self._fold: Fold | None = None
        self._has_state = False
        self._forgotten: list[SeriesRow] = []
        self._gaps = Gaps()
        self._unused: set[int] = set()
        self._forgot_at_ms = 0

    def want(self, allowlist: Allowlist, routing: Routing = NO_ROUTES) -> None:
        """Apply a new list from the next flush on; no record is accepted before that."""
        self._wanted = allowlist, routing

    @property
    def fold(self) -> Fold:
        """The fold, after it has been read."""
        assert self._fold is not None
        return self._fold

    def counts(self) -> FoldCounts:
        """Return the counts; callable from any thread."""
        fold, registry = self._fold, self.registry
        events = dict(fold.windows.counts) if fold else {}
        if fold:
            events[JOIN_REFUSED] = events.get(JOIN_REFUSED, 0) + fold.plan.refused
        behind = fold.windows.older_count if fold else 0
        return FoldCounts(
            len(registry), registry.size_bytes, registry.max_bytes, behind, events, self._gaps.share
        )

    def latest_times(self, count: int) -> dict[int, int]:
        """Return the times in ms of the last samples of some series, by number; callable from any thread."""
        times = self._fold.plan.state.series.time_ms if self._fold else ()
        step = max(1, len(times) // count)
        numbers = range(min(1, len(times)), len(times), step)[:count]
        return {number: time_ms for number in numbers if (time_ms := times[number]) > 0}

    @property
    def has_state(self) -> bool:
        """Whether the disk has a usable checkpoint."""
        return self._has_state

    @property
    def must_flush(self) -> bool:
        """Whether the checkpoint on disk belongs to another list or other routes."""
        allowlist, routing = self._wanted
        is_theirs = self._has_state and self.fold.allowlist is allowlist
        return not is_theirs or self.fold.routing is not routing

    def restore(
        self, state: bytes | None, series: Iterable[SeriesRow], log_rows: Iterable[LogRow], now_ms: int
    ) -> str:  # fmt: skip
        """Read the checkpoint, then the log, each row with its own clock.

        Returns why the checkpoint cannot be used, empty if it can, or if there is none.
        """
        rows = list(series)
        fold, problem = self._decode(state, rows)
        self._has_state = bool(state) and not problem
        later = iter([row for row in rows if row[0] > fold.upto])
        waiting = next(later, None)
        for entry in log_rows:
            while waiting and waiting[0] <= entry.upto:
                fold.add_series(*waiting)
                waiting = next(later, None)
            whole = len(entry.records) - len(entry.records) % RECORD.size
            fold.take(entry.records[:whole], entry.at_ms)
        while waiting:
            fold.add_series(*waiting)
            waiting = next(later, None)
        self._gaps.forget()
        fold.windows.counts.clear()  # counted before the restart
        fold.plan.state.forget(now_ms)
        self._fold, self._forgot_at_ms = fold, now_ms
        if not self.registry.is_loaded:  # at a start no request in flight can have their samples
            self._unused = fold.forgotten(unseen=True)
        if not self.registry.load([row for row in rows if row[0] not in self._unused], fold.upto):
            self.on_forget()
        return problem

    def _decode(self, state: bytes | None, rows: Sequence[SeriesRow]) -> tuple[Fold, str]:
        allowlist, routing = self._wanted
        if not state:
            return Fold(allowlist, self._identity, routing), ""
        try:
            fold, is_whole = Fold.decode(state, self._identity, rows, routing)
        except (Unusable, ValueError, KeyError, IndexError, TypeError) as error:
            # of a newer receiver, or damaged
            return Fold(allowlist, self._identity, routing), str(error)
        return fold, "" if is_whole else "it is of other outputs"

    def unsaved(self) -> Sequence[SeriesRow]:
        """Return the series that have no row yet."""
        return self.registry.unsaved()

    def saved(self, series: Sequence[SeriesRow]) -> None:
        """Add series that have a row now."""
        self.registry.saved(len(series))
        for number, labels in series:
            self.fold.add_series(number, labels)

    def take(self, records: bytes, now_ms: int) -> None:
        """Fold records that are on disk."""
        self.fold.take(records, now_ms)
        self._gaps.observe(self.fold.plan.state, now_ms)

    @property
    def open_windows(self) -> int:
        """Count the windows without an item."""
        return self._fold.windows.open_count if self._fold else 0

    def flush(
        self,
        now_ms: int,
        series: Callable[[], Iterable[SeriesRow]],
        *,
        is_long: bool,
        is_last: bool = False,
    ) -> Flush | None:
        """Make items of finished windows; after a change of the list, of all windows that end with it.

        `is_last` includes open windows. Later samples of such a window count in the next one, so
        the sums stay right if this receiver continues after all.
        """
        if abs(now_ms - self._forgot_at_ms) > FORGET_EVERY_MS:
            self._forgot_at_ms = now_ms
            self.fold.plan.state.forget(now_ms)
            if 4 * len(self.fold.forgotten()) >= len(self.registry) > 0:  # worth a rebuild
                return self._change(now_ms, list(series()), is_last=is_last)
        if self.must_flush:
            return self._change(now_ms, list(series()), is_last=is_last)
        if is_last:
            return self._flush(self.fold.close_all(now_ms))
        if not is_long and not self.fold.is_due(now_ms):
            return None
        return self._flush(self.fold.close(now_ms))

    def _change(
        self, now_ms: int, rows: Sequence[SeriesRow], *, is_last: bool = False
    ) -> Flush | None:
        forgotten = self.fold.forgotten() | self._unused
        wanted, routing = self._wanted
        self._forgotten = [row for row in rows if row[0] in forgotten]
        stay = [row for row in rows if row[0] not in forgotten]
        if not rows and not self._has_state and not any(e.is_folded for e in wanted.entries):
            return None  # no series was ever folded, and none is selected
        self._fold, ended = self.fold.changed_to(wanted, stay, now_ms, routing)
        close = self.fold.close_all if is_last else self.fold.close
        return self._flush(ended, close(now_ms))

    def _flush(self, *items: Submission) -> Flush:
        return Flush(items, self.fold.encode(), [number for number, _ in self._forgotten])

    def held(self, rows: Iterable[SeriesRow]) -> Sequence[tuple[Held, bytes]]:
        """Return the last samples of these series, with their labels as JSON."""
        labels = dict(rows)
        series = held(self.fold.windows, min(labels, default=0) - 1)
        return [(one, labels[one.number]) for one in series if one.number in labels]

    def take_over(self, given: Sequence[Held], now_ms: int) -> tuple[Sequence[Taken], Flush]:
        """Continue from another receiver's last samples of series, numbered as here."""
        taken = [take(self.fold.windows, one, now_ms) for one in given]
        self.fold.windows.counts[TAKEN_OVER] += taken.count(Taken.TAKEN)
        return taken, self._flush()

    def release(self, given: Sequence[tuple[int, int]], now_ms: int) -> tuple[set[int], Flush]:
        """Forget series that another receiver took over; returns those with a newer sample, which stay.

        Windows whose series were all released become items.
        """
        newer = release(self.fold.windows, given)
        self.fold.windows.counts[RELEASED] += len(given) - len(newer)
        return newer, self._flush(self.fold.close_released(now_ms))

    def flushed(self) -> None:
        """Note that the last flush is on disk: forgotten series can be removed."""
        self._has_state = True
        if self._forgotten:
            self.registry.forget(self._forgotten)
            self._unused -= {number for number, _ in self._forgotten}
            self._forgotten = []
            self.on_forget()
