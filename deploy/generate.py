"""Write the copies that Kubernetes' tools need: they read no file outside their folder.

From prometheus/, deploy/grafana/ and the packaged metrics.json come the PrometheusRule of
the overlay, the chart's files, and what the sidecar mounts. `make docs` runs it; with
--check it only compares.
"""

import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
RUNBOOK = "http://appinsights-receiver.monitoring.svc:9201/runbook"
"""Where the receiver itself serves docs/runbook.md, by the chart's and the overlay's names."""
OVERLAYS = "deploy/kubernetes/overlays"
HEAD = "# Generated from prometheus/rules by deploy/generate.py (make docs); don't edit.\n"


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
