"""Whom the commands ask, and with which credentials: never in clear to a stranger, never in an error."""

import argparse
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from receiver.cli.fetch import NoAnswer, get, get_json
from receiver.cli.main import main
from receiver.cli.receiver_api import ask_others, ask_running
from receiver.config.settings import resolve
from receiver.errors import SettingsError

TOKEN = "sesame-0123456789"


@contextmanager
def server(location: str = "") -> Iterator[tuple[str, list[str]]]:
    """Serve an empty object, or a redirect; give the address, and the Authorization of each request."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("Authorization", ""))
            self.send_response(307 if location else 200)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}", asked
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


def given(receiver: str | None = None, user_file: str | None = None) -> argparse.Namespace:
    return argparse.Namespace(receiver=receiver, user_file=user_file)


def test_the_token_goes_to_the_configured_receiver_alone(tmp_path: Path) -> None:
    """To its very address, named or not; to another over plain http it is not sent."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with server() as (own, asked), server() as (other, others):
        flags = {"listen": own.removeprefix("http://"), "bearer_token_file": str(tmp_path / "token")}  # fmt: skip
        settings, _ = resolve(flags, {})
        ask_running(given(), settings)("/")
        ask_running(given(own.replace("127.0.0.1", "localhost")), settings)("/")
        ask_running(given(other), settings)("/")
        assert asked == [f"Bearer {TOKEN}"] * 2
        assert others == [""]


@pytest.mark.parametrize("user", ["", "me:hunter2"])
def test_handover_sends_credentials_to_the_addresses_given_and_no_further(
    user: str, tmp_path: Path
) -> None:
    """Over plain http too; an answer that leads elsewhere does not get them there."""
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "user").write_text(user)
    settings, _ = resolve({"bearer_token_file": str(tmp_path / "token")}, {})
    ask = ask_others(given(None, str(tmp_path / "user") if user else None), settings)
    basic = "Basic " + base64.b64encode(user.encode()).decode()
    with server() as (elsewhere, others), server(elsewhere) as (first, asked), server() as (second, more):  # fmt: skip
        ask(f"{first}/api/v1/fold/series?after=0")
        ask(f"{second}/api/v1/fold/series?after=0")
    assert asked == more == [basic if user else f"Bearer {TOKEN}"]
    assert others == [""]


def test_user_and_password_come_from_a_file_or_the_address(tmp_path: Path) -> None:
    """And win over the token."""
    (tmp_path / "user").write_text("me:hunter2:x\n")
    (tmp_path / "token").write_text(TOKEN)
    with server() as (own, asked):
        flags = {"listen": own.removeprefix("http://"), "bearer_token_file": str(tmp_path / "token")}  # fmt: skip
        settings, _ = resolve(flags, {})
        ask_running(given(None, str(tmp_path / "user")), settings)("/")
        ask_running(given(own.replace("//", "//me:hunter2%3Ax@")), settings)("/")
    assert asked == ["Basic " + base64.b64encode(b"me:hunter2:x").decode()] * 2


@pytest.mark.parametrize("content", [None, "", "no colon: hunter2 is in the second\n".replace(":", "")])  # fmt: skip
def test_a_user_file_that_cannot_be_used_is_a_sentence(content: str | None, tmp_path: Path) -> None:
    """Without its content."""
    if content is not None:
        (tmp_path / "user").write_text(content)
    settings, _ = resolve({}, {})
    with pytest.raises(SettingsError, match="--user-file") as raised:
        ask_running(given(None, str(tmp_path / "user")), settings)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://a:hunter2@[", "http://a:hunter2@127.0.0.1:9/", "ftp://a:hunter2@x/", "http://a:hunter2@local host/", "http://a:hunter2@x:port/"])  # fmt: skip
def test_no_error_shows_a_password(url: str) -> None:
    """Whatever is wrong with the address."""
    for ask in (get, get_json):
        with pytest.raises(NoAnswer) as raised:
            ask(url)
        assert "hunter2" not in str(raised.value)


def test_a_password_in_the_command_line_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    """It is not shown again; the environment is no command line."""
    assert main(["top", "--receiver", "http://a:hunter2@127.0.0.1:9"]) == 1
    err = capsys.readouterr().err
    assert "other users can read a password in a command line" in err
    assert "hunter2" not in err
