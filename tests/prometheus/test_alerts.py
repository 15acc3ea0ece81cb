"""The alerts and the dashboard on the receiver's own metrics: true to promtool and to the code."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.parts import MissingPart, parts_dir
from demo.prometheus import PrometheusInstall, PrometheusServer, install
from receiver.status.metrics import METRICS
from receiver.status.verdicts import State, anchor

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
RULES = ROOT / "prometheus" / "rules" / "receiver_alerts.yml"
CASES = Path(__file__).parent / "alerts" / "receiver.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "receiver.json"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
PARTS = ("", "_bucket", "_sum", "_count")
KNOWN = {f"{each.name}{part}" for each in METRICS for part in PARTS}


@pytest.fixture(scope="module", params=["bookworm", "sid"])
def prometheus(request: pytest.FixtureRequest) -> PrometheusInstall:
    """Provide each Prometheus in turn: 2.42, and 3.5 or later."""
    try:
        return install(request.param, parts_dir())
    except MissingPart as missing:
        pytest.fail(missing.message, pytrace=False)


def alerts() -> list[dict[str, Any]]:
    """Return the committed alerts."""
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def queries() -> list[str]:
    """Return the expressions of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_rules_are_valid(prometheus: PrometheusInstall) -> None:
    """Both versions parse every alert and find no two alike."""
    promtool(prometheus, "check", "rules", "--lint-fatal", RULES)


def test_each_state_fires_its_alert_alone(prometheus: PrometheusInstall) -> None:
    """A healthy receiver fires none, and each broken one what is meant for it."""
    promtool(prometheus, "test", "rules", CASES)


def promtool(prometheus: PrometheusInstall, *arguments: str | Path) -> None:
    command = [prometheus.promtool, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_is_seen_firing() -> None:
    """No alert is committed that no case fires."""
    cases = yaml.safe_load(CASES.read_text())["tests"]
    fired = {
        label
        for case in cases
        for test in case["promql_expr_test"]
        for sample in test["exp_samples"]
        for label in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert fired == {each["alert"] for each in alerts()}


@pytest.mark.parametrize("alert", alerts(), ids=lambda each: each["alert"])
def test_alert_leads_to_its_page(alert: dict[str, Any]) -> None:
    """Its metrics exist, and the runbook has its heading and its name."""
    assert set(re.findall(r"\breceiver_\w+", alert["expr"])) <= KNOWN
    page, _, heading = alert["annotations"]["runbook"].partition("#")
    assert page == "docs/runbook.md"
    assert heading in anchors()
    assert f"`{alert['alert']}`" in RUNBOOK


@pytest.mark.parametrize("state", State)
def test_verdict_has_its_page(state: State) -> None:
    """Each verdict has a heading in the runbook."""
    assert anchor(state) in anchors()


def anchors() -> set[str]:
    """Spell the runbook's headings as their anchors."""
    headings = re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
    return {heading.lower().replace(" ", "-") for heading in headings}


def test_dashboard_asks_for_what_there_is() -> None:
    """Every metric in it is one of ours, and each panel says what it shows."""
    assert queries()
    for query in queries():
        assert set(re.findall(r"\breceiver_\w+", query)) <= KNOWN
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] for panel in panels)


def test_dashboard_s_queries_are_promql(prometheus: PrometheusInstall, tmp_path: Path) -> None:
    """A real Prometheus parses each, its variables filled in as Grafana does."""
    config = tmp_path / "prometheus.yml"
    config.write_text("scrape_configs: []\n")
    values = {"$__rate_interval": "1m", "$job": ".+", "$instance": ".+"}

    async def run() -> None:
        async with PrometheusServer(prometheus, config, tmp_path / "data") as server:
            for query in queries():
                for name, value in values.items():
                    query = query.replace(name, value)  # noqa: PLW2901 - filled in step by step
                assert await server.query(query, time=60) == []

    asyncio.run(run())
