"""`rules` and `example` print what lies beside the code, as a file to use as it is."""

import json
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from receiver.cli.main import main
from receiver.cli.verbs import find

ROOT = Path(__file__).parents[3]
EXAMPLE = find("example")
assert EXAMPLE
KINDS = EXAMPLE.operands[0].choices


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a verb and return what it printed."""
    assert main(arguments) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("kind", "file"), [("irate", "triton_irate"), ("alerts", "receiver_alerts")])  # fmt: skip
def test_rules_are_the_shipped_ones(
    capsys: pytest.CaptureFixture[str], kind: str, file: str
) -> None:
    """Word for word, or as JSON."""
    text = (ROOT / f"prometheus/rules/{file}.yml").read_text()

    assert printed(capsys, "rules", kind) == text
    assert json.loads(printed(capsys, "rules", kind, "--json")) == yaml.safe_load(text)
    assert printed(capsys, "rules", "--json").startswith('{\n  "groups"')


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_is_a_file_that_can_be_read(
    capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """And as JSON too."""
    assert len(printed(capsys, "example", kind)) > 50
    assert json.loads(printed(capsys, "example", kind, "--json"))


def test_the_kubernetes_example_is_the_base(capsys: pytest.CaptureFixture[str]) -> None:
    """All of the kustomization's resources, each valid."""
    base = ROOT / "deploy/kubernetes/base"
    resources = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    expected = [each for name in resources for each in yaml.safe_load_all((base / name).read_text())]  # fmt: skip
    documents = [each for each in yaml.safe_load_all(printed(capsys, "example", "kubernetes")) if each]  # fmt: skip

    def order(each: dict[str, dict[str, str]]) -> tuple[str, str]:
        return str(each["kind"]), each["metadata"]["name"]

    assert sorted(documents, key=order) == sorted(expected, key=order)
    for each in documents:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)
