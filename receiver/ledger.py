"""The ledger: what became of every sample and every item, in the words that everybody uses.

In: totals by (word, reason), as the outbox keeps them. Out: a `Ledger`; the difference of
two is what went on between. Pure. The fields below are the only list of the words: the
page, the metrics, the history and /api/v1/status follow from it.

Samples: received = unselected + dropped + folded + rendered.
Items:   rendered + flushed + imported = accepted + rejected + expired + exported + pending.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Totals = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Counts by word; `dropped` and `rejected` by reason.

    `rendered` are samples that became an item each, `folded` those that went into a window,
    `flushed` the items that windows became, `pending` the items that wait. `imported` are items
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
        """Count the samples that were written to disk."""
        return self.folded + self.rendered

    @property
    def adds_up(self) -> bool:
        """Whether each sample and each item has exactly one end; false means a defect."""
        samples = self.unselected + sum(self.dropped.values()) + self.committed
        ends = self.accepted + sum(self.rejected.values()) + self.expired + self.exported
        items = self.rendered + self.flushed + self.imported
        return self.received == samples and items == ends + self.pending

    def __sub__(self, before: "Ledger") -> "Ledger":
        """Count what went on since `before`; `pending` is what more waits, below 0 where less does."""
        return Ledger(**{word: _less(now, then) for word, now, then in _both(self, before)})

    def columns(self) -> dict[str, int]:
        """Give each word's count, all reasons together."""
        return {word: _total(getattr(self, word)) for word in WORDS}

    def document(self) -> dict[str, Any]:
        """Give each word with its count, or its counts by reason."""
        return {word: getattr(self, word) for word in WORDS}


WORDS = tuple(each.name for each in fields(Ledger))
"""In the order in which samples go."""
_BY_REASON = frozenset(each.name for each in fields(Ledger) if each.default_factory is dict)


def read_ledger(totals: Totals) -> Ledger:
    """Order the outbox's totals; a reason that counts nothing is left out."""
    counts: dict[str, Any] = {word: {} if word in _BY_REASON else 0 for word in WORDS}
    for (word, reason), count in sorted(totals.items()):
        if word in _BY_REASON and count:
            counts[word][reason] = count
        elif word in counts and not reason:
            counts[word] = count
    return Ledger(**counts)


def more(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Count by reason what came between two moments; a reason without anything is left out."""
    counts = {reason: count - before.get(reason, 0) for reason, count in after.items()}
    return {reason: count for reason, count in counts.items() if count}


def _both(after: Ledger, before: Ledger) -> Iterator[tuple[str, Any, Any]]:
    return ((word, getattr(after, word), getattr(before, word)) for word in WORDS)


def _less(now: Any, then: Any) -> Any:
    return more(then, now) if isinstance(now, Mapping) else now - then


def _total(count: Any) -> int:
    return sum(count.values()) if isinstance(count, Mapping) else int(count)
