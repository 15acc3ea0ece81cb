"""What lies in deploy/, container/ and build.sh is well formed, by tools that are not ours."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parent.parent
KUBERNETES = ROOT / "deploy/kubernetes"
BASE = KUBERNETES / "base"
SIDECAR = KUBERNETES / "overlays/sidecar"
STACK = KUBERNETES / "overlays/kube-prometheus-stack"
OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "triton"},
    "spec": {
        "selector": {"matchLabels": {"app": "triton"}},
        "template": {
            "metadata": {"labels": {"app": "triton"}},
            "spec": {"containers": [{"name": "triton", "image": "tritonserver"}]},
        },
    },
}


def documents(path: Path) -> list[dict[str, Any]]:
    """All documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def resources() -> list[dict[str, Any]]:
    """All that the base makes."""
    names = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return [document for name in names for document in documents(BASE / name)]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("resource", resources(), ids=lambda each: each["kind"])
def test_the_base_is_valid(resource: dict[str, Any], version: str) -> None:
    """Each resource, by the schemas of an old and of the newest Kubernetes, strictly."""
    kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_sidecar_is_valid_once_it_is_in_a_deployment(version: str) -> None:
    """The patch adds no list that the Deployment has, so that merging is adding."""
    (patch,) = documents(SIDECAR / "patch.yaml")
    merged: Any = copy.deepcopy(DEPLOYMENT)
    added = patch["spec"]["template"]["spec"]
    assert not set(added) & set(merged["spec"]["template"]["spec"])
    merged["spec"]["template"]["spec"] |= added
    kubernetes_validate.validate(merged, version, strict=True)


def test_a_broken_manifest_is_seen() -> None:
    """The check can fail."""
    [broken] = documents(BASE / "statefulset.yaml")
    broken["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, NEWEST, strict=True)


def test_all_selectors_find_the_pods() -> None:
    """Services, budget, policy and StatefulSet select by labels that the pods carry."""
    found = {each["kind"]: each for each in resources()}
    labels = found["StatefulSet"]["spec"]["template"]["metadata"]["labels"].items()
    assert found["StatefulSet"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels
    services = {s["metadata"]["name"]: s for s in resources() if s["kind"] == "Service"}
    for service in services.values():
        assert service["spec"]["selector"].items() <= labels
    assert found["StatefulSet"]["spec"]["serviceName"] in services
    (monitor,) = documents(STACK / "servicemonitor.yaml")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert [name for name, s in services.items() if wanted <= s["metadata"]["labels"].items()] == [
        "appinsights-receiver-pods"
    ]


def test_the_default_metrics_and_intervals_are_everywhere_the_same() -> None:
    """In the package, in the ConfigMap, in Compose."""
    default = (ROOT / "receiver/config/default_metrics.json").read_text()
    [config] = documents(BASE / "configmap.yaml")
    assert config["data"]["metrics.json"] == default
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    inner = yaml.safe_load(compose["configs"]["prometheus"]["content"])
    shipped = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    assert inner["global"] == shipped["global"]


def test_scripts_are_clean() -> None:
    """Shellcheck finds nothing in any script of ours."""
    shellcheck = shutil.which("shellcheck")
    if not shellcheck:
        pytest.skip("shellcheck is not installed (apt-get install shellcheck)")
    scripts = [
        path
        for folder in ("container", "tests/container/images", ".ci", "demo")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and path.read_bytes().startswith(
            (b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash", b"# shellcheck shell")
        )
    ]
    assert len(scripts) > 10
    done = subprocess.run([shellcheck, ROOT / "build.sh", ROOT / "tests/setup.sh", *scripts], cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_unit_is_clean(tmp_path: Path) -> None:
    """Systemd's own check says nothing of it, on a root where the receiver is installed."""
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    unit = tmp_path / "etc/systemd/system/appinsights-receiver.service"
    for program in ("opt/receiver/bin/appinsights-receiver", "bin/kill"):
        (tmp_path / program).parent.mkdir(parents=True)
        (tmp_path / program).touch(0o755)
    for known in Path("/lib/systemd/system").glob("*.target"):
        (tmp_path / "usr/lib/systemd/system").mkdir(parents=True, exist_ok=True)
        shutil.copy(known, tmp_path / "usr/lib/systemd/system")
    unit.parent.mkdir(parents=True)
    written = (ROOT / "deploy/systemd/appinsights-receiver.service").read_text()

    def said(text: str) -> str:
        unit.write_text(text)
        done = subprocess.run([analyze, "verify", "--man=no", f"--root={tmp_path}", unit.name], capture_output=True, text=True, check=False)  # fmt: skip
        return done.stdout + done.stderr + ("" if done.returncode == 0 else "failed")

    assert said(written) == ""
    assert "Nicee" in said(written.replace("Nice=5", "Nicee=5")), "the check can fail"


def test_dockerfiles_are_clean() -> None:
    """Hadolint finds nothing but what .hadolint.yaml gives a reason for."""
    hadolint = Path(sys.executable).with_name("hadolint")
    stand_ins = sorted((ROOT / "tests/container/images").glob("*.Dockerfile"))
    assert len(stand_ins) == 2
    done = subprocess.run(
        [hadolint, "container/Dockerfile", *stand_ins],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
