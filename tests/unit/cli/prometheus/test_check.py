"""`check --prometheus`: what is wrong is found, what is right is let be."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from receiver.cli.findings import Finding, Mark
from receiver.cli.main import main
from receiver.cli.prometheus.check import check_prometheus
from receiver.intake.metrics_json import Entry, parse

ROOT = Path(__file__).parents[4]
PEOPLES = ROOT / "tests/data/prometheus-yml"
NAMES = ("nv_inference_count_irate", "nv_cpu_utilization", "nv_gpu_*")
URL = "http://receiver:9201/api/v1/write"
RULE = "groups: [{name: g, rules: [{record: nv_inference_count_irate, expr: 'irate(nv_inference_count[WINDOW])'}]}]"


def look(
    folder: Path, config: dict[str, Any] | str, names: tuple[str, ...] = NAMES, window: str = "1m"
) -> dict[str, Finding]:
    """Check a configuration; what is not well, by what was looked at."""
    (folder / "rules.yml").write_text(RULE.replace("WINDOW", window))
    path = folder / "prometheus.yml"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    found = check_prometheus(str(path), 9201, [Entry(name) for name in names], "")
    return {each.what: each for each in found if each.mark not in {Mark.OK, Mark.SKIP}}


def config(**changes: Any) -> dict[str, Any]:
    """Make a configuration that is right."""
    return {
        "global": {"scrape_interval": "15s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": "triton"}],
        "remote_write": [{"url": "http://elsewhere/metrics/write"}, {"url": URL}],
    } | changes


def keep(regex: str, action: str = "keep") -> dict[str, Any]:
    """Make a remote_write that relabels by name."""
    rule = {"source_labels": ["__name__"], "regex": regex, "action": action}
    return config(remote_write=[{"url": URL, "write_relabel_configs": [rule]}])


def jobs(*intervals: tuple[str, str]) -> dict[str, Any]:
    """Make jobs with these names and intervals."""
    return config(scrape_configs=[{"job_name": name, "scrape_interval": interval} for name, interval in intervals])  # fmt: skip


def test_our_own_configuration_is_right() -> None:
    """The committed prometheus.yml passes, with every _irate asked for."""
    rules = yaml.safe_load((ROOT / "prometheus/rules/triton_irate.yml").read_text())
    recorded = [rule["record"] for group in rules["groups"] for rule in group["rules"]]
    entries = [Entry(name) for name in recorded]
    found = check_prometheus(str(ROOT / "prometheus/prometheus.yml"), 9201, entries, "")
    assert [each for each in found if each.mark not in {Mark.OK, Mark.SKIP}] == []


@pytest.mark.parametrize(
    ("name", "worst", "said"),
    [
        ("mixed", "ok", "node every 60 s, triton every 15 s"),
        ("scfiles", "ok", "jobs: triton every 15 s"),
        ("ownp", "ok", "rules record all 1 selected _irate names"),
        ("ingress", "ok", "a Service, an Ingress or a port mapping"),
        ("twoentries", "ok", "it writes to http://localhost:9201/api/v1/write"),
        ("agent", "warn", "With --agent Prometheus evaluates no rules"),
        ("slow", "warn", "only two scrapes fit, so one late scrape leaves a gap"),
        ("slash", "fail", "http://localhost:9201/api/v1/write/ is answered 404"),
        ("secret", "ok", "http://***@localhost:9201/api/v1/write"),
    ],
)
def test_peoples_configurations(name: str, worst: str, said: str, tmp_path: Path) -> None:
    """Each of these was judged wrongly once; none of their passwords is printed."""
    for file in PEOPLES.rglob("*.*"):
        copy = tmp_path / file.relative_to(PEOPLES)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (tmp_path / "rules").mkdir()
    rules = (ROOT / "prometheus/rules/triton_irate.yml").read_bytes()
    (tmp_path / "rules/triton_irate.yml").write_bytes(rules)
    entries = parse((PEOPLES / "m.json").read_bytes(), "m.json").entries

    found = check_prometheus(str(tmp_path / f"{name}.yml"), 9201, entries, "")

    marks = [str(each.mark) for each in found]
    assert next((mark for mark in ("fail", "warn") if mark in marks), "ok") == worst, found
    text = "\n".join(f"{each.detail} {each.fix}" for each in found)
    assert said in text
    assert "hunter2" not in text


def test_a_right_one_has_nothing_wrong(tmp_path: Path) -> None:
    """An entry that writes elsewhere beside it is nobody's business."""
    assert look(tmp_path, config()) == {}


