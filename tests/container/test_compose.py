"""deploy/compose.yaml, started: three containers, and what the model counts arrives."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.load import GOOD_MODEL, drive
from demo.parts import REPOSITORY
from tests.container.containers import Box, Docker, get, get_json, until

pytestmark = pytest.mark.timeout(400, func_only=True)

# The system picks the ports here; else the file is used as it is.
PORTS = """
services:
  receiver: {ports: !override [9201]}
  prometheus: {ports: !override [9090]}
  triton: {ports: !override [8000, 8002]}
networks:
  default:
    driver_opts: {com.docker.network.bridge.host_binding_ipv4: HOST}
"""

Compose = Callable[..., str]


@pytest.fixture
def compose(
    docker: Docker, receiver_image: str, bases_made: dict[str, str], box: Box, tmp_path: Path
) -> Iterator[Compose]:
    """`docker compose` with the images made here and the sandbox in its network."""
    if "version" not in docker("compose", "version", check=False):
        pytest.skip("this docker has no compose plugin")
    name = f"appinsights-test-{uuid.uuid4().hex[:8]}"
    config = tmp_path / "config"
    config.mkdir()
    (config / "metrics.json").write_text('{"customMetrics": ["nv_inference_request_success"]}')
    for folder in (tmp_path, config):
        folder.chmod(0o755)
    override = tmp_path / "ports.yaml"
    override.write_text(PORTS.replace("HOST", docker.host))
    docker.environment |= {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": box.connection_string,
        "MODELS": str(REPOSITORY / "demo/models"),
        "RECEIVER_CONFIG": str(config),
        "RECEIVER_IMAGE": receiver_image,
        "PROMETHEUS_IMAGE": bases_made["prometheus"],
        "TRITON_IMAGE": bases_made["triton"],
    }
    files = ("--file", str(REPOSITORY / "deploy/compose.yaml"), "--file", str(override))

    def run(*arguments: str, check: bool = True) -> str:
        return docker("compose", "--project-name", name, *files, *arguments, check=check)

    try:
        run("create")
        docker("network", "connect", f"{name}_default", box.container.name)
        yield run
    finally:
        docker("network", "disconnect", "--force", f"{name}_default", box.container.name, check=False)  # fmt: skip
        print(run("logs", "--tail=40"))
        run("down", "--volumes", "--timeout=10")


def test_three_containers_send_what_a_model_counts(
    compose: Compose, box: Box, tmp_path: Path
) -> None:
    """Triton's target and the receiver's are up, the rules are there, and a count arrives."""
    compose("up", "--detach")
    triton = compose("port", "triton", "8000")
    until(lambda: get(f"http://{triton}/v2/health/ready") == b"", "Triton is ready")
    account = asyncio.run(drive(triton, seconds=3, failing_per_second=0))[GOOD_MODEL]
    assert account.answered == 30
    prometheus = f"http://{compose('port', 'prometheus', '9090')}/api/v1"

    def targets() -> set[tuple[str, str]]:
        found = get_json(f"{prometheus}/targets")["data"]["activeTargets"]
        return {(target["labels"]["job"], target["health"]) for target in found}

    wanted = {("triton", "up"), ("appinsights-receiver", "up")}
    until(lambda: targets() == wanted, "both targets are up")
    (group,) = get_json(f"{prometheus}/rules")["data"]["groups"]
    assert len(group["rules"]) > 20

    def arrived() -> bool:
        values = box.values("nv_inference_request_success", model=GOOD_MODEL)
        return values[-1:] == [account.answered]

    until(arrived, "the count arrives")
    # The folder's metrics.json counts, and is followed; `doctor` knows where all of it is.
    assert not box.items("nv_cpu_utilization")
    (tmp_path / "config/metrics.json").write_text('{"customMetrics": ["nv_cpu_utilization"]}')
    until(lambda: box.items("nv_cpu_utilization"), "what the folder names now arrives")
    said = compose("exec", "--no-TTY", "receiver", "appinsights-receiver", "doctor", check=False)
    print(said)
    for part in ("http://prometheus:9090", "http://triton:8000", "triton:8002"):
        assert f"{part}" not in "".join(
            line for line in said.splitlines() if "fail" in line.lower()
        )
    assert "localhost:9090" not in said
    receiver = f"http://{compose('port', 'receiver', '9201')}"
    assert get(f"{receiver}/-/ready")
    health = compose("ps", "--format", "{{.Service}} {{.Health}}")
    assert "unhealthy" not in health
