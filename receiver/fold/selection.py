"""The use of series, by metrics.json and the fold's numbers.

In: a series' labels, once. Out: a `Use`: the labels of its raw items, its number in the fold, or
the reason for neither.
"""

from collections.abc import Mapping

from receiver.fold.registry import Registry
from receiver.intake.entries import TARGET_LABELS, Entry
from receiver.intake.metrics_json import FOLD_FULL, WOULD_JOIN, Allowlist, Use

NAMES_MAX = 100_000
SLIMMED_MAX = 200_000


class Selection:
    """The selection of one metrics.json; all share the registry."""

    def __init__(self, allowlist: Allowlist, registry: Registry) -> None:
        """Start without series."""
        self._allowlist = allowlist
        self._registry = registry
        self._names: dict[str, tuple[Entry | None, bool]] = {}
        self._slimmed: dict[tuple[tuple[str, str], ...], int] = {}

    def use_of(self, labels: Mapping[str, str]) -> Use:
        """Return the use of a selected series; equal labels have one number while the fold knows them.

        Raises: NotCommitted, before the outbox is open.
        """
        raw, is_folded = self._entries_of(labels["__name__"])
        rendered = self._rendered(raw, labels) if raw else None
        dropped = WOULD_JOIN if raw and rendered is None else ""
        number = self._registry.number_of(labels) if is_folded else 0
        if is_folded and not number and rendered is None:
            dropped = FOLD_FULL
        return Use(rendered, number, "" if number else dropped)

    def _entries_of(self, name: str) -> tuple[Entry | None, bool]:
        """Return the entry for raw samples, and whether any entry folds."""
        known = self._names.get(name)
        if known is None:
            matches = self._allowlist.matches(name)
            raw = next((entry for entry in matches if not entry.is_folded), None)
            known = raw, self._allowlist.folds(name)
            if len(self._names) >= NAMES_MAX:
                self._names.clear()
            self._names[name] = known
        return known

    def _rendered(self, raw: Entry, labels: Mapping[str, str]) -> Mapping[str, str] | None:
        """Return the labels of the raw items; None for a series that would equal another."""
        if raw.keeps_all_labels and not raw.rename:
            return labels
        name = labels["__name__"]
        kept = {label: value for label, value in labels.items() if label != "__name__" and raw.keeps(label)}  # fmt: skip
        kept["__name__"] = raw.item_name(name)
        looks = tuple(sorted([*kept.items(), *(("", labels.get(label, "")) for label in TARGET_LABELS)]))  # fmt: skip
        whole = hash(tuple(sorted(labels.items())))
        if len(self._slimmed) >= SLIMMED_MAX:
            self._slimmed.clear()
        return kept if self._slimmed.setdefault(looks, whole) == whole else None
