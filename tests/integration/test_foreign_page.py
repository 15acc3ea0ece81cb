"""A web page of another site, in a real browser: it neither writes nor reads."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from multidict import CIMultiDict

from receiver.sandbox import Sandbox, serve
from tests.integration.browser import Page, browsing, chromium
from tests.integration.receivers import receiving
from tests.integration.remote_write import encode, numbered, post
from tests.integration.waiting import in_loop

pytestmark = pytest.mark.skipif(not chromium(), reason="there is no Chromium")
MAPPED = "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP receiver 127.0.0.1, MAP receiver.example 127.0.0.1"


@asynccontextmanager
async def foreign_site() -> AsyncIterator[str]:
    """Serve a page of another site; yields its address, by a name of its own over plain HTTP."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>A page.</html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://evil.example:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def send(page: Page, url: str, body: bytes) -> None:
    """Have the page POST without a preflight, the body a Blob without a type."""
    text = base64.b64encode(body).decode()
    await page.evaluate(f"""
        fetch({json.dumps(url)}, {{method: "POST", mode: "no-cors",
            body: new Blob([Uint8Array.from(atob("{text}"), c => c.charCodeAt(0))])}})
        .then(() => "sent", error => "sent, its answer kept from the page: " + error)
    """)


@in_loop(within_seconds=90)
async def test_another_site_s_page_cannot_write(tmp_path: Path) -> None:
    """By address and by name, with Sec-Fetch headers and without; the sandbox refuses it likewise."""
    body = encode(numbered(1, 0, 5, int(time.time() * 1000)))
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
        foreign_site() as site,
        browsing(tmp_path, MAPPED) as page,
    ):
        await page.look(site)
        await page.wait_for("document.body && document.body.innerText == 'A page.'")
        port = receiver.url.rpartition(":")[2]
        for host in ("127.0.0.1", "localhost", "receiver", "receiver.example"):
            for path in ("/api/v1/write", "/-/reload"):
                await send(page, f"http://{host}:{port}{path}", body)
        status = await receiver.status()
        assert status["received"] == 0
        assert status["requests"]["refused"] == {"foreign_page": 4}  # reloads are no writes
        await send(page, f"{server.url}/clock", b'{"offset_seconds": 86400}')
        await send(page, f"{server.url}/faults", b'{"kind": "pass"}')
        async with receiver.session.get(f"{server.url}/counters") as answer:
            counters = await answer.json()
        assert counters["clock"]["offset_seconds"] == 0
        assert counters["faults_waiting"] == 0
        assert (await post(receiver.session, receiver.url, body)).status == 204  # a program may


@in_loop(within_seconds=90)
async def test_a_name_that_is_pointed_here_reads_nothing(tmp_path: Path) -> None:
    """DNS rebinding: the page's own name leads to the receiver; ours is served and works."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
        browsing(tmp_path, MAPPED) as page,
    ):
        port = receiver.url.rpartition(":")[2]
        for url in (
            f"http://evil.example:{port}/",
            server.url.replace("127.0.0.1", "evil.example"),
        ):
            await page.look(url)
            await page.wait_for("document.body && document.body.innerText.includes('Host')")
        await page.look(f"{receiver.url}/")
        await page.wait_for("document.readyState == 'complete'")
        reload = "fetch('/-/reload', {method: 'POST'}).then(r => r.status)"
        assert await page.evaluate(reload) == 200
        await page.look(f"http://receiver:{port}/")
        await page.wait_for(
            f"location.host == 'receiver:{port}' && document.readyState == 'complete'"
        )
        assert await page.evaluate(reload) == 200


@in_loop()
async def test_each_answer_bears_the_headers(tmp_path: Path) -> None:
    """Of the receiver and of the sandbox, of pages, errors and what is no HTTP; and no version."""
    async with (
        serve(Sandbox()) as server,
        receiving(tmp_path, server.connection_string) as receiver,
    ):
        for method, url in (
            ("GET", f"{receiver.url}/"),
            ("GET", f"{receiver.url}/metrics"),
            ("GET", f"{receiver.url}/nothing"),
            ("PUT", f"{receiver.url}/"),
            ("POST", f"{receiver.url}/nothing"),
            ("POST", f"{receiver.url}/api/v1/write"),
            ("GET", f"{receiver.url}/api/v1/tap?after=x"),
            ("GET", f"{receiver.url}/-/healthy"),
            ("GET", f"{server.url}/"),
            ("GET", f"{server.url}/nothing"),
            ("POST", f"{server.url}/v2.1/track"),
        ):
            async with receiver.session.request(method, url) as answer:
                _check(answer.headers, f"{method} {url}")
        host, port = receiver.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /\x1b[2J HTTP/9.9\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        assert "\x1b" not in text
        head = dict(line.split(": ", 1) for line in text.split("\r\n\r\n")[0].split("\r\n")[1:])
        _check(head, "no HTTP")


def _check(headers: Mapping[str, str], what: str) -> None:
    found = CIMultiDict(headers)
    assert found["Server"] == "appinsights-receiver", what
    assert found["X-Content-Type-Options"] == "nosniff", what
    assert found["X-Frame-Options"] == "DENY", what
    assert "frame-ancestors 'none'" in found["Content-Security-Policy"], what
    assert found["Referrer-Policy"] == "no-referrer", what
