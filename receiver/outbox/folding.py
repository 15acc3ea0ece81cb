"""The interface between outbox and fold: values, and one protocol. Pure.

`receiver.outbox.fold_log` keeps the tables; `Folding` reads and writes their content.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from receiver.outbox.values import Submission


@dataclass(frozen=True, slots=True)
class Flush:
    """The content of a flush: items, the state after them, and the numbers of removed series."""

    items: Sequence[Submission]
    state: bytes
    removed: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class LogRow:
    """The records of one transaction. `upto` is the highest series number known then."""

    at_ms: int
    upto: int
    records: bytes


SeriesRow = tuple[int, bytes]


class Folding(Protocol):
    """The fold, as the outbox uses it. All but the constructor runs in the outbox's thread."""

    @property
    def must_flush(self) -> bool:
        """Whether records are accepted only after a flush, since metrics.json has changed."""

    def restore(
        self, state: bytes | None, series: Iterable[SeriesRow], log: Iterable[LogRow], now_ms: int
    ) -> str:
        """Load the state from disk; returns why its checkpoint cannot be used, empty if it can."""

    def unsaved(self) -> Sequence[SeriesRow]:
        """Return the series to write before any of their records."""

    def saved(self, series: Sequence[SeriesRow]) -> None:
        """Note that these series are on disk."""

    def take(self, records: bytes, now_ms: int) -> None:
        """Fold records that are on disk."""

    def flush(
        self,
        now_ms: int,
        series: Callable[[], Iterable[SeriesRow]],
        *,
        is_long: bool,
        is_last: bool = False,
    ) -> Flush | None:
        """Make items of finished windows, if there are any; `is_long` forces a checkpoint.

        `is_last` includes open windows.
        """

    def flushed(self) -> None:
        """Note that the last flush is on disk."""
