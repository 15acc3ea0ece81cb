"""Who may: each kind of credentials, right and wrong, asked of `Access` itself."""

import asyncio
import base64
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from receiver.config.settings import Address
from receiver.errors import Forbidden, Overloaded, SettingsError, Unauthorized
from receiver.server.auth import (
    BCRYPT_BYTES,
    REMEMBERED_MAX,
    TOKEN_LIMIT,
    WAITING_MAX,
    Access,
    Rules,
    exposure,
    is_loopback,
    matches,
    read_rules,
)
from receiver.server.web_config import Pem, TlsConfig, WebConfig
from tests.integration.waiting import in_loop

PASSWORD = "right"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
TOKEN = "a-token"
KEY = Pem(Path("key.pem"))


class CountingThread(ThreadPoolExecutor):
    """A thread that counts what it is given; what it does waits for `go`."""

    def __init__(self) -> None:
        super().__init__(1)
        self.count = 0
        self.go = threading.Event()
        self.go.set()

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        self.count += 1

        def later() -> Any:
            assert self.go.wait(20)
            return work(*args, **named)

        return super().submit(later)


class Gate:
    """An `Access` of some users and a token, and what it says of a request."""

    def __init__(self, folder: Path, *, users: bool = False, token: str = "") -> None:
        self.web, self.token_file = folder / "web.yml", folder / "token"
        self.now = 1_800_000_000.0
        self.set_users({"prom": HASH, "other": bcrypt.hashpw(b"else", bcrypt.gensalt(4)).decode()})
        self.token_file.write_text(f" {token}\n")
        self.access = Access(
            str(self.web) if users else "", str(self.token_file) if token else "", lambda: self.now
        )
        self.access.close()
        self.thread = self.access._thread = CountingThread()

    def set_users(self, users: dict[str, str]) -> None:
        """Write the web.config.file."""
        lines = [f"  {name}: {hashed}" for name, hashed in users.items()]
        self.web.write_text("\n".join(["basic_auth_users:", *lines]))

    async def lets(self, authorization: str) -> bool:
        """Whether a request with this header passes."""
        try:
            await self.access.check(authorization, None)
        except Unauthorized:
            return False
        return True


def basic(user: str, password: str | bytes) -> str:
    """Give the header."""
    raw = user.encode() + b":" + (password if isinstance(password, bytes) else password.encode())
    return f"Basic {base64.b64encode(raw).decode()}"


@in_loop(20)
async def test_nothing_is_asked_where_nothing_is_configured(tmp_path: Path) -> None:
    """Whatever is sent."""
    gate = Gate(tmp_path)
    assert await gate.lets("")
    assert await gate.lets("Bearer x")
    assert gate.access.tls() is None


@in_loop(20)
async def test_a_bearer_token_is_that_of_the_file(tmp_path: Path) -> None:
    """All of it and no more; white space around it is nobody's."""
    gate = Gate(tmp_path, token=TOKEN)
    for right in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN} "):
        assert await gate.lets(right)
    for wrong in (
        "", "Bearer", "Bearer ", TOKEN, f"Token {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}", "Bearer \udcff", "Bearer é", f"Basic {TOKEN}",
    ):  # fmt: skip
        assert not await gate.lets(wrong), wrong


@in_loop(20)
async def test_a_token_is_a_password_too_of_any_user(tmp_path: Path) -> None:
    """A browser knows no other way."""
    gate = Gate(tmp_path, token=TOKEN)
    assert await gate.lets(basic("", TOKEN))
    assert await gate.lets(basic("anybody", TOKEN).replace("Basic", "bAsIc"))
    for wrong in (basic("", ""), basic(TOKEN, ""), basic(TOKEN, "x"), basic("prom", PASSWORD)):
        assert not await gate.lets(wrong)
    assert gate.thread.count == 0, "no users, no bcrypt"


