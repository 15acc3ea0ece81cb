"""The sandbox's counters, and its latest requests.

Counters never decrease. A request that was reset has no status: it counts as `reset`,
one whose sender disconnected as `gone`.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

MAX_REQUESTS = 10_000
_PATH_SHOWN = 200  # characters of a request's path that are kept
_MAX_MESSAGES = 1_000  # refusals counted by message; the rest are counted together


@dataclass(slots=True)
class RequestRecord:
    """One request to a track path; items are counted only where they were judged."""

    number: int
    time: str
    path: str
    status: int | None = None
    outcome: str = "answered"  # or reset, gone
    bytes_in: int = 0
    items_received: int = 0
    items_accepted: int = 0
    fault: str | None = None


class Ledger:
    """The counters, and a bounded list of requests."""

    def __init__(self, max_requests: int = MAX_REQUESTS) -> None:
        """Start at zero."""
        self._numbers = 0
        self._requests: deque[RequestRecord] = deque(maxlen=max_requests)
        self._by_status: Counter[str] = Counter()
        self._by_fault: Counter[str] = Counter()
        self._by_message: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()

    def begin(self, time: str, path: str) -> RequestRecord:
        """Number a new request."""
        self._numbers += 1
        return RequestRecord(self._numbers, time, path[:_PATH_SHOWN])

    def end(self, record: RequestRecord) -> None:
        """Count a request whose outcome is known."""
        self._requests.append(record)
        answered = record.outcome == "answered"
        self._by_status[str(record.status) if answered else record.outcome] += 1
        if record.fault is not None:
            self._by_fault[record.fault] += 1
        self._sums["bytes_in"] += record.bytes_in

    def judged(self, *, received: int, accepted: int, others: int, ignored_points: int) -> None:
        """Count the items of one request."""
        self._sums["items_received"] += received
        self._sums["items_accepted"] += accepted
        self._sums["items_rejected"] += received - accepted
        self._sums["items_without_metric"] += others
        self._sums["data_points_ignored"] += ignored_points

    def refused(self, codes: Sequence[str]) -> None:
        """Count refused items by the start of their message."""
        for code in codes:
            is_known = code in self._by_message or len(self._by_message) < _MAX_MESSAGES
            self._by_message[code if is_known else "other"] += 1

    def requests(self, limit: int) -> list[dict[str, Any]]:
        """Return the latest requests, oldest first."""
        return [asdict(record) for record in list(self._requests)[-limit:]]

    def counters(self) -> dict[str, Any]:
        """Return all counters."""
        names = (
            "items_received",
            "items_accepted",
            "items_rejected",
            "items_without_metric",
            "data_points_ignored",
            "bytes_in",
        )
        return {
            "requests": self._by_status.total(),
            "requests_by_status": dict(sorted(self._by_status.items())),
            "faults_applied": dict(sorted(self._by_fault.items())),
            "rejected_by_message": dict(self._by_message.most_common()),
        } | {name: self._sums[name] for name in names}
