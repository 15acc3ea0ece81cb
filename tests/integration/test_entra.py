"""Signing in with Microsoft Entra ID, against a token endpoint and a sandbox on loopback."""

import asyncio
import os
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from demo.receiver_process import ReceiverProcess
from receiver import service
from receiver.azure import credentials as entra
from receiver.azure.connection_string import Connection, parse
from receiver.config.settings import resolve
from receiver.errors import SettingsError, Unreachable
from receiver.events import Events
from receiver.intake.wire.remote_write_v1_pb2 import WriteRequest
from receiver.sandbox import Sandbox, serve
from tests.integration.receivers import metrics_json


@dataclass
class Identity:
    """A managed identity's token endpoint, as a machine in Azure App Service sees it."""

    lifetime_seconds: int = 3600
    broken: bool = False
    asked: list[Mapping[str, str]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.json_response({"error": "no identity here"}, status=400)
        self.asked.append({**request.query, "header": request.headers.get("X-IDENTITY-HEADER", "")})
        ends = int(time.time()) + self.lifetime_seconds
        token = f"token-{len(self.asked)}"
        return web.json_response(
            {
                "access_token": token,
                "expires_on": str(ends),
                "resource": "r",
                "token_type": "Bearer",
            }
        )


@asynccontextmanager
async def identity_endpoint(identity: Identity) -> AsyncIterator[Identity]:
    app = web.Application()
    app.router.add_get("/msi/token", identity.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        identity.url = f"http://127.0.0.1:{runner.addresses[0][1]}/msi/token"
        yield identity
    finally:
        await runner.cleanup()


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set what the platform would set; azure-identity reads the process's own environment."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}


def request_body(samples: int) -> bytes:
    import snappy

    request = WriteRequest()
    for number in range(samples):
        series = request.timeseries.add()
        series.labels.add(name=b"__name__", value=b"nv_inference_count")
        series.labels.add(name=b"model", value=str(number).encode())
        series.samples.add(value=number, timestamp=int(time.time() * 1000))
    return bytes(snappy.compress(request.SerializeToString()))


@asynccontextmanager
async def receiving(directory: Path, connection: Connection) -> AsyncIterator[service.Receiver]:
    flags = {
        "outbox_dir": str(directory),
        "listen": "127.0.0.1:0",
        "authentication_string": "Authorization=AAD;ClientId=11111111-0000-0000-0000-000000000000",
    }
    settings, _ = resolve(flags | {"metrics_json": str(metrics_json(directory.parent))}, {})
    async with service.running(settings, connection) as receiver:
        yield receiver


async def write(receiver: service.Receiver, samples: int) -> None:
    async with (
        ClientSession() as session,
        session.post(
            f"{receiver.url}/api/v1/write", data=request_body(samples), headers=HEADERS
        ) as answer,
    ):
        assert answer.status == 204


async def until_sent(receiver: service.Receiver, attempts: int) -> None:
    """Wait for so many answers of the endpoint; each settles what it is about before the next."""
    async with asyncio.timeout(30):
        while sum(receiver.delivery.counts.attempts.values()) < attempts:
            await asyncio.sleep(0.01)
        while (await receiver.observer.snapshot()).ledger.pending and attempts:
            if receiver.delivery.default.backoff.state.failures:
                return
            await asyncio.sleep(0.01)


def test_items_go_with_a_token_of_the_managed_identity(tmp_path: Path) -> None:
    """The token is asked for once, for the audience of the connection string, and sent with each POST."""

    async def run() -> None:
        identity = Identity()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(identity_endpoint(identity))
            server = await stack.enter_async_context(serve(Sandbox(tokens={"token-1"})))
            stack.enter_context(environment(IDENTITY_ENDPOINT=identity.url, IDENTITY_HEADER="abc"))
            text = f"{server.connection_string};AADAudience=https://monitor.azure.us/"
            receiver = await stack.enter_async_context(receiving(tmp_path, parse(text)))
            await write(receiver, 3)
            await until_sent(receiver, 1)
            await write(receiver, 5)
            await until_sent(receiver, 2)
            assert len(list(server.sandbox.store.select())) == 8
        assert len(identity.asked) == 1
        assert identity.asked[0]["resource"] == "https://monitor.azure.us"
        assert identity.asked[0]["client_id"].startswith("11111111")

    asyncio.run(run())


def test_a_refused_token_is_renewed_once(tmp_path: Path) -> None:
    """After a 401 one new token is tried at once; when that is refused too, delivery is blocked."""

    async def run() -> None:
        identity = Identity()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(identity_endpoint(identity))
            sandbox = Sandbox(tokens={"token-2"})
            server = await stack.enter_async_context(serve(sandbox))
            stack.enter_context(environment(IDENTITY_ENDPOINT=identity.url, IDENTITY_HEADER="abc"))
            connection = parse(server.connection_string)
            receiver = await stack.enter_async_context(receiving(tmp_path, connection))
            await write(receiver, 3)
            await until_sent(receiver, 1)
            assert len(list(sandbox.store.select())) == 3
            assert len(identity.asked) == 2
            sandbox.tokens = frozenset({"another"})
            await write(receiver, 4)
            await until_sent(receiver, 2)
            found = await receiver.observer.snapshot()
            assert found.backoff.action is not None
            assert found.backoff.action.value == "blocked"
            assert len(identity.asked) == 3
            assert found.ledger.pending == 4
            assert found.ledger.adds_up

    asyncio.run(run())


def test_an_identity_without_the_role_is_named(tmp_path: Path) -> None:
    """A 403 blocks delivery, keeps the items, and the hint names the role."""

    async def run() -> None:
        identity = Identity()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(identity_endpoint(identity))
            sandbox = Sandbox(tokens={"x"}, forbidden_tokens={"token-1"})
            server = await stack.enter_async_context(serve(sandbox))
            stack.enter_context(environment(IDENTITY_ENDPOINT=identity.url, IDENTITY_HEADER="abc"))
            connection = parse(server.connection_string)
            receiver = await stack.enter_async_context(receiving(tmp_path, connection))
            await write(receiver, 3)
            await until_sent(receiver, 1)
            found = await receiver.observer.snapshot()
            assert "Monitoring Metrics Publisher" in found.backoff.hint
            assert found.ledger.pending == 3

    asyncio.run(run())


def certificate(directory: Path) -> Path:
    """Make a certificate for 127.0.0.1, and its key, in one file."""
    path = directory / "tls.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -keyout {path} -out {path}.crt"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def test_a_pod_signs_in_with_its_workload_identity(tmp_path: Path) -> None:
    """Kubernetes' federated token is exchanged at the authority, and the token sent with the items."""

    async def run() -> None:
        asked: list[dict[str, str]] = []

        async def answer(request: web.Request) -> web.Response:
            asked.append({name: str(value) for name, value in (await request.post()).items()})
            return web.json_response(
                {"access_token": "from-the-pod", "expires_in": 3600, "token_type": "Bearer"}
            )

        pem = certificate(tmp_path)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        app = web.Application()
        app.router.add_post("/tenant/oauth2/v2.0/token", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        federated = tmp_path / "federated"
        federated.write_text("the pod's own token")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
            server = await stack.enter_async_context(serve(Sandbox(tokens={"from-the-pod"})))
            authority = f"https://127.0.0.1:{runner.addresses[0][1]}"
            environ = {
                **os.environ,
                "AZURE_AUTHORITY_HOST": authority,
                "AZURE_TENANT_ID": "tenant",
                "AZURE_CLIENT_ID": "the-client",
                "AZURE_FEDERATED_TOKEN_FILE": str(federated),
                "SSL_CERT_FILE": f"{pem}.crt",
                "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD",
                "APPLICATIONINSIGHTS_CONNECTION_STRING": server.connection_string,
                "RECEIVER_OUTBOX_DIR": str(tmp_path / "outbox"),
            }
            metrics = tmp_path / "metrics.json"
            metrics.write_text('{"customMetrics": ["nv_*"]}')
            process = ReceiverProcess(
                tmp_path, flags=["--metrics-json", metrics], environment=environ
            )
            await stack.enter_async_context(process)
            async with (
                ClientSession() as session,
                session.post(process.write_url, data=request_body(3), headers=HEADERS) as reply,
            ):
                assert reply.status == 204
            async with asyncio.timeout(30):
                while len(list(server.sandbox.store.select())) < 3:
                    await asyncio.sleep(0.02)
        assert asked[0]["client_assertion"] == "the pod's own token"
        assert asked[0]["client_id"] == "the-client"
        assert asked[0]["scope"] == "https://monitor.azure.com/.default"

    asyncio.run(run())


def test_tokens_are_renewed_ahead_of_their_end() -> None:
    """A token that ends within five minutes is renewed; while that fails it is used to its end."""

    async def run() -> None:
        identity = Identity(lifetime_seconds=200)
        with environment(IDENTITY_ENDPOINT="", IDENTITY_HEADER="abc"):
            async with identity_endpoint(identity):
                os.environ["IDENTITY_ENDPOINT"] = identity.url
                clock = [time.time()]
                connection = Connection("k" * 36, "http://127.0.0.1:1")
                make = entra.credential_maker(entra.Authentication("c"), connection)
                tokens = entra.Tokens(make, entra.scope_of(connection), lambda: clock[0], Events())
                first = await tokens.get()
                second = await tokens.get()
                assert {first, second} <= {"token-1", "token-2"}
                identity.broken = True
                assert await tokens.get() in {"token-1", "token-2"}
                clock[0] += 201
                with pytest.raises(Unreachable, match="no token") as caught:
                    await tokens.get(second)
                assert "Monitoring Metrics Publisher" in caught.value.hint
                await tokens.close()

    asyncio.run(run())


def test_a_token_never_crosses_a_network_in_clear() -> None:
    """An endpoint without TLS, elsewhere than on this machine, is refused."""
    connection = Connection("k" * 36, "http://example.org")
    with pytest.raises(SettingsError, match="not https"):
        entra.credential_maker(entra.Authentication(), connection)


@pytest.mark.parametrize(
    ("text", "client_id"),
    [
        ("Authorization=AAD", ""),
        ("authorization = aad ; ClientId = abc ;", "abc"),
    ],
)
def test_authentication_strings(text: str, client_id: str) -> None:
    """Keys in any case, spaces and a trailing semicolon are all right."""
    assert entra.parse(text) == entra.Authentication(client_id)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ClientId=abc", "Authorization=AAD"),
        ("Authorization=Basic", "Authorization=AAD"),
        ("Authorization=AAD;ClientID", "not Key=value"),
        ("Authorization=AAD;Secret=1", "unknown keys: secret"),
    ],
)
def test_wrong_authentication_strings(text: str, message: str) -> None:
    """A mistake is named."""
    with pytest.raises(SettingsError, match=message):
        entra.parse(text)
