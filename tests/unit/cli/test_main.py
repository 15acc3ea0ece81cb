"""What a person types, and what it answers."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from receiver.azure.limits import EXPIRY_MS
from receiver.cli.main import main
from receiver.config.settings import SETTINGS
from receiver.intake.recogniser import IS_COMPILED
from receiver.outbox.store import Outbox

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
    """By the names that are typed; secrets masked, the destination without its key."""
    monkeypatch.setenv("APPLICATIONINSIGHTS_CONNECTION_STRING", CONNECTION)
    monkeypatch.setenv("RECEIVER_SENDERS", "7")

    assert main(["check", "--listen", "127.0.0.1:1234", "--verbose"]) == 0

    lines = capsys.readouterr().out.splitlines()
    shown = {line.split()[1]: line.split()[2:] for line in lines if line.endswith("]")}
    assert shown["--connection-string"] == ["(set)", "[APPLICATIONINSIGHTS_CONNECTION_STRING]"]
    assert shown["--senders"] == ["7", "[RECEIVER_SENDERS]"]
    assert shown["--listen"] == ["127.0.0.1:1234", "[--listen]"]
    assert shown["--outbox-max-bytes"] == ["1GiB", "[default]"]
    assert set(shown) == {setting.flag or setting.environment for setting in SETTINGS}
    assert "delivers to https://west.example/v2.1/track" in "\n".join(lines)
    assert KEY not in "\n".join(lines)


@pytest.mark.skipif(not IS_COMPILED, reason="check warns where there is no kernel")
def test_check_is_short_where_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """What is set, what is read, and one sentence for each entry."""
    assert main(["check", "--connection-string", CONNECTION, "--senders", "7"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "OK: all can be used."
    assert len(lines) < 14
    text = "\n".join(lines)
    assert "--connection-string (set), --senders 7; --verbose shows all" in text
    assert "nv_inference_request_success: every sample is an item" in text


def test_check_without_a_destination_fails_as_run_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`run --sandbox` needs none, and `check --sandbox` says so."""
    assert main(["check"]) == 2
    assert capsys.readouterr().out.startswith("FAIL: destination: no destination is set")
    assert main(["check", "--sandbox"]) == 0
    capsys.readouterr()
    assert main(["check", "--sandbox", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_check_finds_all_that_is_wrong_at_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """metrics.json and the connection string, one finding each, and exit code 2."""
    path = tmp_path / "metrics.json"
    path.write_text('{"customMetrics": []}')

    assert main(["check", "--json", "--metrics-json", str(path), "--connection-string", KEY]) == 2

    metrics, connection = json.loads(capsys.readouterr().out)["errors"]
    assert metrics.startswith(f'{path}: "customMetrics" is empty')
    assert connection.startswith("APPLICATIONINSIGHTS_CONNECTION_STRING is a bare key")


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--metrics-json", "/nonexistent"], 2),
        (["--metrics-json", "/dev/zero"], 2),
        (["--connection-string", "no string"], 2),
        (["--connection-string", ""], 2),
        (["--authentication-string", "Authorization=none"], 2),
        (["--web.config.file", "/nonexistent"], 2),
        (["--bearer-token-file", "/dev/null"], 2),
        (["--in-flight-max-bytes", "1MiB"], 2),
        (["--body-timeout", "0"], 2),
        (["--series-cache-bytes", "99999999GiB"], 2),
        (["--senders", "99999999999"], 2),
        (["--log.level", "loud"], 2),
        (["--listen", "192.0.2.1:9201"], 2),
        (["--listen", "nowhere.invalid:9201"], 2),
        (["--outbox-dir", "/dev/null"], 1),
        (["--outbox-dir", "/dev/null/deeper/still"], 1),
    ],
)  # fmt: skip
def test_check_refuses_what_run_refuses(
    flags: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the same code, with the same exit code and the same words."""
    flags = ["--connection-string", CONNECTION, "--listen", "127.0.0.1:0", *flags]
    assert main(["check", "--json", *flags]) == code
    errors = json.loads(capsys.readouterr().out)["errors"]
    assert main(["run", *flags]) == code
    said = capsys.readouterr().err
    assert errors
    assert [error for error in errors if error not in said] == []
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("connection", "authentication", "said"),
    [
        (CONNECTION, "Authorization=AAD", ""),
        ("", "Authorization=none", "must be Authorization=AAD"),
        ("no string", "Authorization=none", "must be Authorization=AAD"),
        (CONNECTION.replace("https:", "http:"), "Authorization=AAD", "is not https, so no token is sent there"),
    ],
)  # fmt: skip
def test_check_looks_at_the_way_to_sign_in(
    connection: str, authentication: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `run` would refuse it, whether a destination is set or not."""
    flags = ["--connection-string", connection, "--authentication-string", authentication]
    assert main(["check", *flags]) == (2 if said else 0)
    assert said in capsys.readouterr().out


def test_check_warns_of_names_that_look_misspelt(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the nearest right spelling."""
    path = tmp_path / "metrics.json"
    path.write_text('{"customMetrics": ["nv_cpu_utilisation"]}')

    assert main(["check", "--sandbox", "--metrics-json", str(path)]) == 0
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
    """Exit code 1 and a sentence with what to do, before anything listens."""
    (tmp_path / "file").write_text("")

    code = main(["run", "--connection-string", CONNECTION, "--outbox-dir", str(tmp_path / "file")])

    assert code == 1
    assert "error: the outbox directory" in capsys.readouterr().err


@pytest.mark.parametrize(("listen", "token", "warns"), [("0.0.0.0:0", "", True), ("0.0.0.0:0", "x", False), ("127.0.0.1:0", "", False)])  # fmt: skip
def test_a_receiver_that_is_open_to_all_says_so(
    listen: str,
    token: str,
    warns: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Offline and at the start: whoever reaches the address may write and look."""
    (tmp_path / "file").write_text("")
    (tmp_path / "token").write_text(token)
    flags = ["--listen", listen, "--connection-string", CONNECTION, "--outbox-dir", str(tmp_path / "file")]  # fmt: skip
    flags += ["--bearer-token-file", str(tmp_path / "token")] if token else []
    main(["check", *flags])
    main(["run", *flags])
    out, err = capsys.readouterr()
    assert ("without credentials" in out) is warns
    assert ("without credentials" in err) is warns


def test_dead_letters_without_an_outbox_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It makes none: asking changes nothing."""
    assert main(["dead-letters"]) == 1
    assert "no outbox can be read" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_dead_letters_of_a_file_that_is_no_database_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One line."""
    (tmp_path / "outbox.db").write_bytes(b"x" * 5000)

    assert main(["dead-letters", "--outbox-dir", str(tmp_path)]) == 1
    assert "not a database" in capsys.readouterr().err


def test_an_outbox_in_use_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The second service says so and exits with 1."""
    outbox = Outbox(tmp_path, 1 << 20, KEY, EXPIRY_MS)
    outbox.open()

    assert main(["run", "--connection-string", CONNECTION, "--outbox-dir", str(tmp_path)]) == 1
    assert "in use by another receiver" in capsys.readouterr().err
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM batches").fetchone() == (0,)
    outbox.close()


@pytest.mark.parametrize("flag", ["--outbox-dir", "--metrics-json", "--web.config.file", "--bearer-token-file"])  # fmt: skip
def test_a_home_that_is_not_there_is_a_sentence(
    flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user without a home directory, as in many a container, is told to write the path out."""
    assert main(["check", flag, "~nobody-of-that-name/x"]) == 2
    out, err = capsys.readouterr()
    assert "~nobody-of-that-name/x: there is no such home directory" in out + err


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("nv_cpu_utilization", "Share of all the host's CPU cores"),
        ("nv_inference_request_success_irate", "The instant rate, once a minute [requests per second]."),
        ("nv_inference_queue_duration_us_irate", "The instant rate, once a minute [us per second]."),
        ("nv_inference_queue_summary_us_irate", "The mean of the requests between the last two scrapes [us]."),
        ("nv_inference_queue_summary_us_count_irate", "The instant rate, once a minute [requests per second]."),
        ("nv_inference_queue_summary_us_sum_irate", "The instant rate, once a minute [us per second]."),
    ],
)  # fmt: skip
def test_explain_tells_a_rate_from_what_it_is_the_rate_of(
    name: str, begins: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unit and meaning are those of the series asked for."""
    nowhere = ["--prometheus-url", "", "--triton", "", "--triton-metrics", ""]
    main(["explain", name, "--json", "--receiver", "http://127.0.0.1:9", *nowhere])
    first = json.loads(capsys.readouterr().out)["findings"][0]
    assert first["what"] == "meaning"
    assert first["detail"].startswith(begins)


def test_all_unreadable_settings_are_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Who mends one setting learns of the next with it; a program gets it as JSON."""
    wrong = ["--listen", "nowhere", "--senders", "many"]
    problems = ['--listen is "nowhere": not host:port', '--senders is "many": not a whole number of at least 1']  # fmt: skip
    for verb in ("check", "doctor", "dead-letters"):
        assert main([verb, "--json", *wrong]) == 2
        out, err = capsys.readouterr()
        assert json.loads(out) == {"errors": problems}
        assert err.splitlines() == [f"error: {each}" for each in problems]


def test_what_could_not_be_done_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    """As it is for people, on standard output; the exit code says which of both it is."""
    for arguments, code, said in (
        (["top", "--receiver", "http://127.0.0.1:9"], 1, "does not answer"),
        (["suggest", "--category", "x"], 2, "no category x"),
        (["dead-letters", "--outbox-dir", "/nonexistent"], 1, "no outbox can be read"),
        (["relabel", "--metrics-json", "/nonexistent"], 2, "No such file"),
    ):
        assert main([*arguments, "--json"]) == code
        assert said in json.loads(capsys.readouterr().out)["errors"][0]


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("http://user:secret@proxy.example:3128", "http://proxy.example:3128, set by https_proxy"),
        ("socks5://proxy.example:1080", "https_proxy"),
    ],
)  # fmt: skip
def test_check_says_which_proxy_the_items_go_through(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], proxy: str, words: str
) -> None:
    """Without its password; one that cannot be used is an error by its name."""
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    key = "00000000-0000-0000-0000-000000000000"
    main(
        [
            "check",
            "--connection-string",
            f"InstrumentationKey={key};IngestionEndpoint=https://a.example",
        ]
    )
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert "secret" not in said.out + said.err
