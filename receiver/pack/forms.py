"""One selection in other forms: the metrics of a metrics.json folded, and all of them raw. Pure.

In: a metrics.json, and the names of current series. Out: another metrics.json for the same
metrics, only to compare costs.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import replace

from receiver.intake.entries import As, Entry
from receiver.intake.metrics_json import KEY, Allowlist, parse
from receiver.pack.proposals import PROPOSALS
from receiver.triton import METRICS

RATE = "_irate"
_COUNTED = ("_total", "_count", "_sum", "_bucket")
"""Endings of counters' names, for metrics that are not Triton's."""
_COUNTERS = frozenset(
    metric.name for metric in METRICS if metric.rated or "cumulative" in metric.unit
)


def raw_form(allowlist: Allowlist) -> Allowlist:
    """Send every sample of the same metrics, without those that only count a mean's events."""
    entries = [
        Entry(entry.name) if entry.is_folded else replace(entry, rename="")
        for entry in allowlist.entries
    ]
    return Allowlist(list({entry.name: entry for entry in entries}.values()))


def folded_form(allowlist: Allowlist, names: Collection[str]) -> Allowlist:
    """Fold the same metrics: folded entries stay, all other names get a folding entry.

    For an `_irate` the counter is folded, so `names` should have the counters too.
    """
    entries = [entry for entry in allowlist.entries if entry.is_folded]
    there = {counter_of(name) for name in names}
    raw = {
        counter_of(name)
        for name in names
        if any(not entry.is_folded for entry in allowlist.matches(name))
    }
    for name in sorted(raw):
        entries += _folding(name, raw, there)
    made: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        made.setdefault((entry.name, entry.item_name(entry.name)), entry)
    return Allowlist(list(made.values()))


def counter_of(name: str) -> str:
    """Return the counter of an `_irate`; any other name unchanged."""
    return name.removesuffix(RATE)


def _folding(name: str, raw: Collection[str], there: Collection[str]) -> Iterator[Entry]:
    """Yield the entries that fold one of the names that are sent `raw`."""
    fitting = [proposal for proposal in PROPOSALS if proposal.fits(name)]
    usable = [proposal for proposal in fitting if all(need in there for need in proposal.needs)]
    for proposal in usable:
        if not (proposal.unless and proposal.unless in raw):
            yield _entry({**proposal.entry, "name": name})
    if not usable and not _is_counted(name, raw):
        yield Entry(name, As.DELTA if _is_counter(name) else As.AGGREGATE)


def _is_counted(name: str, raw: Collection[str]) -> bool:
    """Whether a mean of another of these names has it as its count."""
    means = (proposal for proposal in PROPOSALS if name in proposal.needs)
    return any(other != name and proposal.fits(other) for proposal in means for other in raw)


def _is_counter(name: str) -> bool:
    return name in _COUNTERS or name.endswith(_COUNTED)


def _entry(fields: dict[str, object]) -> Entry:
    return parse(json.dumps({KEY: [fields]}), "a proposal").entries[0]
