"""Rejected items, with the service's message and a hint.

In: the outbox's directory, also while a receiver uses it. Out: the latest rejected items.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from receiver.azure.masking import mask_item
from receiver.azure.rejections import REJECT_REASONS, reason_of
from receiver.cli.fetch import NoAnswer
from receiver.intake.routes import lane_of, shown
from receiver.outbox.schema import FILE_NAME


@dataclass(frozen=True, slots=True)
class RejectedItem:
    """One rejected item. `item` is the JSON that was sent, `route` its route, empty for none."""

    rejected_at: float
    status: int
    message: str
    item: str
    route: str = ""

    @property
    def reason(self) -> str:
        """The reason, as in receiver_items_rejected_total."""
        return reason_of(self.message)

    @property
    def hint(self) -> str:
        """The advice for the operator."""
        return REJECT_REASONS[self.reason][1]

    @property
    def time_text(self) -> str:
        """The time of the rejection, ISO 8601 in UTC."""
        moment = datetime.fromtimestamp(self.rejected_at, UTC)
        return moment.isoformat(timespec="seconds").replace("+00:00", "Z")

    def to_json(self) -> dict[str, object]:
        """Return the fields as JSON values, the item parsed where it is valid JSON."""
        try:
            item = json.loads(mask_item(self.item))
        except ValueError:
            item = mask_item(self.item)
        return {
            "rejected_at": self.time_text,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "hint": self.hint,
            "route": shown(self.route),
            "item": item,
        }


def read_dead_letters(directory: Path) -> list[RejectedItem]:
    """Read the latest rejected items, the newest first.

    Raises: OSError, sqlite3.Error where no outbox can be read.
    """
    path = directory / FILE_NAME
    path.stat()
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        rows = database.execute("SELECT * FROM dead_letters ORDER BY id DESC")
        return [
            RejectedItem(*row[1:]) for row in rows
        ]  # the outbox of an older receiver has no lanes
    finally:
        database.close()


def from_json(document: Mapping[str, Any]) -> RejectedItem:
    """Read an item from the receiver's answer. Raises: NoAnswer for another document."""
    try:
        item = document["item"]
        return RejectedItem(
            datetime.fromisoformat(document["rejected_at"]).timestamp(),
            int(document["status"]),
            str(document["message"]),
            item if isinstance(item, str) else json.dumps(item, ensure_ascii=False),
            lane_of(str(document.get("route", ""))),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NoAnswer(f"the receiver's answer holds no valid rejected item: {error}") from error
