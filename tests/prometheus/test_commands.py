"""`check --prometheus` and `doctor` beside Prometheus' own words: 2.42 and 3.5, promtool, agents."""

import argparse
import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from demo.child import Child
from demo.parts import MissingPart, parts_dir
from demo.ports import free_ports
from demo.prometheus import PrometheusInstall, PrometheusServer, install
from receiver.cli import doctor, suggest, upstream
from receiver.cli.doctor import Addresses
from receiver.cli.fetch import NoAnswer
from receiver.cli.findings import Finding, Mark
from receiver.cli.prometheus.check import check_prometheus
from receiver.intake.metrics_json import Entry, parse
from tests.integration.waiting import in_loop, until

# The first run fetches Prometheus.
pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
PEOPLES = ROOT / "tests/data/prometheus-yml"
PAGE = ROOT / "tests/data/triton-metrics/default.txt"
WANTED = ["nv_inference_request_success", "nv_inference_request_success_irate"]
RULE = {
    "record": "nv_inference_request_success_irate",
    "expr": 'irate(nv_inference_request_success{model=~"[abc]|.*"}[WINDOW])',
}


@pytest.fixture(scope="module", params=["bookworm", "sid"])
def prometheus(request: pytest.FixtureRequest) -> PrometheusInstall:
    """Provide each Prometheus in turn: 2.42, and 3.5 or later."""
    try:
        return install(request.param, parts_dir())
    except MissingPart as missing:
        pytest.fail(missing.message, pytrace=False)


@pytest.mark.parametrize("name", ["mixed", "scfiles", "ownp", "ingress", "twoentries", "agent", "secret", "slow"])  # fmt: skip
def test_promtool_is_content_where_check_is(
    prometheus: PrometheusInstall, name: str, tmp_path: Path
) -> None:
    """No FAIL for what Prometheus takes; a key that an older promtool does not know is a warning."""
    for file in PEOPLES.rglob("*.*"):
        copy = tmp_path / file.relative_to(PEOPLES)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (tmp_path / "rules").mkdir()
    rules = (ROOT / "prometheus/rules/triton_irate.yml").read_bytes()
    (tmp_path / "rules/triton_irate.yml").write_bytes(rules)
    entries = parse((PEOPLES / "m.json").read_bytes(), "m.json").entries

    found = check_prometheus(str(tmp_path / f"{name}.yml"), 9201, entries, str(prometheus.promtool))

    assert [each for each in found if each.mark is Mark.FAIL] == []
    assert "hunter2" not in str(found)
    [promtool] = [each for each in found if each.what == "promtool"]
    older = name == "scfiles" and prometheus.version.startswith("2.")
    assert promtool.mark is (Mark.WARN if older else Mark.OK), promtool


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("remote_wrte: []", "remote_wrte"),
        ("global: {scrape_interval: hunter2}", "not a valid duration"),
        ("remote_write: [{url: 'http://x/', basic_auth: {password: [hunter2]}}]", "unmarshal"),
    ],
)
def test_promtool_s_complaints_are_shown(
    prometheus: PrometheusInstall, text: str, said: str, tmp_path: Path
) -> None:
    """In its own words."""
    (tmp_path / "p.yml").write_text(text)
    found = check_prometheus(str(tmp_path / "p.yml"), 9201, [], str(prometheus.promtool))
    [promtool] = [each for each in found if each.what == "promtool"]
    assert promtool.mark in {Mark.FAIL, Mark.WARN}
    assert said in promtool.detail


