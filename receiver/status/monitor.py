"""The monitor of one receiver: counts, the last hour, sampled items, and the verdict.

In: a running receiver's parts. Out: a `View`, and the rows of the metrics table. One task,
`run`, digests samples ten times a second and takes a snapshot every ten seconds; it logs the
verdict only when that changes.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog

from receiver.config.settings import Settings
from receiver.delivery.sender import REJECTED
from receiver.errors import NotCommitted
from receiver.events import RecentError
from receiver.intake.routes import lane_of
from receiver.server.refusals import REFUSED
from receiver.status import document, kept_history
from receiver.status.arriving_names import ArrivingNames, Listed
from receiver.status.cost import Price
from receiver.status.diagnosis import (
    INTERVALS,
    PATIENCE,
    Diagnosis,
    Facts,
    Patience,
    View,
    diagnose,
)
from receiver.status.history import HOUR_SECONDS, History, point_of
from receiver.status.recent_metrics import MetricSeen
from receiver.status.sampling import LOOK_SECONDS, Sampling
from receiver.status.snapshot import Observer, Snapshot
from receiver.status.spending import Spending
from receiver.status.verdicts import Severity, State

SHOWN_NAMES = 500

log = structlog.get_logger()


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
        self._patience = patience
        self._first_seen: dict[State, float] = {}
        self._logged: Diagnosis | None = None
        self._last: Snapshot | None = None
        self.sampling = sampling
        self.events = observer.events
        self.history = History()
        self.names = ArrivingNames(observer.write_handler, observer.clock)
        price = Price(settings.price_per_gb, settings.billed_factor, settings.budget_gb)
        self.spending = Spending(observer, sampling, self.history, self.names, price)
        sampling.wants = self.names.selects
        # A forecast needs the series of selected names, and Triton's for comparison.
        sampling.census.wants = lambda name: name.startswith(b"nv_") or self.names.selects(name)

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
            names_seen=len(self.names.seen()),
            absences=self.names.absences(),
            clock_ahead_seconds=self._observer.delivery.default.service_clock.ahead_seconds,
            newest_sample_at=self.sampling.newest_ms / 1000,
            first_received_at=self._selected_since(),
            outbox_error=self._observer.committer.error,
            last_rejection=self._last_rejection(),
            interval=interval,
            selected_interval=selected_interval,
            refusals=self._refusals(),
            overrun=self.spending.overrun(snapshot),
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

    def _selected_since(self) -> float:
        """Return the time of the first sample under the current selection; 0 before it."""
        first = self.history.first_received_at
        return max(first, self.names.allowlist_since) if first else 0.0

    def metrics(self, wanted: Wanted) -> Any:
        """List selected, missing and unselected metrics."""
        self.sampling.watch()
        seen, shares = self.names.seen(), self.sampling.names()
        listed: dict[str, Listed] = {}
        for source in filter(seen.__getitem__, sorted(seen)):
            for name, row in self.names.outlets(source).items():
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
            [missing for missing in self.names.absences() if wanted.fits(missing.name)],
            [(name, shares.get(name, 0.0)) for name in fitting],
            min(wanted.limit, SHOWN_NAMES),
            all_names=len(listed),
            sampling=self.sampling,
        )

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
