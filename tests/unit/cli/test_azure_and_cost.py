"""`azure` and `cost` write what is asked, and say what they cannot."""

import json
import re
from pathlib import Path

import pytest

from receiver.cli.main import main

PAGE = str(Path(__file__).parents[2] / "data" / "triton-metrics" / "one-model-one-gpu.txt")


@pytest.mark.parametrize("kind", ["workbook", "template"])
def test_documents_are_json(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output, and nothing else there."""
    assert main(["azure", kind]) == 0
    assert json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("name", "is_told_by_name"), [("nv_a", True), ("own_a", False)])
def test_instances_are_found_whatever_the_metrics_are_called(
    name: str,
    is_told_by_name: bool,  # noqa: FBT001 - a case
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the names of Triton's where all are; else by all custom metrics."""
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"customMetrics": [name]}))
    assert main(["azure", "workbook", "--metrics-json", str(path)]) == 0
    instance = json.loads(capsys.readouterr().out)["items"][1]["content"]["parameters"][1]
    assert ("startswith" in instance["query"]) == is_told_by_name


def test_a_file_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or the reason why not."""
    path = tmp_path / "queries.md"
    assert main(["azure", "queries", "--output", str(path)]) == 0
    assert "```kusto" in path.read_text(encoding="utf-8")
    assert main(["azure", "queries", "--output", str(tmp_path / "none" / "x")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_a_scaler_without_a_metric_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With what to select."""
    assert main(["azure", "keda"]) == 1
    assert "select nv_inference_pending_request_count" in capsys.readouterr().err


