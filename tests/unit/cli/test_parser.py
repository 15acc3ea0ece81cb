"""What is typed is read by the table of verbs; what is mistyped is named, with what was meant."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from receiver import __version__
from receiver.cli import completion, help_text
from receiver.cli.main import main
from receiver.cli.parser import Mistyped, flags_of, read
from receiver.cli.verbs import VERBS, Verb
from receiver.config.settings import SETTINGS

HEAVY = {"aiohttp", "structlog", "snappy", "google.protobuf", "sqlite3", "ssl", "asyncio", "orjson"}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], ["the verb is missing", "usage: appinsights-receiver VERB"]),
        (["fly"], ['no verb "fly"', "usage: appinsights-receiver VERB"]),
        (["chekc"], ['no verb "chekc"; did you mean check?']),
        (["help", "tpo"], ['no verb "tpo"; did you mean top?']),
        (["run", "--no-such-flag"], ["--no-such-flag is not a flag of run", "usage: appinsights-receiver run [OPTION …]"]),
        (["top", "--evry=3"], ["--evry is not a flag of top; did you mean --every?"]),
        (["run", "--metrics.json", "x"], ["did you mean --metrics-json?"]),
        (["run", "--outbox"], ["--outbox is not a flag of run; did you mean --outbox-dir?"]),
        (["run", "--listen"], ["--listen needs a value"]),
        (["run", "--sandbox=yes"], ["--sandbox takes no value"]),
        (["--listen", ":1", "run"], ["--listen precedes the verb; flags follow the verb"]),
        (["explain"], ["METRIC is missing", "usage: appinsights-receiver explain METRIC [OPTION …]"]),
        (["explain", "nv_a", "nv_b"], ['"nv_b" is an unexpected operand']),
        (["tap", "--count", "0"], ['--count is "0": not a whole number of at least 1']),
        (["tap", "--count", "-5"], ['--count is "-5"']),
        (["tap", "--seconds", "nan"], ['--seconds is "nan": not a number of seconds above 0']),
        (["tap", "--seconds", "-1"], ['--seconds is "-1"']),
        (["top", "--every", "inf"], ['--every is "inf": not a number of seconds of at least 0.2']),
        (["dead-letters", "--limit", "x"], ['--limit is "x"']),
        (["suggest", "--scrape-seconds", "0"], ['"0": not a number of seconds like 15']),
        (["completion", "tcsh"], ['no shell "tcsh"; there are bash, zsh, fish']),
    ],
)  # fmt: skip
def test_what_is_not_understood_exits_with_2(
    typed: list[str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, what was probably meant, and the usage of the verb concerned."""
    assert main(typed) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [words for words in said if words not in err] == []


def test_a_variable_stands_in_for_a_flag() -> None:
    """The flag wins; an empty text is a value when typed, and none in the environment."""
    environment = {"RECEIVER_URL": "https://r:1", "RECEIVER_PROMETHEUS_URL": "http://p:2"}
    _, given = read(["doctor"], environment)
    assert (given.receiver, given.prometheus_url) == ("https://r:1", "http://p:2")
    _, given = read(["doctor", "--receiver", "http://x", "--prometheus-url", ""], environment)
    assert (given.receiver, given.prometheus_url) == ("http://x", "")
    _, given = read(["doctor"], {"RECEIVER_URL": ""})
    assert given.receiver is None