@in_loop(20)
async def test_a_user_has_their_own_password(tmp_path: Path) -> None:
    """No other user's; no header that cannot be read is anybody's."""
    gate = Gate(tmp_path, users=True)
    assert await gate.lets(basic("prom", PASSWORD))
    assert await gate.lets(basic("other", "else"))
    broken = base64.b64encode(b"prom").decode()
    for wrong in (
        "", "Basic", "Basic ", "Bearer ", "Bearer", basic("prom", "else"), basic("prom", ""),
        basic("nobody", PASSWORD), basic("", PASSWORD), basic("prom", f"{PASSWORD}x"), basic("prom", "a\0b"),
        basic("Prom", PASSWORD), f"Basic {broken}", "Basic !!!", "Basic cHJvbTpyaWdodA", f"Basic {'/w==' * 3}",
        "Basic " + base64.b64encode(b"\xff:right").decode(), basic("prom", PASSWORD).replace("Basic", "Digest"),
    ):  # fmt: skip
        assert not await gate.lets(wrong), wrong


@in_loop(20)
async def test_both_users_and_a_token_let_in(tmp_path: Path) -> None:
    """The one does not put the other out of force."""
    gate = Gate(tmp_path, users=True, token=TOKEN)
    assert await gate.lets(f"Bearer {TOKEN}")
    assert await gate.lets(basic("x", TOKEN))
    assert await gate.lets(basic("prom", PASSWORD))
    assert not await gate.lets(basic("prom", "wrong"))
    assert not await gate.lets(f"Bearer {PASSWORD}")


@in_loop(20)
async def test_what_was_right_is_remembered_and_what_was_wrong_is_not(tmp_path: Path) -> None:
    """A scrape each second costs one bcrypt; each guess costs one."""
    gate = Gate(tmp_path, users=True)
    for _ in range(3):
        assert await gate.lets(basic("prom", PASSWORD))
    assert gate.thread.count == 1
    for count in (2, 3):
        assert not await gate.lets(basic("prom", "wrong"))
        assert gate.thread.count == count
    assert not await gate.lets(basic("other", PASSWORD)), "remembered for one user alone"


@in_loop(20)
async def test_a_changed_password_is_no_longer_right(tmp_path: Path) -> None:
    """Though it is remembered; nor is a user who was taken out."""
    gate = Gate(tmp_path, users=True)
    assert await gate.lets(basic("prom", PASSWORD))
    gate.set_users({"prom": bcrypt.hashpw(b"new", bcrypt.gensalt(4)).decode()})
    gate.access.file.look_again()
    assert not await gate.lets(basic("prom", PASSWORD))
    assert await gate.lets(basic("prom", "new"))
    gate.set_users({"another": HASH})
    gate.access.file.look_again()
    assert not await gate.lets(basic("prom", "new"))