@asynccontextmanager
async def triton() -> AsyncIterator[str]:
    """Serve a page that a Triton has shown; its counters do not move."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=PAGE.read_text())

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def configured(folder: Path, target: str, url: str, window: str = "") -> Path:
    """Write a configuration: Triton's job each second and a slow one of others'; rules with `window`."""
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": "inference", "static_configs": [{"targets": [target]}]},
            {"job_name": "node", "scrape_interval": "5m", "static_configs": [{"targets": ["127.0.0.1:9"]}]},
        ],
        "remote_write": [{"url": url}],
    }  # fmt: skip
    if window:
        rule = RULE | {"expr": RULE["expr"].replace("WINDOW", window)}
        rules = {"groups": [{"name": "g", "interval": "1s", "rules": [rule]}]}
        (folder / "rules.yml").write_text(yaml.safe_dump(rules))
        config["rule_files"] = ["rules.yml"]
    path = folder / "p.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def judged(url: str, target: str, port: int) -> Sequence[Finding]:
    """Ask Prometheus as `doctor` does."""
    found = upstream.ask_prometheus(url)
    place = Addresses(port, url, f"http://{target}/metrics")
    return list(doctor._prometheus(found, place, NoAnswer("not asked"), WANTED))


@in_loop(120)
async def test_doctor_reads_rules_and_jobs_as_prometheus_does(
    prometheus: PrometheusInstall, tmp_path: Path
) -> None:
    """A slow job beside Triton's is no failure, a window of a scrape is one; a Service's port is fine."""
    async with triton() as target:
        for window, service, mark in (("5s", 9201, None), ("1s", 80, Mark.FAIL)):
            folder = tmp_path / window
            folder.mkdir()
            url = f"http://prom:hunter2@localhost:{service}/api/v1/write"
            config = configured(folder, target, url, window)
            async with PrometheusServer(prometheus, config, folder / "data") as server:

                async def scraped(address: str = server.url) -> Any:
                    found = await asyncio.to_thread(upstream.ask_prometheus, address)
                    return "nv_inference_request_success" in found.names

                await until(scraped, "Triton is scraped", 60)
                found = await asyncio.to_thread(judged, server.url, target, 9201)
                asked = argparse.Namespace(source=server.url, prometheus_url="", scrape_seconds=None)  # fmt: skip
                seen = await asyncio.to_thread(suggest.read, asked)
                entries = [Entry("nv_inference_request_success_irate")]
                checked = await asyncio.to_thread(check_prometheus, server.url, 9201, entries, "")
            assert seen.intervals.by_rule == {"nv_inference_request_success_irate": 1.0}
            assert seen.intervals.scrape_seconds == 1.0, "Triton's job, not the slower one"
            marks = {each.what: each.mark for each in found}
            of_check = {finding.what: finding for finding in checked}
            assert of_check["scrape"].detail == "jobs: inference every 1 s, node every 300 s"
            assert of_check["remote_write"].mark is Mark.OK, checked
            assert of_check["window"].mark is (mark or Mark.WARN), (
                "which job is Triton's it cannot know"
            )
            assert "hunter2" not in json.dumps([str(finding) for finding in checked])
            assert marks["remote_write"] is Mark.OK, found
            assert marks.get("window") is mark, found
            assert not [each for each in found if each.what == "scrape" and each.mark is Mark.FAIL]
            assert "hunter2" not in json.dumps([str(each) for each in found])


@in_loop(120)
async def test_an_agent_is_an_agent(prometheus: PrometheusInstall, tmp_path: Path) -> None:
    """It answers no queries and has no rules: no failure, but no _irate either."""
    mode = "--enable-feature=agent" if prometheus.version.startswith("2.") else "--agent"
    async with triton() as target:
        config = configured(tmp_path, target, "http://localhost:9201/api/v1/write")
        listen = f"127.0.0.1:{free_ports(1)[0]}"
        flags = [f"--config.file={config}", f"--storage.agent.path={tmp_path}/agent", f"--web.listen-address={listen}"]  # fmt: skip
        agent = await Child.start("An agent", [str(prometheus.prometheus), mode, *flags], log=tmp_path / "log", environment=os.environ)  # fmt: skip
        try:
            await agent.ready(f"http://{listen}/-/ready", within_seconds=60)

            async def scraped() -> Any:
                found = await asyncio.to_thread(upstream.ask_prometheus, f"http://{listen}")
                return any(each.get("health") == "up" for each in found.targets)

            await until(scraped, "Triton is scraped", 60)
            found = await asyncio.to_thread(judged, f"http://{listen}", target, 9201)
        finally:
            await agent.kill()
    assert [each for each in found if each.mark is Mark.FAIL] == []
    [rules] = [each for each in found if each.what == "rules"]
    assert (
        "an agent evaluates no rules, so it never records nv_inference_request_success_irate"
        in rules.detail
    )
