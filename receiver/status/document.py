"""The JSON documents of the HTTP API, as described in docs/http-api.md.

In: a `View` and other state of one moment. Out: plain dictionaries. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson

from receiver import __version__
from receiver.azure.envelope import format_time
from receiver.azure.limits import METRIC_DIMENSIONS, METRIC_SERIES
from receiver.azure.masking import mask_item
from receiver.azure.rejections import REJECT_REASONS, reason_of
from receiver.intake.election import NEVER_MS
from receiver.intake.guard import CARDINALITY
from receiver.intake.pipeline import HARMLESS_DROPS
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.routes import shown
from receiver.ledger import ITEM_WORDS, ROUTE_FULL
from receiver.status.recent_metrics import text_bytes
from receiver.text import moment
from receiver.triton import METRICS, Category, series_names

if TYPE_CHECKING:
    from receiver.azure.folded_item import FoldedItem
    from receiver.config.settings import Origin
    from receiver.events import RecentError
    from receiver.intake.entries import Entry
    from receiver.intake.metadata import Metadata
    from receiver.intake.replicas import ClusterView
    from receiver.outbox.dead_letters import LetterRow
    from receiver.pack.forecast import Comparison, Forecast, Line
    from receiver.status.census import Counted
    from receiver.status.cost import Budget, Cost, Price
    from receiver.status.diagnosis import Diagnosis, View
    from receiver.status.history import Flow
    from receiver.status.missing_metric import MissingMetric
    from receiver.status.recent_metrics import MetricSeen, SeriesSeen, Tapped
    from receiver.status.routes import RouteView
    from receiver.status.sampling import Sampling
    from receiver.status.snapshot import Snapshot


_CATEGORIES = {name: metric.category.value for metric in METRICS for name in series_names(metric)}
CATEGORIES = tuple(Category)
ROWS_BYTES = 1 << 20
"""Limit of labels in one answer."""


@dataclass(frozen=True, slots=True)
class About:
    """Constant facts of a running receiver. `origins` are the settings in effect, with their sources."""

    host: str
    role: str
    instance: str
    origins: Sequence["Origin"] = ()


def status(
    view: "View",
    errors: Iterable["RecentError"],
    costs: Iterable["Cost"],
    budget: "Budget",
    about: About,
    route_costs: Mapping[str, Sequence["Cost"]],
) -> Any:
    """Return the body of GET /api/v1/status."""
    return {
        "verdict": _verdict(view.diagnosis),
        "at": moment(view.snapshot.now),
        "receiver": {
            "host": about.host,
            "role": about.role,
            "instance": about.instance,
            "version": __version__,
            "started_at": moment(view.snapshot.started_at),
        },
        **_snapshot(view.snapshot),
        "flow": _flow(view.flow),
        "cardinality": _explosion(view),
        "replicas": [_cluster(cluster) for cluster in view.snapshot.replicas],
        "distinct_series": asdict(view.snapshot.distinct),
        "errors": [_error(error) for error in errors],
        "cost": [_cost(cost) for cost in costs],
        "budget": _budget(budget),
        "routes": [
            {
                **_route(route, view),
                "cost": [_cost(cost) for cost in route_costs.get(route.name, ())],
            }
            for route in view.snapshot.routes
        ],
    }


def _cluster(cluster: "ClusterView") -> dict[str, Any]:
    """Return one cluster of replicas."""
    floor_ms = cluster.floor_ms
    return {
        "cluster": cluster.cluster,
        "leader": cluster.leader,
        "since": moment(cluster.since_at),
        "silent_seconds": round(cluster.silent_seconds, 1),
        "changes": cluster.changes,
        "counts_after": _iso(floor_ms) if floor_ms != NEVER_MS else "",
        "replicas": [
            {
                "replica": replica.replica,
                "leads": replica.leads,
                "seen_seconds_ago": round(replica.seen_seconds_ago, 1),
                "samples": replica.kept,
                "dropped": replica.dropped,
            }
            for replica in cluster.replicas
        ],
    }


def category(name: str) -> str:
    """Return a metric's category."""
    return _CATEGORIES.get(name, Category.OTHER.value)


