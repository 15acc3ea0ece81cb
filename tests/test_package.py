"""What is built and published is what was tested: the wheel, in an environment of its own."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from receiver import share
from receiver.intake.recogniser import IS_COMPILED

ROOT = Path(__file__).parent.parent
EXAMPLES = {
    "prometheus": "prometheus/prometheus.yml",
    "compose": "deploy/compose.yaml",
    "systemd": "deploy/systemd/appinsights-receiver.service",
    "kubernetes": "deploy/kubernetes/base/kustomization.yaml",
    "grafana": "deploy/grafana/receiver.json",
    "metrics": "receiver/config/default_metrics.json",
    "schema": "receiver/config/metrics.schema.json",
    "routes-schema": "receiver/config/routes.schema.json",
}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module", params=["require", "off"])
def kernel(request: pytest.FixtureRequest) -> str:
    """Say whether the kernel is compiled; without a compiler it is not, and that is tested too."""
    if request.param == "require" and not IS_COMPILED:
        pytest.skip("the kernel is not built")
    return str(request.param)


@pytest.fixture(scope="module")
def wheel(kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel without a network: the backend is in the environment already."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, cwd=folder, env=os.environ | {"RECEIVER_KERNEL": kernel})
    return next(folder.glob("appinsights_receiver-*.whl"))


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path, kernel: str) -> None:
    """Data files are in it, and tests, demo and caches are not; compiled or not as was asked."""
    names = zipfile.ZipFile(wheel).namelist()
    compiled = [
        name for name in names if name.startswith("receiver/kernel.") and name.endswith(".so")
    ]
    assert len(compiled) == (kernel == "require")
    assert wheel.name.endswith("-none-any.whl") is (kernel == "off")
    assert ("-cp311-abi3-" in wheel.name) is (kernel == "require"), "one wheel for all Pythons"
    for name in (
        "receiver/config/default_metrics.json",
        "receiver/sandbox/page.html",
        "receiver/intake/wire/remote_write_v2_pb2.py",
        "receiver/py.typed",
        "receiver/config/metrics.schema.json",
        "receiver/share/runbook.md",
        "receiver/share/rules/triton_irate.yml",
        "receiver/share/rules/receiver_alerts.yml",
    ):
        assert name in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "receiver",
        "appinsights_receiver",
    }
    assert not [name for name in names if "__pycache__" in name]


def test_the_wheel_runs(wheel: Path, kernel: str, tmp_path: Path) -> None:
    """Unpacked elsewhere, `python -m receiver` says its version and checks its settings."""
    zipfile.ZipFile(wheel).extractall(tmp_path)

    def receiver(*arguments: str) -> str:
        command = [sys.executable, "-m", "receiver", *arguments]
        done = subprocess.run(
            command, check=True, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
        )
        return done.stdout

    where = [sys.executable, "-c", "import receiver, json; print(json.dumps(receiver.__file__))"]
    found = subprocess.run(where, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert Path(json.loads(found.stdout)).is_relative_to(tmp_path)
    loops = [
        sys.executable,
        "-c",
        "import receiver.intake.recogniser; print(receiver.intake.recogniser.IS_COMPILED)",
    ]
    ran = subprocess.run(loops, check=True, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)  # fmt: skip
    assert ran.stdout.strip() == str(kernel == "require")
    assert receiver("--version").strip().replace("-", "_").replace(" ", "-") in wheel.name
    assert "nv_inference_request_success" in receiver("check", "--sandbox")
    assert receiver("rules") == (ROOT / "prometheus/rules/triton_irate.yml").read_text()
    for kind, start in EXAMPLES.items():
        assert receiver("example", kind).startswith((ROOT / start).read_text()[:100]), kind
    for name, place in share.FILES.items():
        shipped, source = tmp_path / "receiver/share" / name, ROOT / place
        for path in [source] if source.is_file() else source.iterdir():
            copy = shipped if source.is_file() else shipped / path.name
            assert copy.read_bytes() == path.read_bytes(), name
