"""The monitor of one receiver: counts, the last hour, sampled items, and the verdict.

In: a running receiver's parts. Out: a `View`, and the rows of the metrics table. One task,
`run`, digests samples ten times a second and takes a snapshot every ten seconds; it logs the
verdict only when that changes.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog

from receiver.config.settings import Settings
from receiver.delivery.sender import REJECTED
from receiver.errors import NotCommitted
from receiver.events import RecentError
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.routes import lane_of
from receiver.pack.forecast import SCRAPE_SECONDS, compare
from receiver.server.refusals import REFUSED
from receiver.status import document, kept_history
from receiver.status.cost import (
    FOLDED_LINE_BYTES,
    LINE_BYTES,
    Budget,
    Cost,
    Overrun,
    Price,
    estimate,
    overrun,
)
from receiver.status.diagnosis import (
    INTERVALS,
    PATIENCE,
    Diagnosis,
    Facts,
    Patience,
    View,
    diagnose,
)
from receiver.status.history import Flow, History, point_of
from receiver.status.missing_metric import MissingMetric, explain_missing
from receiver.status.recent_metrics import MetricSeen
from receiver.status.sampling import LOOK_SECONDS, Sampling
from receiver.status.snapshot import Observer, Snapshot
from receiver.status.verdicts import Severity, State

NAMES_SECONDS = 2.0
COST_SECONDS = 60.0
"""Shortest observed time from which a rate is extrapolated."""
COST_REST = 20.0
"""Shortest time between two forecasts, in multiples of how long the last one took."""
COST_EARLY_SECONDS = 5.0
"""Interval of new forecasts while the set of series is still growing."""
BUDGET_SECONDS = 900.0
"""The same for the budget: longer, since Prometheus catches up in the first minutes after a restart."""
HOUR_SECONDS = 3600.0
SHOWN_ABSENCES = 100
SHOWN_NAMES = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Listed:
    """The source of a row: the series named `source`, and the entry that sends them, if any."""

    source: str
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The metrics to list: names that pass `fits`, at most `limit`, in total or per category.

    Categories in `without` are counted, but not listed.
    """

    fits: Callable[[str], bool]
    limit: int
    each_category: bool = False
    without: frozenset[str] = frozenset()

    def rows(self, by_category: Mapping[str, list[str]]) -> list[str]:
        """Return the names to list."""
        shown = [names for category, names in by_category.items() if category not in self.without]
        if self.each_category:
            return [name for names in shown for name in names[: self.limit]]
        return sorted(name for names in shown for name in names)[: self.limit]


