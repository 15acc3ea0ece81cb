"""Who is let in, and what those learn who are not."""

import asyncio
import base64
import re
import ssl
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import bcrypt
import pytest
import trustme
import yaml

from receiver.errors import SettingsError
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import Running, receiving
from tests.integration.remote_write import HEADERS, encode, numbered
from tests.integration.waiting import in_loop, until

PASSWORD = "correct horse"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4, b"2b")).decode()
TOKEN = "sesame-0123456789"
ROUTES = re.findall(
    r"^\| `(GET|POST) (/[^?`]*)", Path("docs/http-api.md").read_text(), re.MULTILINE
)
OPEN = ["/-/healthy", "/-/ready"]
PAGES = ["/no/such/page", "/-/no", *(path for _, path in ROUTES if path not in OPEN)]
"""All that is documented, and what is not there."""


def basic(user: str, password: str) -> dict[str, str]:
    """Spell an Authorization header."""
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def write_config(folder: Path, **parts: object) -> str:
    """Write a web.config.file."""
    path = folder / "web.yml"
    path.write_text(yaml.safe_dump(parts))
    return str(path)


def body() -> bytes:
    """Make a small request."""
    return encode(numbered(0, 0, 2, int(time.time() * 1000) - 60_000))


async def status_of(
    url: str, headers: dict[str, str], context: ssl.SSLContext | None = None
) -> tuple[int, str]:
    """Write with a session of its own; returns the status and the text."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{url}/api/v1/write",
            data=body(),
            headers={**HEADERS[1], **headers},
            ssl=context or True,
        ) as response,
    ):
        return response.status, await response.text()


@in_loop()
async def test_users_write_with_their_passwords(tmp_path: Path) -> None:
    """Right ones, again and again; nobody else; and the hash's spelling of 2y as htpasswd has it."""
    users = {"prom": HASH, "other": HASH.replace("$2b$", "$2y$")}
    config = write_config(tmp_path, basic_auth_users=users)
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, web_config_file=config) as receiver,
    ):
        for user in ("prom", "other", "prom"):
            assert (await status_of(receiver.url, basic(user, PASSWORD)))[0] == 204
        for headers in (
            {},
            basic("prom", "wrong"),
            basic("prom", ""),
            basic("nobody", PASSWORD),
            basic("", ""),
            basic("prom", PASSWORD + "\0"),
            basic("prom", "x" * 5000),
            {"Authorization": "Basic ???"},
            {"Authorization": "Basic"},
            {"Authorization": f"Bearer {PASSWORD}"},
            {"Authorization": f"Bearer {HASH}"},
            {"Authorization": "Digest username=prom"},
        ):
            assert await status_of(receiver.url, headers) == (401, "Unauthorized\n"), headers


@in_loop()
async def test_a_sender_with_a_wrong_password_is_the_verdict(tmp_path: Path) -> None:
    """Nobody is told that no request comes: they come, and what is wrong with them is said."""
    config = write_config(tmp_path, basic_auth_users={"prom": HASH})
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, web_config_file=config) as receiver,
    ):
        assert (await status_of(receiver.url, basic("prom", "wrong")))[0] == 401
        headers = basic("prom", PASSWORD)

        async def said() -> bool:
            async with receiver.session.get(f"{receiver.url}/api/v1/status", headers=headers) as response:  # fmt: skip
                verdict = (await response.json())["verdict"]
            return verdict["line"].startswith("REFUSING: all 1 requests of the last ") and "1 unauthorized" in verdict["line"]  # fmt: skip

        await until(said, "the verdict")


