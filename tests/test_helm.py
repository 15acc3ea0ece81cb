"""The chart renders what Kubernetes takes, over a matrix of values, and what kustomize makes.

Helm and kubectl come from a package (tests/kubernetes_tools.py); nothing asks a cluster.
"""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy import generate
from receiver.cli.findings import Mark
from receiver.cli.prometheus.shards import judge_shards
from receiver.intake.metrics_json import parse
from receiver.intake.routes_json import parse as read_routes
from tests.kubernetes_tools import tools

ROOT = Path(__file__).parent.parent
CHART = ROOT / "deploy/helm/appinsights-receiver"
OVERLAYS = ROOT / "deploy/kubernetes/overlays"
VERSIONS = ("1.29", "1.33", kubernetes_validate.latest_version())
OPERATOR = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
"""Kinds of Prometheus' operator, whose schemas are not Kubernetes' own."""

needs_tools = pytest.mark.skipif(
    tools() is None, reason="helm is not here: python -m tests.kubernetes_tools fetches it"
)

SECRET = {"secret": {"create": True, "connectionString": "InstrumentationKey=x", "token": "t"}}
IDENTITY = {"workloadIdentity": {"enabled": True, "clientId": "11111111-2222-3333-4444-555555555555"}}  # fmt: skip
STACK = {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
PROXY = {"url": "http://proxy.example:3128", "cidr": "10.0.0.4/32", "port": 3128}
ROUTES = [
    {"name": "team-a", "match": {"model": "a_*"}, "connection_string_file": "/etc/appinsights/team-a"}
]  # fmt: skip
FOLDED = {"name": "nv_inference_count", "as": "delta"}
MATRIX: dict[str, dict[str, Any]] = {
    "default": {},
    "secret": SECRET,
    "identity": {**IDENTITY, "serviceAccount": {"annotations": {"a": "b"}}},
    "account": {"serviceAccount": {"create": True, "name": "own"}},
    "existing-account": {"serviceAccount": {"name": "own"}},
    "stack": {**STACK, "tritonPodMonitor": {"enabled": True}, "dashboard": {"enabled": True}},
    "runbook": {"prometheusRule": {"enabled": True, "runbookUrl": "https://wiki.example/receiver"}},
    "proxy": {"networkPolicy": {"proxy": PROXY}},
    "private-link": {"networkPolicy": {"privateLink": ["10.1.0.0/24"], "namespaces": ["a", "b"]}},
    "open": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
    "routes": {"routes": ROUTES, "unmatched": "drop"},
    "one": {"autoscaling": {"enabled": False}, "persistence": {"storageClass": "managed-csi"}},
    "three": {"autoscaling": {"enabled": False}, "replicas": 3},
    "three-tls": {"autoscaling": {"enabled": False}, "replicas": 3, "webConfig": {"secret": "receiver-web"}, "customMetrics": [FOLDED]},
    "tls": {"webConfig": {"secret": "receiver-web"}, "serviceMonitor": {"enabled": True}},
    "placed": {
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "image": {"repository": "r.azurecr.io/x", "tag": "2", "pullPolicy": "Always", "pullSecrets": ["acr"]},
        "settings": {"RECEIVER_SENDERS": 8, "RECEIVER_CLOUD_ROLE": "triton: prod"},
        "env": [{"name": "A", "value": "b"}],
        "customMetrics": ["nv_*", {"name": "nv_gpu_*", "as": "samples"}],
    },
}  # fmt: skip


def run(program: str, *arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run helm or kubectl."""
    folder = tools()
    assert folder
    command = [folder / program, *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


@cache
def render(values: str, version: str = "1.33", release: str = "appinsights-receiver") -> str:
    """Render the chart with values, as JSON. Raises: AssertionError with helm's words."""
    command = ("template", release, CHART, "--namespace=monitoring", f"--kube-version={version}", "--values=-")  # fmt: skip
    done = run("helm", *command, given=values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(name: str = "default", version: str = "1.33") -> list[dict[str, Any]]:
    """Render one row of the matrix."""
    text = render(json.dumps(MATRIX[name]), version)
    return [document for document in yaml.safe_load_all(text) if document]


def kustomized(folder: Path) -> list[dict[str, Any]]:
    """Build a kustomization, as kubectl does."""
    done = run("kubectl", "kustomize", folder)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def spelt(documents: list[dict[str, Any]]) -> str:
    """Spell documents one way, whoever made them."""
    ordered = sorted(documents, key=lambda each: (each["kind"], each["metadata"]["name"]))
    return yaml.safe_dump_all(ordered, sort_keys=True)


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Find the one of a kind."""
    [found] = [each for each in documents if each["kind"] == kind]
    return found


@needs_tools
def test_the_chart_is_clean() -> None:
    """Helm's own lint, strictly."""
    done = run("helm", "lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_tools
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MATRIX)
def test_all_that_it_renders_is_valid(name: str, version: str) -> None:
    """By Kubernetes' schemas, strictly; all in the same breath have different names."""
    documents = rendered(name, version)
    for document in documents:
        if document["kind"] not in OPERATOR:
            kubernetes_validate.validate(document, version, strict=True)
    names = [(each["kind"], each["metadata"]["name"]) for each in documents]
    assert len(names) == len(set(names))


@needs_tools
@pytest.mark.parametrize(
    ("folder", "row"),
    [
        (ROOT / "deploy/kubernetes/base", "default"),
        (OVERLAYS / "kube-prometheus-stack", "both"),
        (OVERLAYS / "shards", "three"),
    ],
    ids=["base", "stack", "shards"],
)
def test_kustomize_makes_the_same(folder: Path, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte, once both are spelt one way."""
    monkeypatch.setitem(MATRIX, "both", STACK)
    assert spelt(rendered(row)) == spelt(kustomized(folder))


@needs_tools
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"secret": {"create": True}}, "secret.create needs secret.connectionString"),
        ({"workloadIdentity": {"enabled": True}}, "workloadIdentity.clientId"),
        ({"replica": 1}, "replica"),
        ({"networkPolicy": {"proxy": {"cidr": "10.0.0.4/32"}}}, "port"),
        ({"networkPolicy": {"privateLink": ["10.1.0.0"]}}, "privateLink"),
        ({"settings": {"senders": 4}}, "senders"),
        ({"customMetrics": []}, "customMetrics"),
        ({"image": {"tag": 1.0}}, "tag"),
        ({"customMetrics": ["a", FOLDED]}, "nv_inference_count folds"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(values: dict[str, Any], words: str) -> None:
    """By the schema beside the values, or by the template that needs one."""
    with pytest.raises(AssertionError) as caught:
        render(json.dumps(values))
    assert words in str(caught.value)


@needs_tools
@pytest.mark.parametrize("row", ["three", "three-tls"])
def test_several_receivers_share_the_targets_out(row: str) -> None:
    """An entry for each pod's own name, judged by `check --prometheus` too; for both spellings."""
    documents = rendered(row)
    stateful = of_kind(documents, "StatefulSet")
    assert stateful["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in {each["kind"] for each in documents}
    [config] = [each for each in documents if each["metadata"]["name"].endswith("-remote-write")]
    plain = yaml.safe_load(config["data"]["prometheus.yml"])["remote_write"]
    by_operator = yaml.safe_load(config["data"]["values.yaml"])["prometheus"]["prometheusSpec"]["remoteWrite"]  # fmt: skip
    scheme = "https" if row == "three-tls" else "http"
    pods = f"{stateful['spec']['serviceName']}.monitoring.svc:9201/api/v1/write"
    urls = [f"{scheme}://appinsights-receiver-{number}.{pods}" for number in range(3)]
    assert [each["url"] for each in plain] == [each["url"] for each in by_operator] == urls
    [found] = judge_shards(plain, parse(json.dumps({"customMetrics": [FOLDED]}).encode(), "").entries)  # fmt: skip
    assert (found.mark, found.detail) == (Mark.OK, "3 shards over job, instance, each with one receiver")  # fmt: skip
    for number, entry in enumerate(by_operator):
        assert entry["authorization"] == {"credentials": {"name": "appinsights", "key": "token"}}
        keep = entry["writeRelabelConfigs"][2]
        assert keep == {"sourceLabels": ["__tmp_shard"], "regex": str(number), "action": "keep"}
    assert not [each for each in rendered("one") if each["metadata"]["name"].endswith("-write")]


def test_every_value_is_in_the_schema() -> None:
    """A value added without its type is seen."""

    def missing(values: dict[str, Any], schema: dict[str, Any], path: str) -> list[str]:
        known = schema.get("properties")
        if known is None:
            return []
        found = [f"{path}{name}" for name in values if name not in known]
        for name, value in values.items():
            if isinstance(value, dict) and name in known:
                found += missing(value, known[name], f"{path}{name}.")
        return found

    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert missing(values, schema, "") == []
    assert missing({"no": 1}, schema, "") == ["no"]


@needs_tools
def test_entra_id_by_workload_identity() -> None:
    """The account is the identity's, the pod asks for its token, and the receiver signs in."""
    documents = rendered("identity")
    account = of_kind(documents, "ServiceAccount")["metadata"]
    pod = of_kind(documents, "StatefulSet")["spec"]["template"]
    assert account["annotations"] == {"a": "b", "azure.workload.identity/client-id": IDENTITY["workloadIdentity"]["clientId"]}  # fmt: skip
    assert pod["spec"]["serviceAccountName"] == account["name"]
    assert pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    environment = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
    assert environment["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"] == "Authorization=AAD"


@needs_tools
def test_the_way_out_is_what_the_values_say() -> None:
    """HTTPS anywhere, to a private endpoint alone, or through a proxy alone."""

    def out(name: str) -> Any:
        return of_kind(rendered(name), "NetworkPolicy")["spec"]["egress"][1:]

    https = {"port": 443, "protocol": "TCP"}
    assert out("default") == [{"ports": [https]}]
    assert out("private-link") == [{"to": [{"ipBlock": {"cidr": "10.1.0.0/24"}}], "ports": [https]}]
    assert out("proxy") == [
        {"to": [{"ipBlock": {"cidr": PROXY["cidr"]}}], "ports": [{"port": 3128, "protocol": "TCP"}]}
    ]


@needs_tools
def test_the_routes_are_a_file_that_the_receiver_reads() -> None:
    """With its secrets where the secret is mounted."""
    documents = rendered("routes")
    text = of_kind(documents, "ConfigMap")["data"]["routes.json"]
    routing = read_routes(text, "routes.json")
    assert [route.name for route in routing.routes] == ["team-a"]
    assert routing.drops_unmatched
    [container] = of_kind(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert {"name": "RECEIVER_ROUTES", "value": "/etc/receiver/routes.json"} in container["env"]
    assert "routes.json" not in of_kind(rendered(), "ConfigMap")["data"]


@needs_tools
@pytest.mark.parametrize(
    ("overlay", "values"),
    [
        ("base", {}),
        ("overlays/kube-prometheus-stack", STACK),
        ("overlays/shards", {"autoscaling": {"enabled": False}, "replicas": 3}),
    ],
    ids=["base", "stack", "shards"],
)
def test_routes_come_to_each_overlay(overlay: str, values: dict[str, Any], tmp_path: Path) -> None:
    """The component makes what the chart makes, but for the file's spelling and the variables' order."""
    shutil.copytree(OVERLAYS.parent, tmp_path / "kubernetes")
    (tmp_path / "own").mkdir()
    wanted = {"resources": [f"../kubernetes/{overlay}"], "components": ["../kubernetes/overlays/routes"]}  # fmt: skip
    (tmp_path / "own/kustomization.yaml").write_text(yaml.safe_dump(wanted))
    made = kustomized(tmp_path / "own")
    for document in made:
        if document["kind"] not in OPERATOR:
            kubernetes_validate.validate(document, VERSIONS[-1], strict=True)

    file = json.loads((OVERLAYS / "routes/routes.json").read_text())
    text = render(json.dumps({**values, **file}))
    by_chart = [document for document in yaml.safe_load_all(text) if document]

    def plain(documents: list[dict[str, Any]]) -> str:
        for document in documents:
            if document["kind"] == "StatefulSet":
                pod = document["spec"]["template"]["spec"]
                pod["containers"][0]["env"].sort(key=lambda each: each["name"])
            elif routes := document.get("data", {}).get("routes.json"):
                document["data"]["routes.json"] = json.loads(routes)
        return spelt(documents)

    assert plain(made) == plain(by_chart)
    routing = read_routes((OVERLAYS / "routes/routes.json").read_text(), "routes.json")
    [container] = of_kind(made, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    [secret] = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "secret"]
    assert {str(Path(route.connection_string_file).parent) for route in routing.routes} == {secret}


def test_requests_without_the_token_are_refused() -> None:
    """The receiver is given one, and whoever scrapes it sends that."""
    for name in MATRIX:
        pod = of_kind(rendered(name), "StatefulSet")["spec"]["template"]["spec"]
        [container] = pod["containers"]
        assert "RECEIVER_BEARER_TOKEN_FILE" in {each["name"] for each in container["env"]}
        assert pod["automountServiceAccountToken"] is False
    endpoint = of_kind(rendered("stack"), "ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["authorization"] == {"credentials": {"name": "appinsights", "key": "token"}}


@needs_tools
def test_the_rules_are_prometheus_own_and_their_runbook_opens() -> None:
    """All of both files; each alert says where its cure is."""
    groups = of_kind(rendered("stack"), "PrometheusRule")["spec"]["groups"]
    assert [group["name"] for group in groups] == ["triton_irate", "receiver_alerts"]
    for group, file in zip(groups, ("triton_irate", "receiver_alerts"), strict=True):
        text = (ROOT / f"prometheus/rules/{file}.yml").read_text()
        [shipped] = yaml.safe_load(text)["groups"]
        assert [rule["expr"] for rule in group["rules"]] == [r["expr"] for r in shipped["rules"]]
    headings = re.findall(r"(?m)^#+ (.*)$", (ROOT / "docs/runbook.md").read_text())
    anchors = {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
    for rule in groups[1]["rules"]:
        url, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert url == "http://appinsights-receiver.monitoring.svc:9201/runbook"
        assert anchor in anchors
    [rule, *_] = of_kind(rendered("runbook"), "PrometheusRule")["spec"]["groups"][1]["rules"]
    assert rule["annotations"]["runbook_url"].startswith("https://wiki.example/receiver#")


@needs_tools
def test_two_releases_live_beside_each_other() -> None:
    """What the chart makes is named after the release, selectors included."""
    text = render("{}", release="other")
    documents = [document for document in yaml.safe_load_all(text) if document]
    assert {each["metadata"]["name"] for each in documents} == {"other", "other-pods"}
    selector = of_kind(documents, "StatefulSet")["spec"]["selector"]["matchLabels"]
    assert selector == {"app.kubernetes.io/name": "other"}


@needs_tools
@pytest.mark.parametrize("version", VERSIONS)
def test_the_sidecar_is_what_kustomize_makes_of_it(tmp_path: Path, version: str) -> None:
    """In a Deployment of one's own; nothing of it keeps Triton from starting."""
    deployment = {
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
    (tmp_path / "deployment.yaml").write_text(yaml.safe_dump(deployment))
    (tmp_path / "sidecar").mkdir()
    for file in (OVERLAYS / "sidecar").iterdir():
        (tmp_path / "sidecar" / file.name).write_text(file.read_text())
    (tmp_path / "kustomization.yaml").write_text("resources: [deployment.yaml]\ncomponents: [sidecar]\n")  # fmt: skip
    documents = kustomized(tmp_path)
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
    pod = of_kind(documents, "Deployment")["spec"]["template"]["spec"]
    for container in pod["initContainers"]:
        assert container["restartPolicy"] == "Always"
        assert "startupProbe" not in container, "Triton would wait for it"
        assert "livenessProbe" in container
        assert not [each for each in container.get("env", ()) if "secretKeyRef" in str(each)]
    [secret] = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert secret["optional"] is True


def test_the_copies_are_what_they_were_copied_from() -> None:
    """`make docs` writes them: PrometheusRule, the chart's files, what the sidecar mounts."""
    assert generate.main(["--check"]) == 0
