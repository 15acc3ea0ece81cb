"""`tap`: show committed items live."""

import argparse
import json
import sys
import time
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from receiver.cli.fetch import NoAnswer
from receiver.cli.receiver_api import Ask, ask_running
from receiver.cli.terminal import Printer, err, out
from receiver.config.settings import Origin, Settings

ASK_SECONDS = 1.0
QUIET_SECONDS = 3.0
"""Time without an item after which a notice is printed."""


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Show items until the count or the time is reached. Raises: NoAnswer, SettingsError."""
    ask = ask_running(given, settings)
    begun = time.monotonic()
    end = begun + given.seconds if given.seconds else None
    shown, after, printer, is_noticed = 0, 0, out(), False
    while True:
        document = ask(f"/api/v1/tap?after={after}&match={quote(given.glob)}", "items", "after")
        for item in document["items"]:
            _print(printer, item, as_json=given.json)
            shown += 1
            if shown == given.count:
                return 0
        if sys.stdout:
            sys.stdout.flush()
        is_more = document["after"] > after and document["items"]
        after = document["after"]  # smaller than before after a restart of the receiver
        now = time.monotonic()
        if end and now > end:
            if not shown:
                err().line(f"no item in {given.seconds:g} s. {_verdict(ask)}")
            return 0 if shown else 1
        if not shown and not is_noticed and now - begun > QUIET_SECONDS:
            is_noticed = True
            fits = "" if given.glob == "*" else f" whose names fit {given.glob}"
            err().line(f"waiting for items{fits}; Ctrl-C ends. {_verdict(ask)}")
        if not is_more:
            time.sleep(ASK_SECONDS if end is None else max(0.0, min(ASK_SECONDS, end - now)))


def _verdict(ask: Ask) -> str:
    """Return the receiver's verdict, which may say why no item arrives."""
    with suppress(NoAnswer, KeyError, TypeError):
        return f"The receiver says: {ask('/api/v1/status', 'verdict')['verdict']['line']}"
    return ""


def _print(printer: Printer, item: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        printer.raw(json.dumps(item))
        return
    labels = ", ".join(f'{name}="{value}"' for name, value in item["labels"].items())
    printer.line(f"{str(item['time'])[11:23]}Z  {item['name']}{{{labels}}}  {_value(item)}")


def _value(item: dict[str, Any]) -> str:
    """Format a value; for a folded item also its count, minimum and maximum."""
    value = f"{item['value']}"
    if item.get("count") is not None:
        value += f"  count {item['count']}"
        if item.get("min") is not None and item.get("max") is not None:
            value += f", {item['min']} to {item['max']}"
    return value
