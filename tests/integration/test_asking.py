"""How the commands ask: a receiver that lets nobody in, and what is no receiver at all."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from aiohttp import web

from receiver import logs
from receiver.cli.main import main
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import receiving
from tests.integration.waiting import in_loop

TOKEN = "sesame-0123456789"
NOWHERE = ["--prometheus-url", "", "--triton", "", "--triton-metrics", ""]
ASKING = (["top"], ["tap", "--seconds", "0.1"], ["explain", "nv_a", *NOWHERE], ["doctor", "--no-canary", *NOWHERE])  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Log as the command line does, and leave the state folder alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    logs.configure()


async def typed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Type a command; give its exit code, and all that it printed."""
    capsys.readouterr()
    code = await asyncio.to_thread(main, arguments)
    out, err = capsys.readouterr()
    return code, out + err


@asynccontextmanager
async def saying(document: Any) -> AsyncIterator[str]:
    """Serve something that gives the same JSON whatever it is asked."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document)

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@in_loop()
async def test_a_receiver_with_tls_and_a_token_is_asked_by_its_own_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it listens, its certificate, whoever signed that, and its token are read from them."""
    certificate = trustme.CA().issue_cert("receiver.example")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    config, token = tmp_path / "web.yml", tmp_path / "token"
    config.write_text(yaml.safe_dump({"tls_server_config": {"cert_file": "cert.pem", "key_file": "key.pem"}}))  # fmt: skip
    token.write_text(TOKEN + "\n")
    files = {"web_config_file": str(config), "bearer_token_file": str(token)}
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, **files) as receiver,
    ):
        listen = ["--listen", receiver.url.removeprefix("https://")]
        settings = [*listen, "--web.config.file", str(config), "--bearer-token-file", str(token)]
        assert receiver.url.startswith("https://")
        for command in ASKING:
            _, said = await typed(capsys, *command, *settings)
            assert "does not answer" not in said
            assert "answers 401" not in said
            _, said = await typed(capsys, *command, *settings[:4])
            if command[0] != "doctor":
                assert "answers 401" in said
        code, said = await typed(capsys, "top", "--json", *settings)
        assert json.loads(said)["status"]["verdict"]["state"] == "WAITING"
        assert code == 0
        other = trustme.CA().issue_cert("receiver.example")
        other.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        _, said = await typed(capsys, "top", *settings)
        assert "certificate verify failed" in said


@in_loop()
async def test_what_is_no_receiver_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Another program's JSON, another protocol, an impossible address: said, with no traceback."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-other\r\n")
        writer.close()

    other = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    async with other, saying({}) as empty, saying([1]) as a_list, saying({"data": 1}) as odd:
        for url in (f"http://127.0.0.1:{port}", f"https://127.0.0.1:{port}", "http://local host:1", "http://[::1", empty, a_list, odd):  # fmt: skip
            for command in ASKING:
                code, said = await typed(capsys, *command, "--receiver", url)
                assert (code, "Traceback" in said) == (1, False)
                assert any(words in said for words in ("does not answer", "is not an address", "answers with something else")), said  # fmt: skip
            places = ["--prometheus-url", url, "--triton", url, "--triton-metrics", url]
            assert (await typed(capsys, "doctor", "--no-canary", *places))[0] == 1
            assert (await typed(capsys, "explain", "nv_a", *places))[0] == 1
            assert (await typed(capsys, "suggest", "--from", url))[0] == 1


@in_loop()
async def test_this_machine_is_asked_directly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A proxy in the environment is the way to Azure, not to the receiver beside us."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with saying({}) as url:
        _, said = await typed(capsys, "top", "--receiver", url)
    assert "answers with something else" in said


@in_loop()
async def test_a_proxy_resolves_the_endpoints_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names that only the proxy knows are no failure; those that NO_PROXY lists are looked up."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "localhost,.direct.invalid")
    marks = {}
    for host in ("dc.invalid", "dc.direct.invalid"):
        key = "InstrumentationKey=00000000-0000-0000-0000-000000000000"
        connection = ["--connection-string", f"{key};IngestionEndpoint=https://{host}/"]
        _, said = await typed(capsys, "doctor", "--no-canary", "--json", *NOWHERE, *connection)
        marks[host] = {each["what"]: each["mark"] for each in json.loads(said)["findings"]}["dns"]
    assert marks == {"dc.invalid": "skip", "dc.direct.invalid": "fail"}


@in_loop()
async def test_a_taken_address_of_the_sandbox_is_a_sentence(tmp_path: Path) -> None:
    """A second sandbox on one port says so, alone or inside of `run`."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for command in (["sandbox", "--listen", address], ["run", "--sandbox", "--listen", "127.0.0.1:0", "--sandbox-listen", address, "--outbox-dir", str(tmp_path)]):  # fmt: skip
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "receiver", *command, stderr=asyncio.subprocess.PIPE
            )
            _, said = await process.communicate()
            assert process.returncode == 2
            assert f"error: the sandbox cannot listen on {address}" in said.decode()
            assert b"Traceback" not in said
