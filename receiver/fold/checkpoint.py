"""Serialisation of the fold's state. Pure.

`receiver.fold.plan` makes the same outputs of the same series, so the plan is not stored; its
columns are stored to be compared. A receiver with another plan keeps the state of the series,
and no windows.
"""

import json
import zlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any

from isal import isal_zlib

from receiver.fold.plan import Plan
from receiver.fold.state import NEVER
from receiver.fold.windows import Window, Windows
from receiver.intake.entries import As, Entry, First
from receiver.intake.routes import NO_KEY, NO_ROUTES, Route, Routing

VERSIONS = (1, 2, 3)
"""Version 2 adds a column: the series' start timestamps. Version 3 names its further columns.

The lowest version that can hold the state is written.
"""
_SERIES = ("series.time_ms", "series.value")
_PLAN = (
    "outputs.kind", "outputs.entry", "outputs.target", "outputs.name", "outputs.labels",
    "outputs.every_ms",
)  # fmt: skip
_WINDOWS = (
    "outputs.start_ms", "outputs.total", "outputs.count", "outputs.least", "outputs.most",
    "outputs.touched_ms", "outputs.until_ms", "outputs.left_total", "outputs.left_count",
    "outputs.last_sent", "outputs.last_sent_ms",
    "scrapes.time_ms", "scrapes.total", "scrapes.count", "targets.first_ms",
)  # fmt: skip
"""The columns of every version, in the order of the file, as attributes of a state."""
_BASES = ("base_ms", "base_value")
_STARTED = ("begun_ms",)
"""Further columns of the series."""

NOTHING_SENT: Mapping[bytes, int] = {}


class Unusable(Exception):
    """The bytes are not a checkpoint of this version."""


def encode(
    entries: Sequence[Entry],
    upto: int,
    windows: Windows,
    routing: Routing = NO_ROUTES,
    sent_until_ms: Mapping[bytes, int] = NOTHING_SENT,
) -> bytes:
    """Return the state as bytes; `upto` is the highest number of a series, `entries` is the whole list.

    `sent_until_ms` has the ends of items that no entry makes now. Of the routes the
    matchers are stored, and no key.
    """
    state = windows.state
    older = [
        [output, window.start_ms, window.total, window.count, window.least, window.most,
         window.touched_ms, [[at, *both] for at, both in window.scrapes.items()]]
        for output, behind in windows.older.items()
        for window in behind
    ]  # fmt: skip
    started = _STARTED if any(state.series.begun_ms) else ()
    bases = _BASES if any(base_ms != NEVER for base_ms in state.series.base_ms) else ()
    more = (*bases, *started)
    columns = [attrgetter(name)(state) for name in _names(more)]
    header = {
        "version": 3 if bases else 2 if started else 1,
        "more": more,
        "since_ms": state.since_ms,
        "entries": [asdict(entry) for entry in entries],
        "upto": upto,
        "routes": routing.matchers,
        "older": older,
        "ends": [[item.hex(), at_ms] for item, at_ms in sent_until_ms.items()],
        "columns": [[column.typecode, len(column)] for column in columns],
    }
    text = json.dumps(header).encode()
    deflater = isal_zlib.compressobj(1)
    parts = [deflater.compress(len(text).to_bytes(8, "little") + text)]
    parts += [deflater.compress(column) for column in columns]  # no copy: they may be 50 MB
    return b"".join((*parts, deflater.flush()))


def header(body: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the header and the columns' bytes. Raises: Unusable."""
    try:
        raw = memoryview(zlib.decompress(body))
        size = int.from_bytes(raw[:8], "little")
        document: dict[str, Any] = json.loads(bytes(raw[8 : 8 + size]))
    except (zlib.error, ValueError, KeyError) as error:
        raise Unusable(str(error)) from error
    if document["version"] not in VERSIONS:
        raise Unusable(f"version {document['version']}")
    return document, raw[8 + size :]


def entries_of(document: Mapping[str, Any]) -> list[Entry]:
    """Read the entries of a checkpoint."""
    return [
        Entry(
            **{
                **fields,
                "as_": As(fields["as_"]),
                "first": First(fields["first"]),
                "per": tuple(fields["per"]),
                "drop": tuple(fields["drop"]),
                "keep": None if fields["keep"] is None else tuple(fields["keep"]),
            }
        )
        for fields in document["entries"]
    ]


def routing_of(document: Mapping[str, Any], now: Routing) -> Routing:
    """Read the routes of a checkpoint, each with its present key."""
    keys = {route.name: key for route, key in zip(now.routes, now.keys, strict=True)}
    routes = tuple(
        Route(name, tuple((label, tuple(globs)) for label, globs in match))
        for name, match in document.get("routes", ())
    )
    return Routing(routes, tuple(keys.get(route.name, NO_KEY) for route in routes))


def sent_until_of(document: Mapping[str, Any]) -> dict[bytes, int]:
    """Read the ends of items that no entry makes; older receivers wrote none."""
    return {bytes.fromhex(item): at_ms for item, at_ms in document.get("ends", ())}


def restore(document: Mapping[str, Any], raw: memoryview, plan: Plan, windows: Windows) -> bool:
    """Fill the columns of a plan with the same series; False if its outputs are others.

    Then the series' last values are restored, and no windows.
    """
    state = plan.state
    more = _STARTED if document["version"] == 2 else tuple(document.get("more", ()))
    if not set(more) <= {*_BASES, *_STARTED}:
        raise Unusable(f"columns {', '.join(more)}")
    stored = dict(zip(_names(more), _read(document, raw), strict=True))
    for name in (*_SERIES, *_further(more)):
        attrgetter(name)(state)[: len(stored[name])] = stored[name]
    if any(attrgetter(name)(state) != stored[name] for name in _PLAN):
        return False
    for name in _WINDOWS:
        attrgetter(name)(state)[:] = stored[name]
    oldest_ms = min((at for at in state.targets.first_ms if at != NEVER), default=NEVER)
    state.since_ms = document.get("since_ms", oldest_ms)  # an older receiver wrote none
    for output, start_ms, total, count, least, most, touched_ms, scrapes in document["older"]:
        moments = {at: [value, events] for at, value, events in scrapes}
        window = Window(start_ms, total, count, least, most, touched_ms, moments)
        windows.add_older(output, window)
    return True


def _names(more: Sequence[str]) -> tuple[str, ...]:
    """Return all columns of a checkpoint, in the order of the file."""
    return (*_SERIES, *_PLAN, *_WINDOWS, *_further(more))


def _further(more: Sequence[str]) -> list[str]:
    return [f"series.{name}" for name in more]


def _read(document: Mapping[str, Any], raw: memoryview) -> "Sequence[array[Any]]":
    columns = []
    place = 0
    for typecode, length in document["columns"]:
        column: array[Any] = array(typecode)
        size = length * column.itemsize
        column.frombytes(raw[place : place + size])
        place += size
        columns.append(column)
    return columns
