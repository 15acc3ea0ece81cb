"""What an operator sees: the parts' counts, the last hour, what flows, and one verdict.

In: a running receiver's parts. Out: a `View`, and the rows of the metrics table. One
task, `run`, looks ten times a second at what flows and every ten seconds at everything; it
logs the verdict when that changes, and nothing otherwise.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import structlog

from receiver.errors import NotCommitted
from receiver.intake.metrics_json import Allowlist
from receiver.status import document
from receiver.status.cost import Cost, estimate
from receiver.status.diagnosis import Diagnosis, Facts, diagnose
from receiver.status.history import STEP_SECONDS, Flow, History, point_of
from receiver.status.missing_metric import MissingMetric, explain_missing
from receiver.status.sampling import LOOK_SECONDS, MetricSeen, Sampling
from receiver.status.snapshot import Observer, Snapshot
from receiver.status.verdicts import Severity

NAMES_SECONDS = 2.0
FLOW_SECONDS = 60.0
DIAGNOSIS_SECONDS = 130.0
"""Longer than a minute, in which an _irate comes once, with room for its delay."""
HOUR_SECONDS = 3600.0
SHOWN_ABSENCES = 100
SHOWN_NAMES = 500

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class View:
    """Everything at one moment; `flow` is that of the last minute."""

    snapshot: Snapshot
    flow: Flow
    diagnosis: Diagnosis


class Monitor:
    """Looks at one receiver."""

    def __init__(
        self,
        observer: Observer,
        observation: Sampling,
        price_per_gb: float,
    ) -> None:
        """Take the parts."""
        self._observer = observer
        self._price_per_gb = price_per_gb
        self._absences: dict[str, tuple[int, MissingMetric]] = {}
        self._logged: Diagnosis | None = None
        self._names: dict[str, bool] = {}
        self._names_of: Allowlist | None = None
        self._names_at = self._selected_at = 0.0
        self._last: Snapshot | None = None
        self.observation = observation
        self.events = observer.events
        self.history = History()

    async def begin(self) -> None:
        """Take the first point, before anything can arrive: all that comes is more than that."""
        await self._step()

    async def run(self) -> None:
        """Look, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time() + STEP_SECONDS
        while True:
            self.observation.digest()
            if loop.time() >= due:
                due += STEP_SECONDS
                await self._step()
            await asyncio.sleep(LOOK_SECONDS)

    async def _step(self) -> None:
        try:
            view = await self.view()
        except NotCommitted:  # the disk fails; the next look says more
            return
        self.history.add(point_of(view.snapshot))
        before, self._logged = self._logged, view.diagnosis
        if before is None or before.state is not view.diagnosis.state:
            self._log(view.diagnosis)

    def _log(self, found: Diagnosis) -> None:
        say = log.info if found.severity is Severity.GOOD else log.warning
        more = {"also": found.also} if found.also else {}
        say("verdict", verdict=found.line, hint=found.hint, runbook=found.runbook, **more)

    async def view(self) -> View:
        """Read everything. Raises: NotCommitted where the outbox cannot be read."""
        found = self._last = await self._snapshot()
        now = point_of(found)
        recent = self.history.flow(now, DIAGNOSIS_SECONDS)
        delivery = self._observer.delivery
        facts = Facts(
            snapshot=found,
            flow=recent,
            names_seen=len(self.names_seen()),
            absences=self.absences(),
            clock_ahead_seconds=delivery.clock_ahead_seconds,
            newest_sample_at=self.observation.newest_ms / 1000,
            first_received_at=self._selected_since(),
            outbox_error=self._observer.committer.error,
            last_rejection=delivery.last_rejection,
            config_error=found.reload.error,
        )
        return View(found, self.history.flow(now, FLOW_SECONDS), diagnose(facts))

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

    def names_seen(self) -> dict[str, bool]:
        """Give the names that arrived so far, and whether each is selected; some seconds old."""
        now, allowlist = self._observer.clock(), self._allowlist
        is_old = not self._names or abs(now - self._names_at) > NAMES_SECONDS
        if is_old or allowlist is not self._names_of:
            if self._names_of is not None and allowlist is not self._names_of:
                self._selected_at = now
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
        flow = self.history.flow(point_of(view.snapshot), HOUR_SECONDS)
        if flow.seconds < FLOW_SECONDS:
            return []
        pace = flow.ledger.committed / flow.seconds
        return estimate(pace, self.observation.bytes_per_item, self._price_per_gb)

    def metrics(self, fits: Callable[[str], bool], limit: int) -> Any:
        """List the metrics that are selected, those that are missing, and those nobody asked for."""
        self.observation.watch()
        seen = self.names_seen()
        shares = self.observation.names()
        rows = [self._row(name) for name in sorted(seen) if seen[name] and fits(name)]
        unselected = [name for name in seen if not seen[name] and fits(name)]
        unselected.sort(key=lambda name: (-shares.get(name, 0.0), name))
        return document.metrics(
            rows,
            [missing for missing in self.absences() if fits(missing.name)],
            [(name, shares.get(name, 0.0)) for name in unselected],
            limit,
            min(limit, SHOWN_NAMES),
            share_seen=self.observation.share_seen,
            series_are_all_counted=self.observation.series_are_all_counted,
        )

    def _row(self, name: str) -> dict[str, Any]:
        now = self._observer.clock()
        entries = (each.name for each in self._allowlist.entries if each.fits(name))
        metric = self.observation.metrics.get(name) or MetricSeen(name)
        told = self._observer.write_handler.pipeline.metadata.get(name)
        return {
            "name": name,
            "type": told.kind if told else "",
            "unit": told.unit if told else "",
            "help": told.help if told else "",
            "entry": next(entries, name),
            "series": len(metric.series),
            "last_value": metric.last_value if metric.seen_at else None,
            "last_time": metric.last_time,
            "seen_seconds_ago": round(now - metric.seen_at, 1) if metric.seen_at else None,
            "per_minute": round(self.observation.per_minute(metric), 2),
            "means": metric.means(now) if metric.seen_at else [],
        }