@in_loop(20)
async def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    """Past a thousand it begins anew; a check that is done once more is the only cost."""
    gate = Gate(tmp_path, users=True)
    assert REMEMBERED_MAX == 1000
    gate.access._right.update((bytes([n % 256, n // 256]), None) for n in range(REMEMBERED_MAX - 1))
    assert await gate.lets(basic("prom", PASSWORD))
    assert len(gate.access._right) == REMEMBERED_MAX
    assert await gate.lets(basic("other", "else"))
    assert len(gate.access._right) == 1


@in_loop(20)
async def test_passwords_that_wait_are_bounded(tmp_path: Path) -> None:
    """A second's worth: the next one is told to come again, and all that wait get their answer."""
    gate = Gate(tmp_path, users=True)
    assert WAITING_MAX == 16
    for _ in range(2):
        gate.thread.go.clear()
        waiting = [
            asyncio.create_task(gate.lets(basic("prom", f"wrong {n}"))) for n in range(WAITING_MAX)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="16 passwords are waiting to be checked"):
            await gate.access.check(basic("prom", PASSWORD), None)
        gate.thread.go.set()
        assert not any(await asyncio.gather(*waiting))
    assert await gate.lets(basic("prom", PASSWORD))


@in_loop(20)
async def test_a_certificate_s_name_is_asked_for_beside_credentials(tmp_path: Path) -> None:
    """One of the names that may connect; none, or no certificate, is refused first."""
    tls = TlsConfig(
        KEY, KEY, client_auth="required", client_allowed_sans=("a.example", "b.example")
    )
    gate = Gate(tmp_path, token=TOKEN)
    gate.access.file.value = Rules(WebConfig(tls=tls), token=TOKEN.encode())
    named = {"subjectAltName": (("DNS", "x.example"), ("DNS", "b.example"))}
    await gate.access.check(f"Bearer {TOKEN}", named)
    with pytest.raises(Unauthorized):
        await gate.access.check("", named)
    for peer in (None, {}, {"subjectAltName": ()}, {"subjectAltName": (("DNS", "x.example"),)}):
        with pytest.raises(Forbidden):
            await gate.access.check(f"Bearer {TOKEN}", peer)


def test_the_challenge_names_what_lets_in() -> None:
    """A browser asks its user for the first; a token is named where there is one."""
    assert Rules(WebConfig(users={"a": HASH})).challenge == 'Basic realm="appinsights-receiver"'
    assert Rules(token=b"x").challenge == 'Basic realm="appinsights-receiver", Bearer'


@pytest.mark.parametrize(
    ("rules", "credentials", "nothing"),
    [
        (Rules(), False, True),
        (Rules(token=b"x"), True, False),
        (Rules(WebConfig(users={"a": HASH})), True, False),
        (Rules(WebConfig(tls=TlsConfig(KEY, KEY))), False, True),
        (Rules(WebConfig(tls=TlsConfig(KEY, KEY, client_auth="optional"))), False, True),
        (Rules(WebConfig(tls=TlsConfig(KEY, KEY, client_auth="required"))), False, False),
    ],
)
def test_what_is_asked_for(rules: Rules, *, credentials: bool, nothing: bool) -> None:
    """A certificate that may be left out is nothing that is asked for."""
    assert (rules.ask_credentials, rules.ask_nothing) == (credentials, nothing)
    said = exposure(Address("0.0.0.0", 9201), rules)  # noqa: S104 - it listens nowhere
    assert said.startswith("0.0.0.0:9201 is reachable from other machines") is nothing
    assert nothing or said == ""
    assert exposure(Address("127.0.0.1", 9201), rules) == ""


def test_the_key_s_file_is_named() -> None:
    """It must be private; a key in the text has no file."""
    assert Rules(WebConfig(tls=TlsConfig(Pem(Path("cert")), KEY))).keys == [Path("key.pem")]
    assert Rules(WebConfig(tls=TlsConfig(KEY, Pem(text="secret")))).keys == []
    assert Rules().keys == []


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("::", False),
        ("0.0.0.0", False), ("10.0.0.1", False), ("example.com", False), ("", False), ("localhost.example", False),  # noqa: S104 - it listens nowhere
    ],
)  # fmt: skip
def test_loopback(host: str, *, loopback: bool) -> None:
    """What is reached from this machine alone."""
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "contains no valid token"), (b" \n", "contains no valid token"), (b"x" * (TOKEN_LIMIT + 1), "contains no valid token"), (b"\xff", "not UTF-8"), (None, "No such file")],
)  # fmt: skip
def test_a_token_s_file_that_holds_none_is_refused(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    """An empty token would let anybody in; the sentence names the file and not what is in it."""
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=rf"token: .*{words}") as refused:
        read_rules("", str(path))
    assert "xxx" not in str(refused.value)


def test_the_files_that_count_are_followed(tmp_path: Path) -> None:
    """The configuration, the token; as long as a token may be."""
    web, token = tmp_path / "web.yml", tmp_path / "token"
    web.write_text(f"basic_auth_users: {{prom: {HASH}}}")
    token.write_text("x" * TOKEN_LIMIT)
    assert TOKEN_LIMIT == 16384
    rules, files = read_rules(str(web), str(token))
    assert (rules.token, rules.web.users, rules.context) == (
        b"x" * TOKEN_LIMIT,
        {"prom": HASH},
        None,
    )
    assert files == [web, token]
    assert read_rules("", str(token))[1] == [token]
    assert read_rules(str(web), "")[1] == [web]
    assert read_rules("", "") == (Rules(), [])


