"""Real Prometheus writes: 1.0 and 2.0, all it can send switched on, and every kind of access."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest
import yaml
from aiohttp import web

from demo.parts import parts_dir
from demo.prometheus import PrometheusServer, install
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import Running, delivered, receiving
from tests.integration.test_access import HASH, PASSWORD, TLS, TOKEN, Pki, write_config
from tests.integration.waiting import in_loop, until

pytestmark = pytest.mark.timeout(300)

OPEN_METRICS = """\
# TYPE nv_gauge gauge
# HELP nv_gauge A number that rises.
nv_gauge{{model="m"}} {count}
# TYPE nv_requests counter
nv_requests_total{{model="m"}} {count} # {{trace_id="t{count}"}} 1.0
# TYPE nv_seconds histogram
# UNIT nv_seconds seconds
nv_seconds_bucket{{le="0.1"}} {count}
nv_seconds_bucket{{le="1.0"}} {count}0 # {{trace_id="h{count}"}} 0.5
nv_seconds_bucket{{le="+Inf"}} {count}00
nv_seconds_count {count}00
nv_seconds_sum {count}
# EOF
"""
NATIVE = "prometheus_http_request_duration_seconds"
ALL_ON = {
    "send_exemplars": True,
    "send_native_histograms": True,
    "metadata_config": {"send": True, "send_interval": "1s"},
    "queue_config": {"batch_send_deadline": "1s"},
}
CUSTOM_BUCKETS = {"convert_classic_histograms_to_nhcb": True}
Suite = Literal["bookworm", "sid"]


@asynccontextmanager
async def exporting() -> AsyncIterator[str]:
    """Serve metrics that rise with each scrape; gives host:port."""
    count = 0

    async def metrics(_: web.Request) -> web.Response:
        nonlocal count
        count += 1
        kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
        return web.Response(text=OPEN_METRICS.format(count=count), headers={"Content-Type": kind})

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


@asynccontextmanager
async def prometheus(
    suite: Suite,
    folder: Path,
    receiver: Running,
    remote_write: Mapping[str, Any],
    scrape: Mapping[str, Any] | None = None,
) -> AsyncIterator[PrometheusServer]:
    """Run a Prometheus that scrapes the exporter and itself, and writes to the receiver."""
    async with exporting() as target:
        port = 0
        config = folder / "prometheus.yml"
        text = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [
                {
                    "job_name": "exporter",
                    "static_configs": [{"targets": [target]}],
                    **(scrape or {}),
                },
            ],
            "remote_write": [{"url": f"{receiver.url}/api/v1/write", **remote_write}],
        }
        config.write_text(yaml.safe_dump(text))
        features = "exemplar-storage,native-histograms"
        if suite == "sid":
            features += ",metadata-wal-records"
        server = PrometheusServer(
            install(suite, parts_dir()),
            config,
            folder / "prometheus",
            port=port,
            flags=[f"--enable-feature={features}"],
        )
        async with server:
            text["scrape_configs"].append(  # type: ignore[attr-defined]
                {"job_name": "self", "static_configs": [{"targets": [server.url.removeprefix("http://")]}]}
            )  # fmt: skip
            config.write_text(yaml.safe_dump(text))
            await server.reload()
            yield server


async def counted(server: PrometheusServer) -> dict[str, float]:
    """Read what Prometheus says of its remote write, labels left out."""
    async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as response:
        text = await response.text()
    found = re.findall(r"^(prometheus_remote_storage_\w+)\{.*\} (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def everything(folder: Path) -> str:
    """Select what the exporter has, and a native histogram of Prometheus' own."""
    path = folder / "select.json"
    path.write_text(f'{{"customMetrics": ["nv_*", "{NATIVE}"]}}')
    return str(path)


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("bookworm", ""),
        ("sid", "prometheus.WriteRequest"),
        ("sid", "io.prometheus.write.v2.Request"),
    ],
)
@in_loop(within_seconds=120)
async def test_all_that_prometheus_can_send_is_taken(
    tmp_path: Path, suite: Suite, message: str
) -> None:
    """Nothing fails at the sender, nothing is refused, values arrive, each in its order."""
    options = ALL_ON | ({"protobuf_message": message} if message else {})
    async with (
        serve(Sandbox()) as box,
        receiving(tmp_path, box.connection_string, metrics_json=everything(tmp_path)) as receiver,
        prometheus(suite, tmp_path, receiver, options) as server,
    ):

        async def sent() -> bool:
            found = await counted(server)
            status = await receiver.status()
            values = [p for p in delivered(box.sandbox) if p.name == "nv_gauge"]
            return (
                len(values) >= 5
                and found["prometheus_remote_storage_exemplars_total"] >= 5
                and status["requests"]["metadata_families"] >= 3
                and (suite == "bookworm" or status["dropped"].get("native_histogram", 0) > 0)
            )

        await until(sent, "values, exemplars, metadata and histograms", 60)
        found = await counted(server)
        failed = {name: n for name, n in found.items() if n and re.search("failed|retried", name)}
        assert failed == {}
        status = await receiver.status()
        assert set(status["requests"]["replies"]) == {"204"}
        assert status["requests"]["refused"] == {}
        values = [point for point in delivered(box.sandbox) if point.name == "nv_gauge"]
        times = [point.timestamp_ms for point in values]
        assert times == sorted(set(times))
        assert [point.value for point in values] == sorted({point.value for point in values})
    log = server.log_path.read_text()
    assert not re.search("not written|non-recoverable|level=ERROR", log), log[-2000:]


