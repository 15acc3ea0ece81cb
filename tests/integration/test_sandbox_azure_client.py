"""The sandbox serves Microsoft's own client: the Azure Monitor exporter of OpenTelemetry.

The exporter was not written with the sandbox in mind, nor the sandbox with it:
what one sends and the other takes is the public contract.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from receiver.sandbox import INSTRUMENTATION_KEY, Sandbox, Server, serve
from receiver.sandbox.faults import Items, Redirect

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _call_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the exporter from reporting on itself."""
    for name in ("STATSBEAT_DISABLED_ALL", "SDKSTATS_DISABLED", "CONTROLPLANE_DISABLED"):
        monkeypatch.setenv(f"APPLICATIONINSIGHTS_{name}", "true")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "azure-client")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def export(server: Server, storage: Path) -> bool:
    """Send one collection of a counter with two series and a histogram; blocks."""
    from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter = AzureMonitorMetricExporter(
        connection_string=server.connection_string, storage_directory=str(storage)
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("test")
    counter = meter.create_counter("nv_count")
    counter.add(5, {"model": "add_sub", "version": "1"})
    counter.add(7, {"model": "identity", "version": "1"})
    histogram = meter.create_histogram("nv_duration")
    histogram.record(0.5)
    histogram.record(1.5)
    done = provider.force_flush()
    # Collecting once more at the end would send the counters' next deltas.
    exporter.shutdown()
    return done


def stored_blobs(storage: Path) -> str:
    """Read what the exporter put aside to send again."""
    return "".join(path.read_text() for path in storage.rglob("*.blob*"))


def against_sandbox(tmp_path: Path, check: Callable[[Server], None], *faults: Any) -> None:
    """Export once against a sandbox with these faults, then look at both sides."""

    async def run() -> None:
        sandbox = Sandbox()
        sandbox.script.append(faults)
        async with asyncio.timeout(60), serve(sandbox) as server:
            await asyncio.to_thread(export, server, tmp_path)
            check(server)

    asyncio.run(run())


def arrived(server: Server) -> dict[tuple[str, str | None], float]:
    """Return the values held, by name and model."""
    return {
        (held.series.name, held.series.properties.get("model")): held.value
        for held in server.sandbox.store.select()
    }


ALL = {("nv_count", "add_sub"): 5, ("nv_count", "identity"): 7, ("nv_duration", None): 2}


def test_its_metrics_arrive(tmp_path: Path) -> None:
    """Names, values, properties, spread and role are what the client measured."""

    def check(server: Server) -> None:
        counters = server.sandbox.ledger.counters()
        assert counters["rejected_by_message"] == {}
        assert counters["requests_by_status"] == {"200": 1}
        assert arrived(server) == ALL
        by_name = {held.series.name: held for held in server.sandbox.store.select()}
        spread = by_name["nv_duration"].spread
        assert spread is not None
        assert (spread.count, spread.min, spread.max) == (2, 0.5, 1.5)
        series = by_name["nv_count"].series
        assert series.ikey == INSTRUMENTATION_KEY
        assert series.tags["ai.cloud.role"] == "azure-client"
        assert series.properties["version"] == "1"

    against_sandbox(tmp_path, check)


def test_a_partial_answer_makes_it_keep_the_refused_items(tmp_path: Path) -> None:
    """It reads our 206, finds the items that may be sent again, and puts just those aside."""

    def check(server: Server) -> None:
        assert server.sandbox.ledger.counters()["requests_by_status"] == {"206": 1}
        refused = {name for name, _ in ALL.keys() - arrived(server).keys()}
        assert len(ALL.keys() - arrived(server).keys()) == 1
        kept = stored_blobs(tmp_path)
        assert kept.count('"baseType"') == 1
        assert all(f'"{name}"' in kept for name in refused)

    against_sandbox(tmp_path, check, Items(every=3, status_code=503))


def test_it_follows_a_redirect(tmp_path: Path) -> None:
    """It sends the same batch to the place that our 307 names."""

    def check(server: Server) -> None:
        requests = server.sandbox.ledger.requests(10)
        assert [(r["path"], r["status"]) for r in requests] == [
            ("/v2.1/track", 307),
            ("/v2.1/track", 200),
        ]
        assert arrived(server) == ALL

    async def run() -> None:
        sandbox = Sandbox()
        async with asyncio.timeout(60), serve(sandbox) as server:
            sandbox.script.append([Redirect(location=f"{server.url}/v2.1/track")])
            await asyncio.to_thread(export, server, tmp_path)
            check(server)

    asyncio.run(run())
