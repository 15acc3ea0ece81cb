"""What an operator sees: the parts' counts, the last hour, what flows, and one verdict.

In: a running receiver's parts. Out: a `View`, and the rows of the metrics table. One
task, `run`, looks ten times a second at what flows and every ten seconds at everything; it
logs the verdict when that changes, and nothing otherwise.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from receiver.errors import NotCommitted
from receiver.events import RecentError
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.intake.routes import lane_of
from receiver.pack.forecast import SCRAPE_SECONDS, compare
from receiver.server.app import REFUSED
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
from receiver.status.diagnosis import Diagnosis, Facts, diagnose
from receiver.status.history import Flow, History, point_of
from receiver.status.missing_metric import MissingMetric, explain_missing
from receiver.status.outlook import Bounds
from receiver.status.patience import INTERVALS, PATIENCE, Patience
from receiver.status.sampling import LOOK_SECONDS, MetricSeen, Sampling
from receiver.status.snapshot import Observer, Snapshot
from receiver.status.verdicts import Severity, State

NAMES_SECONDS = 2.0
COST_SECONDS = 60.0
"""No pace is extrapolated before so much of it was seen."""
COST_EARLY_SECONDS = 5.0
"""A forecast is made anew so often while series are still getting known."""
BUDGET_SECONDS = 900.0
"""And a budget is not exceeded by a Prometheus that makes up for a restart in the first minutes."""
HOUR_SECONDS = 3600.0
SHOWN_ABSENCES = 100
SHOWN_NAMES = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class View:
    """Everything at one moment; `flow` is that of the window that the diagnosis is made from."""

    snapshot: Snapshot
    flow: Flow
    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Listed:
    """What a row is of: the series called `source`, and the entry that makes their items, if one does."""

    source: str
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which metrics to list: names that `fits`, at most `limit`, in all or of each category.

    Rows of the categories in `without` are left out; they are counted.
    """

    fits: Callable[[str], bool]
    limit: int
    each_category: bool = False
    without: frozenset[str] = frozenset()

    def rows(self, by_category: Mapping[str, list[str]]) -> list[str]:
        """Choose the names that get a row."""
        shown = [names for category, names in by_category.items() if category not in self.without]
        if self.each_category:
            return [name for names in shown for name in names[: self.limit]]
        return sorted(name for names in shown for name in names)[: self.limit]