@pytest.mark.parametrize("message", ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"])
@in_loop(within_seconds=120)
async def test_histograms_with_custom_buckets_are_taken(tmp_path: Path, message: str) -> None:
    """What Prometheus 3 makes of classic ones: dropped here, and no failure at the sender."""
    options = ALL_ON | {"protobuf_message": message}
    async with (
        serve(Sandbox()) as box,
        receiving(tmp_path, box.connection_string) as receiver,
        prometheus("sid", tmp_path, receiver, options, CUSTOM_BUCKETS) as server,
    ):

        async def dropped() -> bool:
            return bool((await receiver.status())["dropped"].get("native_histogram", 0) >= 3)

        await until(dropped, "histograms", 60)
        status = await receiver.status()
        assert set(status["requests"]["replies"]) == {"204"}
        found = await counted(server)
        assert found["prometheus_remote_storage_histograms_failed_total"] == 0
        assert found["prometheus_remote_storage_histograms_total"] >= 3


ACCESS = {
    "basic": {"basic_auth": {"username": "prom", "password": PASSWORD}},
    "bearer": {"authorization": {"credentials": TOKEN}},
    "tls": {"tls_config": {"ca_file": "ca.pem"}},
    "mtls": {"tls_config": {"ca_file": "ca.pem", "cert_file": "prom.example.pem", "key_file": "prom.example.pem"}},
}  # fmt: skip


@pytest.mark.parametrize("suite", ["bookworm", "sid"])
@pytest.mark.parametrize("kind", list(ACCESS))
@in_loop(within_seconds=120)
async def test_prometheus_gets_in_with_what_it_was_given(
    tmp_path: Path, kind: str, suite: Suite
) -> None:
    """Over TLS, with a certificate, a password or a token; without them nothing comes in."""
    Pki(tmp_path)
    parts: dict[str, Any] = {}
    flags: dict[str, str] = {}
    if kind == "basic":
        parts["basic_auth_users"] = {"prom": HASH}
    if kind == "bearer":
        (tmp_path / "token").write_text(TOKEN)
        flags["bearer_token_file"] = str(tmp_path / "token")
    if kind in {"tls", "mtls"}:
        parts["tls_server_config"] = dict(TLS)
    if kind == "mtls":
        parts["tls_server_config"] |= {
            "client_ca_file": "client-ca.pem",
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_allowed_sans": ["prom.example"],
        }
    flags["web_config_file"] = write_config(tmp_path, **parts)
    async with (
        serve(Sandbox()) as box,
        receiving(tmp_path, box.connection_string, **flags) as receiver,
        prometheus(suite, tmp_path, receiver, ACCESS[kind]) as server,
    ):

        def arrived() -> bool:
            return sum(point.name == "nv_gauge" for point in delivered(box.sandbox)) >= 3

        await until(arrived, f"values over {kind}", 30)
        found = await counted(server)
        assert found["prometheus_remote_storage_samples_failed_total"] == 0
