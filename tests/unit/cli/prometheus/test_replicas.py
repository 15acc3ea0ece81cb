"""`check --prometheus` on the label that tells a Prometheus from its replica."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from receiver.cli.findings import Mark
from receiver.cli.main import main
from receiver.cli.prometheus.check import check_prometheus
from receiver.cli.prometheus.replicas import judge_replicas

OPERATOR = ("prometheus", "prometheus_replica")
DROPPED = {"regex": "prometheus_.*", "action": "labeldrop"}
KEPT = {"regex": "__name__|job|instance", "action": "labelkeep"}
ADDED = {"target_label": "prometheus_replica", "replacement": "a"}
UNREADABLE = {"regex": "(", "action": "labeldrop"}


def writes(*rules: dict[str, str]) -> dict[str, Any]:
    """Make a remote_write with these rules."""
    return {"url": "http://receiver:9201/api/v1/write", "write_relabel_configs": list(rules)}


@pytest.mark.parametrize("label", ["prometheus_replica", "replica", "__replica__", "Replica", "thanos_replica"])  # fmt: skip
def test_a_pair_without_the_setting(label: str) -> None:
    """The setting is named with the label that is there."""
    [found] = judge_replicas(("cluster", label), [writes()], "")
    assert found.mark is Mark.WARN
    assert f"external_labels has {label}," in found.detail
    assert f"RECEIVER_REPLICA_LABEL={label}:" in found.fix


@pytest.mark.parametrize("labels", [(), ("cluster", "region"), ("replicaset", "replicas_of")])
def test_a_prometheus_of_its_own(labels: tuple[str, ...]) -> None:
    """Neither side knows a replica: nothing is said."""
    assert list(judge_replicas(labels, [writes()], "")) == []


@pytest.mark.parametrize(
    ("labels", "rules", "setting", "detail", "fix"),
    [
        (("cluster",), (), "replica", "external_labels lacks replica,", "Add replica to external_labels"),
        (OPERATOR, (), "replica", "external_labels lacks replica,", "RECEIVER_REPLICA_LABEL=prometheus_replica"),
        (OPERATOR, (DROPPED,), "prometheus_replica", "write_relabel_configs drop prometheus_replica,", "Let prometheus_replica pass"),
        (OPERATOR, (KEPT,), "prometheus_replica", "write_relabel_configs drop prometheus_replica,", "Let prometheus_replica pass"),
    ],
)  # fmt: skip
def test_a_setting_without_its_label(
    labels: tuple[str, ...], rules: tuple[dict[str, str], ...], setting: str, detail: str, fix: str
) -> None:
    """Such a Prometheus counts beside the leader; it is enough that one entry drops the label."""
    [found] = judge_replicas(labels, [writes(), writes(*rules)], setting)
    assert found.mark is Mark.WARN
    assert detail in found.detail
    assert fix in found.fix


@pytest.mark.parametrize("rules", [(), (UNREADABLE,), (DROPPED, ADDED)])
def test_a_setting_with_its_label(rules: tuple[dict[str, str], ...]) -> None:
    """From external_labels, or from a rule."""
    [found] = judge_replicas(OPERATOR, [writes(*rules)], "prometheus_replica")
    assert found.mark is Mark.OK, found


@pytest.mark.parametrize(("value", "marks"), [("a", ["warn"]), ("", [])])
def test_labels_are_those_of_the_file(value: str, marks: list[str], tmp_path: Path) -> None:
    """Of its global section; Prometheus sends no label without a value."""
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump({"global": {"external_labels": {"replica": value}}, "remote_write": [writes()]}))  # fmt: skip
    findings = check_prometheus(str(path), 9201, (), "")
    assert [finding.mark for finding in findings if finding.what == "replicas"] == marks


def test_check_knows_the_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning changes no exit code."""
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump({"global": {"external_labels": {"replica": "a"}}, "remote_write": [writes()]}))  # fmt: skip
    base = ["check", "--json", "--sandbox", "--outbox-dir", str(tmp_path), "--prometheus", str(path), "--promtool", ""]  # fmt: skip
    marks = []
    for flags in ([], ["--replica-label", "replica"], ["--replica-label", "pod"]):
        main([*base, *flags])
        document = json.loads(capsys.readouterr().out)
        marks += [each["mark"] for each in document["prometheus"] if each["what"] == "replicas"]
    assert marks == ["warn", "ok", "warn"]
