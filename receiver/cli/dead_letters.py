"""`dead-letters`: show the items that Application Insights rejected for good."""

import argparse
import json
import sqlite3
from contextlib import suppress

from receiver.cli.rejected_items import read_dead_letters, to_text
from receiver.config.settings import Origin, Settings
from receiver.errors import OutboxError


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Show them. Raises: OutboxError."""
    try:
        letters = read_dead_letters(settings.outbox_dir)
    except (OSError, sqlite3.Error) as error:
        raise OutboxError(f"no outbox can be read in {settings.outbox_dir}: {error}") from error
    with suppress(BrokenPipeError):
        if given.json:
            for letter in letters:
                print(json.dumps(letter.to_json()))
        else:
            print(to_text(letters))
    return 0
