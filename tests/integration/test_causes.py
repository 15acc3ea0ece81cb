"""Each way in which there is no answer has its own cause and cure: real sockets and certificates."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from receiver.delivery.causes import explain
from receiver.delivery.http_client import Client
from tests.integration.waiting import in_loop

CA = trustme.CA()
DAY = timedelta(days=1)
Served = tuple[ssl.SSLContext | None, bytes | None]


def trusting(ca: trustme.CA | None) -> ssl.SSLContext:
    """Make what the client trusts."""
    context = ssl.create_default_context()
    if ca:
        ca.configure_trust(context)
    return context


def certified(name: str, ca: trustme.CA = CA, ends: datetime | None = None) -> ssl.SSLContext:
    """Make what a server shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(name, not_after=ends).configure_cert(context)
    return context


@asynccontextmanager
async def listening(context: ssl.SSLContext | None, says: bytes | None) -> AsyncIterator[int]:
    """Listen; say `says` to whatever comes, and close, or say nothing for ever where it is None."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if says is None:
            await over.wait()
        elif says:
            await reader.read(1)
            writer.write(says)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        over.set()
        server.close()


async def cause_of(
    url: str, ca: trustme.CA | None = CA, environ: dict[str, str] | None = None
) -> tuple[str, str]:
    """POST, and explain why there was no answer."""
    client = Client("tester", 0.5, {}, lambda: trusting(ca))
    try:
        with pytest.raises(OSError) as error:  # noqa: PT011 - which one is what is told apart
            await client.post(url, {}, b"body")
    finally:
        client.close()
    return explain(error.value, environ or {})


YESTERDAY = datetime.now(UTC).replace(tzinfo=None) - DAY

TLS = {
    "expired": (certified("127.0.0.1", ends=YESTERDAY), CA, "has expired", "clock"),
    "another name": (certified("elsewhere.example"), CA, "for another address", "IngestionEndpoint"),
    "an unknown CA": (certified("127.0.0.1"), None, "unknown CA", "SSL_CERT_FILE"),
}  # fmt: skip


@pytest.mark.parametrize("name", TLS)
@in_loop()
async def test_a_certificate_s_fault_is_named(name: str) -> None:
    """Expired, another's, unknown: three cures."""
    context, ca, cause, fix = TLS[name]
    async with listening(context, b"") as port:
        found, hint = await cause_of(f"https://127.0.0.1:{port}/", ca)
    assert cause in found
    assert fix in hint


@in_loop()
async def test_a_file_of_cas_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """OpenSSL says nothing of it, and trusts nobody."""
    missing = str(tmp_path / "missing.pem")
    async with listening(certified("127.0.0.1"), b"") as port:
        found, hint = await cause_of(f"https://127.0.0.1:{port}/", None, {"SSL_CERT_FILE": missing})
    assert f"SSL_CERT_FILE={missing} cannot be read" in found
    assert "permissions" in hint


@in_loop()
async def test_plain_http_on_the_port_is_named() -> None:
    """An https endpoint with the port of http."""
    async with listening(None, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as port:
        found, hint = await cause_of(f"https://127.0.0.1:{port}/")
    assert "does not speak TLS" in found
    assert "plain HTTP" in hint


@in_loop()
async def test_a_handshake_that_is_closed_has_a_reason() -> None:
    """It used to be an empty one."""
    async with listening(None, b"") as port:
        found, hint = await cause_of(f"https://127.0.0.1:{port}/")
    assert "closed during the handshake" in found
    assert "firewall" in hint


@in_loop()
async def test_a_timeout_names_the_step() -> None:
    """A handshake that is never answered is no slow service."""
    async with listening(None, None) as port:
        found, hint = await cause_of(f"https://127.0.0.1:{port}/")
        assert "negotiating TLS" in found
        assert "does not speak TLS" in hint
        found, hint = await cause_of(f"http://127.0.0.1:{port}/")
        assert "waiting for the answer" in found
        assert "RECEIVER_SEND_TIMEOUT" in hint


@in_loop()
async def test_a_name_and_a_port_where_nothing_is() -> None:
    """Two causes."""
    found, hint = await cause_of("https://no-such-host.invalid/")
    assert "cannot be resolved" in found
    assert "DNS" in hint
    found, _ = await cause_of("http://127.0.0.1:1/")
    assert "cannot connect" in found
