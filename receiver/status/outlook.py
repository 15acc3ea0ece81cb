"""The outlook of waiting items: since when, at what rate, what limits it, and when data is lost.

In: a snapshot, the recent flow, and the settings that limit delivery. Out: sentences. Pure.
Data is lost when the oldest items expire, or when the outbox is full and Prometheus' own
two hours are over.
"""

from receiver.azure.limits import EXPIRY_MS
from receiver.status.history import Flow
from receiver.status.snapshot import Snapshot
from receiver.text import moment, size, span

PROMETHEUS_KEEPS_SECONDS = 2 * 3600.0
"""Time for which Prometheus' write-ahead log keeps refused data."""
RATE_SECONDS = 60.0
"""Shortest time from which a rate is extrapolated."""
NEARLY = 0.85
"""Use of a limit, as a share, from which it counts as the bottleneck."""


def waiting(snapshot: Snapshot) -> str:
    """Describe the size and age of the waiting items; empty where none wait."""
    if not snapshot.ledger.pending:
        return ""
    since = moment(snapshot.now - snapshot.oldest_seconds)
    return f"{size(snapshot.outbox.size_bytes)} wait, the oldest since {since}"


def loss(snapshot: Snapshot, flow: Flow) -> str:
    """Describe when data will be lost, the soonest first; empty where no items wait."""
    ends: list[tuple[float, str]] = []
    outbox = snapshot.outbox
    if outbox.full or snapshot.outbox_failing:
        ends.append((PROMETHEUS_KEEPS_SECONDS, "Prometheus keeps refused data for about 2 h"))
    elif flow.outbox_bytes > 0 and flow.seconds >= RATE_SECONDS:
        left = (outbox.max_bytes - outbox.size_bytes) * flow.seconds / flow.outbox_bytes
        ends.append((left, f"full at this rate in {span(max(0.0, left))}"))
    if snapshot.ledger.pending and outbox.oldest_ms:
        left = EXPIRY_MS / 1000 - snapshot.oldest_seconds
        ends.append((left, f"the oldest expires in {span(max(0.0, left))}"))
    return ", ".join(text for _, text in sorted(ends))


def rates(
    snapshot: Snapshot, flow: Flow, rate_limit: tuple[str, int], senders: int
) -> tuple[str, str]:
    """Describe the rates in and out; and, as a hint, the bottleneck of delivery.

    `rate_limit` is the name of a setting, and its items a second.
    """
    came = flow.ledger.rendered + flow.ledger.flushed + flow.ledger.imported
    went = came - flow.ledger.pending - flow.ledger.exported
    grows = flow.a_minute(flow.ledger.pending)
    text = f"{flow.a_minute(came):.0f} items a minute in, {flow.a_minute(went):.0f} out"
    if grows >= 1:
        text += f": grows by {grows:.0f} a minute"
    elif grows <= -1:
        text += f": empty in {span(60 * snapshot.ledger.pending / -grows)}"
    return text, _bound(flow, went, rate_limit, senders, grows=grows >= 1)


def _bound(flow: Flow, went: int, rate_limit: tuple[str, int], senders: int, *, grows: bool) -> str:
    setting, items_per_second = rate_limit
    if items_per_second and flow.a_minute(went) >= NEARLY * 60 * items_per_second:
        return f"{setting}={items_per_second} limits it: raise it, or select fewer metrics."
    busy = flow.delivery_seconds / flow.seconds if flow.seconds else 0.0
    if senders and busy >= NEARLY * senders:
        mean = flow.delivery_seconds / max(1, flow.posts)
        return f"All {senders} senders are busy, a POST takes {mean:.1f} s: raise RECEIVER_SENDERS."
    if grows:
        return "Fewer items are delivered than arrive, and no limit of the receiver is the cause: check the errors and the duration of a POST."
    return "It catches up by itself, with new samples first."
