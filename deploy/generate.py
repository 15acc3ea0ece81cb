"""Write the copies that Kubernetes' tools need: they read no file outside their folder.

From prometheus/, deploy/grafana/ and the packaged metrics.json come the PrometheusRule of
the overlay, the chart's files, and what the sidecar mounts; from `relabel --shards` the
remote_write for several receivers. `make docs` runs it; with --check it only compares.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from receiver.cli.relabel import addresses, in_camel_case, keep_rule, remote_write
from receiver.errors import WRITE_PATH

ROOT = Path(__file__).parent.parent
RUNBOOK = "http://appinsights-receiver.monitoring.svc:9201/runbook"
"""Where the receiver itself serves docs/runbook.md, by the chart's and the overlay's names."""
OVERLAYS = "deploy/kubernetes/overlays"
HEAD = "# Generated from prometheus/rules by deploy/generate.py (make docs); don't edit.\n"
SHARDS = 3
"""Receivers of the overlay `shards`."""
POD = f"http://RELEASE-{{}}.RELEASE-pods.NAMESPACE.svc:9201{WRITE_PATH}"
"""A receiver's own address; the chart puts its release and namespace in."""


def groups() -> str:
    """Return both rule files as one, with addresses that a person can open."""
    found = []
    for name in ("triton_irate.yml", "receiver_alerts.yml"):
        found += yaml.safe_load((ROOT / "prometheus/rules" / name).read_text())["groups"]
    for rule in (rule for group in found for rule in group["rules"]):
        annotations = rule.get("annotations", {})
        for key in ("runbook", "runbook_url"):
            if key in annotations:
                annotations["runbook_url"] = f"{RUNBOOK}#{annotations.pop(key).partition('#')[2]}"
    return yaml.safe_dump({"groups": found}, sort_keys=False, width=1000)


def shard(*, for_operator: bool) -> str:
    """Write a remote_write entry of one receiver of several, with words for what differs."""
    [entry] = remote_write(addresses(POD, 1), [keep_rule("nv_.*")])
    where = {"credentials_file": "/etc/prometheus/secrets/SECRET/token"}
    secret: dict[str, Any] = {"credentials": {"name": "SECRET", "key": "token"}}
    entry = {"name": entry["name"], "url": entry["url"], "authorization": where, **entry}
    if for_operator:
        entry = in_camel_case(entry) | {"authorization": secret}
    text = yaml.safe_dump([entry], sort_keys=False, width=1000)
    for said, word in (("modulus: 1", "modulus: SHARDS"), ("regex: '0'", 'regex: "NUMBER"'), ("RELEASE-0", "RELEASE-NUMBER"), ("appinsights-0", "appinsights-NUMBER")):  # fmt: skip
        assert text.count(said) == 1, said
        text = text.replace(said, word)
    return text


def shards_config() -> str:
    """Write the overlay's ConfigMap: the entries of all its receivers, to be put into Prometheus' own."""
    words = {"SHARDS": str(SHARDS), "RELEASE": "appinsights-receiver", "NAMESPACE": "monitoring", "SECRET": "appinsights"}  # fmt: skip
    files = {}
    for name, head, for_operator in (
        ("prometheus.yml", "remote_write:\n", False),
        ("values.yaml", "prometheus:\n  prometheusSpec:\n    remoteWrite:\n", True),
    ):
        entries = "".join(
            shard(for_operator=for_operator).replace("NUMBER", str(number))
            for number in range(SHARDS)
        )
        for word, value in words.items():
            entries = entries.replace(word, value)
        indent = "    " if for_operator else ""
        files[name] = head + "".join(f"{indent}{line}\n" for line in entries.splitlines())
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "appinsights-receiver-remote-write", "labels": {"app.kubernetes.io/name": "appinsights-receiver"}},
        "data": files,
    }  # fmt: skip
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000)
    return HEAD.replace("prometheus/rules", "relabel --shards") + text


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _in_blocks(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _in_blocks)


def copies() -> dict[str, str]:
    """Return all that is generated, by its place in the repository."""
    indented = "".join(f"  {line}\n" for line in groups().splitlines())
    rule = (
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n"
        "  name: appinsights-receiver\n  labels:\n"
        "    release: kube-prometheus-stack # what the chart's Prometheus looks for\nspec:\n"
    )
    config = (ROOT / "prometheus/prometheus.yml").read_text()
    return {
        f"{OVERLAYS}/kube-prometheus-stack/prometheusrule.yaml": HEAD + rule + indented,
        f"{OVERLAYS}/shards/remote-write.yaml": shards_config(),
        "deploy/helm/appinsights-receiver/files/shard.prometheus.yml": shard(for_operator=False),
        "deploy/helm/appinsights-receiver/files/shard.values.yaml": shard(for_operator=True),
        f"{OVERLAYS}/sidecar/metrics.json": (ROOT / "receiver/config/default_metrics.json").read_text(),
        f"{OVERLAYS}/sidecar/prometheus.yml": config.replace("rules/triton", "triton"),
        f"{OVERLAYS}/sidecar/triton_irate.yml": (ROOT / "prometheus/rules/triton_irate.yml").read_text(),
        "deploy/helm/appinsights-receiver/files/groups.yaml": HEAD + groups(),
        "deploy/helm/appinsights-receiver/files/dashboard.json": (ROOT / "deploy/grafana/receiver.json").read_text(),
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Write what differs, or with --check say it."""
    stale = []
    for place, text in copies().items():
        path = ROOT / place
        if not path.exists() or path.read_text() != text:
            stale.append(place)
            if "--check" not in arguments:
                path.write_text(text)
    if stale and "--check" in arguments:
        print("stale, run `make docs`:", *stale)  # noqa: T201 - a command's output
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
