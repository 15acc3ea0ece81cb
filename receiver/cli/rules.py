"""`rules`: print the recording rules for the `_irate` series, or the alerts."""

import argparse
import json

import yaml

from receiver import share
from receiver.config.settings import Origin, Settings

KINDS = {"irate": "triton_irate.yml", "alerts": "receiver_alerts.yml"}


def run(given: argparse.Namespace, _: Settings, __: list[Origin]) -> int:
    """Print the rules."""
    text = share.read(f"rules/{KINDS[given.kind]}")
    print(json.dumps(yaml.safe_load(text), indent=2) if given.json else text, end="")
    return 0