class Monitor:
    """Monitors one receiver."""

    def __init__(
        self,
        observer: Observer,
        sampling: Sampling,
        settings: Settings,
        patience: Patience = PATIENCE,
    ) -> None:
        """Keep the parts; `patience` has the times after which a state becomes a verdict."""
        self._observer = observer
        self._settings = settings
        self._price = Price(settings.price_per_gb, settings.billed_factor, settings.budget_gb)
        self._patience = patience
        self._first_seen: dict[State, float] = {}
        self._absences: dict[str, tuple[int, MissingMetric]] = {}
        self._logged: Diagnosis | None = None
        self._names: dict[str, bool] = {}
        self._listed: dict[str, dict[str, Listed]] = {}
        self._names_at = self._selected_at = 0.0
        self._last: Snapshot | None = None
        self._forecast: Any = None
        self._forecast_of: Allowlist | None = None
        self._forecast_at = self._forecast_for = 0.0
        self._forecast_lock = asyncio.Lock()
        self.sampling = sampling
        sampling.wants = self._is_selected
        sampling.census.wants = self._is_counted
        self.events = observer.events
        self.history = History()

    async def begin(self) -> None:
        """Take the first point, before any request can arrive."""
        with suppress(NotCommitted):
            snapshot = await self._snapshot()
            received = snapshot.ledger.received
            kept_history.read(self.history, self._settings.outbox_dir, snapshot.now, received)
        await self._step()

    async def run(self) -> None:
        """Monitor until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._patience.step
        keep_at = loop.time() + kept_history.EVERY_SECONDS
        while True:
            self.sampling.digest()
            if loop.time() >= due:
                due += self._patience.step
                await self._step()
            if loop.time() >= keep_at:
                keep_at += kept_history.EVERY_SECONDS
                await asyncio.to_thread(self.keep)
            await asyncio.sleep(LOOK_SECONDS)

    def begin_list(self) -> None:
        """Note that another metrics.json is in force."""
        self._names, self._listed = {}, {}
        self._selected_at = self._observer.clock()

    def keep(self) -> None:
        """Write the history beside the outbox."""
        kept_history.write(self.history, self._settings.outbox_dir)

    async def _step(self) -> None:
        try:
            view = await self.view()
        except NotCommitted:  # the disk fails; the next check reports it
            return
        self.history.add(point_of(view.snapshot))
        self._observer.write_handler.pipeline.recount_if_due(view.snapshot.now)
        before, self._logged = self._logged, view.diagnosis
        if before is None or before.state is not view.diagnosis.state:
            self._log(view.diagnosis)

    def _log(self, diagnosis: Diagnosis) -> None:
        write = log.info if diagnosis.severity is Severity.GOOD else log.warning
        first, more = diagnosis.first, {"also": diagnosis.also} if diagnosis.also else {}
        write("verdict", verdict=first.line, hint=first.hint, runbook=first.runbook, **more)

    async def view(self) -> View:
        """Return the current view. Raises: NotCommitted where the outbox cannot be read."""
        snapshot = self._last = await self._snapshot()
        now = point_of(snapshot)
        interval = self.history.interval(selected=False)
        selected_interval = self.history.interval(selected=True)
        window = max(self._patience.window, INTERVALS * max(interval, selected_interval))
        flow = self.history.flow(now, min(window, HOUR_SECONDS))
        facts = Facts(
            snapshot=snapshot,
            flow=flow,
            names_seen=len(self.names_seen()),
            absences=self.absences(),
            clock_ahead_seconds=self._observer.delivery.default.clock_ahead_seconds,
            newest_sample_at=self.sampling.newest_ms / 1000,
            first_received_at=self._selected_since(),
            outbox_error=self._observer.committer.error,
            last_rejection=self._last_rejection(),
            config_error=snapshot.reload.error,
            interval=interval,
            selected_interval=selected_interval,
            refusals=self._refusals(),
            overrun=self._overrun(snapshot),
            pair=self.sampling.pairs.pair(),
            first_seen=self._first_seen,
            items_per_second=self._settings.items_per_second,
            senders=self._settings.senders,
            patience=self._patience,
        )
        diagnosis = diagnose(facts)
        states = {finding.state for finding in diagnosis.findings}
        self._first_seen = {state: self._first_seen.get(state, snapshot.now) for state in states}
        return View(snapshot, flow, diagnosis)

    def _refusals(self) -> dict[str, RecentError]:
        """Return the latest error of a request by reason."""
        errors = [error for error in self.events.latest() if error.where == REFUSED.where]
        return {error.reason: error for error in reversed(errors)}

    def _last_rejection(self) -> str:
        """Return the message of the latest rejection, of whichever route."""
        errors = (error for error in self.events.latest() if error.where.startswith(REJECTED))
        return next((error.words for error in errors), "")

    async def _snapshot(self) -> Snapshot:
        """Return a snapshot; while the outbox cannot be read, the last one."""
        try:
            return await self._observer.snapshot()
        except NotCommitted:
            if self._last is None or not self._observer.committer.failing:
                raise
            return replace(self._last, outbox_failing=True, now=self._observer.clock())

    @property
    def _allowlist(self) -> Allowlist:
        return self._observer.write_handler.pipeline.allowlist

    def _is_selected(self, name: bytes) -> bool:
        return self._allowlist.wants(name)

    def _is_counted(self, name: bytes) -> bool:
        """Whether a forecast needs a name's series: selected ones, and Triton's for comparison."""
        return name.startswith(b"nv_") or self._is_selected(name)

    def names_seen(self) -> dict[str, bool]:
        """Return the names that have arrived, and whether they are selected; up to some seconds old."""
        now = self._observer.clock()
        if not self._names or abs(now - self._names_at) > NAMES_SECONDS:
            self._names_at = now
            seen = self._allowlist.names_seen().items()
            self._names = {name.decode("utf-8", "replace"): wanted for name, wanted in seen}
        return self._names

    def _selected_since(self) -> float:
        """Return the time of the first sample under the current selection; 0 before it."""
        first = self.history.first_received_at
        return max(first, self._selected_at) if first else 0.0

    def absences(self) -> list[MissingMetric]:
        """Explain the entries that have matched no name yet."""
        seen = self.names_seen()
        if not seen:
            return []
        wanted = [name for name, is_wanted in seen.items() if is_wanted]
        missing: list[MissingMetric] = []
        for entry in self._allowlist.entries:
            fits = entry.name in seen if not entry.is_glob else any(map(entry.fits, wanted))
            if not fits and len(missing) < SHOWN_ABSENCES:
                missing.append(self._absence(entry.name, seen))
        return missing

    def _absence(self, name: str, seen: Mapping[str, bool]) -> MissingMetric:
        known = self._absences.get(name)
        if known is None or known[0] != len(seen):
            known = self._absences[name] = len(seen), explain_missing(name, seen)
        return known[1]

    def cost(self, view: View) -> list[Cost]:
        """Extrapolate the rate of the last hour; empty before the first minute."""
        return self._cost(self.history.flow(point_of(view.snapshot), HOUR_SECONDS))

    def route_costs(self, view: View) -> dict[str, list[Cost]]:
        """Extrapolate the last hour's rate of each route; empty without routes."""
        if not view.snapshot.routes:
            return {}
        hour = self.history.flow(point_of(view.snapshot), HOUR_SECONDS)
        return {name: self._cost(flow) for name, flow in hour.routes.items()}

    def budget(self, view: View) -> Budget:
        """Compare the last hour's rate with the budget."""
        month = next((cost.billed_gb for cost in self.cost(view) if cost.span == "month"), None)
        return Budget(self._price.budget_gb, month, self._overrun(view.snapshot))

    async def cost_by_entry(self) -> Any:
        """Forecast the monthly cost by entry, and of the same metrics folded and raw; at most a minute old."""
        self.sampling.watch()
        async with self._forecast_lock:
            now, allowlist = self._observer.clock(), self._allowlist
            if (
                self._forecast_of is not allowlist
                or abs(now - self._forecast_at) > self._forecast_for
            ):
                self._forecast = await self._make_forecast(allowlist)
                self._forecast_of, self._forecast_at = allowlist, now
        return self._forecast

    async def _make_forecast(self, allowlist: Allowlist) -> Any:
        """Make a forecast from the arriving series, at their observed intervals."""
        pipeline = self._observer.write_handler.pipeline
        counted = self.sampling.census.counted(self._observer.clock())
        known = pipeline.statistics().entries
        seen = sum(allowlist.wants(series.name.encode()) for series in counted.series)
        began = asyncio.get_running_loop().time()
        comparison = await asyncio.to_thread(
            compare,
            allowlist,
            counted.series,
            pipeline.identity,
            self.history.interval(selected=True) or SCRAPE_SECONDS,
            self._price.factor,
        )
        is_part = counted.is_full or pipeline.explosion() is not None  # some series are refused
        factor = known / seen if is_part and seen else 1.0
        is_complete = counted.is_full or (seen >= known and 0.0 not in counted.intervals)
        least = COST_SECONDS if is_complete else COST_EARLY_SECONDS
        self._forecast_for = max(least, COST_REST * (asyncio.get_running_loop().time() - began))
        return document.cost_by_entry(
            comparison.times(factor),
            counted,
            self._price,
            seen=seen,
            known=known,
            stored=self.sampling.in_metrics_store(),
        )

    def _overrun(self, snapshot: Snapshot) -> Overrun | None:
        """Compare the last hour's rate with the budget, if there is one."""
        if not self._price.budget_gb:
            return None
        flow = self.history.flow(point_of(snapshot), HOUR_SECONDS)
        if flow.seconds < BUDGET_SECONDS:
            return None

        return overrun(self._cost(flow), lambda: self._sizes(flow), self._price)

    def _sizes(self, flow: Flow) -> dict[str, float]:
        """Return bytes a second by entry: the hour's items, split as those of the last ten minutes."""
        entries = {
            name: listed.entry
            for source, is_wanted in self.names_seen().items()
            if is_wanted
            for name, listed in self._outlets(source).items()
            if listed.entry
        }
        sizes: defaultdict[str, float] = defaultdict(float)
        for is_folded, items in ((False, flow.ledger.rendered), (True, flow.ledger.flushed)):
            metrics = [
                (metric, entries[name])
                for name, metric in self.sampling.metrics.items()
                if name in entries and entries[name].is_folded is is_folded
            ]
            rates = [self.sampling.per_minute(metric) for metric, _ in metrics]
            a_second = items / flow.seconds / (sum(rates) or 1.0)
            for (metric, entry), rate in zip(metrics, rates, strict=True):
                sizes[entry.title()] += a_second * rate * metric.billed_bytes()
        return dict(sizes)

    def _cost(self, flow: Flow) -> list[Cost]:
        if flow.seconds < COST_SECONDS:
            return []
        raw, folded = flow.ledger.rendered, flow.ledger.flushed
        raw_bytes = self.sampling.raw_bytes_per_item or LINE_BYTES
        folded_bytes = self.sampling.folded_bytes_per_item or FOLDED_LINE_BYTES
        size = (raw * raw_bytes + folded * folded_bytes) / ((raw + folded) or 1)
        return estimate((raw + folded) / flow.seconds, size, self._price)

    def metrics(self, wanted: Wanted) -> Any:
        """List selected, missing and unselected metrics."""
        self.sampling.watch()
        seen, shares = self.names_seen(), self.sampling.names()
        listed: dict[str, Listed] = {}
        for source in filter(seen.__getitem__, sorted(seen)):
            for name, row in self._outlets(source).items():
                listed.setdefault(name, row)
        by_category: dict[str, list[str]] = {category: [] for category in document.CATEGORIES}
        for name, row in sorted(listed.items()):
            if wanted.fits(name) or wanted.fits(row.source):
                by_category[document.category(row.source)].append(name)
        fitting = [name for name in seen if not seen[name] and wanted.fits(name)]
        fitting.sort(key=lambda name: (-shares.get(name, 0.0), name))
        return document.metrics(
            {category: names for category, names in by_category.items() if names},
            [self._row(name, listed[name]) for name in wanted.rows(by_category)],
            [missing for missing in self.absences() if wanted.fits(missing.name)],
            [(name, shares.get(name, 0.0)) for name in fitting],
            min(wanted.limit, SHOWN_NAMES),
            all_names=len(listed),
            sampling=self.sampling,
        )

    def _outlets(self, source: str) -> dict[str, Listed]:
        """Return the item names of the series named `source`; its own name if it only counts for others."""
        known = self._listed.get(source)
        if known is None:
            entries = self._allowlist.matches(source)
            known = {entry.item_name(source): Listed(source, entry) for entry in entries}
            known = self._listed[source] = known or {source: Listed(source, None)}
        return known

    def _row(self, name: str, listed: Listed) -> Any:
        metric = self.sampling.metrics.get(name) or MetricSeen(name)
        return document.metric(
            metric,
            self._observer.write_handler.pipeline.metadata.get(listed.source),
            source=listed.source,
            entry=listed.entry,
            per_minute=self.sampling.per_minute(metric),
            now=self._observer.clock(),
        )

    def series(self, name: str, limit: int) -> Any:
        """List a metric's series by their labels, with their latest values."""
        self.sampling.watch()
        metric = self.sampling.metrics.get(name) or MetricSeen(name)
        return document.series(metric, self._observer.clock(), limit)

    async def dead_letters(self, limit: int) -> Any:
        """List the latest rejected items. Raises: NotCommitted where the outbox cannot be read."""
        rows = await self._observer.committer.ask(lambda outbox: outbox.dead_letters(limit))
        return document.dead_letters(rows)

    def retry_now(self, route: str = "") -> bool | None:
        """Try delivery at once, of one route or all; returns whether it was waiting, None for no such route."""
        deliveries = self._observer.delivery
        lane = lane_of(route) if route else None
        if lane is not None and lane not in deliveries.by_lane:
            return None
        return deliveries.retry_now(lane)
