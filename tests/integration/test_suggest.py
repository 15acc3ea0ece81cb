"""`suggest` against pages that a real Triton has shown."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from receiver.cli.main import main
from receiver.intake.metrics_json import parse

PAGES = Path(__file__).parent.parent / "data/triton-metrics"


@contextmanager
def triton(name: str) -> Iterator[str]:
    """Serve a page as Triton does; give its address."""
    page = (PAGES / f"{name}.txt").read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


NO_PROMETHEUS = ["--prometheus-url", ""]


@pytest.mark.parametrize("page", ["default", "all", "fake-gpu"])
def test_what_is_printed_folds(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It can be used as it is: one item a minute, and each metric that is there has its entry."""
    with triton(page) as url:
        assert main(["suggest", "--from", url, *NO_PROMETHEUS]) == 0

    printed = capsys.readouterr()
    entries = parse(printed.out, "printed").entries
    assert all(entry.is_folded for entry in entries)
    by_name = {entry.item_name(entry.name): entry for entry in entries}
    if page != "fake-gpu":  # which has but GPUs
        latency = by_name["nv_inference_*_duration_us"]
        assert (latency.as_, latency.per, latency.keep) == ("mean", ("nv_inference_request_success",), ("model", "version"))  # fmt: skip
        assert by_name["nv_inference_batch_size"].per == ("nv_inference_exec_count",)
    assert all(entry.sentence() in printed.err for entry in entries)
    assert "items/month" in printed.err
    assert ("nv_gpu_*" in by_name) is (page == "fake-gpu")
    shown = {line.split("{")[0].split(" ")[0] for line in (PAGES / f"{page}.txt").read_text().splitlines()}  # fmt: skip
    left_out = {name for name in shown if name.startswith("nv_") and not any(e.fits(name) or name in e.per for e in entries)}  # fmt: skip
    assert not [name for name in left_out if "summary" not in name and "_cache_" not in name]


def test_folding_costs_less(capsys: pytest.CaptureFixture[str]) -> None:
    """By the same reckoning."""
    costs = []
    with triton("all") as url:
        for raw in ([], ["--raw", "--counters"]):
            assert main(["suggest", "--from", url, "--json", *raw, *NO_PROMETHEUS]) == 0
            found = json.loads(capsys.readouterr().out)["categories"]
            costs.append(sum(each["items_per_second"] for each in found.values()))
    assert costs[0] * 4 < costs[1]


def test_raw_takes_every_sample(capsys: pytest.CaptureFixture[str]) -> None:
    """It can be used as it is, and takes the rates of what only grows."""
    with triton("default") as url:
        assert main(["suggest", "--from", url, "--raw", *NO_PROMETHEUS]) == 0

    printed = capsys.readouterr()
    names = [entry.name for entry in parse(printed.out, "printed").entries]
    assert "nv_inference_request_success_irate" in names
    assert "nv_inference_request_success" not in names
    assert "nv_cpu_utilization" in names
    assert not [name for name in names if "summary" in name or "gpu" in name]
    assert "items/month" in printed.err


def test_categories_are_taken_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Only what was asked for, and the costs of all beside it."""
    with triton("all") as url:
        assert (
            main(
                [
                    "suggest",
                    "--from",
                    url,
                    "--category",
                    "summary",
                    "--json",
                    "--raw",
                    *NO_PROMETHEUS,
                ]
            )
            == 0
        )

    document = json.loads(capsys.readouterr().out)
    assert document["chosen"] == ["summary"]
    assert all("_summary_us" in name for name in document["customMetrics"])
    assert document["categories"]["count"]["items_per_second"] > 0
    parse(json.dumps({"customMetrics": document["customMetrics"]}), "printed")


def test_a_gpu_s_metrics_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    """All six of them, the energy among them."""
    with triton("fake-gpu") as url:
        assert main(["suggest", "--from", url, "--category", "gpu", "--raw", *NO_PROMETHEUS]) == 0

    names = json.loads(capsys.readouterr().out)["customMetrics"]
    assert len(names) == 6
    assert "nv_energy_consumption" in names


def test_a_file_that_exists_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Written once; the second time it says so and changes nothing."""
    file = tmp_path / "metrics.json"
    with triton("default") as url:
        assert main(["suggest", "--from", url, "--output", str(file), *NO_PROMETHEUS]) == 0
        written = file.read_text()
        assert (
            main(
                [
                    "suggest",
                    "--from",
                    url,
                    "--category",
                    "cpu",
                    "--output",
                    str(file),
                    *NO_PROMETHEUS,
                ]
            )
            == 1
        )

    assert file.read_text() == written
    assert "File exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--category", "gpus"], 2, "no category gpus"),
        (["--category", "gpu"], 1, "has no metrics of Triton"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what there is instead, and an exit code of its own."""
    with triton("default") as url:
        assert main(["suggest", "--from", url, *NO_PROMETHEUS, *arguments]) == code

    assert said in capsys.readouterr().err


def test_an_address_without_a_server_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """A port at which nothing listens: no traceback, exit code 1."""
    with triton("default") as url:
        pass

    assert main(["suggest", "--from", url]) == 1
    err = capsys.readouterr().err
    assert url.split("/")[2] in err
    assert "Traceback" not in err