@pytest.mark.parametrize(
    ("given", "what", "words"),
    [
        (config(remote_write=[]), "remote_write", "nowhere"),
        (config(remote_write=[{"url": "http://r:9201/"}]), "remote_write", "http://r:9201/ is answered 404"),
        (config(remote_write=[{"url": "http://r:9201/x/api/v1/write"}]), "remote_write", "is answered 404"),
        (config(remote_write=[{"url": "https://r/x/api/v1/write"}]), "remote_write", "right only if a proxy"),
        (config(remote_write=[{"url": "http://m:9009/api/v1/push"}]), "remote_write", "to other addresses: http://m:9009"),
        (config(remote_write=[{"url": URL, "name": "a"}, {"url": URL, "name": "b"}]), "remote_write", "sent twice"),
        (keep("nv_inference_.*"), "relabel", "nv_cpu_utilization"),
        (keep("nv_cpu_.*", "drop"), "relabel", "nv_cpu_utilization"),
        (config(rule_files=[]), "rules", "no rule records nv_inference_count_irate"),
        (config(remote_write=[{"url": "http://["}]), "remote_write", "to other addresses"),
        (config(scrape_configs=[]), "scrape", "nothing"),
        (config(**{"global": {"scrape_interval": "1m"}}), "window", "two scrapes must fit"),
        (jobs(("triton", "45s")), "window", "45 s"),
        (jobs(("triton", "30s")), "window", "only two scrapes fit"),
        (jobs(("a", "45s"), ("b", "15s")), "window", "if a scrapes Triton"),
        (jobs(("a", "45s"), ("b", "50s")), "window", "or there is no value"),
        (config(**{"global": 5}), "file", "global is not a mapping"),
        (config(**{"global": {"external_labels": ["replica"]}}), "file", "external_labels is not a mapping"),
        (config(rule_files="rules.yml"), "file", "rule_files is not a list"),
        (config(rule_files=[5]), "file", "rule_files is not a list"),
        (config(scrape_config_files=[5]), "file", "scrape_config_files is not a list"),
        (config(scrape_config_files=["none/*.yml"]), "file", "no file matches none/*.yml"),
        (config(scrape_config_files=["rules.yml", "prometheus.yml"]) | {"scrape_configs": "x"}, "file", "scrape_configs is not a list"),
        (config(remote_write=5), "file", "remote_write is not a list"),
        (config(remote_write={"url": URL}), "file", "remote_write is not a list"),
        (config(remote_write=["x"]), "file", "remote_write is not a list"),
        (config(remote_write=[{"url": URL, "write_relabel_configs": ["x"]}]), "file", "write_relabel_configs"),
        (config(remote_write=[{"url": URL, "write_relabel_configs": [{"source_labels": 5}]}]), "file", "write_relabel_configs"),
        ("a: [", "file", "not YAML"),
        ("a: *hunter2", "file", "not YAML"),
        ("a: !!int ''", "file", "not YAML"),
        ("a: !hunter2 x", "file", "not YAML"),
        ("a: 2020-13-45", "file", "not YAML"),
        ("- 1", "file", "no configuration"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(tmp_path: Path, given: Any, what: str, words: str) -> None:
    """Each mistake alone is named, with its fix, and quotes no secret."""
    found = look(tmp_path, given)
    assert words in found[what].detail
    assert found[what].fix
    assert "hunter2" not in found[what].detail


@pytest.mark.parametrize(
    "given",
    [
        keep("nv_.*"),
        keep("up|go_.*", "drop"),
        keep("("),
        jobs(("node", "5m"), ("triton", "15s")),
        jobs(("triton", "15s"), ("slow", "5m")),
        config(scrape_configs=[{"job_name": "node", "scrape_interval": "5m"}, {"job_name": "gpu", "static_configs": [{"targets": ["t:8002"]}]}]),
    ],
)  # fmt: skip
def test_what_is_right_is_no_mistake(tmp_path: Path, given: dict[str, Any]) -> None:
    """A regex fits the whole name, one that Python cannot read is left alone; slower jobs are others'."""
    assert look(tmp_path, given) == {}


def test_a_rule_over_a_rule_waits_for_its_evaluation(tmp_path: Path) -> None:
    """What it looks at comes as often as the other rule is evaluated, not as Triton is scraped."""
    (tmp_path / "own.yml").write_text(
        "groups: [{name: g, rules: [{record: nv_a, expr: nv_b}, {record: nv_a_irate, expr: 'irate(nv_a[1m])'}]}]"
    )
    found = look(tmp_path, config(rule_files=["own.yml"]), ("nv_a_irate",))
    assert "of the rule nv_a is scraped every 60 s" in found["window"].detail


@pytest.mark.parametrize("rules", ["groups: 5", "groups: [5]", "groups: [{rules: 5}]", "groups: [{rules: [5]}]"])  # fmt: skip
def test_a_rule_file_of_another_shape(tmp_path: Path, rules: str) -> None:
    """It is a finding, and what it should have made is missing."""
    (tmp_path / "odd.yml").write_text(rules)
    found = look(tmp_path, config(rule_files=["odd.yml"]))
    assert "groups is not a list" in found["file"].detail
    assert "no rule records" in found["rules"].detail


def test_check_says_it_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """One document, no secret in it, and exit code 2 for what Prometheus does not do."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = tmp_path / "prometheus.yml"
    path.write_text("scrape_configs: []")
    key = "12345678-9abc-def0-1234-56789abcdef0"
    code = main(["check", "--json", "--prometheus", str(path), "--promtool", "", "--connection-string", f"InstrumentationKey={key}"])  # fmt: skip
    out = capsys.readouterr().out
    found = json.loads(out)
    assert (code, found["ok"]) == (2, False)
    assert key not in out
    assert found["settings"]["connection_string"]["value"] == "(set)"
    assert {each["mark"] for each in found["prometheus"]} == {"fail", "warn", "skip"}
