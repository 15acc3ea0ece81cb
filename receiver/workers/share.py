"""What of the settings one of several workers gets, and how it is told.

In: the operator's settings. Out: those of a worker, in which each limit on something that
all workers have together is divided by their number; and the same as a document.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from receiver.errors import SettingsError
from receiver.settings import Address, Settings

DIVIDED = ("connections_max", "requests_max", "in_flight_max_bytes", "series_cache_bytes")
_UNTOLD = ("connection_string", "instrumentation_key", "authentication_string")
"""Secrets, and whatever else is the front's alone."""


def share_of_each(settings: Settings) -> Settings:
    """Divide what bounds all workers together. Raises: SettingsError where too little is left."""
    changed: dict[str, Any] = dict.fromkeys(_UNTOLD, "")
    for name in DIVIDED:
        changed[name] = max(1, getattr(settings, name) // settings.workers)
    share = changed["in_flight_max_bytes"]
    if settings.workers > 1 and share < settings.body_max_bytes:
        raise SettingsError(
            f"{settings.workers} workers have {share} bytes each for requests under way, less than one "
            f"request may have ({settings.body_max_bytes}): set fewer RECEIVER_WORKERS, raise "
            "RECEIVER_IN_FLIGHT_MAX_BYTES or lower RECEIVER_BODY_MAX_BYTES"
        )
    return replace(settings, **changed)


def to_document(settings: Settings) -> dict[str, Any]:
    """Spell settings for another process."""
    return asdict(settings) | {"outbox_dir": str(settings.outbox_dir)}


def from_document(document: Mapping[str, Any]) -> Settings:
    """Read what `to_document` has spelt."""
    values = dict(document)
    for name in ("listen", "sandbox_listen"):
        values[name] = Address(**values[name])
    return Settings(**values | {"outbox_dir": Path(values["outbox_dir"])})