def metrics(
    by_category: Mapping[str, Sequence[str]],
    rows: Sequence[Mapping[str, Any]],
    absences: Iterable["MissingMetric"],
    unselected: Sequence[tuple[str, float]],
    names_limit: int,
    *,
    all_names: int,
    sampling: "Sampling",
) -> Any:
    """Return the body of GET /api/v1/metrics; `unselected` are names with their share."""

    def series_of(names: Iterable[str]) -> int:
        seen = (sampling.metrics.get(name) for name in names)
        return sum(len(metric_seen.series) for metric_seen in seen if metric_seen)

    shares = [{"name": name, "share": round(share, 6)} for name, share in unselected[:names_limit]]
    return {
        "selected": {
            "names": sum(map(len, by_category.values())),
            "all_names": all_names,
            "categories": [
                {"name": group, "names": len(names), "series": series_of(names)}
                for group, names in by_category.items()
            ],
            "rows": rows,
        },
        "never_seen": [
            {"name": missing.name, "why": missing.why, "nearest": missing.nearest}
            for missing in absences
        ],
        "unselected": {"names": len(unselected), "rows": shares},
        "share_seen": round(sampling.share_seen, 4),
        "series_are_all_counted": sampling.series_are_all_counted,
    }


def metric(
    seen: "MetricSeen",
    metadata: "Metadata | None",
    *,
    source: str,
    entry: "Entry | None",
    per_minute: float,
    now: float,
) -> dict[str, Any]:
    """Return one selected metric: the range of its series' last values, and of every minute's.

    `entry` is None where the series named `source` are not sent, but only count for others.
    """
    span = seen.span()
    low, high = seen.hour(now)
    minutes = entry.every_seconds // 60 if entry and entry.is_folded else 1
    last = seen.last
    return {
        "name": seen.name,
        "source": source,
        "category": category(source),
        "type": metadata.kind if metadata else "",
        "unit": metadata.unit if metadata else "",
        "help": metadata.help if metadata else "",
        "entry": entry.name if entry else "",
        "as": entry.as_.value if entry else "",
        "does": entry.sentence() if entry else _COUNTS,
        "series": len(seen.series),
        "low": span[0] if span else None,
        "high": span[1] if span else None,
        "last_value": (last.item.value if last.item else last.value) if last else None,
        "last_time": _iso(last.time_ms) if last else "",
        **_events(last.item if last else None),
        "seen_seconds_ago": round(now - seen.seen_at, 1) if seen.seen_at else None,
        "per_minute": round(per_minute, 2),
        "hour_low": _drawn_through(low, minutes),
        "hour_high": _drawn_through(high, minutes),
    }


_COUNTS = "Not sent by itself: means of other metrics use it to count events."


def _events(item: "FoldedItem | None") -> dict[str, Any]:
    """Return the count and mean of a window's item; nulls for a single value."""
    return {
        "last_count": item.count if item else None,
        "last_mean": item.mean if item else None,
    }


def _drawn_through(values: Sequence[float | None], minutes: int) -> list[float | None]:
    """Repeat the value of a window's first minute in its other minutes."""
    drawn = list(values)
    for index, value in enumerate(values):
        for later in range(index + 1, min(index + minutes, len(drawn)) if value is not None else 0):
            if values[later] is None:
                drawn[later] = value
    return drawn


def series(seen: "MetricSeen", now: float, limit: int) -> dict[str, Any]:
    """Return the body of GET /api/v1/series: a metric's series, by their labels."""
    labelled = ((row.labels, row) for row in seen.series.values())
    ordered = sorted(labelled, key=lambda pair: sorted(pair[0].items()))
    return {
        "name": seen.name,
        "series": len(ordered),
        "rows": [
            {
                "labels": labels,
                "value": row.item.value if row.item else row.value,
                "time": _iso(row.time_ms),
                "count": row.item.count if row.item else None,
                "mean": row.item.mean if row.item else None,
                "seen_seconds_ago": round(now - row.seen_at, 1),
                "hour": row.hour(now),
            }
            for labels, row in _within(ordered[:limit], ROWS_BYTES)
        ],
    }


def _within(
    series: "Sequence[tuple[dict[str, str], SeriesSeen]]", limit_bytes: int
) -> "Iterator[tuple[dict[str, str], SeriesSeen]]":
    """Yield series while their labels fit into the limit, at least one."""
    size = 0
    for index, (labels, row) in enumerate(series):
        size += text_bytes(labels)
        if index and size > limit_bytes:
            return
        yield labels, row


