"""The ledger: the number of samples and items by their outcome.

In: totals by (word, reason), as the outbox keeps them. Out: a `Ledger`; the difference of
two ledgers counts what happened between. Pure. `Word` lists the words: the type checker knows
them wherever samples or items are counted; the history and /api/v1/status follow from the list.

Samples: received = unselected + dropped + folded + rendered.
Items:   rendered + flushed + imported = accepted + rejected + expired + exported + pending.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

Word = Literal[
    "received", "unselected", "dropped", "folded", "rendered", "flushed", "imported", "accepted",
    "rejected", "expired", "exported", "pending",
]  # fmt: skip
WORDS: tuple[Word, ...] = get_args(Word)
"""The words, in the order of the flow."""
ITEM_WORDS = WORDS[WORDS.index("rendered") :]
"""The words of items, which a route has too."""
Key = tuple[Word, str]
"""A word and the reason, empty for words without reasons."""
Totals = Mapping[Key, int]
"""Samples and items by word and reason."""
ROUTE_FULL = "route_full"
"""The reason for a full lane: a sample is dropped, a window's item rejected."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """Counts by word; `dropped` and `rejected` by reason.

    `rendered` counts samples sent as items, `folded` samples added to a window; `flushed`
    counts the items made from windows, `pending` those that wait. `imported` are items
    that `outbox import` brought from another outbox, `exported` those that were taken to one.
    """

    received: int = 0
    unselected: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    folded: int = 0
    rendered: int = 0
    flushed: int = 0
    imported: int = 0
    accepted: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    expired: int = 0
    exported: int = 0
    pending: int = 0

    @property
    def committed(self) -> int:
        """The number of samples that were written to disk."""
        return self.folded + self.rendered

    @property
    def adds_up(self) -> bool:
        """Whether every sample and every item has exactly one outcome; false means a defect."""
        samples = self.unselected + sum(self.dropped.values()) + self.committed
        return self.received == samples and self.items_add_up

    @property
    def items_add_up(self) -> bool:
        """Whether every item has exactly one outcome; this equation holds for routes too."""
        ends = self.accepted + sum(self.rejected.values()) + self.expired + self.exported
        items = self.rendered + self.flushed + self.imported
        return items == ends + self.pending

    def __sub__(self, before: "Ledger") -> "Ledger":
        """Return the counts since `before`; `pending` is the change, negative if fewer items wait."""
        return Ledger(**{word: _less(now, then) for word, now, then in _both(self, before)})

    def columns(self) -> dict[str, int]:
        """Return the count of every word, summed over reasons."""
        return {word: _total(getattr(self, word)) for word in WORDS}

    def document(self) -> dict[str, Any]:
        """Return every word with its count, or its counts by reason."""
        return {word: getattr(self, word) for word in WORDS}


_BY_REASON = frozenset(column.name for column in fields(Ledger) if column.default_factory is dict)


def read_ledger(totals: Totals) -> Ledger:
    """Make a ledger from the outbox's totals; reasons with a count of 0 are omitted."""
    counts: dict[str, Any] = {word: {} if word in _BY_REASON else 0 for word in WORDS}
    for (word, reason), count in sorted(totals.items()):
        if word in _BY_REASON and count:
            counts[word][reason] = count
        elif word in counts and not reason:
            counts[word] = count
    return Ledger(**counts)


def more(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Return the increase of counts by reason; unchanged reasons are omitted."""
    counts = {reason: count - before.get(reason, 0) for reason, count in after.items()}
    return {reason: count for reason, count in counts.items() if count}


def _both(after: Ledger, before: Ledger) -> Iterator[tuple[str, Any, Any]]:
    return ((word, getattr(after, word), getattr(before, word)) for word in WORDS)


def _less(now: Any, then: Any) -> Any:
    return more(then, now) if isinstance(now, Mapping) else now - then


def _total(count: Any) -> int:
    return sum(count.values()) if isinstance(count, Mapping) else int(count)
