"""Senders that are not Prometheus: vmagent, OpenTelemetry's Python exporter, prometheus-remote-writer."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from prometheus_remote_writer import RemoteWriter

from demo.child import Child
from demo.debian import fetch
from demo.parts import make_once, parts_dir
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import ReceiverProcess, delivered, receiving
from tests.integration.waiting import in_loop, until
from tests.senders.test_prometheus import exporting

pytestmark = pytest.mark.timeout(300)

OTEL = "opentelemetry-exporter-prometheus-remote-write==0.66b1"
"""It wants an older protobuf than the receiver, so it gets an environment of its own."""
OTEL_PROGRAM = """
import sys
from opentelemetry.exporter.prometheus_remote_write import PrometheusRemoteWriteMetricsExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

exporter = PrometheusRemoteWriteMetricsExporter(endpoint=sys.argv[1], headers={})
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
provider = MeterProvider(metric_readers=[reader])
meter = provider.get_meter("test")
counter = meter.create_counter("nv_otel_requests", unit="1", description="Requests.")
histogram = meter.create_histogram("nv_otel_seconds", unit="s")
for number in range(3):
    counter.add(number, {"model": "m"})
    histogram.record(number / 2, {"model": "m"})
assert provider.force_flush()
provider.shutdown()
"""


@in_loop(within_seconds=120)
async def test_vmagent_falls_back_to_snappy_and_loses_nothing(tmp_path: Path) -> None:
    """Zstd comes first and is answered 415; the same samples then come in snappy."""
    vmagent = fetch(["victoria-metrics"], "sid", parts_dir()) / "usr/bin/vmagent"
    async with (
        serve(Sandbox()) as box,
        exporting() as target,
        ReceiverProcess(tmp_path, box.connection_string) as receiver,
    ):
        config = tmp_path / "scrape.yml"
        config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s"},
                    "scrape_configs": [
                        {"job_name": "exporter", "static_configs": [{"targets": [target]}]}
                    ],
                }
            )
        )
        child = await Child.start(
            "vmagent",
            [
                vmagent,
                f"-promscrape.config={config}",
                f"-remoteWrite.url={receiver.url}/api/v1/write",
                f"-remoteWrite.tmpDataPath={tmp_path / 'vmagent'}",
                "-remoteWrite.forceVMProto",
                "-httpListenAddr=127.0.0.1:0",
                "-remoteWrite.flushInterval=1s",
            ],
            log=tmp_path / "vmagent.log",
            environment=dict(os.environ),
        )
        try:

            def values() -> list[float]:
                return [each.value for each in delivered(box.sandbox) if each.name == "nv_gauge"]

            await until(lambda: len(values()) >= 5, f"values; {child.log.read_text()[-800:]}", 60)
            found = values()
            assert found == [float(number) for number in range(1, len(found) + 1)]
        finally:
            await child.kill()
        lines = [each for each in receiver.events() if each["event"] == "request refused"]
        assert len(lines) == 1, "zstd was tried, and a line in a minute is enough"
        assert all(each["reason"] == "unsupported_media" for each in lines)
        assert all(line.startswith("{") for line in receiver.log.read_text().splitlines())


def environment_of_its_own() -> Path:
    """Return the Python that has OpenTelemetry's exporter, made on the first call."""

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", OTEL]
        subprocess.run(pip, check=True, timeout=240)

    part = parts_dir() / OTEL.replace("==", "-")
    return make_once(part, make) / "bin/python"


@in_loop(within_seconds=240)
async def test_opentelemetry_writes(tmp_path: Path) -> None:
    """A counter and a histogram of OpenTelemetry's own exporter arrive."""
    python = await asyncio.to_thread(environment_of_its_own)
    async with (
        serve(Sandbox()) as box,
        receiving(tmp_path, box.connection_string) as receiver,
    ):
        process = await asyncio.create_subprocess_exec(
            str(python), "-c", OTEL_PROGRAM, f"{receiver.url}/api/v1/write",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        status = await receiver.idle()
        assert status["requests"]["refused"] == {}, output.decode()
        found = {each.name: each.value for each in delivered(box.sandbox)}
        counter = next(value for name, value in found.items() if "requests" in name)
        assert counter == 3.0
        assert any("seconds" in name and name.endswith("_count") for name in found), found


def written(url: str, auth: Mapping[str, str] | None = None) -> None:
    """Write with prometheus-remote-writer, several samples in a series."""
    now = int(time.time() * 1000) - 60_000
    writer = RemoteWriter(url=f"{url}/api/v1/write", headers={}, auth=auth, retries=0)
    writer.send(
        [
            {
                "metric": {"__name__": "nv_written", "host": f"h{number}"},
                "values": [1.5, 2.5, 3.5],
                "timestamps": [now, now + 1000, now + 2000],
            }
            for number in range(3)
        ]
    )


@in_loop()
async def test_prometheus_remote_writer_writes(tmp_path: Path) -> None:
    """With a token, several samples in each series; and it is told when the token is wrong."""
    token = tmp_path / "token"
    token.write_text("sesame")
    async with (
        serve(Sandbox()) as box,
        receiving(tmp_path, box.connection_string, bearer_token_file=str(token)) as receiver,
    ):
        await asyncio.to_thread(written, receiver.url, {"bearer_token": "sesame"})
        with pytest.raises(Exception, match="401"):
            await asyncio.to_thread(written, receiver.url, {"bearer_token": "wrong"})
        await until(lambda: len(list(delivered(box.sandbox))) == 9, "nine values")
        values = sorted(each.value for each in delivered(box.sandbox))
        assert values == sorted([1.5, 2.5, 3.5] * 3)