@in_loop()
async def test_a_token_is_taken_and_read_again(tmp_path: Path) -> None:
    """The file is changed while the receiver runs; the old token is then worth nothing."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, bearer_token_file=str(path)) as receiver,
    ):
        old, new = {"Authorization": f"Bearer {TOKEN}"}, {"Authorization": "Bearer other"}
        assert (await status_of(receiver.url, old))[0] == 204
        assert (await status_of(receiver.url, {"Authorization": f"bearer  {TOKEN}"}))[0] == 204
        assert (await status_of(receiver.url, new))[0] == 401
        assert (await status_of(receiver.url, {"Authorization": "Bearer é"}))[0] == 401
        # A browser asks for a user and a password: the token is the password, whoever the user is.
        for password, status in ((TOKEN, 204), ("wrong", 401), ("", 401)):
            pair = base64.b64encode(f"anyone:{password}".encode()).decode()
            found, _ = await status_of(receiver.url, {"Authorization": f"Basic {pair}"})
            assert found == status, password
        path.write_text("other")

        async def taken() -> bool:
            return (await status_of(receiver.url, new))[0] == 204

        await until(taken, "the new token")
        assert (await status_of(receiver.url, old))[0] == 401
        path.unlink()  # unusable: what was read before stays
        assert (await status_of(receiver.url, new))[0] == 204


@in_loop()
async def test_without_credentials_one_learns_nothing(tmp_path: Path) -> None:
    """Every page and every method gets the same 401; health alone is open; headers are set."""
    config = write_config(
        tmp_path,
        basic_auth_users={"prom": HASH},
        http_server_config={"headers": {"X-Frame-Options": "deny"}},
    )
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, web_config_file=config) as receiver,
    ):
        assert {"/-/reload", "/api/v1/tap", "/api/v1/write", "/"} < set(PAGES)
        for page in PAGES:
            for method in ("GET", "POST", "PUT", "DELETE"):
                async with receiver.session.request(method, receiver.url + page) as response:
                    assert response.status == 401
                    assert await response.text() == "Unauthorized\n"
                    assert response.headers["WWW-Authenticate"].startswith("Basic realm=")
                    assert response.headers["X-Frame-Options"] == "deny"
                    leaks = {"X-Prometheus-Remote-Write-Samples-Written", "Allow"}
                    assert not leaks & set(response.headers)
        for page in OPEN:
            async with receiver.session.get(receiver.url + page) as response:
                assert (response.status, await response.text()) == (200, "OK\n")
        async with receiver.session.get(
            f"{receiver.url}/metrics", headers=basic("prom", PASSWORD)
        ) as response:
            text = await response.text()
        # those at the write path; a browser that is asked for credentials is no sender
        assert 'receiver_requests_refused_total{reason="unauthorized"} 4.0' in text
        assert HASH not in text


@in_loop()
async def test_401_comes_before_the_body_is_read(tmp_path: Path) -> None:
    """Of a body that never comes, too."""
    config = write_config(tmp_path, basic_auth_users={"prom": HASH})
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, web_config_file=config) as receiver,
    ):
        host, port = receiver.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        writer.close()


class Pki:
    """A certificate authority, with files as a web.config.file names them."""

    def __init__(self, folder: Path) -> None:
        """Issue what is needed."""
        self.folder = folder
        self.ca, self.client_ca = trustme.CA(), trustme.CA()
        self.issue_server()
        (folder / "client-ca.pem").write_bytes(self.client_ca.cert_pem.bytes())
        (folder / "ca.pem").write_bytes(self.ca.cert_pem.bytes())
        for name in ("prom.example", "other.example"):
            issued = self.client_ca.issue_cert(name)
            issued.private_key_and_cert_chain_pem.write_to_path(str(folder / f"{name}.pem"))

    def issue_server(self) -> None:
        """Make a new certificate for the server, and put it in place of the old one."""
        issued = self.ca.issue_cert("127.0.0.1", "localhost")
        for name, pem in (("key", issued.private_key_pem), ("crt", issued.cert_chain_pems[0])):
            pem.write_to_path(str(self.folder / f"new.{name}"))
            (self.folder / f"new.{name}").replace(self.folder / f"server.{name}")

    def client(self, name: str = "") -> ssl.SSLContext:
        """Trust the server; bear a certificate."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if name:
            context.load_cert_chain(self.folder / f"{name}.pem")
        return context


