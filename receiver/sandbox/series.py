"""One series in the sandbox: its identity, its newest value and its recent values.

A series is identified by its name, key, namespace, properties and tags, in the order
sent: a sender that changes the order creates a new series, as it creates new dimensions
in the service.
"""

from array import array
from typing import TypeAlias

from receiver.sandbox.item import Item

HISTORY_POINTS = 240
OBJECT_BYTES = 64

SeriesKey: TypeAlias = tuple[
    str, str, str | None, tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]
]


class Series:
    """One series: its identity, its newest value and its recent values."""

    __slots__ = (
        "_texts_bytes",
        "history_ms",
        "history_values",
        "id",
        "ikey",
        "items",
        "key",
        "latest_ms",
        "latest_value",
        "name",
        "namespace",
        "properties",
        "sequence",
        "stored",
        "tags",
    )

    def __init__(self, number: int, key: SeriesKey, item: Item) -> None:
        """Start a series with its first item, which is not counted yet."""
        self.id = number
        self.key = key
        self.name = item.name
        self.ikey = item.ikey
        self.namespace = item.namespace
        self.properties = item.properties
        self.tags = item.tags
        self.items = 0  # accepted since the series began
        self.stored = 0  # still in the store
        self.sequence = 0  # the number of its newest item among all items
        self.latest_ms = item.time_ms
        self.latest_value = item.value
        self.history_ms = array("q")
        self.history_values = array("d")
        texts = (item.name, *item.properties, *item.properties.values(), *item.tags.values())
        self._texts_bytes = OBJECT_BYTES * (5 + len(texts)) + sum(map(len, texts))

    @property
    def size_bytes(self) -> int:
        """The approximate memory of the series: its texts, its history, its objects."""
        return self._texts_bytes + 2 * self.history_ms.itemsize * len(self.history_ms)

    def take(self, item: Item, sequence: int) -> None:
        """Add an item, the `sequence`-th of all."""
        self.items += 1
        self.stored += 1
        self.sequence = sequence
        # A chart shows the mean of an aggregate.
        value = item.value / item.spread.count if item.spread else item.value
        if item.time_ms >= self.latest_ms:
            self.latest_ms = item.time_ms
            self.latest_value = value
        self.history_ms.append(item.time_ms)
        self.history_values.append(value)
        if len(self.history_ms) >= 2 * HISTORY_POINTS:
            del self.history_ms[:HISTORY_POINTS]
            del self.history_values[:HISTORY_POINTS]

    def history(self) -> list[tuple[int, float]]:
        """Return the latest points, oldest first."""
        points = zip(self.history_ms, self.history_values, strict=True)
        return sorted(list(points)[-HISTORY_POINTS:], key=lambda point: point[0])


def series_key(item: Item) -> SeriesKey:
    """Return the identity of an item's series."""
    return (
        item.name,
        item.ikey,
        item.namespace,
        tuple(item.properties.items()),
        tuple(item.tags.items()),
    )
