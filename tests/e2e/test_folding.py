"""Real Triton, real Prometheus, folded entries: what the service has is what Triton says.

The receiver is killed every few seconds, and in between the model is unloaded and loaded,
so that its counters begin anew. At the end the sums of the items are Triton's own statistics
of the model's two lives.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from demo.load import drive
from demo.parts import parts_dir
from demo.plan import MODELS
from demo.ports import free_ports
from demo.prometheus import PrometheusServer
from demo.prometheus import install as install_prometheus
from demo.receiver_process import ReceiverProcess
from demo.triton import TritonServer
from demo.triton import install as install_triton
from demo.triton_statistics import statistics
from receiver.intake.metrics_json import parse
from receiver.pack.alerts import log_rules
from receiver.pack.kql import Scope
from receiver.pack.panels import panels
from receiver.pack.sources import Sources
from receiver.pack.workbook import WORKBOOK_SCOPE
from receiver.sandbox import Sandbox, serve
from tests.e2e.recording import Lane, bare_environment, until, write_config
from tests.integration.waiting import in_loop
from tests.kusto.kusto import Database, as_posted, workbook_query

LIST = {
    "customMetrics": [
        {"name": "nv_inference_*_duration_us", "as": "mean", "per": "nv_inference_request_success", "keep": ["model", "version"]},
        {"name": "nv_inference_count", "as": "mean", "per": "nv_inference_exec_count", "rename": "nv_inference_batch_size"},
        {"name": "nv_inference_request_success", "as": "delta"},
    ]
}  # fmt: skip
LOAD_SECONDS = 15
PER_SECOND = 20
SETTLE_SECONDS = 4.0
"""Some scrapes, each a second: what came before them is in what Prometheus sends."""


async def manage(http: str, model: str, what: str) -> None:
    """Have Triton load or unload a model."""
    url = f"http://{http}/v2/repository/models/{model}/{what}"
    async with aiohttp.ClientSession() as session, session.post(url) as answer:
        assert answer.status == 200, await answer.text()


async def kill_now_and_then(receiver: ReceiverProcess) -> None:
    """Kill it every few seconds until cancelled; never leave it dead."""
    while True:
        await asyncio.sleep(4)
        await receiver.kill()
        await asyncio.shield(receiver.start())


def said(sandbox: Sandbox, model: str) -> Counter[str]:
    """Add up the items; a copy of one whose answer was lost counts once."""
    once = {(item.series.name, item.series.key, item.time_ms): item for item in sandbox.store.select()}  # fmt: skip
    sums: Counter[str] = Counter()
    for item in once.values():
        if item.series.properties.get("model") == model:
            sums[f"{item.series.name} sum"] += round(item.value)
            sums[f"{item.series.name} count"] += item.spread.count if item.spread else 1
    return sums


def queries_say_so(sandbox: Sandbox, sums: Counter[str]) -> None:
    """The generated queries, run on what was delivered, have Triton's own numbers."""
    once = {(item.series.name, item.series.key, item.time_ms): item for item in sandbox.store.select()}  # fmt: skip
    database = Database(map(as_posted, once.values()))
    sources = Sources(parse(json.dumps(LIST), "list.json"))
    shown = {panel.key: panel for panel in panels(sources)}
    duration, batch = "nv_inference_request_duration_us", "nv_inference_batch_size"
    right = {
        "latency": sums[f"{duration} sum"] / sums[f"{duration} count"] / 1000,
        "queue_time": sums["nv_inference_queue_duration_us sum"] / sums[f"{duration} count"] / 1000,
        "batch_size": sums[f"{batch} sum"] / sums[f"{batch} count"],
    }
    for key, value in right.items():
        (row,) = database.run(shown[key].query(Scope()))
        assert row["model"] == "add_sub"
        assert row[shown[key].columns[0]] == pytest.approx(value), key
    rows = database.run(workbook_query(shown["requests"].query(WORKBOOK_SCOPE), "1m"))
    answered = sum(row["requests"] for row in rows) * 60
    assert answered == pytest.approx(sums["nv_inference_request_success sum"])
    alerts = {rule.key: database.run(rule.query) for rule in log_rules(sources)}
    (slow,) = alerts["latency"]
    assert slow["milliseconds"] == pytest.approx(right["latency"])
    assert alerts["no_traffic"] == []
    print("queries:", {key: round(value, 4) for key, value in right.items()}, "requests:", answered)