def test_certificates_are_followed_too(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """And make a context."""
    cert, key = certificate
    web = tmp_path / "web.yml"
    web.write_text(f"tls_server_config: {{cert_file: {cert}, key_file: {key}}}")
    rules, files = read_rules(str(web), "")
    assert rules.context
    assert files == [web, cert, key]
    access = Access(str(web), "", lambda: 0.0)
    access.close()
    assert access.tls() is access.rules.context is not None


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Give the files of a certificate and its key."""
    import trustme

    issued = trustme.CA().issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    return cert, key


def test_a_slip_is_named_by_the_file_that_has_it(tmp_path: Path) -> None:
    """Which of the two is followed first is what the log calls it."""
    web, token = tmp_path / "web.yml", tmp_path / "token"
    web.write_text("{}")
    token.write_text(TOKEN)
    for named, name in (
        ((str(web), str(token)), "web.config.file"),
        (("", str(token)), "the token's file"),
    ):
        access = Access(*named, lambda: 0.0)
        access.close()
        assert access.file.name == name


@in_loop(20)
async def test_rules_that_ask_for_less_are_not_taken(tmp_path: Path) -> None:
    """An emptied file opens nothing, and its mending is taken."""
    gate = Gate(tmp_path, users=True)
    before = gate.access.rules
    gate.web.write_text("{}")
    gate.access.file.look_again()
    assert gate.access.rules is before
    assert not gate.access.file.state.successful
    assert not await gate.lets("")


def test_bcrypt_looks_at_72_bytes() -> None:
    """As Go's does in Prometheus' own servers: what is longer is compared as far as that."""
    assert BCRYPT_BYTES == 72
    long = b"x" * 72
    hashed = bcrypt.hashpw(long, bcrypt.gensalt(4))
    assert matches(long + b"and more", hashed, [hashed.decode()])
    assert not matches(long[:71], hashed, [hashed.decode()])
    assert not matches(long[:71] + b"y", hashed, [hashed.decode()])


def test_a_dummy_is_a_hash_like_others() -> None:
    """With its cost, a salt and 31 characters: bcrypt refuses anything else in no time."""
    checked: list[bytes] = []

    def checkpw(_: bytes, hashed: bytes) -> bool:
        checked.append(hashed)
        return False

    assert matches(b"x", b"", [], checkpw) is False
    [dummy] = checked
    assert re.fullmatch(rb"\$2b\$10\$[./A-Za-z0-9]{22}[./A-Za-z0-9]{31}", dummy)


@in_loop(20)
async def test_a_password_may_have_colons_and_a_header_no_rubbish(tmp_path: Path) -> None:
    """The first colon ends the user's name (RFC 7617, 2); base64 has its own letters alone."""
    gate = Gate(tmp_path, users=True)
    gate.set_users({"prom": bcrypt.hashpw(b"a:b:c", bcrypt.gensalt(4)).decode()})
    gate.access.file.look_again()
    right = basic("prom", "a:b:c")
    assert await gate.lets(right)
    assert not await gate.lets(f"{right[:10]}!{right[10:]}")


def test_bcrypt_runs_one_at_a_time_and_ends_with_us(tmp_path: Path) -> None:
    """Closing waits for none that runs, and none that waits is begun."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    access = Access("", str(token), lambda: 0.0)
    go, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(20)

    running = access._thread.submit(work)
    assert begun.wait(20)
    waiting = access._thread.submit(int)
    access.close()
    assert not running.done()
    assert waiting.cancelled()
    go.set()
    running.result(20)
    with pytest.raises(RuntimeError):
        access._thread.submit(int)


def test_a_key_that_is_not_there_is_named_with_the_file_that_names_it(tmp_path: Path) -> None:
    """Both are looked for."""
    web = tmp_path / "web.yml"
    web.write_text("tls_server_config: {cert_file: none.pem, key_file: none.pem}")
    with pytest.raises(SettingsError, match=rf"^{web}: tls_server_config: .*none\.pem"):
        read_rules(str(web), "")
