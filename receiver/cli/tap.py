"""`tap`: what flows right now."""

import argparse
import json
import sys
import time
from urllib.parse import quote

from receiver.cli.receiver_api import ask_running
from receiver.config.settings import Origin, Settings

ASK_SECONDS = 1.0


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Show items until there are enough of them."""
    ask = ask_running(given.receiver, settings)
    end = time.monotonic() + given.seconds if given.seconds else None
    shown = after = 0
    while True:
        document = ask(f"/api/v1/tap?after={after}&match={quote(given.glob)}", "items", "after")
        for item in document["items"]:
            _print(item, as_json=given.json)
            shown += 1
            if shown == given.count:
                return 0
        sys.stdout.flush()
        is_more, after = document["after"] > after and document["items"], document["after"]
        if end and time.monotonic() > end:
            return 0 if shown else 1
        if not is_more:
            time.sleep(ASK_SECONDS)


def _print(item: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(item))
        return
    labels = item["labels"]
    assert isinstance(labels, dict)
    inside = ", ".join(f'{name}="{value}"' for name, value in labels.items())
    print(f"{str(item['time'])[11:23]}  {item['name']}{{{inside}}}  {item['value']}")