def tapped(item: "Tapped") -> dict[str, Any]:
    """Return one tapped item."""
    return {
        "time": _iso(item.time_ms),
        "name": item.name,
        "value": item.value,
        "labels": item.labels,
        "count": item.item.count if item.item else None,
        "min": item.item.least if item.item else None,
        "max": item.item.most if item.item else None,
    }


def settings(about: About) -> Any:
    """Return the body of GET /api/v1/settings: the settings in effect, with their sources."""
    return {
        "settings": [
            {
                "name": origin.setting.environment,
                "flag": origin.setting.flag,
                "value": origin.shown,
                "source": origin.source,
                "meaning": origin.setting.meaning,
            }
            for origin in about.origins
        ]
    }


def dead_letters(rows: Iterable["LetterRow"]) -> Any:
    """Return the body of GET /api/v1/dead-letters, the newest first."""
    return {
        "items": [
            {
                "rejected_at": moment(at),
                "status": status_code,
                "reason": reason_of(message),
                "message": message,
                "hint": REJECT_REASONS[reason_of(message)][1],
                "route": shown(lane),
                "item": _read(mask_item(text)),
            }
            for at, status_code, message, text, lane in rows
        ]
    }


def _read(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def _iso(time_ms: int) -> str:
    return (format_time(time_ms) or b"").decode()


def _verdict(diagnosis: "Diagnosis") -> dict[str, Any]:
    return {
        "state": diagnosis.state.value,
        "severity": diagnosis.severity.value,
        "line": diagnosis.line,
        "hint": diagnosis.first.hint,
        "runbook": diagnosis.first.runbook,
        "also": diagnosis.also,
        "findings": [
            {
                "state": finding.state.value,
                "severity": finding.severity.value,
                "line": finding.line,
                "hint": finding.hint,
                "runbook": finding.runbook,
            }
            for finding in diagnosis.findings
        ],
    }


def _snapshot(snapshot: "Snapshot") -> dict[str, Any]:
    outbox, backoff, admission = snapshot.outbox, snapshot.backoff, snapshot.admission
    return {
        "version": __version__,
        "loops": "compiled" if IS_COMPILED else "python",
        "uptime_seconds": round(snapshot.now - snapshot.started_at, 1),
        **snapshot.ledger.document(),
        "adds_up": snapshot.ledger.adds_up,
        "outbox": {
            "items": outbox.items,
            "batches": outbox.batches,
            "bytes": outbox.size_bytes,
            "max_bytes": outbox.max_bytes,
            "oldest_seconds": round(snapshot.oldest_seconds, 1),
            "set_aside": outbox.set_aside,
            "failing": snapshot.outbox_failing,
        },
        "delivery": {
            "endpoint": snapshot.endpoint,
            "state": backoff.action.value if backoff.action else "open",
            "wait_seconds": round(snapshot.backoff_seconds, 1),
            "failures": backoff.failures,
            "reason": backoff.reason,
            "hint": backoff.hint,
            "attempts": dict(snapshot.delivery.attempts),
            "unconfirmed": snapshot.delivery.unconfirmed_items,
            "set_back": {
                "batches": snapshot.refused_alone.batches,
                "items": snapshot.refused_alone.items,
                "reason": snapshot.refused_alone.reason,
                "hint": snapshot.refused_alone.hint,
            },
        },
        "requests": {
            "replies": dict(snapshot.write_handler.replies),
            "refused": dict(snapshot.refused),
            "repeated": snapshot.write_handler.repeated,
            "last_at": snapshot.write_handler.last_request_at,
            "metadata_families": snapshot.metadata_families,
            "in_flight": admission.reading + admission.working,
            "in_flight_bytes": admission.size_bytes,
        },
        "connections": {
            "open": snapshot.connections.connections,
            "accepted": snapshot.connections.accepted,
            "closed": dict(snapshot.closed),
        },
        "metrics_json": {"file": snapshot.metrics_json, "names": snapshot.metric_names},
    }


def _route(route: "RouteView", view: "View") -> dict[str, Any]:
    ledger, outbox, now = route.ledger, route.outbox, view.snapshot.now
    flow = view.flow.routes.get(route.name)
    return {
        "name": route.name,
        "takes": route.takes,
        "state": route.state,
        "in_force": route.is_in_force,
        "endpoint": route.endpoint,
        **{word: getattr(ledger, word) for word in ITEM_WORDS},
        "route_full": ledger.dropped.get(ROUTE_FULL, 0),
        "adds_up": ledger.items_add_up,
        "per_minute": round(flow.a_minute(flow.ledger.accepted), 2) if flow else 0.0,
        "outbox": {
            "batches": outbox.batches,
            "bytes": outbox.size_bytes,
            "max_bytes": outbox.max_bytes,
            "oldest_seconds": round(route.oldest_seconds(now), 1),
            "full": outbox.is_full,
        },
        "delivery": {
            "wait_seconds": round(route.backoff_seconds, 1),
            "failures": route.backoff.failures,
            "reason": route.backoff.reason,
            "hint": route.backoff.hint,
            "attempts": dict(route.delivery.attempts),
            "unconfirmed": route.delivery.unconfirmed_items,
            "set_back": route.refused_alone.batches,
        },
    }


def _explosion(view: "View") -> dict[str, Any] | None:
    explosion = view.snapshot.explosion
    if explosion is None or CARDINALITY not in view.flow.ledger.dropped:
        return None  # none, or an ended one
    return {**asdict(explosion), "words": explosion.words}


def _flow(flow: "Flow") -> dict[str, Any]:
    counts = flow.ledger.document()
    waiting = counts.pop("pending")
    lost = (n for reason, n in flow.ledger.dropped.items() if reason not in HARMLESS_DROPS)
    return {
        "seconds": round(flow.seconds, 1),
        "pace_seconds": round(flow.pace_seconds or flow.seconds, 1),
        **counts,
        "lost": sum(lost),
        "committed": flow.ledger.committed,
        "waiting": waiting,
        "requests": flow.requests,
        "refused": flow.refused,
    }


def _error(error: "RecentError") -> dict[str, Any]:
    return {
        "where": error.where,
        "reason": error.reason,
        "words": error.words,
        "hint": error.hint,
        "count": error.count,
        "first_at": round(error.first_at, 3),
        "last_at": round(error.last_at, 3),
        **error.fields,
    }


def _budget(budget: "Budget") -> dict[str, Any]:
    overrun = budget.overrun
    return {
        "gb": budget.budget_gb or None,
        "month_gb": budget.month_gb,
        "is_over": bool(overrun),
        "dearest": [
            {"entry": entry, "billed_gb": gb} for entry, gb in (overrun.dearest if overrun else ())
        ],
    }


def cost_by_entry(
    comparison: "Comparison",
    counted: "Counted",
    price: "Price",
    *,
    seen: int,
    known: int,
    stored: tuple[int, int],
) -> Any:
    """Return the body of GET /api/v1/cost: a month by entry, in total, and in other forms.

    `seen` of the `known` selected series are counted; `stored` are series and dimensions of items.
    """

    def row(month: "Forecast | Line") -> dict[str, Any]:
        gigabytes = month.billed_bytes / 1e9
        return {
            "series": month.series,
            "items": round(month.items),
            "billed_gb": gigabytes,
            "money": gigabytes * price.per_gb if price.per_gb else None,
        }

    return {
        "series_seen": seen,
        "series_known": known,
        "intervals": [
            {"seconds": seconds or None, "series": series}
            for seconds, series in sorted(counted.intervals.items())
        ],
        "price_per_gb": price.per_gb or None,
        "billed_factor": price.factor,
        "metrics_store": {
            "series": stored[0],
            "series_limit": METRIC_SERIES,
            "dimensions": stored[1],
            "dimensions_limit": METRIC_DIMENSIONS,
        },
        "entries": [{"entry": line.entry, **row(line)} for line in comparison.yours.lines],
        "total": row(comparison.yours),
        "folded": row(comparison.folded),
        "raw": row(comparison.raw),
    }


def _cost(cost: "Cost") -> dict[str, Any]:
    return {
        "span": cost.span,
        "items": cost.items,
        "json_gb": cost.json_gb,
        "billed_gb": cost.billed_gb,
        "money": cost.money,
    }
