"""`handover`: moves folded sums between receivers after a change of their number.

In: the number of receivers, and their addresses. A series that belongs to another receiver by
Prometheus' hash, and no longer arrives, is given to that receiver, and then forgotten by the old
one. The verb can be interrupted and repeated at any moment.
Rules: Prometheus' relabel_config, hashmod; `receiver.fold.takeover`.
"""

import argparse
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from receiver.cli.fetch import NoAnswer
from receiver.cli.findings import Finding, Mark, show
from receiver.cli.receiver_api import Ask, ask_others
from receiver.cli.relabel import addresses
from receiver.config.settings import Origin, Settings
from receiver.errors import SettingsError
from receiver.fold.takeover import MEANINGS, Taken

REQUEST_SERIES = 1_000
REQUEST_BYTES = 512 << 10
"""Limits of one request: series, and bytes of their labels as JSON. A receiver accepts 1 MiB."""
SEPARATOR = ";"
"""The separator of the values of source_labels."""


@dataclass(slots=True)
class Moves:
    """The numbers of series by outcome."""

    held: int = 0
    arriving: Counter[int] = field(default_factory=Counter)
    moved: Counter[tuple[int, int]] = field(default_factory=Counter)
    refused: Counter[Taken] = field(default_factory=Counter)


Series = dict[str, Any]


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Hand over, and print the findings."""
    receivers = given.receivers or given.shards
    if receivers < given.shards:
        raise SettingsError(f"--receivers {receivers} is less than --shards {given.shards}")
    urls = [url.rstrip("/") for url in addresses(given.url, receivers)]
    labels = [label.strip() for label in given.labels.split(",") if label.strip()]
    ask = ask_others(given, settings)
    try:
        moves = hand_over(ask, urls, given.shards, labels, given.settle, dry=given.dry_run)
    except NoAnswer as error:
        fix = "Moved series stay moved; run this again when it answers."
        return show([Finding("receiver", Mark.FAIL, str(error), fix)], as_json=given.json)
    if given.json:
        print(json.dumps(_document(moves), indent=2))
        return int(bool(moves.arriving or moves.refused))
    return show([*findings(moves, dry=given.dry_run)], as_json=False, all_passed="each series is at its receiver.")  # fmt: skip


def hand_over(
    ask: Ask, urls: Sequence[str], shards: int, labels: Sequence[str], settle: float, *, dry: bool
) -> Moves:  # fmt: skip
    """Give each receiver its series from the others. Raises: NoAnswer."""
    moves = Moves()
    misplaced = [list(_misplaced(ask, urls, number, shards, labels, moves)) for number in range(len(urls))]  # fmt: skip
    if any(misplaced):
        time.sleep(settle)
    for giver, series in enumerate(misplaced):
        quiet = _quiet(ask, urls[giver], series) if series else []
        moves.arriving[giver] += len(series) - len(quiet)
        for owner in sorted({owner for owner, _ in quiet}):
            for part in requests_of([each for to, each in quiet if to == owner]):
                if dry:
                    moves.moved[giver, owner] += len(part)
                else:
                    _move(ask, urls, giver, owner, part, moves)
    moves.arriving = +moves.arriving
    return moves


def requests_of(series: Iterable[Series]) -> Iterator[list[Series]]:
    """Divide series among requests within the limits; a longer series has a request of its own."""
    part: list[Series] = []
    size_bytes = 0
    for one in series:
        its_bytes = len(json.dumps(one["labels"]))
        if part and (len(part) == REQUEST_SERIES or size_bytes + its_bytes > REQUEST_BYTES):
            yield part
            part, size_bytes = [], 0
        part.append(one)
        size_bytes += its_bytes
    if part:
        yield part


def shard_of(series: Mapping[str, str], labels: Sequence[str], shards: int) -> int:
    """Hash as Prometheus' hashmod does: the last eight bytes of an MD5, modulo."""
    text = SEPARATOR.join(series.get(label, "") for label in labels)
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "big") % shards


def _misplaced(
    ask: Ask, urls: Sequence[str], number: int, shards: int, labels: Sequence[str], moves: Moves
) -> Iterator[tuple[int, Series]]:  # fmt: skip
    for series in _held(ask, urls[number]):
        moves.held += 1
        owner = shard_of(series["labels"], labels, shards)
        if owner != number:
            yield owner, series


def _held(ask: Ask, address: str) -> Iterator[Series]:
    after = 0
    while True:
        page = ask(f"{address}/api/v1/fold/series?after={after}", "after", "series")
        yield from page["series"]
        if page["after"] is None:
            return
        after = page["after"]


def _quiet(ask: Ask, address: str, series: Sequence[tuple[int, Series]]) -> list[tuple[int, Series]]:  # fmt: skip
    """Return the series without a new sample."""
    now = {one["number"]: one["time_ms"] for one in _held(ask, address)}
    return [(owner, one) for owner, one in series if now.get(one["number"]) == one["time_ms"]]


def _move(
    ask: Ask, urls: Sequence[str], giver: int, owner: int, series: Sequence[Series], moves: Moves
) -> None:  # fmt: skip
    given = [{key: one[key] for key in ("labels", "time_ms", "value")} for one in series]
    answer = ask(f"{urls[owner]}/api/v1/fold/take", "outcomes", document={"series": given})
    outcomes = [Taken(outcome) for outcome in answer["outcomes"]]
    moves.refused.update(
        outcome for outcome in outcomes if outcome not in {Taken.TAKEN, Taken.SAME}
    )
    taken = [[one["number"], one["time_ms"]] for one, outcome in zip(series, outcomes, strict=True) if outcome in {Taken.TAKEN, Taken.SAME}]  # fmt: skip
    newer = ask(f"{urls[giver]}/api/v1/fold/release", "newer", document={"series": taken})["newer"]  # fmt: skip
    moves.moved[giver, owner] += len(taken) - len(newer)
    moves.arriving[giver] += len(newer)


def _document(moves: Moves) -> dict[str, Any]:
    return {
        "held": moves.held,
        "moved": [{"from": a, "to": b, "series": count} for (a, b), count in moves.moved.items()],
        "arriving": dict(moves.arriving),
        "refused": {str(why): count for why, count in moves.refused.items()},
    }


def findings(moves: Moves, *, dry: bool) -> Iterator[Finding]:
    """Return the findings, problems first."""
    for giver, count in moves.arriving.items():
        detail = f"{count} series of other shards still arrive at receiver {giver}"
        yield Finding("arriving", Mark.FAIL, detail, "Has every Prometheus loaded the new remote_write? Then run this again.")  # fmt: skip
    for why, count in moves.refused.items():
        yield Finding("refused", Mark.FAIL, f"{count} series were not taken over ({why})", f"{MEANINGS[why]} Their old receiver keeps them.")  # fmt: skip
    done = "would go" if dry else "went"
    for (giver, owner), count in sorted(moves.moved.items()):
        yield Finding("moved", Mark.OK, f"{count} series {done} from receiver {giver} to receiver {owner}")  # fmt: skip
    yield Finding("held", Mark.OK, f"{moves.held} folded series in all")
