"""What the commands work out without a network."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from receiver.cli.fetch import exposed, get_json
from receiver.cli.findings import Finding, Mark, exit_code, first_trouble, show
from receiver.cli.main import main
from receiver.cli.prometheus_config import check_prometheus
from receiver.cli.relabel import to_regex
from receiver.cli.upstream import _queues
from receiver.config.settings import Address
from receiver.errors import ReceiverError
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.status.cost import estimate

ROOT = Path(__file__).parents[3]
LISTEN = Address("127.0.0.1", 9201)
NAMES = ("nv_inference_count_irate", "nv_cpu_utilization", "nv_gpu_*")
URL = "http://receiver:9201/api/v1/write"
RULE = "groups: [{name: g, rules: [{record: nv_inference_count_irate, expr: 'irate(nv_inference_count[WINDOW])'}]}]"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Leave logging as it was."""
    yield
    structlog.reset_defaults()


def look(
    folder: Path, config: dict[str, Any] | str, names: tuple[str, ...] = NAMES, window: str = "1m"
) -> dict[str, Finding]:
    """Check a configuration; what is not well, by what was looked at."""
    (folder / "rules.yml").write_text(RULE.replace("WINDOW", window))
    path = folder / "prometheus.yml"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    found = check_prometheus(str(path), LISTEN, Allowlist([Entry(name) for name in names]))
    return {each.what: each for each in found if each.mark is not Mark.OK}


