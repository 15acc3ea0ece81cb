"""The receiver's own metrics, for Prometheus: GET /metrics.

In: a `Snapshot`. Out: the text format. `METRICS` is the only list of names and meanings, from
which docs/metrics.md is generated.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from receiver import __version__
from receiver.delivery.backoff import WAITS
from receiver.fold.events import EVENTS
from receiver.intake.pipeline import DROP_REASONS
from receiver.intake.recogniser import IS_COMPILED
from receiver.intake.replicas import ReplicaView
from receiver.latency import Latency
from receiver.ledger import ROUTE_FULL
from receiver.server.connection_guard import CLOSE_REASONS
from receiver.status.routes import RouteView
from receiver.status.snapshot import Snapshot

Values = float | Mapping[str, float] | Mapping[tuple[str, ...], float] | Latency


@dataclass(frozen=True, slots=True)
class SelfMetric:
    """One metric: its name, kind and meaning, how it is read, and its labels, separated by commas."""

    name: str
    kind: str
    meaning: str
    read: Callable[[Snapshot], Values]
    label: str = ""


def _dropped(snapshot: Snapshot) -> dict[str, float]:
    return {reason: snapshot.ledger.dropped.get(reason, 0) for reason in DROP_REASONS}


def _replicas(
    snapshot: Snapshot, read: Callable[[ReplicaView], float]
) -> dict[tuple[str, ...], float]:
    clusters = snapshot.replicas
    return {
        (cluster.cluster, replica.replica): read(replica)
        for cluster in clusters
        for replica in cluster.replicas
    }


def _by_route(read: Callable[[RouteView], float]) -> Callable[[Snapshot], dict[str, float]]:
    return lambda snapshot: {route.name: float(read(route)) for route in snapshot.routes}


METRICS = (
    SelfMetric("receiver_build_info", "gauge", "Always 1; the version is the label.", lambda _: {__version__: 1}, "version"),
    SelfMetric("receiver_loops_compiled", "gauge", "1 with the compiled kernel; 0 where the full parser handles all requests, at about twenty times the CPU.", lambda _: float(IS_COMPILED)),
    SelfMetric("receiver_start_time_seconds", "gauge", "Start time of this process, in seconds since the epoch.", lambda s: s.started_at),
    SelfMetric("receiver_config_last_reload_successful", "gauge", "1 while the files on disk are in force (metrics.json, web.config.file, token, certificates); 0 after an invalid change.", lambda s: float(s.reload.successful)),
    SelfMetric("receiver_config_last_reload_success_timestamp_seconds", "gauge", "Time at which the metrics.json in force was read, in seconds since the epoch.", lambda s: s.reload.succeeded_at),
    SelfMetric("receiver_requests_total", "counter", "Write requests answered since the process started, by HTTP status.", lambda s: s.write_handler.replies, "code"),
    SelfMetric("receiver_request_duration_seconds", "histogram", "Duration of write requests, from the headers to the answer.", lambda s: s.write_handler.latency),
    SelfMetric("receiver_requests_refused_total", "counter", "Write requests refused as a whole, by reason.", lambda s: s.refused, "reason"),
    SelfMetric("receiver_requests_lost_bytes_total", "counter", "Compressed bytes of write requests that were refused permanently; their samples are lost.", lambda s: s.write_handler.lost_bytes),
    SelfMetric("receiver_requests_repeated_total", "counter", "Repeated write requests, committed before and answered again.", lambda s: s.write_handler.repeated),
    SelfMetric("receiver_series_refused_total", "counter", "Series refused while the rest of their request was accepted, by reason.", lambda s: s.write_handler.refused_series, "reason"),
    SelfMetric("receiver_labels_cut_total", "counter", "Labels shortened to the service's limits, once for each new series.", lambda s: s.write_handler.labels_cut),
    SelfMetric("receiver_labels_left_out_total", "counter", "Labels omitted to keep items under 64 KiB, once for each new series.", lambda s: s.write_handler.labels_left_out),
    SelfMetric("receiver_requests_in_flight", "gauge", "Write requests in flight, by state: reading the body, or processing it.", lambda s: {"reading": s.admission.reading, "working": s.admission.working}, "state"),
    SelfMetric("receiver_in_flight_bytes", "gauge", "Bytes held by write requests in flight.", lambda s: s.admission.size_bytes),
    SelfMetric("receiver_connections", "gauge", "Open connections.", lambda s: s.connections.connections),
    SelfMetric("receiver_connections_accepted_total", "counter", "Connections accepted since the process started.", lambda s: s.connections.accepted),
    SelfMetric("receiver_connections_closed_total", "counter", "Connections closed by the receiver, by reason.", lambda s: {reason: s.closed.get(reason, 0) for reason in CLOSE_REASONS}, "reason"),
    SelfMetric("receiver_metadata_families", "gauge", "Metric families with known type, help or unit.", lambda s: s.metadata_families),
    SelfMetric("receiver_samples_received_total", "counter", "Samples received since the outbox was created.", lambda s: s.ledger.received),
    SelfMetric("receiver_samples_unselected_total", "counter", "Samples of series that metrics.json does not name.", lambda s: s.ledger.unselected),
    SelfMetric("receiver_samples_dropped_total", "counter", "Selected samples that cannot be sent, by reason.", _dropped, "reason"),
    SelfMetric("receiver_samples_folded_total", "counter", "Samples added to a window.", lambda s: s.ledger.folded),
    SelfMetric("receiver_samples_rendered_total", "counter", "Samples sent as items of their own.", lambda s: s.ledger.rendered),
    SelfMetric("receiver_items_flushed_total", "counter", "Items made from windows.", lambda s: s.ledger.flushed),
    SelfMetric("receiver_items_imported_total", "counter", "Items that `outbox import` brought from another outbox.", lambda s: s.ledger.imported),
    SelfMetric("receiver_items_accepted_total", "counter", "Items accepted by Application Insights.", lambda s: s.ledger.accepted),
    SelfMetric("receiver_items_rejected_total", "counter", "Items rejected permanently by Application Insights, by reason.", lambda s: s.ledger.rejected, "reason"),
    SelfMetric("receiver_items_expired_total", "counter", "Items that became older than 48 hours, the limit of Application Insights.", lambda s: s.ledger.expired),
    SelfMetric("receiver_items_exported_total", "counter", "Items that `outbox export` took to another outbox.", lambda s: s.ledger.exported),
    SelfMetric("receiver_items_unconfirmed_total", "counter", "Items answered 200 without the service's body: counted as accepted by the status alone.", lambda s: s.delivery.unconfirmed_items),
    SelfMetric("receiver_items_pending", "gauge", "Items waiting in the outbox.", lambda s: s.ledger.pending),
    SelfMetric("receiver_ledger_adds_up", "gauge", "1 while received = unselected + dropped + folded + rendered, and rendered + flushed + imported = accepted + rejected + expired + exported + pending; 0 is a defect.", lambda s: float(s.ledger.adds_up)),
    SelfMetric("receiver_outbox_bytes", "gauge", "Compressed bytes waiting in the outbox.", lambda s: s.outbox.size_bytes),
    SelfMetric("receiver_outbox_max_bytes", "gauge", "Limit of compressed bytes in the outbox.", lambda s: s.outbox.max_bytes),
    SelfMetric("receiver_outbox_full", "gauge", "1 while the outbox accepts no more data: it is at its limit, or its disk is nearly full.", lambda s: float(bool(s.outbox.full))),
    SelfMetric("receiver_outbox_batches", "gauge", "Batches waiting in the outbox.", lambda s: s.outbox.batches),
    SelfMetric("receiver_outbox_oldest_seconds", "gauge", "Age of the oldest sample in the outbox; 0 when it is empty.", lambda s: s.oldest_seconds),
    SelfMetric("receiver_outbox_failing", "gauge", "1 while the outbox cannot be written or read.", lambda s: float(s.outbox_failing)),
    SelfMetric("receiver_outbox_set_aside_total", "counter", "Damaged databases set aside since the process started.", lambda s: s.outbox.set_aside),
    SelfMetric("receiver_delivery_attempts_total", "counter", "POSTs of a batch, by the service's HTTP status, or unreachable.", lambda s: s.delivery.attempts, "code"),
    SelfMetric("receiver_delivery_duration_seconds", "histogram", "Duration of a batch's delivery, until its outcome was committed.", lambda s: s.delivery.latency),
    SelfMetric("receiver_delivery_seconds_total", "counter", "Total time that batches were in flight.", lambda s: s.delivery.seconds),
    SelfMetric("receiver_delivery_bytes_total", "counter", "Compressed bytes POSTed.", lambda s: s.delivery.sent_bytes),
    SelfMetric("receiver_delivery_state", "gauge", "1 for the current reason of the back-off: retry, throttle, quota or blocked; else 0.", lambda s: {action.value: float(s.backoff.action is action) for action in WAITS}, "state"),
    SelfMetric("receiver_batches_set_back", "gauge", "Batches that are refused while others are accepted: kept, and retried now and then.", lambda s: s.refused_alone.batches),
    SelfMetric("receiver_delivery_failures", "gauge", "Consecutive failures; 0 while delivery succeeds.", lambda s: s.backoff.failures),
    SelfMetric("receiver_delivery_wait_seconds", "gauge", "Seconds until the next delivery attempt (back-off after failures).", lambda s: s.backoff_seconds),
    SelfMetric("receiver_fold_series", "gauge", "Known folded series.", lambda s: s.fold.series),
    SelfMetric("receiver_fold_bytes", "gauge", "Memory of the state of folded series.", lambda s: s.fold.size_bytes),
    SelfMetric("receiver_fold_max_bytes", "gauge", "Limit of the memory of folded series; above it new series are dropped as fold_full.", lambda s: s.fold.max_bytes),
    SelfMetric("receiver_fold_windows_behind", "gauge", "Open windows behind the newest one of their series: a sender is catching up.", lambda s: s.fold.windows_behind),
    SelfMetric("receiver_fold_events_total", "counter", "Events of samples and items in the fold since the process started, by event.", lambda s: {event: s.fold.events.get(event, 0) for event in EVENTS}, "event"),
    SelfMetric("receiver_replica_leader", "gauge", "1 for the leader of its cluster, 0 for other replicas seen within the hour. Absent without RECEIVER_REPLICA_LABEL.", lambda s: _replicas(s, lambda replica: float(replica.leads)), "cluster,replica"),
    SelfMetric("receiver_replica_seen_seconds", "gauge", "Seconds since the last request of this replica.", lambda s: _replicas(s, lambda replica: replica.seen_seconds_ago), "cluster,replica"),
    SelfMetric("receiver_replica_samples_total", "counter", "Accepted selected samples of this replica since the process started.", lambda s: _replicas(s, lambda replica: replica.kept), "cluster,replica"),
    SelfMetric("receiver_replica_samples_dropped_total", "counter", "Selected samples of this replica dropped as replica since the process started.", lambda s: _replicas(s, lambda replica: replica.dropped), "cluster,replica"),
    SelfMetric("receiver_replica_changes_total", "counter", "Changes of a cluster's leader since the outbox was created.", lambda s: {cluster.cluster: cluster.changes for cluster in s.replicas}, "cluster"),
    SelfMetric("receiver_series_cache_entries", "gauge", "Series with a cached template.", lambda s: s.cache.entries),
    SelfMetric("receiver_series_cache_bytes", "gauge", "Memory of the cache of series.", lambda s: s.cache.size_bytes),
    SelfMetric("receiver_series_cache_max_bytes", "gauge", "Limit of the memory of the cache of series.", lambda s: s.cache.limit_bytes),
    SelfMetric("receiver_series_cache_misses_total", "counter", "Series added to the cache, for the first time or again.", lambda s: s.cache.misses),
    SelfMetric("receiver_route_samples_rendered_total", "counter", "Samples sent as items of their own, by route. All metrics of routes exist only with routes.json.", _by_route(lambda r: r.ledger.rendered), "route"),
    SelfMetric("receiver_route_samples_dropped_total", "counter", "Samples dropped as route_full: the route's share of the outbox was full.", _by_route(lambda r: r.ledger.dropped.get(ROUTE_FULL, 0)), "route"),
    SelfMetric("receiver_route_items_flushed_total", "counter", "Items made from windows, by route.", _by_route(lambda r: r.ledger.flushed), "route"),
    SelfMetric("receiver_route_items_accepted_total", "counter", "Items accepted by a route's resource.", _by_route(lambda r: r.ledger.accepted), "route"),
    SelfMetric("receiver_route_items_rejected_total", "counter", "Items rejected permanently, by route, including items of windows for which its share had no room.", _by_route(lambda r: sum(r.ledger.rejected.values())), "route"),
    SelfMetric("receiver_route_items_expired_total", "counter", "Items that became older than 48 hours, by route.", _by_route(lambda r: r.ledger.expired), "route"),
    SelfMetric("receiver_route_items_pending", "gauge", "Items waiting in the outbox, by route.", _by_route(lambda r: r.ledger.pending), "route"),
    SelfMetric("receiver_route_adds_up", "gauge", "1 while the route's items add up as in receiver_ledger_adds_up; 0 is a defect.", _by_route(lambda r: r.ledger.items_add_up), "route"),
    SelfMetric("receiver_route_outbox_bytes", "gauge", "Compressed bytes waiting in the outbox, by route.", _by_route(lambda r: r.outbox.size_bytes), "route"),
    SelfMetric("receiver_route_outbox_max_bytes", "gauge", "The route's share of the outbox; 0 for a removed route, which has none.", _by_route(lambda r: r.outbox.max_bytes), "route"),
    SelfMetric("receiver_route_full", "gauge", "1 while the route's share of the outbox is full: its samples are dropped.", _by_route(lambda r: r.outbox.is_full), "route"),
    SelfMetric("receiver_route_oldest_seconds", "gauge", "Age of the oldest waiting sample, by route; 0 without one.", lambda s: {r.name: r.oldest_seconds(s.now) for r in s.routes}, "route"),
    SelfMetric("receiver_route_delivery_failures", "gauge", "Consecutive failures, by route; 0 while delivery succeeds.", _by_route(lambda r: r.backoff.failures), "route"),
    SelfMetric("receiver_route_delivery_wait_seconds", "gauge", "Seconds until the next delivery attempt (back-off after failures), by route.", _by_route(lambda r: r.backoff_seconds), "route"),
    SelfMetric("receiver_route_held", "gauge", "1 while items wait for a route that is no longer in routes.json: they are not delivered.", _by_route(lambda r: not r.is_served), "route"),
)  # fmt: skip
"""All metrics at /metrics, in their order."""


class _Collector(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for metric in METRICS:
            yield _family(metric, metric.read(self._snapshot))


def _family(metric: SelfMetric, values: Values) -> Metric:
    if isinstance(values, Latency):
        return HistogramMetricFamily(
            metric.name,
            metric.meaning,
            buckets=list(values.buckets()),
            sum_value=values.total_seconds,
        )
    labels = tuple(metric.label.split(",")) if metric.label else ()
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=labels)
    for texts, value in _labelled(values):
        family.add_metric(texts, value)
    return family


def _labelled(
    values: float | Mapping[str, float] | Mapping[tuple[str, ...], float],
) -> Iterable[tuple[list[str], float]]:
    if not isinstance(values, Mapping):
        return [([], values)]
    rows = [([key] if isinstance(key, str) else [*key], value) for key, value in values.items()]
    return sorted(rows)


def to_text(snapshot: Snapshot) -> bytes:
    """Return a snapshot in Prometheus' text format."""
    return generate_latest(_Collector(snapshot))
