"""A fold to play with: series by name, samples by the second."""

import json
from collections.abc import Mapping
from typing import Any

import orjson

from receiver.azure.envelope import Identity
from receiver.fold.fold import Fold
from receiver.intake.metrics_json import Allowlist, parse
from receiver.outbox.gzip_body import all_lines
from receiver.rows import record_of

T0_MS = 1_800_000_000_000
"""A full hour, and so a full minute."""
IDENTITY = Identity("key", "host")
DELTA = {"name": "c", "as": "delta"}
MEAN = {"name": "us", "as": "mean", "per": "n"}
Labels = dict[str, str]


def listed(*entries: object) -> Allowlist:
    """Read a metrics.json of these entries."""
    return parse(json.dumps({"customMetrics": entries}), "metrics.json")


class Player:
    """Sends samples to a fold and reads its items."""

    def __init__(self, *entries: object) -> None:
        self.fold = Fold(listed(*entries), IDENTITY)
        self.series: list[tuple[int, bytes]] = []

    def number(self, name: str, **labels: str) -> int:
        """Give a series' number; of a target t, h:1 unless said otherwise."""
        told = {"__name__": name, "job": "t", "instance": "h:1", **labels}
        text = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
        for number, known in self.series:
            if known == text:
                return number
        self.series.append((len(self.series) + 1, text))
        self.fold.add_series(*self.series[-1])
        return len(self.series)

    def send(self, second: float, name: str, value: float, *, now: float | None = None, begun: float = 0, **labels: str) -> None:  # fmt: skip
        """Send one sample; it is committed at the same second unless said otherwise.

        `begun` is the second of its start timestamp.
        """
        number = self.number(name, **labels)
        begun_ms = T0_MS + round(begun * 1000) if begun else 0
        record = record_of(number, T0_MS + round(second * 1000), value, begun_ms)
        self.fold.take(record, T0_MS + round((second if now is None else now) * 1000))

    def close(self, second: float) -> list[dict[str, Any]]:
        """Close what is over at this second of our clock; returns items, short."""
        return items(all_lines(self.fold.close(T0_MS + round(second * 1000))))

    def restart(self) -> None:
        """Go on with what the checkpoint has."""
        self.fold, is_whole = Fold.decode(self.fold.encode(), IDENTITY, self.series)
        assert is_whole

    def change(self, second: float, *entries: object) -> list[dict[str, Any]]:
        """Go on under another list; returns the items of what ended."""
        self.fold, ended = self.fold.changed_to(
            listed(*entries), self.series, T0_MS + round(second * 1000)
        )
        return items(all_lines(ended))

    def event(self, name: str) -> int:
        """Count what happened."""
        return self.fold.windows.counts[name]


def items(lines: Any) -> list[dict[str, Any]]:
    """Read lines: the second of the window, the metric's fields, the labels."""
    read = []
    for line in lines:
        item = orjson.loads(line)
        data = item["data"]["baseData"]
        (metric,) = data["metrics"]
        minute, second = item["time"][14:19].split(":")
        read.append({"at": 60 * int(minute) + int(second), **metric, **data.get("properties", {})})
    return read


def delta(*samples: tuple[float, float], entry: Mapping[str, object] = DELTA) -> Player:
    """Send samples of one counter, after a series that has its target watched."""
    player = Player(entry)
    player.send(-60, "c", 0, of="old")
    for second, value in samples:
        player.send(second, "c", value)
    return player


def values(player: Player, second: float) -> list[tuple[int, float]]:
    """Give the deltas of the counter under test, with their windows."""
    return [(item["at"], item["value"]) for item in player.close(second) if "of" not in item]