def test_no_flag_is_abbreviated() -> None:
    """A script that abbreviates would break with the next flag."""
    with pytest.raises(Mistyped, match="did you mean --receiver"):
        read(["top", "--rec", "http://x"])


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_help_ends_in_an_example_and_exit_codes(
    verb: Verb, capsys: pytest.CaptureFixture[str]
) -> None:
    """By either way of asking; flags, values and defaults are there, and no line is too long."""
    assert main([verb.name, "--help"]) == 0
    text = capsys.readouterr().out
    assert main(["help", verb.name]) == 0
    assert capsys.readouterr().out == text
    assert text.startswith(f"usage: appinsights-receiver {verb.name}")
    assert "Exit codes" in text.splitlines()[-2] + text.splitlines()[-1]
    assert not re.search(r"--\S+ …", text), "each flag says what it takes"
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("verb", ["run", "check"])
def test_help_names_every_flag_with_its_variable_and_what_it_takes(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No need to look anywhere else."""
    main([verb, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for setting in SETTINGS:
        if setting.flag:
            assert f"{setting.flag} {help_text.takes(setting)} " in text
            assert f"[{setting.environment}]" in text


@pytest.mark.parametrize(
    ("verb", "flags"),
    [("dead-letters", ["--outbox-dir"]), ("relabel", ["--metrics-json"]), ("top", ["--listen", "--bearer-token-file"])],
)  # fmt: skip
def test_help_shows_what_matters_to_a_verb_and_takes_the_rest(
    verb: str, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One screen; a script may give every verb the same flags."""
    main([verb, "--help"])
    text = capsys.readouterr().out
    assert all(flag in text for flag in flags)
    assert "--senders" not in text
    assert len(text.splitlines()) < 50
    assert read([verb, "--senders", "3"])[1].senders == "3"


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    """One place has it; the program says its name."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"appinsights-receiver {__version__}\n"


def test_help_and_version_load_nothing_heavy() -> None:
    """They come within 0.2 s: neither server nor protocol is imported for them, nor for help of a verb."""
    code = "import sys; from receiver.cli.main import main; main(sys.argv[1:]); print(*sorted(sys.modules))"
    for typed in (["--version"], ["--help"], ["run", "--help"], ["completion", "bash"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *typed],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        loaded = set(done.stdout.splitlines()[-1].split())
        assert loaded & HEAVY == set(), typed


@pytest.mark.parametrize(
    ("redirect", "code", "said"),
    [
        (">/dev/full", 1, "error: standard output: No space left on device"),
        (">&-", 0, ""),
    ],
)
def test_an_output_that_takes_nothing_is_no_traceback(
    redirect: str, code: int, said: str, tmp_path: Path
) -> None:
    """A full disk, a closed file."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    for verb in ("--help", "--version", "check --sandbox", "relabel"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{sys.executable} -m receiver {verb} {redirect}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environment | {"XDG_STATE_HOME": str(tmp_path)},
        )
        assert (done.returncode, "Traceback" in done.stderr, "Exception" in done.stderr) == (code, False, False), done.stderr  # fmt: skip
        assert said in done.stderr


def test_a_reader_that_is_gone_is_no_traceback() -> None:
    """A pager that was left, head after its first line."""
    for verb in ("--help", "relabel"):
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-m", "receiver", verb]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60)  # fmt: skip
        os.close(writer)
        assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_verb_and_flag(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Written from the same table."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for verb in VERBS:
        assert verb.name in script
        flags = [name.strip("-") for name in flags_of(verb)]
        assert [name for name in flags if name not in script] == []


def test_bash_completes(tmp_path: Path) -> None:
    """Verbs, flags of a verb, shells, files."""
    script = tmp_path / "completion"
    script.write_text(completion.bash())
    (tmp_path / "prometheus.yml").write_text("")
    for typed, wanted in (
        (["che"], "check"),
        (["top", "--ev"], "--every"),
        (["completion", "z"], "zsh"),
        (["help", "dead"], "dead-letters"),
        (["check", "--prometheus", "prom"], "prometheus.yml"),
    ):
        words = ["appinsights-receiver", *typed]
        line = f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _appinsights_receiver; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(
            ["bash", "-c", f"source {script}; {line}"],
            capture_output=True, text=True, check=True, timeout=20, cwd=tmp_path,
        )  # fmt: skip
        assert done.stdout.split() == [wanted]


def test_colours_are_wanted_or_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pipe none unless forced; NO_COLOR wins; JSON has none ever."""
    for environment, colored in (
        ({}, False),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"CLICOLOR_FORCE": "0"}, False),
        ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False),
        ({"CLICOLOR_FORCE": "1", "NO_COLOR": ""}, True),
    ):
        with monkeypatch.context() as patched:
            for name, value in environment.items():
                patched.setenv(name, value)
            main(["help"])
            main(["fly"])
            out, err = capsys.readouterr()
            assert ("\x1b[" in out, "\x1b[" in err) == (colored, colored)
            main(["relabel", "--json"])
            json.loads(capsys.readouterr().out)
    structlog.reset_defaults()