def config(**changes: Any) -> dict[str, Any]:
    """Make a configuration that is right."""
    return {
        "global": {"scrape_interval": "15s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "triton"}],
        "remote_write": [{"url": "http://elsewhere/api/v1/write"}, {"url": URL}],
    } | changes


def keep(regex: str, action: str = "keep") -> dict[str, Any]:
    """Make a remote_write that relabels by name."""
    rule = {"source_labels": ["__name__"], "regex": regex, "action": action}
    return config(remote_write=[{"url": URL, "write_relabel_configs": [rule]}])


def test_our_own_configuration_is_right() -> None:
    """The committed prometheus.yml passes, with every _irate asked for."""
    rules = yaml.safe_load((ROOT / "prometheus/rules/triton_irate.yml").read_text())
    recorded = [rule["record"] for group in rules["groups"] for rule in group["rules"]]
    names = Allowlist([Entry(name) for name in recorded])
    found = check_prometheus(str(ROOT / "prometheus/prometheus.yml"), LISTEN, names)
    assert [each for each in found if each.mark is not Mark.OK] == []
    assert len(found) == 3


def test_a_right_one_has_nothing_wrong(tmp_path: Path) -> None:
    assert look(tmp_path, config()) == {}


@pytest.mark.parametrize(
    ("given", "what", "words"),
    [
        (config(remote_write=[]), "remote_write", "nowhere"),
        (config(remote_write=[{"url": "http://r:9201/"}]), "remote_write", "only to http://r:9201/"),
        (config(remote_write=[{"url": "http://r:9999/api/v1/write"}]), "remote_write", "9999"),
        (keep("nv_inference_.*"), "relabel", "nv_cpu_utilization"),
        (keep("nv_cpu_.*", "drop"), "relabel", "nv_cpu_utilization"),
        (config(rule_files=[]), "rules", "no rule makes nv_inference_count_irate"),
        (config(remote_write=[{"url": "http://["}]), "remote_write", "only to"),
        (config(scrape_configs=[]), "scrape", "nothing"),
        (config(**{"global": {"scrape_interval": "1m"}}), "window", "two must fit"),
        (config(scrape_configs=[{"job_name": "t", "scrape_interval": "45s"}]), "window", "45 s"),
        (config(**{"global": 5}), "file", "global is no mapping"),
        (config(rule_files="rules.yml"), "file", "rule_files is no list"),
        (config(rule_files=[5]), "file", "rule_files is no list"),
        (config(remote_write=5), "file", "remote_write is no list"),
        (config(remote_write={"url": URL}), "file", "remote_write is no list"),
        (config(remote_write=["x"]), "file", "remote_write is no list"),
        (config(scrape_configs="x"), "file", "scrape_configs is no list"),
        (config(remote_write=[{"url": URL, "write_relabel_configs": ["x"]}]), "file", "write_relabel_configs"),
        (config(remote_write=[{"url": URL, "write_relabel_configs": [{"source_labels": 5}]}]), "file", "write_relabel_configs"),
        ("a: [", "file", "not YAML"),
        ("a: 2020-13-45", "file", "not YAML"),
        ("- 1", "file", "no configuration"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(tmp_path: Path, given: Any, what: str, words: str) -> None:
    """Each mistake alone is named, with its fix."""
    found = look(tmp_path, given)
    assert words in found[what].detail
    assert found[what].fix


@pytest.mark.parametrize("given", [keep("nv_.*"), keep("up|go_.*", "drop"), keep("(")])
def test_rules_that_keep_ours_are_no_mistake(tmp_path: Path, given: dict[str, Any]) -> None:
    """A regex fits the whole name, as in Prometheus; one that Python cannot read is left alone."""
    assert look(tmp_path, given) == {}


@pytest.mark.parametrize("rules", ["groups: 5", "groups: [5]", "groups: [{rules: 5}]", "groups: [{rules: [5]}]"])  # fmt: skip
def test_a_rule_file_of_another_shape(tmp_path: Path, rules: str) -> None:
    """It is told, and what it should have made is missing."""
    (tmp_path / "odd.yml").write_text(rules)
    assert "groups is no list" in look(tmp_path, config(rule_files=["odd.yml", "rules.yml"]))["rules"].detail  # fmt: skip


def test_a_rule_file_that_is_not_there(tmp_path: Path) -> None:
    """A pattern without a file is told, since Prometheus says nothing of it."""
    found = look(tmp_path, config(rule_files=["nothing/*.yml"]))
    assert "no rule makes" in found["rules"].detail


def test_check_tells_it_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """One document, no secret in it, and exit code 2 for what Prometheus does not do."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = tmp_path / "prometheus.yml"
    path.write_text("scrape_configs: []")
    key = "12345678-9abc-def0-1234-56789abcdef0"
    code = main(["check", "--json", "--prometheus", str(path), "--connection-string", f"InstrumentationKey={key}"])  # fmt: skip
    out = capsys.readouterr().out
    found = json.loads(out)
    assert code == 2
    assert key not in out
    assert found["settings"]["connection_string"]["value"] == "(set)"
    assert {each["mark"] for each in found["prometheus"]} == {"fail", "warn"}


@pytest.mark.parametrize("name", ["nv_a", "nv_gpu_x", "nv.dots", "a|b", "exactly"])
def test_relabel_keeps_what_is_selected_and_nothing_else(name: str) -> None:
    """The expression and the selection agree on every name."""
    wanted = Allowlist([Entry("nv_a"), Entry("nv_gpu_*"), Entry("nv.dot?"), Entry("a|b")])
    kept = re.fullmatch(to_regex(wanted), name) is not None
    assert kept == wanted.wants(name.encode())


def test_relabel_is_yaml_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both forms say the same."""
    path = tmp_path / "metrics.json"
    path.write_text('{"customMetrics": ["nv_a", "é.*"]}')
    assert main(["relabel", "--metrics-json", str(path)]) == 0
    written = yaml.safe_load(capsys.readouterr().out)
    assert main(["relabel", "--json", "--metrics-json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == written
    assert written["write_relabel_configs"][0]["regex"] == "nv_a|é\\..*"


def test_the_first_failure_is_the_cause(capsys: pytest.CaptureFixture[str]) -> None:
    """A failure goes before an earlier warning; warnings alone are no failure."""
    warn, fail, later = Finding("a", Mark.WARN, "w"), Finding("b", Mark.FAIL, "f", "mend"), Finding("c", Mark.FAIL, "g")  # fmt: skip
    assert first_trouble([warn, fail, later]) is fail
    assert (exit_code([warn]), first_trouble([warn])) == (0, warn)
    assert show([warn, fail, later], as_json=False) == 1
    assert capsys.readouterr().out.startswith("FAIL: b: f\n  mend\n")
    assert show([], as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "cause": None, "findings": []}


def test_series_are_counted_by_name() -> None:
    """Comments are none, labels or not."""
    text = '# HELP nv_a x\nnv_a{model="m"} 1\nnv_a{model="n"} Nan\nup 1 123\n\n'
    assert exposed(text) == {"nv_a": 2, "up": 1}


def test_queues_are_read_from_prometheus_own_metrics() -> None:
    """Sent, failed and how far behind, for each address."""
    name = "prometheus_remote_storage"
    labels = f'{{remote_name="a",url="{URL}"}}'
    [queue] = _queues(
        f"{name}_samples_total{labels} 100\n{name}_samples_failed_total{labels} 3\n"
        f"{name}_queue_highest_sent_timestamp_seconds{labels} 1000\n"
        f"{name}_highest_timestamp_in_seconds 1.09e+03\n"
    )
    assert (queue.url, queue.sent, queue.failed, queue.behind_seconds) == (URL, 100, 3, 90)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://127.0.0.1:9/", "http://[", "x"])
def test_what_cannot_be_asked_is_an_error_with_words(url: str) -> None:
    """Never another exception, and never a file."""
    with pytest.raises(ReceiverError):
        get_json(url)


def test_cost_is_extrapolated() -> None:
    """A month of one item a second, of 500 bytes, three quarters of it billed."""
    hour, day, month = estimate(1.0, 500.0, 2.0)
    assert (hour.items, day.items, month.items) == (3600, 86400, 2_628_000)
    assert month.json_gb == pytest.approx(1.314)
    assert month.money == pytest.approx(1.314 * 0.75 * 2)
    assert estimate(1.0, 500.0, 0.0)[0].money is None
