"""`example`: a configuration to start from, for each way to deploy."""

import argparse
import json
from importlib import resources

import yaml

from receiver import share
from receiver.config.settings import Origin, Settings

_PACKAGED = {
    "metrics": "default_metrics.json",
    "schema": "metrics.schema.json",
    "routes-schema": "routes.schema.json",
}
KUBERNETES = ("configmap", "service", "statefulset", "scaling", "networkpolicy")


def run(given: argparse.Namespace, _: Settings, __: list[Origin]) -> int:
    """Print the example."""
    text = read(given.kind)
    if given.json:
        is_file = given.kind == "systemd"
        documents = [{"file": text}] if is_file else list(yaml.safe_load_all(text))
        text = json.dumps(documents[0] if len(documents) == 1 else documents, indent=2) + "\n"
    print(text, end="")
    return 0


def read(kind: str) -> str:
    """Return the text of an example."""
    match kind:
        case "prometheus":
            return share.read("prometheus.yml")
        case "metrics" | "schema" | "routes-schema":
            name = _PACKAGED[kind]
            return (resources.files("receiver.config") / name).read_text(encoding="utf-8")
        case "compose":
            return share.read("compose.yaml")
        case "systemd":
            return share.read("systemd.service")
        case "grafana":
            return share.read("grafana.json")
        case _:
            return share.read("kubernetes/kustomization.yaml").partition("apiVersion:")[
                0
            ] + "".join(f"---\n{share.read(f'kubernetes/{name}.yaml')}" for name in KUBERNETES)
