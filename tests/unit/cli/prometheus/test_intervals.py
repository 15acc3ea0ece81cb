"""The scrape interval is that of a prometheus.yml or of a Prometheus; without either it is assumed."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

from receiver.cli.main import main

PAGE = str(Path(__file__).parents[3] / "data" / "triton-metrics" / "one-model-one-gpu.txt")
MONTH_SECONDS = 43_800 * 60
NAMES = {"customMetrics": ["nv_cpu_utilization", "nv_inference_count_irate"]}
RULES = {
    "groups": [
        {
            "name": "g",
            "interval": "30s",
            "rules": [{"record": "nv_inference_count_irate", "expr": "irate(nv_inference_count[1m])"}],
        }
    ]
}  # fmt: skip


@contextmanager
def prometheus(
    targets: list[dict[str, Any]], config: Mapping[str, Any], queries: list[str] | None = None
) -> Iterator[str]:
    """Answer as a Prometheus does that scrapes these targets; note its `queries`."""
    rules = [{"name": "nv_inference_count_irate", "query": "irate(nv_inference_count[1m])"}]
    result = [
        {"metric": {"__name__": name, "job": "t", "instance": instance}, "value": [0, "5"]}
        for name in ("nv_cpu_utilization", "nv_inference_count", "nv_inference_count_irate")
        for instance in ("a:8002", "b:8002")
    ]
    answers: dict[str, Any] = {
        "/api/v1/status/config": {"yaml": yaml.safe_dump(dict(config))},
        "/api/v1/status/flags": {},
        "/api/v1/targets": {"activeTargets": targets},
        "/api/v1/rules": {"groups": [{"interval": 30, "rules": rules}]},
        "/api/v1/label/__name__/values": ["nv_cpu_utilization"],
        "/api/v1/query": {"resultType": "vector", "result": result},
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path == "/api/v1/query" and queries is not None:
                queries.extend(parse_qs(query)["query"])
            found = answers.get(path)
            body = b"" if found is None else json.dumps({"data": found}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def target(instance: str, every: str) -> dict[str, Any]:
    return {"labels": {"job": "t", "instance": instance}, "scrapeInterval": every}


@pytest.fixture
def wanted(tmp_path: Path) -> list[str]:
    """Write a metrics.json; give the flag that names it."""
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(NAMES))
    return ["--metrics-json", str(path)]


def cost(capsys: pytest.CaptureFixture[str], *flags: str) -> Any:
    assert main(["cost", "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("config", "seconds"),
    [
        ({"scrape_configs": [{"job_name": "x"}]}, 60),
        ({"global": {"scrape_interval": "5s"}, "scrape_configs": [{"job_name": "x"}]}, 5),
        (
            {
                "global": {"scrape_interval": "5s"},
                "scrape_configs": [
                    {"job_name": "node"},
                    {"job_name": "t", "scrape_interval": "20s", "static_configs": [{"targets": ["h:8002"]}]},
                ],
            },
            20,
        ),
    ],
)  # fmt: skip
def test_a_file_says_it(
    config: dict[str, Any],
    seconds: int,
    tmp_path: Path,
    wanted: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Globally, or of the job that scrapes Triton; its rules say what is recorded, and how often."""
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(RULES))
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(config | {"rule_files": ["rules.yml"]}))
    found = cost(capsys, "--from", PAGE, "--prometheus", str(path), *wanted)

    assert f"every {seconds} s, as {path} says of job" in found["scraped"]
    items = [each["items"] for each in found["entries"]]
    assert items == [MONTH_SECONDS / seconds, MONTH_SECONDS / 30]

    path.write_text(yaml.safe_dump(config))  # without rules no rate is recorded
    found = cost(capsys, "--from", PAGE, "--prometheus", str(path), *wanted)
    assert [each["series"] for each in found["entries"]] == [1, 0]


def test_what_is_typed_counts_first_and_nothing_said_is_assumed(
    wanted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The words say which it was."""
    found = cost(capsys, "--from", PAGE, *wanted)
    assert found["scraped"] == "every 15 s (assumed)"
    found = cost(capsys, "--from", PAGE, "--scrape-seconds", "30", *wanted)
    assert found["scraped"] == "every 30 s, as --scrape-seconds says"
    assert found["entries"][0]["items"] == MONTH_SECONDS / 30
    assert main(["cost", "--from", PAGE, "--prometheus", "/none.yml", *wanted]) == 1
    assert "/none.yml: No such file" in capsys.readouterr().err


def test_a_prometheus_says_it_of_each_target(
    wanted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether the series are asked of it too, or are those of a page."""
    with prometheus([target("a:8002", "5s"), target("b:8002", "1m")], {}) as url:
        found = cost(capsys, "--from", url, *wanted)
        assert found["entries"][0]["items"] == MONTH_SECONDS / 5 + MONTH_SECONDS / 60
        assert found["entries"][1]["items"] == 2 * MONTH_SECONDS / 30
        assert found["scraped"] == f"every 5 s, as {url} says of job t"
        found = cost(capsys, "--from", PAGE, "--prometheus", url, *wanted)
        assert found["entries"][0]["items"] == MONTH_SECONDS / 5


def test_metrics_that_are_none_of_tritons_are_asked_for_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Prometheus by the names of metrics.json, a page by what it shows; what is absent is said."""
    path, page = tmp_path / "metrics.json", tmp_path / "page"
    path.write_text(json.dumps({"customMetrics": ["own_*", "go_a.b"]}))
    page.write_text("own_a 1\nown_b 2\n")
    queries: list[str] = []
    with prometheus([target("a:8002", "5s")], {}, queries) as url:
        cost(capsys, "--from", url, "--metrics-json", str(path))
    assert queries == ['{__name__=~"nv_.+|go_a\\\\.b|own_.*"}']
    assert main(["cost", "--from", str(page), "--metrics-json", str(path)]) == 0
    printed = capsys.readouterr()
    assert "No series there fits go_a.b." in printed.err
    assert printed.out.splitlines()[1].split()[:2] == ["own_*", "2"]
    path.write_text(json.dumps({"customMetrics": ["other"]}))
    assert main(["cost", "--from", str(page), "--metrics-json", str(path)]) == 1
    assert "has no metrics of Triton" in capsys.readouterr().err


def test_check_takes_a_prometheus_that_runs(
    tmp_path: Path, wanted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its configuration, targets and rules are looked at as a file's, and the cost is that of its series."""
    config = {"remote_write": [{"url": "http://localhost:9201/api/v1/write"}]}
    base = ["check", "--sandbox", "--outbox-dir", str(tmp_path), "--json", *wanted]
    with prometheus([target("a:8002", "5s"), target("b:8002", "5s")], config) as url:
        assert main([*base, "--prometheus", url]) == 0
        found = json.loads(capsys.readouterr().out)
    looked_at = {each["what"]: each for each in found["prometheus"]}
    assert {name: each["mark"] for name, each in looked_at.items()} == {
        "remote_write": "ok",
        "scrape": "ok",
        "rules": "ok",
    }
    assert looked_at["scrape"]["detail"] == "jobs: t every 5 s"
    [counted] = [each["detail"] for each in found["findings"] if each["what"] == "cost"]
    assert counted.startswith(f"about {2 * MONTH_SECONDS // 5 + 2 * MONTH_SECONDS // 30:,} items")
    assert f"scraped every 5 s, as {url} says of job t" in counted
    assert main([*base, "--prometheus", url]) == 2  # it is gone
    found = json.loads(capsys.readouterr().out)
    assert "does not answer" in found["prometheus"][0]["detail"]
