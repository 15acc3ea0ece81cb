"""What the commands work out without a network."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import yaml

from receiver.cli.fetch import exposed, get_json
from receiver.cli.findings import Finding, Mark, exit_code, first_trouble, show
from receiver.cli.main import main
from receiver.cli.relabel import to_regex
from receiver.cli.upstream import _queues
from receiver.errors import ReceiverError
from receiver.intake.entries import As
from receiver.intake.metrics_json import Allowlist, Entry
from receiver.status.cost import Price, estimate

URL = "http://receiver:9201/api/v1/write"


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Leave logging as it was."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("name", ["nv_a", "nv_gpu_x", "nv.dots", "a|b", "exactly"])
def test_relabel_keeps_what_is_selected_and_nothing_else(name: str) -> None:
    """The expression and the selection agree on every name."""
    wanted = Allowlist([Entry("nv_a"), Entry("nv_gpu_*"), Entry("nv.dot?"), Entry("a|b")])
    kept = re.fullmatch(to_regex(wanted), name) is not None
    assert kept == wanted.wants(name.encode())


def test_relabel_lets_through_what_means_are_counted_by() -> None:
    """A denominator need not be selected, but has to arrive."""
    mean = Entry("nv_inference_*_duration_us", As.MEAN, ("nv_a", "nv_b"))
    assert to_regex(Allowlist([Entry("nv_a"), mean])) == "nv_a|nv_inference_.*_duration_us|nv_b"


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
    """A month of one item a second, of 500 bytes of JSON, of which the envelope is not billed."""
    hour, day, month = estimate(1.0, 500.0, Price(2.0))
    assert (hour.items, day.items, month.items) == (3600, 86400, 2_628_000)
    assert month.json_gb == pytest.approx(1.314)
    assert month.money == pytest.approx(2_628_000 * (500 - 126) / 1e9 * 2)
    assert estimate(1.0, 500.0, Price())[0].money is None
