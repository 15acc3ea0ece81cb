"""The cost of what one receiver sends: at the last hour's rate, and forecast by entry.

In: the history, the arriving names and their sampled series. Out: `Cost`s, the comparison with
the budget, and the document of a forecast, made in a thread.
"""

import asyncio
from collections import defaultdict
from typing import Any

from receiver.intake.metrics_json import Allowlist
from receiver.pack.forecast import SCRAPE_SECONDS, compare
from receiver.status import document
from receiver.status.arriving_names import ArrivingNames
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
from receiver.status.history import HOUR_SECONDS, Flow, History, point_of
from receiver.status.sampling import Sampling
from receiver.status.snapshot import Observer, Snapshot

COST_SECONDS = 60.0
"""Shortest observed time from which a rate is extrapolated."""
COST_REST = 20.0
"""Shortest time between two forecasts, in multiples of how long the last one took."""
COST_EARLY_SECONDS = 5.0
"""Interval of new forecasts while the set of series is still growing."""
BUDGET_SECONDS = 900.0
"""Shortest observed time before the budget: Prometheus catches up in the first minutes after a restart."""


class Spending:
    """The cost of one receiver."""

    def __init__(
        self,
        observer: Observer,
        sampling: Sampling,
        history: History,
        names: ArrivingNames,
        price: Price,
    ) -> None:
        """Keep the parts."""
        self._observer = observer
        self._sampling = sampling
        self._history = history
        self._names = names
        self._price = price
        self._forecast: Any = None
        self._forecast_of: Allowlist | None = None
        self._forecast_at = self._forecast_for = 0.0
        self._forecast_lock = asyncio.Lock()

    def costs(self, snapshot: Snapshot) -> list[Cost]:
        """Extrapolate the rate of the last hour; empty before the first minute."""
        return self._cost(self._history.flow(point_of(snapshot), HOUR_SECONDS))

    def costs_of_routes(self, snapshot: Snapshot) -> dict[str, list[Cost]]:
        """Extrapolate the last hour's rate of each route; empty without routes."""
        if not snapshot.routes:
            return {}
        hour = self._history.flow(point_of(snapshot), HOUR_SECONDS)
        return {name: self._cost(flow) for name, flow in hour.routes.items()}

    def budget(self, snapshot: Snapshot) -> Budget:
        """Compare the last hour's rate with the budget."""
        month = next(
            (cost.billed_gb for cost in self.costs(snapshot) if cost.span == "month"), None
        )
        return Budget(self._price.budget_gb, month, self.overrun(snapshot))

    async def by_entry(self) -> Any:
        """Forecast the monthly cost by entry, and of the same metrics folded and raw; at most a minute old."""
        self._sampling.watch()
        async with self._forecast_lock:
            now, allowlist = self._observer.clock(), self._names.allowlist
            is_old = abs(now - self._forecast_at) > self._forecast_for
            if is_old or self._forecast_of is not allowlist:
                self._forecast = await self._make_forecast(allowlist)
                self._forecast_of, self._forecast_at = allowlist, now
        return self._forecast

    async def _make_forecast(self, allowlist: Allowlist) -> Any:
        """Make a forecast from the arriving series, at their observed intervals."""
        pipeline = self._observer.write_handler.pipeline
        counted = self._sampling.census.counted(self._observer.clock())
        known = pipeline.statistics().entries
        seen = sum(allowlist.wants(series.name.encode()) for series in counted.series)
        began = asyncio.get_running_loop().time()
        comparison = await asyncio.to_thread(
            compare,
            allowlist,
            counted.series,
            pipeline.identity,
            self._history.interval(selected=True) or SCRAPE_SECONDS,
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
            stored=self._sampling.in_metrics_store(),
        )

    def overrun(self, snapshot: Snapshot) -> Overrun | None:
        """Compare the last hour's rate with the budget, if there is one."""
        if not self._price.budget_gb:
            return None
        flow = self._history.flow(point_of(snapshot), HOUR_SECONDS)
        if flow.seconds < BUDGET_SECONDS:
            return None
        return overrun(self._cost(flow), lambda: self._sizes(flow), self._price)

    def _sizes(self, flow: Flow) -> dict[str, float]:
        """Return bytes a second by entry: the hour's items, split as those of the last ten minutes."""
        entries = {
            name: listed.entry
            for source, is_wanted in self._names.seen().items()
            if is_wanted
            for name, listed in self._names.outlets(source).items()
            if listed.entry
        }
        sizes: defaultdict[str, float] = defaultdict(float)
        for is_folded, items in ((False, flow.ledger.rendered), (True, flow.ledger.flushed)):
            metrics = [
                (metric, entries[name])
                for name, metric in self._sampling.metrics.items()
                if name in entries and entries[name].is_folded is is_folded
            ]
            rates = [self._sampling.per_minute(metric) for metric, _ in metrics]
            a_second = items / flow.seconds / (sum(rates) or 1.0)
            for (metric, entry), rate in zip(metrics, rates, strict=True):
                sizes[entry.title()] += a_second * rate * metric.billed_bytes()
        return dict(sizes)

    def _cost(self, flow: Flow) -> list[Cost]:
        if flow.seconds < COST_SECONDS:
            return []
        raw, folded = flow.ledger.rendered, flow.ledger.flushed
        raw_bytes = self._sampling.raw_bytes_per_item or LINE_BYTES
        folded_bytes = self._sampling.folded_bytes_per_item or FOLDED_LINE_BYTES
        size = (raw * raw_bytes + folded * folded_bytes) / ((raw + folded) or 1)
        return estimate((raw + folded) / flow.seconds, size, self._price)