TLS = {"cert_file": "server.crt", "key_file": "server.key"}


@in_loop()
async def test_tls_is_spoken_and_plain_http_is_not(tmp_path: Path) -> None:
    """From TLS 1.3 on where that is asked for; the certificate is read again when it changes."""
    pki = Pki(tmp_path)
    config = write_config(tmp_path, tls_server_config={**TLS, "min_version": "TLS13"})
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, web_config_file=config) as receiver,
    ):
        assert receiver.url.startswith("https://127.0.0.1:")
        assert (await status_of(receiver.url, {}, pki.client()))[0] == 204
        old = pki.client()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(aiohttp.ClientError):
            await status_of(receiver.url, {}, old)
        with pytest.raises(aiohttp.ClientError):
            await status_of(receiver.url.replace("https", "http"), {})
        port = int(receiver.url.rpartition(":")[2])
        before = await _certificate(port)
        pki.issue_server()

        async def changed() -> bool:
            return await _certificate(port) != before

        await until(changed, "the new certificate")


async def _certificate(port: int) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return found


@in_loop()
async def test_client_certificates_are_asked_for(tmp_path: Path) -> None:
    """One of the right authority, with a name that may; nobody without gets as far as HTTP."""
    pki = Pki(tmp_path)
    tls = {
        **TLS,
        "client_ca_file": "client-ca.pem",
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_allowed_sans": ["prom.example"],
        "cipher_suites": ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"],
        "curve_preferences": ["CurveP256"],
    }
    config = write_config(tmp_path, tls_server_config=tls)
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, web_config_file=config) as receiver,
    ):
        assert (await status_of(receiver.url, {}, pki.client("prom.example")))[0] == 204
        assert (await status_of(receiver.url, {}, pki.client("other.example")))[0] == 403
        with pytest.raises(aiohttp.ClientError):
            await status_of(receiver.url, {}, pki.client())


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"tls_server_config": {"cert_file": "no.crt", "key_file": "no.key"}}, "no.crt: No such file"),
        ({"tls_server_config": {"cert_file": "x"}}, "key_file is missing"),
        ({"tls_server_config": {**TLS, "client_auth_type": "RequestClientCert"}}, "RequireAndVerifyClientCert"),
        ({"tls_server_config": {**TLS, "client_auth_type": "RequireAndVerifyClientCert"}}, "needs client_ca_file"),
        ({"tls_server_config": {**TLS, "min_version": "TLS10"}}, "the oldest supported version is TLS12"),
        ({"tls_server_config": {**TLS, "cipher_suites": ["RC4"]}}, 'cipher_suites "RC4"'),
        ({"tls_server_config": {**TLS, "curve_preferences": ["X25519", "CurveP256"]}}, "several curves"),
        ({"tls_server_config": {**TLS, "keyfile": "x"}}, 'did you mean "key_file"?'),
        ({"basic_auth_users": {"prom": PASSWORD}}, "not a bcrypt hash"),
        ({"basic_auth_user": {}}, 'did you mean "basic_auth_users"?'),
        ({"http_server_config": {"headers": {"Set-Cookie": "x"}}}, 'unknown key "Set-Cookie"'),
        ({"http_server_config": {"headers": {"X-Frame-Options": "a\r\nb: c"}}}, "not one line"),
    ],
)  # fmt: skip
@in_loop()
async def test_a_wrong_configuration_is_named_and_no_secret_is(
    tmp_path: Path, parts: dict[str, object], says: str
) -> None:
    """The receiver doesn't start, and the message shows the file and the place."""
    Pki(tmp_path)
    config = write_config(tmp_path, **parts)
    async with serve(Sandbox()) as server:
        with pytest.raises(SettingsError) as refused:
            async with receiving(tmp_path, server.connection_string, web_config_file=config):
                pass
    assert says in str(refused.value)
    assert "web.yml" in str(refused.value)
    assert PASSWORD not in str(refused.value)


