"""The quick start, word for word, on the image built here."""

import asyncio
import json
import subprocess
import time
from pathlib import Path

import pytest

from demo.load import GOOD_MODEL, drive
from demo.parts import REPOSITORY
from demo.triton_statistics import statistics
from tests.container.conftest import VERSION, Start
from tests.container.containers import KEY, Box, Container, Docker, get, get_json, until

pytestmark = pytest.mark.timeout(400, func_only=True)

QUICK_START = ("-p8000:8000", "-p8001:8001", "-p8002:8002", "-p9090:9090")
SUCCESS = "nv_inference_request_success"
DURATION = "nv_inference_request_duration_us"


def models(folder: str = "demo/models") -> str:
    """The option that mounts models."""
    return f"--volume={REPOSITORY / folder}:/models:ro"


def test_cpu_utilization_arrives_without_a_model(
    docker: Docker, network: str, image: str, box: Box
) -> None:
    """The command as documented; Prometheus' page shows its target up and its rules loaded."""
    variable = f"APPLICATIONINSIGHTS_CONNECTION_STRING={box.connection_string}"
    with Container(
        docker, f"--network={network}", "--rm", *QUICK_START, "--env", variable, image
    ) as container:
        until(lambda: get(f"http://{docker.host}:8000/v2/health/ready") == b"", "Triton is ready")
        page = until(lambda: get(f"http://{docker.host}:8002/metrics"), "Triton shows its metrics")
        assert b"nv_cpu_utilization" in page
        (value, *_) = until(lambda: box.values("nv_cpu_utilization"), "nv_cpu_utilization arrives")
        assert 0 <= value <= 1
        prometheus = f"http://{docker.host}:9090/api/v1"
        (target,) = get_json(f"{prometheus}/targets")["data"]["activeTargets"]
        assert target["health"] == "up"
        (group,) = get_json(f"{prometheus}/rules")["data"]["groups"]
        assert len(group["rules"]) > 20
        # What Prometheus' web page asks for; Debian's build has no page, prom/prometheus has.
        (up,) = get_json(f"{prometheus}/query?query=up")["data"]["result"]
        assert up["value"][1] == "1"
        assert "nv_cpu_utilization" in get_json(f"{prometheus}/label/__name__/values")["data"]
        assert "version" in get_json(f"{prometheus}/status/buildinfo")["data"]
        assert "there is no model in /models" in container.logs()
        until(lambda: container.inspect(".State.Health.Status") == "healthy", "it is healthy")
        assert container.stop() < 10


def test_a_key_alone_is_enough(docker: Docker, network: str, image: str) -> None:
    """INSTRUMENTATION_KEY sends to the global endpoint; what it does not take is kept."""
    with Container(
        docker,
        f"--network={network}",
        "--add-host=dc.services.visualstudio.com:127.0.0.1",  # nobody is to be reached
        *("--rm", "-p8000", "--env", f"INSTRUMENTATION_KEY={KEY}", image),
    ) as container:
        url = container.at(8000)
        until(lambda: get(f"http://{url}/v2/health/ready") == b"", "Triton is ready")

        def pending() -> bool:
            status = container.run("/opt/receiver/bin/python", "-c", STATUS, check=False)
            return '"pending": 1' in status and "dc.services.visualstudio.com" in status

        until(pending, "an item waits for the global endpoint")


STATUS = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9201/api/v1/status").read().decode())"""


def test_without_a_destination_triton_serves_and_the_log_says_how_to_change_that(
    docker: Docker, network: str, image: str
) -> None:
    """Nothing runs that could not send, and nobody complains every minute."""
    with Container(
        docker, f"--network={network}", "-p8000", "-p9090", models(), image
    ) as container:
        url = container.at(8000)
        until(lambda: get(f"http://{url}/v2/health/ready") == b"", "Triton is ready")
        until(lambda: "prometheus" in container.processes(), "Prometheus runs")
        answered = asyncio.run(drive(url, seconds=1, failing_per_second=0))
        assert answered[GOOD_MODEL].answered == 10
        assert "receiver" not in container.processes()
        log = container.logs()
        assert log.count("NOTHING IS SENT") == 1
        assert "APPLICATIONINSIGHTS_CONNECTION_STRING=" in log
        assert "level=WARN" not in log
        config = get_json(f"http://{container.at(9090)}/api/v1/status/config")
        assert "remote_write" not in config["data"]["yaml"]


@pytest.mark.slow
def test_a_model_s_metrics_agree_with_triton_s_statistics(started: Start, box: Box) -> None:
    """Success, duration and the _irate of a model that tritonclient drives from outside."""
    with started(models()) as container:
        url = container.at(8000)
        until(lambda: get(f"http://{url}/v2/health/ready") == b"", "Triton is ready")
        accounts = asyncio.run(drive(url, seconds=100, failing_per_second=0))
        found = asyncio.run(statistics(url, GOOD_MODEL))
        assert found.success.count == accounts[GOOD_MODEL].answered == 1000

        def arrived() -> bool:
            return box.values(SUCCESS, model=GOOD_MODEL)[-1:] == [1000]

        until(arrived, "the last count arrives")
        assert box.values(DURATION, model=GOOD_MODEL)[-1] == pytest.approx(
            found.success.duration_ns / 1000, abs=1000
        )
        # The packaged metrics.json names no _irate; Prometheus has them, one a minute.
        # Not the last of them: it may be of the time when the load was over.
        query = f"http://{container.at(9090)}/api/v1/query?query=max_over_time({SUCCESS}_irate[5m])"
        rates = [float(r["value"][1]) for r in get_json(query)["data"]["result"] if r["metric"]["model"] == GOOD_MODEL]  # fmt: skip
        assert rates
        assert rates[0] == pytest.approx(10, rel=0.2)


