"""The history file, with which the page's plots survive a restart.

In: a history. Out: `history.json` in the outbox's directory, written once a minute and at the
end, read at the start. It is used only for plots, so failures are ignored.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from receiver.ledger import WORDS, Ledger
from receiver.status.history import History, Point

FILE_NAME = "history.json"
EVERY_SECONDS = 60.0


def write(history: History, directory: Path) -> None:
    """Write the points atomically."""
    rows = [
        [point.at, point.ledger.document(), point.outbox_bytes, point.oldest_seconds]
        for point in history.points()
    ]
    path = directory / FILE_NAME
    with suppress(OSError):
        new = path.with_suffix(".new")
        new.write_bytes(orjson.dumps(rows))
        os.replace(new, path)  # noqa: PTH105 - beside the write, as one


def read(history: History, directory: Path, now: float, received: int) -> None:
    """Read the points of the last hour that fit this ledger; counts of requests start at 0."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        points = [
            Point(float(at), _ledger(ledger), size, oldest)
            for at, ledger, size, oldest in orjson.loads((directory / FILE_NAME).read_bytes())
        ]
        history.begin_with(
            point
            for point in points
            if now - 3600 <= point.at <= now and point.ledger.received <= received
        )


def _ledger(document: Mapping[str, Any]) -> Ledger:
    """Read a ledger; one from an older receiver may lack words."""
    return Ledger(**{word: document[word] for word in WORDS if word in document})
