"""What the outbox asks of a fold, and gets from it: values, and one protocol. Pure.

`receiver.outbox.fold_log` keeps the tables; who implements `Folding` knows what is in them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from receiver.outbox.batch import Append


@dataclass(frozen=True, slots=True)
class Flush:
    """What a flush writes: items, the state behind them, and the numbers of series that are gone."""

    items: Append
    state: bytes
    gone: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class LogRow:
    """The records of one transaction. `upto` is the highest series number that was known then."""

    at_ms: int
    upto: int
    records: bytes


SeriesRow = tuple[int, bytes]


class Folding(Protocol):
    """What the records are for. All but the constructor runs in the outbox's thread."""

    @property
    def must_flush(self) -> bool:
        """Whether records can only be taken after a flush: metrics.json has changed."""

    def restore(
        self, state: bytes | None, series: Iterable[SeriesRow], log: Iterable[LogRow], now_ms: int
    ) -> None:
        """Know what the disk knows."""

    def unsaved(self) -> Sequence[SeriesRow]:
        """Give the series that are to be written before any record of theirs."""

    def saved(self, series: Sequence[SeriesRow]) -> None:
        """Take note that they are on disk."""

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
        """Make items of what is over, if anything is; `is_long` wants a checkpoint anyway.

        `is_last`: of the windows that are still open too.
        """

    def flushed(self) -> None:
        """Take note that the last flush is on disk."""
