"""`relabel`: keep everything unselected from leaving Prometheus at all."""

import argparse
import json
import re

from receiver.cli.verbs import Verbs, add_json, add_verb
from receiver.config.settings import Origin, Settings, load_allowlist
from receiver.intake.metrics_json import Allowlist

_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
SHOWN = ("metrics_json",)


def add(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    """Make the verb."""
    parser = add_verb(
        verbs,
        "relabel",
        "print write_relabel_configs",
        "Print the write_relabel_configs that let Prometheus write only what metrics.json names.\n"
        "The receiver drops the rest cheaply; this saves the network and Prometheus' own work too.\n"
        "A change of metrics.json then needs a change of prometheus.yml as well.",
        common,
        example="Put it under the remote_write entry that writes to the receiver.",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Print it."""
    expression = to_regex(load_allowlist(settings))
    if given.json:
        rule = {"source_labels": ["__name__"], "regex": expression, "action": "keep"}
        print(json.dumps({"write_relabel_configs": [rule]}, indent=2))
    else:
        print("write_relabel_configs:")
        print("  - source_labels: [__name__]")
        print(
            f"    regex: {json.dumps(expression, ensure_ascii=False)}"
        )  # JSON's strings are YAML's
        print("    action: keep")
    return 0


def to_regex(allowlist: Allowlist) -> str:
    """Write the entries as one expression of RE2, which Prometheus anchors at both ends."""
    return "|".join(_translate(entry.name) for entry in allowlist.entries)


def _translate(name: str) -> str:
    globs = {"*": ".*", "?": "."}
    return "".join(globs.get(char) or _SPECIAL.sub(r"\\\g<0>", char) for char in name)
