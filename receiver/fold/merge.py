"""Merging of two folds, for an import into an outbox that has series. Pure.

In: two folds, each with its series. Out: one fold with the numbers of the first; the second's
series get higher numbers. The merge is exact if no series and no item is in both: each series
keeps its last value, each window its content. Two values of one series cannot be merged, since
the samples that both have counted are unknown: that is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from receiver.azure.envelope import Identity
from receiver.errors import OutboxError
from receiver.fold.fold import Fold
from receiver.fold.folder import Folder
from receiver.fold.registry import Registry
from receiver.fold.state import NEVER
from receiver.intake.metrics_json import Allowlist
from receiver.outbox.folding import LogRow, SeriesRow

_UNBOUNDED = 1 << 62
_NO_IDENTITY = Identity("", "")
"""Unused: no item is rendered here."""


class CannotMerge(OutboxError):
    """The two folds cannot be merged."""


def read_fold(
    state: bytes | None, series: Sequence[SeriesRow], log: Iterable[LogRow], now_ms: int
) -> Fold:
    """Read the fold of an outbox from its rows. Raises: CannotMerge."""
    folder = Folder(Allowlist([]), _NO_IDENTITY, Registry(_UNBOUNDED))
    folder.restore(state, series, log, now_ms)
    if not folder.has_state:
        message = "the checkpoint of the fold cannot be read: flush it with the receiver that wrote it (RECEIVER_DRAIN_FOLD=yes), then export again"
        raise CannotMerge(message)
    return folder.fold


@dataclass(frozen=True, slots=True)
class Merged:
    """The merged fold, the renumbered rows of the second's series, and the first's removed series."""

    fold: Fold
    added: Sequence[SeriesRow]
    removed: Sequence[int]


def merge(
    mine: Fold, my_series: Sequence[SeriesRow], theirs: Fold, their_series: Sequence[SeriesRow]
) -> Merged:
    """Merge two folds. Raises: CannotMerge, which names the first series or item in both."""
    if mine.plan.entries != theirs.plan.entries:
        message = "the two outboxes fold by different entries of metrics.json: give both receivers the same list, run each for a moment, and begin again; or import into an empty outbox"
        raise CannotMerge(message)
    my_rows, their_rows = _remembered(mine, my_series), _remembered(theirs, their_series)
    if both := {labels for _, labels in my_rows} & {labels for _, labels in their_rows}:
        raise CannotMerge(f"{len(both)} folded series are in both outboxes, like {min(both).decode('utf-8', 'replace')}; import into an empty outbox, or let one of the two deliver first")  # fmt: skip
    if mine.routing.matchers != theirs.routing.matchers:
        message = "the two outboxes fold for different routes: give both receivers the same routes.json, run each for a moment, and begin again; or import into an empty outbox"
        raise CannotMerge(message)
    new = Fold(mine.allowlist, _NO_IDENTITY, mine.routing)
    last = max([mine.upto, *(number for number, _ in my_rows)])
    added = [(number, labels) for number, (_, labels) in enumerate(their_rows, last + 1)]
    for number, labels in (*my_rows, *added):
        new.add_series(number, labels)
    new.upto = last + len(added)
    new.plan.state.series.grow(new.upto)
    _refuse_joined(new, last, mine.plan.refused + theirs.plan.refused)
    numbers = {old: number for (old, _), (number, _) in zip(their_rows, added, strict=True)}
    _copy(mine, new, {number: number for number, _ in my_rows})
    _copy(theirs, new, numbers)
    removed = {number for number, _ in my_series} - {number for number, _ in my_rows}
    return Merged(new, added, sorted(removed))


def _remembered(fold: Fold, rows: Iterable[SeriesRow]) -> list[SeriesRow]:
    """Return the rows without forgotten and unseen series."""
    forgotten = fold.forgotten(unseen=True)
    return [row for row in rows if row[0] not in forgotten]


def _refuse_joined(new: Fold, last: int, refused: int) -> None:
    """Refuse a series of each side in one item; numbers up to `last` are the first side's. Raises: CannotMerge."""
    links, sides = new.plan.state.links, dict[int, bool]()
    for output, number in zip(links.output, links.series, strict=True):
        if sides.setdefault(output, number > last) is not (number > last):
            name = new.plan.names.texts[new.plan.state.outputs.name[output]].decode()
            raise CannotMerge(f"series of one item of {name} are in both outboxes; import into an empty outbox, or let one of the two deliver first")  # fmt: skip
    if new.plan.refused > refused:
        raise CannotMerge('series that "as": "last" would join are in both outboxes; import into an empty outbox')  # fmt: skip


def _copy(fold: Fold, new: Fold, numbers: Mapping[int, int]) -> None:
    """Copy the state of one fold into the new one."""
    for number, its_new in numbers.items():
        new.plan.state.series.copy(its_new, fold.plan.state.series, number)
    new.plan.state.since_ms = max(new.plan.state.since_ms, fold.plan.state.since_ms)
    first_ms = new.plan.state.targets.first_ms
    watched = dict(zip(fold.plan.targets, fold.plan.state.targets.first_ms, strict=True))
    for number, target in enumerate(new.plan.targets):
        since = watched.get(target, NEVER)
        if since != NEVER:  # the earlier of the two first times
            first_ms[number] = since if first_ms[number] == NEVER else min(first_ms[number], since)
    fold.move_windows(new, fold.successors(new))
