"""The check of sharded remote_write entries: each series must reach exactly one receiver. Pure.

In: remote_write entries that lead to receivers, metrics.json's entries. Out: findings. A shard
is made by three rules of Prometheus: `hashmod` over labels into a temporary label, `keep` of
one number, `labeldrop` of that label. Folded entries need all series of one item at one
receiver, so the hash must be over labels that these series share, as `job` and `instance`.
Rules: Prometheus' configuration reference, relabel_config.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from receiver.cli.findings import Finding, Mark
from receiver.cli.prometheus.addresses import masked
from receiver.cli.prometheus.relabelling import (
    RemoteWrite,
    action_of,
    is_match,
    keeps_name,
    rules_of,
)
from receiver.cli.values import SHARDS_MAX
from receiver.intake.entries import TARGET_LABELS, As, Entry

SHARD_LABEL = "__tmp_shard"
METRIC_LABELS = frozenset(
    ("__name__", "model", "version", "gpu_uuid", "quantile", "le", "reason", "name", "policy")
)
"""Labels in which series of one Triton differ; all others come with its target."""
FIX = "appinsights-receiver relabel --shards N prints remote_write entries that fit."
_SERVICE = re.compile(r".*\.svc(\..*)?")
_POD = re.compile(r".*-\d+")


@dataclass(frozen=True, slots=True)
class Shard:
    """An entry's shard: `kept` of the numbers 0 to `modulus` - 1, hashed over `labels`."""

    url: str
    labels: tuple[str, ...]
    modulus: int
    kept: frozenset[int]
    temporary: str
    is_label_dropped: bool


def is_sharded(entry: RemoteWrite) -> bool:
    """Whether an entry's rules hash."""
    return any(action_of(rule) == "hashmod" for rule in rules_of(entry))


def judge_shards(entries: Sequence[RemoteWrite], selected: Sequence[Entry]) -> Iterator[Finding]:
    """Check the entries that lead to receivers."""
    sharded = [shard for entry in entries if (shard := read_shard(entry))]
    whole = [entry for entry in entries if not is_sharded(entry)]
    names = [name for entry in selected for name in (entry.name, *entry.per)]
    yield from _judge_doubles(whole, names, has_shards=bool(sharded))
    if sharded:
        yield from _judge_cover(sharded)
        yield from _judge_labels(sharded, selected)
    elif any(entry.is_folded for entry in selected):
        yield from _judge_service(whole)


def read_shard(entry: RemoteWrite) -> Shard | None:
    """Evaluate an entry's rules for each possible hash; None for an entry without a hash."""
    hashes = [rule for rule in rules_of(entry) if action_of(rule) == "hashmod"]
    modulus = hashes[0].get("modulus") if hashes else None
    if not isinstance(modulus, int) or not 0 < modulus <= SHARDS_MAX:
        return None
    temporary = str(hashes[0].get("target_label", ""))
    return Shard(
        url=str(entry.get("url", "")),
        labels=tuple(hashes[0].get("source_labels") or ()),
        modulus=modulus,
        kept=frozenset(n for n in range(modulus) if _keeps(entry, temporary, n)),
        temporary=temporary,
        is_label_dropped=_drops_label(entry, temporary),
    )


def _keeps(entry: RemoteWrite, temporary: str, number: int) -> bool:
    value = ""  # before hashmod has run the label is empty
    for rule in rules_of(entry):
        action = action_of(rule)
        if action == "hashmod" and rule.get("target_label") == temporary:
            value = str(number)
        elif action in {"keep", "drop"} and list(rule.get("source_labels") or []) == [temporary]:
            if is_match(rule, value) is (action == "drop"):
                return False
        elif action == "labeldrop" and is_match(rule, temporary):
            value = ""
    return True


def _drops_label(entry: RemoteWrite, temporary: str) -> bool:
    rules = rules_of(entry)
    after = max(n for n, rule in enumerate(rules) if action_of(rule) == "hashmod") + 1
    return any(
        (action_of(rule) == "labeldrop" and is_match(rule, temporary))
        or (action_of(rule) == "labelkeep" and not is_match(rule, temporary))
        for rule in rules[after:]
    )


def _judge_doubles(whole: Sequence[RemoteWrite], names: Iterable[str], *, has_shards: bool) -> Iterator[Finding]:  # fmt: skip
    """Find series written by two entries without shards."""
    urls = {str(entry.get("url", "")) for entry in whole}
    if has_shards and whole:
        detail = f"{masked(min(urls))} takes every series, and others take shards of the same: every item is duplicated"
        yield Finding("shards", Mark.FAIL, detail, f"Give that entry a shard too, or take it out. {FIX}")  # fmt: skip
    elif len(urls) > 1:
        doubled = [name for name in dict.fromkeys(names) if _writers(name, whole) > 1]
        if doubled:
            shown = ", ".join(doubled[:3]) + (f" and {len(doubled) - 3} more" if len(doubled) > 3 else "")  # fmt: skip
            detail = f"{len(urls)} receivers are each sent {shown}: every item is duplicated if they deliver to one resource"
            fix = f"Two resources: leave it so. One resource: share the series out. {FIX}"
            yield Finding("shards", Mark.WARN, detail, fix)