def test_a_cost_is_counted_from_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Entry by entry; money where a price is set."""
    assert main(["cost", "--from", PAGE, "--price-per-gb", "2.30", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["total"]["items"] == 3 * 43_800 * 4
    assert document["total"]["money"] == pytest.approx(document["total"]["billed_gb"] * 2.3)
    assert document["folded example"]["items"] < document["all of Triton's, raw"]["items"] / 6
    assert main(["cost", "--from", PAGE]) == 0
    assert "in all" in capsys.readouterr().out


@pytest.mark.parametrize("unmatched", ["default", "drop"])
def test_each_route_has_its_cost(
    unmatched: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its series' labels and without its secret; what is dropped costs nothing."""
    page, entries, file = (tmp_path / name for name in ("page", "metrics.json", "routes.json"))
    page.write_text("".join(f'nv_a{{model="{model}",version="1"}} 5\n' for model in ("a_1", "a_2", "b_1", "x")))  # fmt: skip
    joined = {"name": "nv_a", "as": "aggregate", "keep": ["version"], "rename": "joined"}
    entries.write_text(json.dumps({"customMetrics": ["nv_a", joined]}))
    routes = [{"name": name, "match": {"model": f"{name}_*"}, "connection_string_file": "none"} for name in "abc"]  # fmt: skip
    file.write_text(json.dumps({"routes": routes, "unmatched": unmatched}))
    flags = ["cost", "--from", str(page), "--metrics-json", str(entries)]
    assert main([*flags, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["routes"] == []
    flags += ["--routes", str(file)]
    assert main([*flags, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    found = {each["route"]: each["items"] for each in document["routes"]}
    raw, window = 43_800 * 4, 43_800
    wanted = {"a": 2 * raw + window, "b": raw + window, "c": 0, "default": raw + window}
    if unmatched == "drop":
        del wanted["default"]
    assert found == wanted
    assert document["total"]["items"] == sum(wanted.values())
    entry = document["entries"][1]
    assert entry["items"] == (len(wanted) - 1) * window > plain["entries"][1]["items"] == window
    assert main(flags) == 0
    printed = capsys.readouterr()
    assert "route a " in printed.out
    assert ("1 selected series take no route" in printed.err) == (unmatched == "drop")


def test_an_estimate_is_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    """By one number; the same bill with that factor set gives the same factor."""
    for factor in ("1", "0.5"):
        assert (
            main(
                [
                    "cost",
                    "--from",
                    PAGE,
                    "--calibrate",
                    "ITEMS=1000,BYTES=200000",
                    "--billed-factor",
                    factor,
                ]
            )
            == 0
        )
        assert "RECEIVER_BILLED_FACTOR=0.7" in capsys.readouterr().out
    assert main(["cost", "--from", PAGE, "--calibrate", "ITEMS=1000"]) == 2
    assert "ITEMS=number,BYTES=number" in capsys.readouterr().err


@pytest.mark.parametrize("has_token", [False, True])
def test_check_says_who_is_asked_for_credentials(
    has_token: bool,  # noqa: FBT001 - a case
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody on loopback without a rule; and what is asked where there is one."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o600)
    flags = ["--bearer-token-file", str(token)] if has_token else []
    main(["check", "--sandbox", "--outbox-dir", str(tmp_path), *flags])
    said = capsys.readouterr().out
    assert ("asks for a token" in said) == has_token
    assert ("asks for no credentials" in said) != has_token


def test_check_forecasts_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside raw and folded; a page that cannot be read is a warning, and changes no exit code."""
    base = ["check", "--sandbox", "--outbox-dir", str(tmp_path)]
    assert main([*base, "--cost-of", PAGE]) == 0
    assert "525,600 items" in capsys.readouterr().out
    assert main([*base, "--cost-of", str(tmp_path / "none")]) == 0
    assert "cannot be read" in capsys.readouterr().out


@pytest.fixture
def two_teams(tmp_path: Path) -> tuple[str, str]:
    """A page with series of two teams and of nobody, and the routes of the teams, which drop the rest."""
    page, routes = tmp_path / "page", tmp_path / "routes.json"
    page.write_text("".join(f'nv_inference_count{{model="{model}",version="1"}} 5\n' for model in ("a_1", "a_2", "b_1", "x")))  # fmt: skip
    connection = "InstrumentationKey=11111111-2222-4333-8444-55555555555{}"
    entries = [{"name": name, "match": {"model": f"{name}_*"}, "connection_string": connection.format(number)} for number, name in enumerate("ab")]  # fmt: skip
    routes.write_text(json.dumps({"routes": entries, "unmatched": "drop"}))
    return str(page), str(routes)


def test_check_forecasts_each_route(
    two_teams: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Like `cost`, and in all only what is sent; with routes that cannot be read there is no forecast."""
    page, routes = two_teams
    metrics = tmp_path / "metrics.json"
    metrics.write_text('{"customMetrics": ["nv_inference_count"]}')
    base = ["check", "--json", "--sandbox", "--outbox-dir", str(tmp_path), "--metrics-json", str(metrics), "--cost-of", page]  # fmt: skip

    def costs(*flags: str) -> list[str]:
        main([*base, *flags])
        findings = json.loads(capsys.readouterr().out)["findings"]
        return [each["detail"] for each in findings if each["what"] == "cost"]

    month = 43_800 * 4
    assert [cost.split(" items")[0] for cost in costs()] == [f"about {4 * month:,}"]
    total, *by_route = costs("--routes", routes)
    assert total.startswith(f"about {3 * month:,} items")
    assert [cost.split(" items")[0] for cost in by_route] == [
        f"route a: 2 series, {2 * month:,}",
        f"route b: 1 series, {month:,}",
        f"1 selected series take no route of {routes}, and are dropped",
    ]
    assert costs("--routes", str(tmp_path / "none.json")) == ["it depends on routes.json"]


def test_suggest_forecasts_each_route(
    two_teams: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error and in the JSON; categories count what is sent, too."""
    page, routes = two_teams
    base = ["suggest", "--raw", "--from", page, "--prometheus-url", "", "--routes", routes]
    month = 43_800  # of the _irate, which a rule records each minute
    assert main(base) == 0
    printed = capsys.readouterr().err
    assert re.findall(r"route (\w): (\d+) series, ([\d,]+) items", printed) == [("a", "2", f"{2 * month:,}"), ("b", "1", f"{month:,}")]  # fmt: skip
    assert "1 selected series take no route" in printed
    assert main([*base, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(each["route"], each["items"]) for each in document["routes"]] == [("a", 2 * month), ("b", month)]  # fmt: skip
    assert document["categories"]["count"]["items"] == 3 * month
    Path(page).write_text('nv_inference_count{model="x",version="1"} 5\n')
    assert main(base) == 1
    assert "or routes.json drops them" in capsys.readouterr().err
