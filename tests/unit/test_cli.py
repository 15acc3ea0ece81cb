"""What a person types, and what it answers."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from receiver import __version__
from receiver.batch import DeadLetter, Settlement, Submission, cut, seal
from receiver.cli import main, make_parser
from receiver.outbox import Outbox
from receiver.settings import SETTINGS

KEY = "12345678-9abc-def0-1234-56789abcdef0"
CONNECTION = f"InstrumentationKey={KEY};IngestionEndpoint=https://west.example/"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An environment in which nothing is set, and logging as it was afterwards."""
    for name in [
        name for name in os.environ if name.startswith(("RECEIVER_", "APPLICATIONINSIGHTS_"))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("INSTRUMENTATION_KEY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    structlog.reset_defaults()


def test_check_shows_each_value_and_where_it_came_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Secrets masked, the destination without its key."""
    monkeypatch.setenv("APPLICATIONINSIGHTS_CONNECTION_STRING", CONNECTION)
    monkeypatch.setenv("RECEIVER_SENDERS", "7")

    assert main(["check", "--listen", ":1234"]) == 0

    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[0]: line.split()[1:] for line in lines if line.endswith("]")}
    assert shown["connection_string"] == ["(set)", "[APPLICATIONINSIGHTS_CONNECTION_STRING]"]
    assert shown["senders"] == ["7", "[RECEIVER_SENDERS]"]
    assert shown["listen"] == [":1234", "[--listen]"]
    assert shown["outbox_max_bytes"] == ["1GiB", "[default]"]
    assert set(shown) == {setting.name for setting in SETTINGS}
    assert "delivers to: https://west.example/v2.1/track" in lines
    assert KEY not in "\n".join(lines)


def test_check_without_a_destination_warns(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no error yet: `run --sandbox` needs none."""
    assert main(["check"]) == 0
    assert "There is nowhere to deliver to" in capsys.readouterr().out


def test_check_finds_all_that_is_wrong_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """metrics.json and the connection string, one error each, and exit code 2."""
    path = tmp_path / "metrics.json"
    path.write_text('{"customMetrics": []}')

    assert main(["check", "--metrics-json", str(path), "--connection-string", KEY]) == 2

    out = capsys.readouterr().out
    assert f'error: {path}: "customMetrics" is empty' in out
    assert "error: APPLICATIONINSIGHTS_CONNECTION_STRING is a bare key" in out


def test_check_finds_too_many_workers(capsys: pytest.CaptureFixture[str]) -> None:
    """Before they are started: each would have too little memory for one request."""
    assert main(["check", "--workers", "9"]) == 2
    out = capsys.readouterr().out
    assert "workers" in out
    assert "error: 9 workers have" in out
    assert "RECEIVER_IN_FLIGHT_MAX_BYTES" in out


def test_check_warns_of_names_that_look_misspelt(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the nearest right spelling."""
    path = tmp_path / "metrics.json"
    path.write_text('{"customMetrics": ["nv_cpu_utilisation"]}')

    assert main(["check", "--metrics-json", str(path)]) == 0
    assert 'did you mean "nv_cpu_utilization"?' in capsys.readouterr().out


def test_a_setting_that_cannot_be_used_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, no traceback, on standard error."""
    assert main(["check", "--outbox-max-bytes", "inf"]) == 2

    out, error = capsys.readouterr()
    assert out == ""
    assert (
        error == 'error: --outbox-max-bytes is "inf": not a size like 1073741824, 512MiB or 1GiB\n'
    )


def test_run_without_a_destination_says_where_to_get_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And how to try without."""
    assert main(["run"]) == 2

    error = capsys.readouterr().err
    assert "APPLICATIONINSIGHTS_CONNECTION_STRING" in error
    assert "Azure portal" in error
    assert "run --sandbox" in error


def test_run_with_an_outbox_that_cannot_be_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Exit code 1 and a sentence, before anything listens."""
    (tmp_path / "file").write_text("")

    code = main(["run", "--connection-string", CONNECTION, "--outbox-dir", str(tmp_path / "file")])

    assert code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: the outbox directory")


def test_dead_letters_without_an_outbox_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It makes none: asking changes nothing."""
    assert main(["dead-letters"]) == 1
    assert "no outbox can be read" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_dead_letters_are_shown_as_text_and_as_json(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """For people, and one JSON object a line for programs."""
    outbox = Outbox(tmp_path, 1 << 20, KEY, lambda: 1_800_000_000.0)
    outbox.apply([seal(Submission(cut([b"a\n"]), 0, 0, {("received", ""): 1}))], [])
    batch = outbox.next_batch([], 0)
    assert batch
    letter = DeadLetter(400, "106: Field 'name' is of incorrect type", '{"name":"ü"}')
    outbox.apply([], [Settlement(batch, rejected={"wrong_type": 1}, dead_letters=[letter] * 2)])

    assert main(["dead-letters", "--outbox-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("hint (wrong_type)") == 2
    assert main(["dead-letters", "--json", "--outbox-dir", str(tmp_path)]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["item"] for each in found] == [{"name": "ü"}] * 2
    outbox.close()


def test_dead_letters_of_a_file_that_is_no_database_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One line."""
    (tmp_path / "outbox.db").write_bytes(b"x" * 5000)

    assert main(["dead-letters", "--outbox-dir", str(tmp_path)]) == 1
    assert "not a database" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run", "--no-such-flag"]])
def test_what_is_not_understood_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the usage."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "usage: appinsights-receiver" in capsys.readouterr().err


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    """One place has it."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])

    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("verb", ["run", "check", "dead-letters"])
def test_help_names_every_flag_with_its_variable_and_default(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No need to look anywhere else."""
    with pytest.raises(SystemExit):
        make_parser().parse_args([verb, "--help"])

    text = " ".join(capsys.readouterr().out.split())
    for setting in SETTINGS:
        if setting.flag:
            assert setting.flag in text
            assert f"[{setting.environment}]" in text.replace("[ ", "[").replace(" ]", "]")


def test_an_outbox_in_use_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The second service says so and exits with 1."""
    outbox = Outbox(tmp_path, 1 << 20, KEY)

    assert main(["run", "--connection-string", CONNECTION, "--outbox-dir", str(tmp_path)]) == 1
    assert "in use by another receiver" in capsys.readouterr().err
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM batches").fetchone() == (0,)
    outbox.close()
