"""The JSON of the HTTP API, all of it: what docs/http-api.md describes is made here.

In: a `View` and what else is known at one moment. Out: plain dictionaries. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from receiver import __version__
from receiver.intake.recogniser import IS_COMPILED

if TYPE_CHECKING:
    from receiver.events import RecentError
    from receiver.status.cost import Cost
    from receiver.status.diagnosis import Diagnosis
    from receiver.status.history import Flow
    from receiver.status.missing_metric import MissingMetric
    from receiver.status.monitor import View
    from receiver.status.snapshot import Snapshot


def status(view: "View", errors: Iterable["RecentError"], costs: Iterable["Cost"]) -> Any:
    """Spell the body of GET /api/v1/status."""
    return {
        "verdict": _verdict(view.diagnosis),
        **_snapshot(view.snapshot),
        "flow": _flow(view.flow),
        "errors": [_error(error) for error in errors],
        "cost": [_cost(cost) for cost in costs],
    }


def metrics(
    rows: Sequence[Mapping[str, Any]],
    absences: Iterable["MissingMetric"],
    unselected: Sequence[tuple[str, float]],
    limit: int,
    names_limit: int,
    *,
    share_seen: float,
    series_are_all_counted: bool,
) -> Any:
    """Spell the body of GET /api/v1/metrics; `unselected` are names with their share."""
    names = [{"name": name, "share": round(share, 6)} for name, share in unselected[:names_limit]]
    return {
        "selected": {"names": len(rows), "rows": rows[:limit]},
        "never_seen": [
            {"name": missing.name, "why": missing.why, "nearest": missing.nearest}
            for missing in absences
        ],
        "unselected": {"names": len(unselected), "rows": names},
        "share_seen": round(share_seen, 4),
        "series_are_all_counted": series_are_all_counted,
    }


def item(line: bytes) -> dict[str, Any]:
    """Take from an item what a person reads."""
    read = orjson.loads(line)
    data = read["data"]["baseData"]
    return {
        "time": read["time"],
        "name": data["metrics"][0]["name"],
        "value": data["metrics"][0]["value"],
        "labels": data.get("properties", {}),
    }


def _verdict(diagnosis: "Diagnosis") -> dict[str, Any]:
    return {
        "state": diagnosis.state.value,
        "severity": diagnosis.severity.value,
        "line": diagnosis.line,
        "hint": diagnosis.hint,
        "runbook": diagnosis.runbook,
        "also": diagnosis.also,
    }


def _snapshot(snapshot: "Snapshot") -> dict[str, Any]:
    outbox, gate, admission = snapshot.outbox, snapshot.gate, snapshot.admission
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
            "state": gate.action.value if gate.action else "open",
            "wait_seconds": round(snapshot.gate_wait_seconds, 1),
            "failures": gate.failures,
            "reason": gate.reason,
            "hint": gate.hint,
            "attempts": dict(snapshot.delivery.attempts),
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
            "open": snapshot.door.connections,
            "accepted": snapshot.door.accepted,
            "closed": dict(snapshot.closed),
        },
        "metrics_json": {"file": snapshot.metrics_json, "names": snapshot.metric_names},
    }


def _flow(flow: "Flow") -> dict[str, Any]:
    words = flow.ledger.document()
    waiting = words.pop("pending")
    return {
        "seconds": round(flow.seconds, 1),
        **words,
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


def _cost(cost: "Cost") -> dict[str, Any]:
    return {
        "span": cost.span,
        "items": cost.items,
        "json_gb": cost.json_gb,
        "billed_gb": cost.billed_gb,
        "money": cost.money,
    }