def test_irate_series_are_sent_when_metrics_json_names_them(
    started: Start, box: Box, every_second: str, tmp_path: Path
) -> None:
    """metrics.json is mounted, and edited while the container runs: the next samples follow."""
    file = tmp_path / "metrics.json"
    file.write_text('{"customMetrics": ["nv_cpu_utilization"]}')
    with started(
        every_second, models(), f"--volume={file}:/etc/receiver/metrics.json:ro"
    ) as container:
        url = container.at(8000)
        until(lambda: box.values("nv_cpu_utilization"), "nv_cpu_utilization arrives")
        assert not box.items(f"{SUCCESS}*")
        file.write_text(f'{{"customMetrics": ["{SUCCESS}", "{SUCCESS}_irate"]}}')
        edited_ms = time.time() * 1000
        until(lambda: box.items(SUCCESS), "what the list names now arrives")
        followed_ms = box.items(SUCCESS)[0]["time_ms"]
        assert followed_ms < edited_ms + 15_000
        asyncio.run(drive(url, seconds=8, failing_per_second=0))
        until(lambda: any(box.values(f"{SUCCESS}_irate", model=GOOD_MODEL)), "an _irate arrives")
        rates = box.values(f"{SUCCESS}_irate", model=GOOD_MODEL)
        assert max(rates) == pytest.approx(10, rel=0.3)
        assert box.items("nv_cpu_utilization")[-1]["time_ms"] < followed_ms + 1000, "the other ends"
        file.write_text("{")
        until(
            lambda: (
                "metrics.json cannot be used; the previous version stays in force"
                in container.logs()
            ),
            "it is told",
        )
        count = len(box.items(SUCCESS))
        until(lambda: len(box.items(SUCCESS)) > count, "the old list stays in force")
        # Only what was restarted has another id.
        assert "restart" not in container.logs()


def test_tritonserver_gets_what_stands_behind_the_name(
    docker: Docker, network: str, image: str
) -> None:
    """Flags win over ours, a leading `tritonserver` is left out, another program runs alone."""
    with Container(
        docker, f"--network={network}", models(), image, "tritonserver", "--model-control-mode=explicit", "--load-model=add_sub", "--log-file", "/tmp/it's a log"
    ) as container:  # fmt: skip
        until(
            lambda: "--load-model=add_sub" in container.run("sh", "-c", CMDLINES, check=False),
            "it gets flags",
        )
        assert "--log-file /tmp/it's a log" in container.run("sh", "-c", CMDLINES)
    assert docker("run", "--rm", image, "echo", "hello").endswith("hello")


CMDLINES = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; echo; done"


@pytest.mark.parametrize("inner", ["", "/models"])
def test_azure_ml_s_model_folder_is_the_repository(
    docker: Docker, network: str, image: str, inner: str
) -> None:
    """AZUREML_MODEL_DIR names the repository, or the folder that holds it as `models`."""
    mount = f"--volume={REPOSITORY}/demo/models:/var/azureml-app/azureml-models/m/1{inner}:ro"
    variable = "--env=AZUREML_MODEL_DIR=/var/azureml-app/azureml-models/m/1"
    with Container(docker, f"--network={network}", "-p8000", mount, variable, image) as container:
        url = container.at(8000)
        until(lambda: get(f"http://{url}/v2/models/add_sub/ready") == b"", "it is loaded")


def test_build_says_how_it_is_used_and_builds_nothing_by_mistake() -> None:
    """No names: usage and 2. A bad version, a bad option: a sentence and 1."""

    def run(*arguments: str, **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            ["/bin/bash", REPOSITORY / "build.sh", *arguments],
            env={"PATH": "/usr/bin:/bin"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    assert run()[0] == 2
    assert run()[1].startswith("Usage: ./build.sh")
    assert run("name", "no version")[0] == 1
    assert run("--what", "name", "1")[0] == 1
    code, said = run("name", "1", DOCKER_HOST="unix:///nowhere.sock")
    assert code == 1
    assert "doesn't answer" in said
    code, said = run("name", "1", PATH="/nowhere")
    assert code == 1


def test_the_image_says_what_is_in_it(docker: Docker, image: str, receiver_image: str) -> None:
    """Licences, notices, and a bill of materials that names each part; also in the small image."""
    for name in (image, receiver_image):
        bill = json.loads(
            docker("run", "--rm", "--entrypoint=cat", name, f"{DOCUMENTS}/sbom.cdx.json")
        )
        assert bill["bomFormat"] == "CycloneDX"
        parts = {each["name"] for each in bill["components"]}
        assert {"aiohttp", "azure-identity", "bcrypt", "libc6"} <= parts
        assert ({"prometheus", "s6", "skalibs"} & parts == {"prometheus", "s6"}) == (name == image)
    files = docker("run", "--rm", image, "ls", DOCUMENTS, "/usr/share/doc/prometheus", "/usr/share/doc/s6")  # fmt: skip
    assert {"LICENSE", "NOTICE", "copyright", "sbom.cdx.json"} <= set(files.split())


DOCUMENTS = "/usr/share/doc/appinsights-receiver"


def test_the_image_says_what_it_is(docker: Docker, image: str) -> None:
    """Its version as a tag and a label; latest is the same image."""
    labels = docker("image", "inspect", "--format={{json .Config.Labels}}", f"{image}:{VERSION}")
    assert f'"org.opencontainers.image.version":"{VERSION}"' in labels
    ids = {docker("image", "inspect", "--format={{.Id}}", f"{image}:{tag}") for tag in (VERSION, "latest")}  # fmt: skip
    assert len(ids) == 1