def _writers(name: str, entries: Sequence[RemoteWrite]) -> int:
    return len({str(entry.get("url", "")) for entry in entries if keeps_name(name, entry)})


def _judge_cover(shards: Sequence[Shard]) -> Iterator[Finding]:
    """Check that one entry keeps each number, and that all entries hash alike."""
    first = shards[0]
    for other in shards:
        if other.modulus != first.modulus:
            detail = f"modulus is {first.modulus} for {masked(first.url)} and {other.modulus} for {masked(other.url)}: some series reach no receiver, others two"
            yield Finding("shards", Mark.FAIL, detail, "One modulus for all: the number of receivers.")  # fmt: skip
            return
        if other.labels != first.labels:
            detail = f"{masked(first.url)} hashes over {_spelt(first.labels)}, {masked(other.url)} over {_spelt(other.labels)}: some series reach no receiver, others two"
            yield Finding("shards", Mark.FAIL, detail, "The same source_labels in the same order for all.")  # fmt: skip
            return
    writers = {n: [shard.url for shard in shards if n in shard.kept] for n in range(first.modulus)}
    missing = [str(n) for n, urls in writers.items() if not urls]
    doubled = [n for n, urls in writers.items() if len(urls) > 1]
    if missing:
        detail = f"no entry keeps shard {', '.join(missing[:5])} of {first.modulus}: those series reach no receiver"
        yield Finding("shards", Mark.FAIL, detail, f"One entry for each of 0 to {first.modulus - 1}. {FIX}")  # fmt: skip
    for n in doubled[:3]:
        urls = " and ".join(masked(url) for url in writers[n][:2])
        detail = f"shard {n} of {first.modulus} goes to {urls}: its items are duplicated"
        yield Finding("shards", Mark.FAIL, detail, f"One entry for each of 0 to {first.modulus - 1}. {FIX}")  # fmt: skip
    if kept := next((shard for shard in shards if not shard.is_label_dropped), None):
        detail = f"{kept.temporary} is not dropped, and becomes a dimension of each item"
        yield Finding("shards", Mark.WARN, detail, f"After the keep: - {{regex: {kept.temporary}, action: labeldrop}}")  # fmt: skip
    if not missing and not doubled:
        detail = f"{first.modulus} shards over {_spelt(first.labels)}, each with one receiver"
        yield Finding("shards", Mark.OK, detail)


def _judge_labels(shards: Sequence[Shard], selected: Sequence[Entry]) -> Iterator[Finding]:
    """Check that the hash does not separate the series of one item."""
    labels = list(dict.fromkeys(label for shard in shards for label in shard.labels))
    for label in labels:
        if split := next((entry for entry in selected if _splits(label, entry)), None):
            detail = f"the hash is over {label}, and the entry {split.name} makes one item of series that differ in it: two receivers would each make a part of it"
            yield Finding("shards", Mark.FAIL, detail, f"source_labels: [{', '.join(TARGET_LABELS)}]: series of one target are never apart.")  # fmt: skip
            return
        if "replica" in label.lower():
            detail = f"the hash is over {label}, so two Prometheus replicas send one series to two receivers"
            yield Finding("shards", Mark.FAIL, detail, f"source_labels: [{', '.join(TARGET_LABELS)}]")  # fmt: skip
            return
    if not labels:
        yield Finding("shards", Mark.FAIL, "the hash is over no label: one receiver gets everything", f"source_labels: [{', '.join(TARGET_LABELS)}]")  # fmt: skip


def _splits(label: str, entry: Entry) -> bool:
    """Whether series of one item of this entry may differ in a label."""
    if not entry.is_folded or label not in METRIC_LABELS:
        return False
    if label == "__name__":
        return entry.as_ is As.MEAN or (entry.is_glob and bool(entry.rename) and "*" not in entry.rename)  # fmt: skip
    return not entry.keeps(label)


def _judge_service(whole: Sequence[RemoteWrite]) -> Iterator[Finding]:
    """Warn of a Service, which may have several pods behind it."""
    for entry in whole:
        url = str(entry.get("url", ""))
        host = _host(url)
        if _SERVICE.fullmatch(host) and not _POD.fullmatch(host.partition(".")[0]):
            detail = f"{masked(url)} is a Service: with several receivers behind it the sums of folded entries come out too large"
            fix = f"One receiver: leave it so. Several: an entry for each pod, with a shard each. {FIX}"  # fmt: skip
            yield Finding("shards", Mark.WARN, detail, fix)
            return


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _spelt(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "no label"
