"""The check of a selection against the limits of Azure's metrics store. Pure.

In: a metrics.json and the current series. Out: sentences; none within the limits. Items beyond
a limit are in the logs all the same, but not in charts and metric alerts by dimension.
"""

from collections.abc import Iterator, Mapping, Sequence

from receiver.azure.envelope import order_labels
from receiver.azure.limits import METRIC_DIMENSIONS, METRIC_SERIES
from receiver.intake.entries import TARGET_LABELS, Entry
from receiver.intake.metrics_json import Allowlist
from receiver.pack.forecast import Seen

NAMES_SHOWN = 3


def store_limits(allowlist: Allowlist, series: Sequence[Seen]) -> Iterator[str]:
    """Yield the items with too many dimensions, and the number of series if it is too large."""
    outputs: set[tuple[object, ...]] = set()
    surplus: dict[str, tuple[int, Sequence[str]]] = {}
    for row in series:
        for entry in allowlist.matches(row.name):
            name = entry.item_name(row.name)
            dimensions = _dimensions(entry, row.labels)
            target = (row.labels.get(label, "") for label in TARGET_LABELS)
            outputs.add((name, *target, *((label, row.labels[label]) for label in dimensions)))
            if len(dimensions) > METRIC_DIMENSIONS:
                surplus.setdefault(name, (len(dimensions), dimensions[METRIC_DIMENSIONS:]))
    if surplus:
        name, (count, labels) = next(iter(surplus.items()))
        others = len(surplus) - 1
        which = f"{name} and {others} more metrics have" if others else f"{name} has"
        rest = f" and {len(labels) - NAMES_SHOWN} more" if len(labels) > NAMES_SHOWN else ""
        yield (
            f"{which} {count} dimensions; the first {METRIC_DIMENSIONS} can be charted and alerted on, "
            f"{', '.join(labels[:NAMES_SHOWN])}{rest} in logs alone"
        )
    if len(outputs) > METRIC_SERIES:
        yield (
            f"{len(outputs):,} series are sent; of a subscription and region {METRIC_SERIES:,} in 12 hours can be "
            "charted by dimension, the rest in logs alone"
        )


def _dimensions(entry: Entry, labels: Mapping[str, str]) -> list[str]:
    """List an item's dimensions, in their order."""
    kept = [label for label in order_labels(labels) if entry.keeps(label)]
    return [label for label in kept if label not in TARGET_LABELS] if entry.is_folded else kept
