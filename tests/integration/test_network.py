"""The way to the service: names, certificates and proxies, as the environment sets them.

The receiver is a process of its own here, since all of it comes from its environment.
"""

import asyncio
import base64
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from receiver.sandbox import INSTRUMENTATION_KEY, Sandbox, serve
from receiver.sandbox.server import create_app
from tests.integration.receivers import ReceiverProcess, delivered, read_status
from tests.integration.remote_write import Point, encode, numbered, post
from tests.integration.waiting import in_loop, until


def certify(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate for 127.0.0.1 that only itself vouches for; return also its file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sandbox")])
    now = datetime.now(UTC)
    day = timedelta(days=1)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(pem))
    key_file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert_file, key_file)
    return context, cert_file


@asynccontextmanager
async def serve_tls(sandbox: Sandbox, context: ssl.SSLContext) -> AsyncIterator[str]:
    """Serve a sandbox over TLS; gives its connection string."""
    runner = web.AppRunner(
        create_app(sandbox), access_log=None, auto_decompress=False, shutdown_timeout=0.5
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        endpoint = f"https://127.0.0.1:{runner.addresses[0][1]}/"
        yield f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={endpoint}"
    finally:
        await runner.cleanup()


class Proxy:
    """A forward proxy: CONNECT for https, whole addresses for http. Keeps each request's head."""

    def __init__(self, authorization: str = "") -> None:
        """Ask for this Proxy-Authorization, if it is not empty."""
        self.heads: list[str] = []
        self.url = ""
        self._authorization = authorization

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listen on loopback."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self._pass_on(reader, writer)
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        method, target, _ = head.split(" ", 2)
        if self._authorization and f"Proxy-Authorization: {self._authorization}" not in head:
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n"
                b"Connection: close\r\n\r\n"
            )
            await writer.drain()
            return
        address = target if method == "CONNECT" else target.split("/")[2]
        host, port = address.split(":")
        reader2, writer2 = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            writer2.write(head.replace(target, "/" + target.split("/", 3)[3], 1).encode())
        await asyncio.gather(_copy(reader, writer2), _copy(reader2, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while part := await reader.read(1 << 16):
            writer.write(part)
            await writer.drain()
    writer.close()


async def write(receiver: ReceiverProcess) -> list[Point]:
    """Write 40 points to a receiver, and return them."""
    sent = numbered(0, 0, 40, int(time.time() * 1000))
    async with aiohttp.ClientSession() as session:
        assert (await post(session, receiver.url, encode(sent))).status == 204
    return sent


async def refused(receiver: ReceiverProcess) -> dict[str, Any]:
    """Wait until delivery has failed, and return what the status page says of it."""
    async with aiohttp.ClientSession() as session:

        async def failed() -> dict[str, Any] | None:
            found = await read_status(session, receiver.url)
            assert found["pending"] == 40
            delivery: dict[str, Any] = found["delivery"]
            return delivery if delivery["failures"] else None

        found: dict[str, Any] = await until(failed, "a failure")
        return found


async def arrived(sandbox: Sandbox, sent: list[Point]) -> None:
    """Wait until each point is there, once."""
    await until(lambda: len(delivered(sandbox)) >= len(sent), "the items")
    assert sorted(delivered(sandbox)) == sorted(sent)


def key_at(endpoint: str) -> str:
    """Spell a connection string."""
    return f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={endpoint}"


@in_loop()
async def test_a_name_that_does_not_resolve_is_named(tmp_path: Path) -> None:
    """The items stay, and the operator reads that it is DNS."""
    async with ReceiverProcess(tmp_path, key_at("https://ingestion.invalid/")) as receiver:
        await write(receiver)
        delivery = await refused(receiver)
        assert "resolve" in delivery["reason"]
        assert "DNS" in delivery["hint"]


@in_loop()
async def test_a_certificate_without_a_known_ca_is_refused(tmp_path: Path) -> None:
    """No item crosses such a connection; the hint says which setting helps."""
    context, _ = certify(tmp_path)
    sandbox = Sandbox()
    async with (
        serve_tls(sandbox, context) as connection,
        ReceiverProcess(tmp_path, connection) as receiver,
    ):
        await write(receiver)
        delivery = await refused(receiver)
        assert "TLS" in delivery["reason"]
        assert "certificate" in delivery["reason"]
        assert "SSL_CERT_FILE" in delivery["hint"]
        assert sandbox.ledger.counters()["requests"] == 0


@in_loop()
async def test_a_certificate_in_ssl_cert_file_is_trusted(tmp_path: Path) -> None:
    """With the CA's file named, the same connection is good."""
    context, certificate = certify(tmp_path)
    sandbox = Sandbox()
    environment = {"SSL_CERT_FILE": str(certificate)}
    async with (
        serve_tls(sandbox, context) as connection,
        ReceiverProcess(tmp_path, connection, environment=environment) as receiver,
    ):
        await arrived(sandbox, await write(receiver))


@in_loop()
async def test_https_goes_through_https_proxy(tmp_path: Path) -> None:
    """By CONNECT, with the proxy's credentials told to the proxy alone."""
    context, certificate = certify(tmp_path)
    sandbox = Sandbox()
    basic = "Basic " + base64.b64encode(b"user:s3cret").decode()
    async with Proxy(basic).running() as proxy, serve_tls(sandbox, context) as connection:
        environment = {
            "SSL_CERT_FILE": str(certificate),
            "HTTPS_PROXY": proxy.url.replace("//", "//user:s3cret@"),
        }
        async with ReceiverProcess(tmp_path, connection, environment=environment) as receiver:
            await arrived(sandbox, await write(receiver))
            assert all(head.startswith("CONNECT 127.0.0.1:") for head in proxy.heads)
            assert "s3cret" not in receiver.log.read_text()


@in_loop()
async def test_plain_http_goes_through_http_proxy(tmp_path: Path) -> None:
    """A gateway inside a network may be plain http; its proxy is HTTP_PROXY's."""
    async with Proxy().running() as proxy, serve(Sandbox()) as server:
        environment = {"HTTP_PROXY": proxy.url}
        async with ReceiverProcess(
            tmp_path, server.connection_string, environment=environment
        ) as receiver:
            await arrived(server.sandbox, await write(receiver))
            assert proxy.heads[0].startswith(f"POST {server.url}/v2.1/track")


@in_loop()
async def test_no_proxy_goes_round_it(tmp_path: Path) -> None:
    """Hosts in NO_PROXY are spoken to directly."""
    async with Proxy().running() as proxy, serve(Sandbox()) as server:
        environment = {"HTTP_PROXY": proxy.url, "NO_PROXY": "example.com,127.0.0.1"}
        async with ReceiverProcess(
            tmp_path, server.connection_string, environment=environment
        ) as receiver:
            await arrived(server.sandbox, await write(receiver))
            assert proxy.heads == []


@in_loop()
async def test_a_proxy_that_wants_credentials_is_named(tmp_path: Path) -> None:
    """407 on CONNECT: the operator reads that it is the proxy, and where credentials go."""
    context, certificate = certify(tmp_path)
    async with Proxy("Basic x").running() as proxy, serve_tls(Sandbox(), context) as connection:
        environment = {"SSL_CERT_FILE": str(certificate), "HTTPS_PROXY": proxy.url}
        async with ReceiverProcess(tmp_path, connection, environment=environment) as receiver:
            await write(receiver)
            delivery = await refused(receiver)
            assert "407" in delivery["reason"]
            assert "HTTPS_PROXY" in delivery["hint"]


@in_loop()
async def test_a_proxy_that_is_away_is_named(tmp_path: Path) -> None:
    """The proxy cannot be reached: said so, and items wait."""
    async with Proxy().running() as proxy:
        gone = proxy.url
    async with ReceiverProcess(
        tmp_path, key_at("https://127.0.0.1:9/"), environment={"HTTPS_PROXY": gone}
    ) as receiver:
        await write(receiver)
        delivery = await refused(receiver)
        assert "proxy" in delivery["reason"]
        assert "HTTPS_PROXY" in delivery["hint"]
