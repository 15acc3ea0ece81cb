"""The effect of write_relabel_configs, as far as it depends on names alone. Pure.

In: a remote_write entry. Out: its rules; whether it writes a metric; the labels that all its
series have. Rules: Prometheus' configuration reference, relabel_config and external_labels: the
external labels are added before write_relabel_configs run.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

RemoteWrite = Mapping[str, Any]
Rule = Mapping[str, Any]


def rules_of(entry: RemoteWrite) -> Sequence[Rule]:
    """Return the rules of an entry, in order."""
    return entry.get("write_relabel_configs") or []


def action_of(rule: Rule) -> str:
    """Return a rule's action, in lower case."""
    return str(rule.get("action", "replace")).lower()


def is_match(rule: Rule, text: str) -> bool | None:
    """Whether a rule's expression fits a text; None for one of RE2's that is not Python's."""
    try:
        return re.fullmatch(str(rule.get("regex", "(.*)")), text) is not None
    except re.error:
        return None


def keeps_name(name: str, entry: RemoteWrite) -> bool:
    """Evaluate the keep and drop rules on the name alone, as Prometheus does."""
    for rule in rules_of(entry):
        action = action_of(rule)
        if list(rule.get("source_labels") or []) != ["__name__"] or action not in {"keep", "drop"}:
            continue
        fits = is_match(rule, name)
        if fits is not None and fits is (action == "drop"):
            return False
    return True


def common_labels(external: Iterable[str], entry: RemoteWrite) -> set[str]:
    """Return the labels that an entry has on all its series: external ones, and those of rules."""
    labels = set(external)
    for rule in rules_of(entry):
        action = action_of(rule)
        if action == "labeldrop":
            labels = {label for label in labels if not is_match(rule, label)}
        elif action == "labelkeep":
            labels = {label for label in labels if is_match(rule, label) is not False}
        elif action == "replace" and rule.get("replacement") != "":
            labels.add(str(rule.get("target_label", "")))
    return labels
