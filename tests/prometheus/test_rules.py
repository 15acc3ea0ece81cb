"""Prove the committed configuration and rules on the oldest and the newest Prometheus we name.

The rules' values are in rules/*.yml, in promtool's own form.
"""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.parts import MissingPart, parts_dir
from demo.prometheus import PrometheusInstall, PrometheusServer, install, render_config
from demo.prometheus_api import Sample

# The first run fetches Prometheus.
pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "prometheus" / "prometheus.yml"
RULES = ROOT / "prometheus" / "rules" / "triton_irate.yml"
UNIT_TESTS = sorted((Path(__file__).parent / "rules").glob("*.yml"))

STAGES = ("request", "queue", "compute_input", "compute_infer", "compute_output")
COUNTERS = [
    *(f"nv_inference_{name}" for name in ("request_success", "request_failure")),
    *(f"nv_inference_{name}" for name in ("count", "exec_count")),
    *(f"nv_inference_{stage}_duration_us" for stage in STAGES),
]
SUMMARIES = [f"nv_inference_{stage}_summary_us" for stage in STAGES]


def rate(name: str) -> str:
    """Spell the rate of a counter, both sets of a reloaded model's series in one."""
    return f"sum without (gpu_uuid) (irate({name}[1m]))"


EXPRESSIONS = {f"{name}_irate": rate(name) for name in COUNTERS} | {
    record: expression
    for name in SUMMARIES
    for record, expression in (
        (f"{name}_irate", f"{rate(f'{name}_sum')} / ({rate(f'{name}_count')} > 0)"),
        (f"{name}_sum_irate", rate(f"{name}_sum")),
        (f"{name}_count_irate", rate(f"{name}_count")),
    )
}


@pytest.fixture(scope="module", params=["bookworm", "sid"])
def prometheus(request: pytest.FixtureRequest) -> PrometheusInstall:
    """Provide each Prometheus in turn: 2.42, and 3.5 or later."""
    try:
        return install(request.param, parts_dir())
    except MissingPart as missing:
        pytest.fail(missing.message, pytrace=False)


def promtool(prometheus: PrometheusInstall, *arguments: str | Path) -> None:
    """Run promtool and fail with all that it says if it isn't content."""
    command = [prometheus.promtool, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_versions_are_those_promised(prometheus: PrometheusInstall) -> None:
    """The two are those that we promise: 2.42 and 3.x."""
    assert prometheus.version.startswith(("2.42.", "3."))


def test_config_is_valid(prometheus: PrometheusInstall) -> None:
    """Both read every key of prometheus.yml and find its rule file."""
    promtool(prometheus, "check", "config", CONFIG)


def test_rules_are_valid(prometheus: PrometheusInstall) -> None:
    """Both parse every rule and find no two alike."""
    promtool(prometheus, "check", "rules", "--lint-fatal", RULES)


@pytest.mark.parametrize("case", UNIT_TESTS, ids=lambda path: path.stem)
def test_rules_give_known_values(prometheus: PrometheusInstall, case: Path) -> None:
    """Known samples in, known _irate values out."""
    promtool(prometheus, "test", "rules", case)


def rule_groups() -> list[dict[str, Any]]:
    """Return the groups of the committed rule file."""
    groups: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
    return groups


def test_every_metric_has_its_irate() -> None:
    """Each of the 14 names is recorded by the expression that is agreed, and nothing else is."""
    recorded = {rule["record"]: rule["expr"] for group in rule_groups() for rule in group["rules"]}
    assert len(COUNTERS + SUMMARIES) == 14
    assert recorded == EXPRESSIONS


def test_rules_share_one_moment() -> None:
    """One group, so all see the same scrapes; no interval, so prometheus.yml and tests set it."""
    (group,) = rule_groups()
    assert group.keys() == {"name", "rules"}


@pytest.mark.parametrize("record", EXPRESSIONS)
def test_every_record_has_a_known_value(record: str) -> None:
    """The steady case expects a value of every recorded series."""
    steady = yaml.safe_load((Path(__file__).parent / "rules" / "steady.yml").read_text())
    expected = {
        test["expr"]: test["exp_samples"] for test in steady["tests"][0]["promql_expr_test"]
    }
    assert expected[record]


def test_config_scrapes_and_evaluates_as_documented() -> None:
    """15 s and 60 s, from Triton's port to the receiver's."""
    config = yaml.safe_load(CONFIG.read_text())
    assert config["global"] == {"scrape_interval": "15s", "evaluation_interval": "60s"}
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "triton"
    assert job["static_configs"] == [{"targets": ["localhost:8002"]}]
    (remote,) = config["remote_write"]
    assert remote["url"] == "http://localhost:9201/api/v1/write"


def test_server_runs_with_it(prometheus: PrometheusInstall, tmp_path: Path) -> None:
    """Each starts with the committed file, has all rules, survives kill -9 and ends when asked."""
    config = render_config(
        CONFIG,
        tmp_path / "prometheus.yml",
        triton="127.0.0.1:9",  # nothing listens there: this is about Prometheus alone
        receiver_url="http://127.0.0.1:9/api/v1/write",
        scrape_seconds=1,
        evaluation_seconds=2,
    )

    async def run() -> None:
        async with PrometheusServer(prometheus, config, tmp_path / "data") as server:
            (two,) = await server.query("1 + 1", time=60)
            assert two.samples == (Sample(60_000, 2.0),)
            await server.reload()
            url = server.url
            await server.kill()
            await server.start()
            assert server.url == url
            (group,) = await server.rules()
            assert set(group.records) == EXPRESSIONS.keys()
            assert group.interval_seconds == 2

    asyncio.run(run())