@pytest.mark.slow
@pytest.mark.timeout(600)
@in_loop(580)
async def test_the_service_has_what_triton_says(tmp_path: Path) -> None:
    """Mean latency, requests, batch size: exact over kills and a model loaded anew."""
    triton = install_triton(parts_dir())
    prometheus = install_prometheus("bookworm", parts_dir())
    (tmp_path / "list.json").write_text(json.dumps(LIST))
    explicit = ["--model-control-mode=explicit", "--load-model=add_sub"]
    async with serve(Sandbox()) as served, TritonServer(triton, MODELS, tmp_path, flags=explicit) as server:  # fmt: skip
        flags: list[str | Path] = ["--outbox-dir", tmp_path / "outbox", "--metrics-json", tmp_path / "list.json", "--connection-string", served.connection_string]  # fmt: skip
        async with ReceiverProcess(tmp_path, port=free_ports(1)[0], flags=flags, environment=bare_environment()) as receiver:  # fmt: skip
            lane = Lane(receiver, served.sandbox)
            config = write_config(tmp_path, server.metrics, {"folded": lane}, {})
            async with PrometheusServer(prometheus, config, tmp_path / "prometheus"):
                await asyncio.sleep(2 * SETTLE_SECONDS)  # the baselines are at 0
                lives = []
                kills = asyncio.create_task(kill_now_and_then(receiver))
                for life in range(2):
                    if life:
                        await manage(server.http, "add_sub", "load")
                        await asyncio.sleep(SETTLE_SECONDS)
                    accounts = await drive(server.http, seconds=LOAD_SECONDS, good_per_second=PER_SECOND, failing_per_second=0)  # fmt: skip
                    assert accounts["add_sub"].answered == LOAD_SECONDS * PER_SECOND
                    await asyncio.sleep(SETTLE_SECONDS)
                    lives.append(await statistics(server.http, "add_sub"))
                    if not life:
                        await manage(server.http, "add_sub", "unload")
                        await asyncio.sleep(SETTLE_SECONDS)
                kills.cancel()
                await asyncio.wait({kills})
                if receiver.child.process.returncode is not None:
                    await receiver.start()
                requests = sum(life.success.count for life in lives)

                async def is_said() -> bool:
                    sums = said(served.sandbox, "add_sub")
                    return sums["nv_inference_request_success sum"] >= requests

                await until(is_said, "the last window's items")
                sums = said(served.sandbox, "add_sub")
    assert requests == 2 * LOAD_SECONDS * PER_SECOND
    assert sums["nv_inference_request_success sum"] == requests
    assert sums["nv_inference_request_duration_us count"] == requests
    inferences = sum(life.inference_count for life in lives)
    assert sums["nv_inference_batch_size sum"] == inferences
    assert sums["nv_inference_batch_size count"] == sum(life.execution_count for life in lives)
    # Triton's page has whole microseconds of each request's nanoseconds.
    for name, stage in (("request", "success"), ("queue", "queue"), ("compute_infer", "compute_infer")):  # fmt: skip
        microseconds = sum(getattr(life, stage).duration_ns for life in lives) / 1000
        found = sums[f"nv_inference_{name}_duration_us sum"]
        assert abs(found - microseconds) <= requests, name
    queries_say_so(served.sandbox, sums)
    means = sums["nv_inference_request_duration_us sum"] / requests, microseconds
    print("mean us, requests, inferences:", means, requests, inferences)