class Monitor:
    """Looks at one receiver."""

    def __init__(
        self,
        observer: Observer,
        observation: Sampling,
        price: Price,
        directory: Path,
        bounds: Bounds,
        patience: Patience = PATIENCE,
    ) -> None:
        """Take the parts; `patience` says how soon a state is a verdict."""
        self._observer = observer
        self._price = price
        self._directory = directory
        self._bounds = bounds
        self._patience = patience
        self._first_seen: dict[State, float] = {}
        self._absences: dict[str, tuple[int, MissingMetric]] = {}
        self._logged: Diagnosis | None = None
        self._names: dict[str, bool] = {}
        self._names_of: Allowlist | None = None
        self._listed: dict[str, dict[str, Listed]] = {}
        self._names_at = self._selected_at = 0.0
        self._last: Snapshot | None = None
        self._forecast: Any = None
        self._forecast_of: Allowlist | None = None
        self._forecast_at = self._forecast_for = 0.0
        self._forecast_lock = asyncio.Lock()
        self.observation = observation
        observation.census.wants = self._is_counted
        self.events = observer.events
        self.history = History()

    async def begin(self) -> None:
        """Take the first point, before anything can arrive: all that comes is more than that."""
        with suppress(NotCommitted):
            snapshot = await self._snapshot()
            received = snapshot.ledger.received
            kept_history.read(self.history, self._directory, snapshot.now, received)
        await self._step()

    async def run(self) -> None:
        """Look, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._patience.step
        keep_at = loop.time() + kept_history.EVERY_SECONDS
        while True:
            self.observation.digest()
            if loop.time() >= due:
                due += self._patience.step
                await self._step()
            if loop.time() >= keep_at:
                keep_at += kept_history.EVERY_SECONDS
                await asyncio.to_thread(self.keep)
            await asyncio.sleep(LOOK_SECONDS)

    def keep(self) -> None:
        """Write the history beside the outbox."""
        kept_history.write(self.history, self._directory)

    async def _step(self) -> None:
        try:
            view = await self.view()
        except NotCommitted:  # the disk fails; the next look says more
            return
        self.history.add(point_of(view.snapshot))
        self._observer.write_handler.pipeline.look(view.snapshot.now)
        before, self._logged = self._logged, view.diagnosis
        if before is None or before.state is not view.diagnosis.state:
            self._log(view.diagnosis)

    def _log(self, diagnosis: Diagnosis) -> None:
        say = log.info if diagnosis.severity is Severity.GOOD else log.warning
        first, more = diagnosis.first, {"also": diagnosis.also} if diagnosis.also else {}
        say("verdict", verdict=first.line, hint=first.hint, runbook=first.runbook, **more)

    async def view(self) -> View:
        """Read everything. Raises: NotCommitted where the outbox cannot be read."""
        found = self._last = await self._snapshot()
        now = point_of(found)
        interval = self.history.interval(selected=False)
        selected_interval = self.history.interval(selected=True)
        window = max(self._patience.window, INTERVALS * max(interval, selected_interval))
        flow = self.history.flow(now, min(window, HOUR_SECONDS))
        delivery = self._observer.delivery.own
        facts = Facts(
            snapshot=found,
            flow=flow,
            names_seen=len(self.names_seen()),
            absences=self.absences(),
            clock_ahead_seconds=delivery.clock_ahead_seconds,
            newest_sample_at=self.observation.newest_ms / 1000,
            first_received_at=self._selected_since(),
            outbox_error=self._observer.committer.error,
            last_rejection=delivery.last_rejection,
            config_error=found.reload.error,
            interval=interval,
            selected_interval=selected_interval,
            refusals=self._refusals(),
            overrun=self._overrun(found),
            pair=self.observation.pairs.pair(),
            first_seen=self._first_seen,
            bounds=self._bounds,
            patience=self._patience,
        )
        diagnosis = diagnose(facts)
        states = {finding.state for finding in diagnosis.findings}
        self._first_seen = {state: self._first_seen.get(state, found.now) for state in states}
        return View(found, flow, diagnosis)

    def _refusals(self) -> dict[str, RecentError]:
        """Give the latest error of a request by reason."""
        errors = [each for each in self.events.latest() if each.where == REFUSED.where]
        return {error.reason: error for error in reversed(errors)}

    async def _snapshot(self) -> Snapshot:
        """Read everything; while the outbox cannot be read, what it said last."""
        try:
            return await self._observer.snapshot()
        except NotCommitted:
            if self._last is None or not self._observer.committer.failing:
                raise
            return replace(self._last, outbox_failing=True, now=self._observer.clock())

    @property
    def _allowlist(self) -> Allowlist:
        return self._observer.write_handler.pipeline.allowlist

    def _is_counted(self, name: bytes) -> bool:
        """Say whether a forecast needs the series of a name: selected ones, and Triton's to compare."""
        return name.startswith(b"nv_") or self._allowlist.wants(name)

    def names_seen(self) -> dict[str, bool]:
        """Give the names that arrived so far, and whether each is selected; some seconds old."""
        now, allowlist = self._observer.clock(), self._allowlist
        is_old = not self._names or abs(now - self._names_at) > NAMES_SECONDS
        if is_old or allowlist is not self._names_of:
            if self._names_of is not None and allowlist is not self._names_of:
                self._selected_at = now
            if allowlist is not self._names_of:
                self._listed = {}
            self._names_of, self._names_at = allowlist, now
            seen = allowlist.names_seen().items()
            self._names = {name.decode("utf-8", "replace"): wanted for name, wanted in seen}
        return self._names

    def _selected_since(self) -> float:
        """Say since when samples arrive under the selection in force; 0 before the first."""
        first = self.history.first_received_at
        return max(first, self._selected_at) if first else 0.0

    def absences(self) -> list[MissingMetric]:
        """Say of each entry that no name fitted yet why that may be."""
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
        """Extrapolate the pace of the last hour; nothing before there is a minute of it."""
        return self._cost(self.history.flow(point_of(view.snapshot), HOUR_SECONDS))

    def budget(self, view: View) -> Budget:
        """Say how the last hour's pace stands to the budget."""
        month = next((cost.billed_gb for cost in self.cost(view) if cost.span == "month"), None)
        return Budget(self._price.budget_gb, month, self._overrun(view.snapshot))

    async def cost_by_entry(self) -> Any:
        """Forecast what each entry costs a month, and the same metrics folded and raw; a minute old at most."""
        self.observation.watch()
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
        """Count on the series that come, at their observed intervals."""
        pipeline = self._observer.write_handler.pipeline
        counted = self.observation.census.counted(self._observer.clock())
        known = pipeline.statistics().entries
        seen = sum(allowlist.wants(each.name.encode()) for each in counted.series)
        comparison = await asyncio.to_thread(
            compare,
            allowlist,
            counted.series,
            pipeline.identity,
            self.history.interval(selected=True) or SCRAPE_SECONDS,
            self._price.factor,
        )
        is_part = counted.is_full or pipeline.explosion() is not None  # of which some are refused
        factor = known / seen if is_part and seen else 1.0
        is_complete = counted.is_full or (seen >= known and 0.0 not in counted.intervals)
        self._forecast_for = COST_SECONDS if is_complete else COST_EARLY_SECONDS
        return document.cost_by_entry(
            comparison.times(factor),
            counted,
            self._price,
            seen=seen,
            known=known,
            stored=self.observation.in_metrics_store(),
        )

    def _overrun(self, found: Snapshot) -> Overrun | None:
        """Hold the pace of the last hour against the budget, if there is one."""
        if not self._price.budget_gb:
            return None
        flow = self.history.flow(point_of(found), HOUR_SECONDS)
        if flow.seconds < BUDGET_SECONDS:
            return None

        return overrun(self._cost(flow), lambda: self._sizes(flow), self._price)

    def _sizes(self, flow: Flow) -> dict[str, float]:
        """Share the hour's items among the entries as those of the last ten minutes are: bytes a second."""
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
                for name, metric in self.observation.metrics.items()
                if name in entries and entries[name].is_folded is is_folded
            ]
            paces = [self.observation.per_minute(metric) for metric, _ in metrics]
            a_second = items / flow.seconds / (sum(paces) or 1.0)
            for (metric, entry), pace in zip(metrics, paces, strict=True):
                sizes[entry.title()] += a_second * pace * metric.billed_bytes()
        return dict(sizes)

    def _cost(self, flow: Flow) -> list[Cost]:
        if flow.seconds < COST_SECONDS:
            return []
        raw, folded = flow.ledger.rendered, flow.ledger.flushed
        raw_bytes = self.observation.raw_bytes_per_item or LINE_BYTES
        folded_bytes = self.observation.folded_bytes_per_item or FOLDED_LINE_BYTES
        size = (raw * raw_bytes + folded * folded_bytes) / ((raw + folded) or 1)
        return estimate((raw + folded) / flow.seconds, size, self._price)

    def metrics(self, wanted: Wanted) -> Any:
        """List the metrics that are selected, those that are missing, and those not selected."""
        self.observation.watch()
        seen, shares = self.names_seen(), self.observation.names()
        listed: dict[str, Listed] = {}
        for source in filter(seen.__getitem__, sorted(seen)):
            for name, each in self._outlets(source).items():
                listed.setdefault(name, each)
        by_category: dict[str, list[str]] = {category: [] for category in document.CATEGORIES}
        for name, each in sorted(listed.items()):
            if wanted.fits(name) or wanted.fits(each.source):
                by_category[document.category(each.source)].append(name)
        fitting = [name for name in seen if not seen[name] and wanted.fits(name)]
        fitting.sort(key=lambda name: (-shares.get(name, 0.0), name))
        return document.metrics(
            {category: names for category, names in by_category.items() if names},
            [self._row(name, listed[name]) for name in wanted.rows(by_category)],
            [missing for missing in self.absences() if wanted.fits(missing.name)],
            [(name, shares.get(name, 0.0)) for name in fitting],
            min(wanted.limit, SHOWN_NAMES),
            all_names=len(listed),
            sampling=self.observation,
        )

    def _outlets(self, source: str) -> dict[str, Listed]:
        """Find the items' names of the series called `source`; its own where it merely counts for others."""
        known = self._listed.get(source)
        if known is None:
            entries = self._allowlist.matches(source)
            known = {entry.item_name(source): Listed(source, entry) for entry in entries}
            known = self._listed[source] = known or {source: Listed(source, None)}
        return known

    def _row(self, name: str, listed: Listed) -> Any:
        metric = self.observation.metrics.get(name) or MetricSeen(name)
        return document.metric(
            metric,
            self._observer.write_handler.pipeline.metadata.get(listed.source),
            source=listed.source,
            entry=listed.entry,
            per_minute=self.observation.per_minute(metric),
            now=self._observer.clock(),
        )

    def series(self, name: str, limit: int) -> Any:
        """List a metric's series, the latest values first by labels."""
        self.observation.watch()
        metric = self.observation.metrics.get(name) or MetricSeen(name)
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
