"""`relabel`: print write_relabel_configs that keep unselected series in Prometheus, also for several receivers."""

import argparse
import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

from receiver.cli.prometheus.shards import SHARD_LABEL
from receiver.config.settings import Origin, Settings, load_allowlist
from receiver.errors import SettingsError
from receiver.intake.entries import TARGET_LABELS
from receiver.intake.metrics_json import Allowlist

PLACE = "{}"
"""The placeholder for the receiver's number in an address."""
QUEUE = {
    "max_samples_per_send": 2000,
    "capacity": 10000,
    "batch_send_deadline": "1s",
    "max_shards": 4,
    "min_backoff": "250ms",
    "max_backoff": "5s",
    "retry_on_http_429": True,
}
"""As in prometheus/prometheus.yml, with the reasons there."""
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_OPERATOR = {"retry_on_http_429": "retryOnRateLimit"}

Rules = list[dict[str, Any]]


def run(given: argparse.Namespace, settings: Settings, _: list[Origin]) -> int:
    """Print the configuration."""
    keep = keep_rule(to_regex(load_allowlist(settings)))
    document: dict[str, Any] = {"write_relabel_configs": [keep]}
    if given.shards > 1:
        document = {"remote_write": remote_write(addresses(given.url, given.shards), [keep])}
    if given.operator:
        document = in_camel_case(document)
    if given.json:
        print(json.dumps(document, indent=2))
    elif given.shards > 1:
        print(yaml.safe_dump(document, sort_keys=False, width=1000), end="")
    else:
        [(key, [rule])] = document.items()
        label, *_ = rule
        print(f"{key}:")
        print(f"  - {label}: [__name__]")
        print(
            f"    regex: {json.dumps(rule['regex'])}"
        )  # a JSON string is a YAML string, escapes included
        print("    action: keep")
    return 0


def keep_rule(expression: str) -> dict[str, Any]:
    """Return the rule that keeps the series whose names match an expression."""
    return {"source_labels": ["__name__"], "regex": expression, "action": "keep"}


def addresses(url: str, count: int) -> list[str]:
    """Return the receivers' addresses, from one with a placeholder or from a comma-separated list.

    Raises: SettingsError.
    """
    if "," in url:
        several = [address.strip() for address in url.split(",")]
        if len(several) != count:
            raise SettingsError(
                f"--url has {len(several)} addresses, and there are {count} receivers"
            )
        return several
    if PLACE not in url:
        raise SettingsError(f"--url {url} has no {PLACE} for the number of the receiver")
    return [url.replace(PLACE, str(number)) for number in range(count)]


def remote_write(urls: Sequence[str], rules: Rules) -> list[dict[str, Any]]:
    """Write an entry for each receiver, which keeps the targets of one shard.

    A target is its job and instance: series that are folded together have the same target.
    """
    return [
        {
            "name": f"appinsights-{number}",
            "url": url,
            "write_relabel_configs": [*rules, *shard_rules(number, len(urls))],
            "queue_config": QUEUE,
            "metadata_config": {"send": False},
        }
        for number, url in enumerate(urls)
    ]


def shard_rules(number: int, shards: int) -> Rules:
    """Return the rules that keep one shard of the targets, and remove the temporary label."""
    return [
        {"source_labels": list(TARGET_LABELS), "modulus": shards, "target_label": SHARD_LABEL, "action": "hashmod"},
        {"source_labels": [SHARD_LABEL], "regex": str(number), "action": "keep"},
        {"regex": SHARD_LABEL, "action": "labeldrop"},
    ]  # fmt: skip


def in_camel_case(document: Any) -> Any:
    """Return a document with the keys of Prometheus' operator."""
    if isinstance(document, list):
        return [in_camel_case(part) for part in document]
    if not isinstance(document, dict):
        return document
    return {_OPERATOR.get(key) or re.sub("_([a-z])", lambda at: at[1].upper(), key): in_camel_case(value) for key, value in document.items()}  # fmt: skip


def to_regex(allowlist: Allowlist) -> str:
    """Return the entries as one expression of RE2, which Prometheus anchors at both ends."""
    names = [entry.name for entry in allowlist.entries]
    counted = (name for entry in allowlist.entries for name in entry.per)
    return "|".join(_translate(name) for name in dict.fromkeys([*names, *counted]))


def _translate(name: str) -> str:
    globs = {"*": ".*", "?": "."}
    return "".join(globs.get(char) or _SPECIAL.sub(r"\\\g<0>", char) for char in name)