def spoil(config: str, parts: dict[str, object] | None) -> None:
    """Leave a file with these parts alone, or nothing in it."""
    Path(config).write_text("" if parts is None else yaml.safe_dump(parts))


def break_off(config: str) -> None:
    """Leave a file half written, a password in it."""
    Path(config).write_text(f"basic_auth_users: {{prom: {PASSWORD}")


@in_loop()
async def test_a_mistake_in_the_file_locks_no_user_out(tmp_path: Path) -> None:
    """What was read before stays until the file is right again."""
    config = write_config(tmp_path, basic_auth_users={"prom": HASH})
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, web_config_file=config) as receiver,
    ):
        break_off(config)
        assert (await status_of(receiver.url, basic("prom", PASSWORD)))[0] == 204
        write_config(tmp_path, basic_auth_users={"newcomer": HASH})

        async def taken() -> bool:
            return (await status_of(receiver.url, basic("newcomer", PASSWORD)))[0] == 204

        await until(taken, "the newcomer's password")
        assert (await status_of(receiver.url, basic("prom", PASSWORD)))[0] == 401


@pytest.mark.parametrize(
    ("keep", "says"),
    [(-1, "the file is empty"), (0, "weaker than"), (1, "weaker than")],
    ids=["emptied", "without rules", "cut after TLS"],
)
@in_loop()
async def test_a_file_that_loses_its_rules_opens_nothing(
    tmp_path: Path, keep: int, says: str
) -> None:
    """As an editor, `cp` or a full disk leaves it: what was asked for is asked for, and said."""
    pki = Pki(tmp_path)
    parts: dict[str, object] = {"tls_server_config": TLS, "basic_auth_users": {"prom": HASH}}
    config = write_config(tmp_path, **parts)
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string, web_config_file=config) as receiver,
    ):
        spoil(config, None if keep < 0 else dict(list(parts.items())[:keep]))

        async def noticed() -> str:
            return (await _verdict(receiver, pki)).partition(says)[1]

        await until(noticed, "the verdict")
        plain = receiver.url.replace("https", "http")
        with pytest.raises(aiohttp.ClientError):
            await status_of(plain, {})
        assert (await status_of(receiver.url, {}, pki.client()))[0] == 401
        write_config(tmp_path, **parts)

        async def mended() -> bool:
            return says not in await _verdict(receiver, pki)

        await until(mended, "the verdict to be good again")


async def _verdict(receiver: Running, pki: Pki) -> str:
    """All that the receiver says is wrong."""
    async with receiver.session.get(
        f"{receiver.url}/api/v1/status", headers=basic("prom", PASSWORD), ssl=pki.client()
    ) as answer:
        verdict = (await answer.json())["verdict"]
    return " ".join([verdict["line"], *verdict["also"]])


def checked(folder: Path, *flags: str) -> tuple[int, str]:
    """Run `check`; returns its exit code and all that it says."""
    command = [sys.executable, "-m", "receiver", "check", "--outbox-dir", str(folder), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("listen", "warned"),
    [("127.0.0.1:1", False), ("[::1]:1", False), ("localhost:1", False), (":9201", True)],
)
def test_check_warns_of_a_door_that_stands_open(
    tmp_path: Path, listen: str, *, warned: bool
) -> None:
    """Where others reach it, and it asks for no credentials."""
    _, said = checked(tmp_path, "--listen", listen)
    assert ("without credentials" in said) is warned


def test_check_reads_the_web_configuration_and_shows_no_secret(tmp_path: Path) -> None:
    """A good one takes the warning away, a broken one is an error."""
    good = write_config(tmp_path, basic_auth_users={"prom": HASH})
    _, said = checked(tmp_path, "--listen", ":9201", "--web.config.file", good)
    assert "without credentials" not in said
    assert HASH not in said
    bad = write_config(tmp_path, basic_auth_users={"prom": PASSWORD})
    code, said = checked(tmp_path, "--web.config.file", bad)
    assert code == 2
    assert "not a bcrypt hash" in said
    assert PASSWORD not in said
