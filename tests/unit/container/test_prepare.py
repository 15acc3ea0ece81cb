"""Triton's flags are read once, in both forms and any order, as its own getopt reads them."""

import dataclasses
import importlib.machinery
import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TELEMETRY = ROOT / "container/rootfs/opt/telemetry"
SHIPPED = (ROOT / "prometheus/prometheus.yml").read_text()
DESTINATION = {"INSTRUMENTATION_KEY": "11111111-2222-3333-4444-555555555555"}


def load(name: str) -> ModuleType:
    """Import a program of the image, which is in no package."""
    loader = importlib.machinery.SourceFileLoader(Path(name).stem, str(TELEMETRY / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


prepare = load("prepare.py")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", {}),
        ("--http-port=8010 --log-info=1", {"http_port": 8010}),
        ("--http-port 8010 --log-info 1", {"http_port": 8010}),
        ("--log-info=1 --http-port=8010 --metrics-port 8012", {"http_port": 8010, "metrics_port": 8012}),
        ("--grpc-port=8011 --grpc-port=8021", {"grpc_port": 8021}),
        ("--metrics-p=8012", {"metrics_port": 8012}),
        ("--model-store /a --http-port=8010", {"repository": "/a", "http_port": 8010}),
        ("--model-repository=/a=b", {"repository": "/a=b"}),
        ("--log-file --http-port=1 --http-port=2", {"http_port": 2}),
        ("--disable-auto-complete-config --http-port 8010", {"http_port": 8010}),
        ("--http-port", {}),
        ("--http-port=abc --metrics-port=99999 --grpc-port=", {}),
        ("--allow-http=false --allow-metrics 0", {"allow_http": False, "allow_metrics": False}),
        ("--allow-http true --http-address 10.1.2.3", {"http_address": "10.1.2.3"}),
        ("stray --http-port 8010", {"http_port": 8010}),
        ("--http-thread-count=8 --reuse-http-port=1", {}),
    ],
)  # fmt: skip
def test_flags_are_read_as_triton_reads_them(flags: str, expected: dict[str, object]) -> None:
    """The ports, addresses and the repository; what is no port leaves the default."""
    assert prepare.read(shlex.split(flags)) == dataclasses.replace(prepare.Triton(), **expected)


def test_the_flags_are_those_of_triton() -> None:
    """Only two of them take no value, so that the word behind any other is one (2.51's help)."""
    assert {"--help", "--disable-auto-complete-config"} == prepare.WITHOUT_VALUE


@pytest.mark.parametrize("inner", ["", "models", "triton", "model_repository"])
def test_azure_ml_s_folder_holds_the_models_or_their_repository(tmp_path: Path, inner: str) -> None:
    """The flags win over it, and a model that is called `models` is no repository."""
    (tmp_path / inner).mkdir(exist_ok=True)
    environment = {"AZUREML_MODEL_DIR": str(tmp_path)}
    assert prepare.repository(prepare.Triton(), environment) == tmp_path / inner
    assert prepare.repository(prepare.Triton(repository="/a"), environment) == Path("/a")
    assert prepare.repository(prepare.Triton(), {}) == Path("/models")
    (tmp_path / inner / "config.pbtxt").touch()
    assert prepare.repository(prepare.Triton(), environment) == tmp_path


def test_prometheus_follows_the_ports() -> None:
    """Triton's, the receiver's, and the token that the receiver asks for."""
    triton = prepare.read(["--metrics-port=8012", "--metrics-address=10.1.2.3"])
    environment = {
        **DESTINATION,
        "RECEIVER_LISTEN": "0.0.0.0:9301",
        "RECEIVER_BEARER_TOKEN_FILE": "/run/secrets/token",
    }
    config = yaml.safe_load(prepare.prometheus_config(SHIPPED, triton, environment))
    [job] = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["10.1.2.3:8012"]}]
    [write] = config["remote_write"]
    assert write["url"] == "http://localhost:9301/api/v1/write"
    assert write["authorization"] == {"credentials_file": "/run/secrets/token"}
    assert prepare.prometheus_config(SHIPPED, prepare.Triton(), DESTINATION) == SHIPPED


def test_prometheus_writes_nowhere_without_a_destination() -> None:
    """All else of its configuration stays."""
    config = yaml.safe_load(prepare.prometheus_config(SHIPPED, prepare.Triton(), {}))
    assert config == {k: v for k, v in yaml.safe_load(SHIPPED).items() if k != "remote_write"}


@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_a_destination_is_a_value_or_a_file(suffix: str) -> None:
    """Of either kind."""
    assert prepare.sends({f"INSTRUMENTATION_KEY{suffix}": "x"})
    assert prepare.sends({f"APPLICATIONINSIGHTS_CONNECTION_STRING{suffix}": "x"})
    assert not prepare.sends({f"INSTRUMENTATION_KEY{suffix}": ""})


def test_the_role_instance_stays_with_the_volume(tmp_path: Path) -> None:
    """A container's id names it until another container comes to the same outbox; a name wins."""
    assert prepare.instance("triton-1", tmp_path) == ""
    assert prepare.instance("0123456789ab", tmp_path) == "0123456789ab"
    assert prepare.instance("ba9876543210", tmp_path) == "0123456789ab"
    assert prepare.instance("ba9876543210", tmp_path / "other") == "ba9876543210"
    (tmp_path / "instance").write_bytes(b"\xff")
    assert prepare.instance("ba9876543210", tmp_path) == "ba9876543210"


def test_stop_never_ends_by_a_bad_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a readable file Triton's default ports count: the last counts are worth a try."""
    monkeypatch.setenv("TELEMETRY_STATE", str(tmp_path))
    stop = load("stop.py")
    for text in ("", "8010=--log-info=1", "[]", '{"http_port": "x"}', "\0"):
        (tmp_path / "triton.json").write_text(text)
        assert stop.ports() == (8002, 8000, 8001)
    triton = prepare.read(["--http-port=8010", "--log-info=1"])
    (tmp_path / "triton.json").write_text(json.dumps(dataclasses.asdict(triton)))
    assert stop.ports() == (8002, 8010, 8001)


def test_healthcheck_reads_any_file(tmp_path: Path) -> None:
    """What is damaged or not there is passed over."""
    health = load("healthcheck")
    file = tmp_path / "triton.json"
    paths = (str(tmp_path / "missing"), str(file))
    for text in ("", "[]", "8010=--log-info=1"):
        file.write_text(text)
        assert health.where(paths) == {}
    file.write_text('{"http_port": 8010}')
    assert health.where(paths) == {"http_port": 8010}


def test_a_flag_reaches_triton_as_it_was_given(tmp_path: Path) -> None:
    """Through sh, whatever is in it."""
    words = ["--log-file", "/tmp/it's a log", '--x=$(date)\n`y` "z"', ""]
    (tmp_path / "arguments").write_text(" ".join(map(shlex.quote, words)) + "\n")
    script = 'eval "set -- $(cat "$1/arguments")"; for word; do printf "%s\\0" "$word"; done'
    done = subprocess.run(["sh", "-c", script, "sh", tmp_path], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == words
