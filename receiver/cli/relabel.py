"""`relabel`: keep everything unselected from leaving Prometheus at all."""

import argparse
import json
import re

from receiver.config.settings import Origin, Settings, load_allowlist
from receiver.intake.metrics_json import Allowlist

_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Print it."""
    expression = to_regex(load_allowlist(settings))
    if given.json:
        rule = {"source_labels": ["__name__"], "regex": expression, "action": "keep"}
        print(json.dumps({"write_relabel_configs": [rule]}, indent=2))
    else:
        print("write_relabel_configs:")
        print("  - source_labels: [__name__]")
        print(f"    regex: {json.dumps(expression)}")  # JSON's strings are YAML's, its escapes too
        print("    action: keep")
    return 0


def to_regex(allowlist: Allowlist) -> str:
    """Write the entries as one expression of RE2, which Prometheus anchors at both ends."""
    names = [entry.name for entry in allowlist.entries]
    counted = (name for entry in allowlist.entries for name in entry.per)
    return "|".join(_translate(name) for name in dict.fromkeys([*names, *counted]))


def _translate(name: str) -> str:
    globs = {"*": ".*", "?": "."}
    return "".join(globs.get(char) or _SPECIAL.sub(r"\\\g<0>", char) for char in name)
