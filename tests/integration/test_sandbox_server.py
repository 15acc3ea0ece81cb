"""The sandbox over real sockets: the contract, its faults on the wire, and its own routes."""

import asyncio
import base64
import gzip
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson
import pytest

from receiver.sandbox import INSTRUMENTATION_KEY, Sandbox, Server, serve

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
STREAM = {"Content-Type": "application/x-json-stream", "Content-Encoding": "gzip"}
TRACK = "/v2.1/track"


@dataclass
class Client:
    """A session with a running sandbox."""

    server: Server
    session: aiohttp.ClientSession

    def url(self, path: str) -> str:
        """Make an address of the sandbox."""
        return self.server.url + path

    async def send(self, *items: object, path: str = TRACK, **headers: str) -> tuple[int, Any]:
        """Post items as a gzip stream and return the status and the answer."""
        body = gzip.compress(b"\n".join(map(orjson.dumps, items)))
        async with self.session.post(
            self.url(path), data=body, headers=STREAM | headers, allow_redirects=False
        ) as response:
            return response.status, orjson.loads(await response.read())

    async def get(self, path: str) -> Any:
        """Fetch one of the sandbox's own lists."""
        async with self.session.get(self.url(path)) as response:
            assert response.status == 200
            return orjson.loads(await response.read())

    async def fault(self, *faults: dict[str, Any], query: str = "") -> None:
        """Script faults."""
        async with self.session.post(self.url("/faults" + query), json=list(faults)) as response:
            assert response.status == 200, await response.text()

    async def values(self) -> list[float]:
        """List the values of the items held."""
        return [item["value"] for item in await self.get("/items")]


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[Client]:
    """Run a sandbox whose clock stands still, and connect to it."""
    sandbox = Sandbox(**({"now": lambda: NOW} | options))
    async with serve(sandbox) as server, aiohttp.ClientSession() as session:
        yield Client(server, session)


def sandboxed(test: Callable[[Client], Awaitable[None]], **options: Any) -> None:
    """Run a test against a sandbox of its own."""

    async def run() -> None:
        async with asyncio.timeout(30), connected(**options) as client:
            await test(client)

    asyncio.run(run())


def item(
    value: float = 1.0, name: str = "nv_count", at: str = "2027-01-15T08:00:00.123Z"
) -> dict[str, Any]:
    """Make an item that the service takes."""
    return {
        "name": "Microsoft.ApplicationInsights.Metric",
        "time": at,
        "iKey": INSTRUMENTATION_KEY,
        "tags": {"ai.cloud.role": "triton", "ai.cloud.roleInstance": "host-1"},
        "data": {
            "baseType": "MetricData",
            "baseData": {
                "ver": 2,
                "metrics": [{"name": name, "value": value}],
                "properties": {"model": "add_sub"},
            },
        },
    }


def test_the_connection_string_leads_to_the_sandbox() -> None:
    """A sender is configured with the server's own words."""

    async def check(client: Client) -> None:
        wanted = f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={client.server.url}/"
        assert client.server.connection_string == wanted
        assert client.server.url == f"http://127.0.0.1:{client.server.port}"

    sandboxed(check)


def test_a_gzip_stream_is_stored_and_listed() -> None:
    """What was accepted can be read back in each form."""

    async def check(client: Client) -> None:
        answer = await client.send(item(1.5), item(2.5, at="2027-01-15T07:59:00Z"))
        assert answer == (
            200,
            {"itemsReceived": 2, "itemsAccepted": 2, "appId": None, "errors": []},
        )
        first, second = await client.get("/items")
        assert first == {
            "name": "nv_count", "properties": {"model": "add_sub"},
            "role": "triton", "role_instance": "host-1", "ikey": INSTRUMENTATION_KEY, "ns": None,
            "tags": {"ai.cloud.role": "triton", "ai.cloud.roleInstance": "host-1"},
            "time": "2027-01-15T08:00:00.123Z", "time_ms": 1_800_000_000_123, "value": 1.5, "request": 1,
        }  # fmt: skip
        assert await client.get("/items?format=compact&limit=1") == [
            ["nv_count", {"model": "add_sub"}, second["time_ms"], 2.5, INSTRUMENTATION_KEY, first["tags"], 1]
        ]  # fmt: skip
        assert await client.get("/items?name=other*") == []
        assert len(await client.get("/items?name=nv_*&since_ms=1800000000000")) == 1
        [latest] = await client.get("/latest")
        assert (latest["value"], latest["items"], latest["time"]) == (1.5, 2, first["time"])
        assert (latest["role"], latest["role_instance"]) == ("triton", "host-1")
        history = await client.get(f"/history?ids={latest['id']},999")
        assert history == {str(latest["id"]): [[second["time_ms"], 2.5], [first["time_ms"], 1.5]]}

    sandboxed(check)


def test_a_json_array_without_gzip_is_stored() -> None:
    """The other documented form of a batch."""

    async def check(client: Client) -> None:
        async with client.session.post(client.url(TRACK), json=[item(1), item(2)]) as response:
            assert response.status == 200
        assert await client.values() == [1, 2]

    sandboxed(check)


def test_big_requests_are_listed_whole() -> None:
    """A body that is judged in a thread, and an answer that is streamed, lose nothing."""

    async def check(client: Client) -> None:
        values = [float(n) for n in range(2500)]
        body = b"\n".join(orjson.dumps(item(value)) for value in values)
        headers = {"Content-Type": "x-json-stream"}
        async with client.session.post(client.url(TRACK), data=body, headers=headers) as response:
            assert (await response.json())["itemsAccepted"] == 2500
        assert await client.values() == values

    sandboxed(check)


def test_a_mixed_batch_is_206_and_a_bad_one_400() -> None:
    """Errors are numbered as sent, and counted by their cause."""

    async def check(client: Client) -> None:
        old = item(at="2027-01-01T00:00:00Z")
        status, answer = await client.send(item(1), old, item(3), old)
        assert (status, answer["itemsReceived"], answer["itemsAccepted"]) == (206, 4, 2)
        assert [error["index"] for error in answer["errors"]] == [1, 3]
        assert all(error["message"].startswith("103: ") for error in answer["errors"])
        status, answer = await client.send(old)
        assert (status, answer["itemsAccepted"], len(answer["errors"])) == (400, 0, 1)
        assert await client.values() == [1, 3]
        counters = await client.get("/counters")
        assert counters["requests_by_status"] == {"206": 1, "400": 1}
        cause = "103: Field 'time' on type 'Envelope' is older than the allowed min date"
        assert counters["rejected_by_message"] == {cause: 3}
        received, accepted, rejected = (
            counters[f"items_{end}"] for end in ("received", "accepted", "rejected")
        )
        assert (received, accepted, rejected) == (5, 2, 3)

    sandboxed(check)


def test_paths_and_methods() -> None:
    """Only POST to the track paths is taken; a doubled slash is forgiven."""

    async def check(client: Client) -> None:
        for path in (TRACK, "/v2/track", "//v2.1/track"):
            assert (await client.send(item(), path=path))[0] == 200
        for method, path, status in (
            ("POST", "/", 405),
            ("POST", "/v2.1", 404),
            ("POST", "/v3/track", 404),
            ("GET", TRACK, 405),
            ("PUT", TRACK, 405),
        ):
            async with client.session.request(method, client.url(path)) as response:
                assert (path, response.status) == (path, status)

    sandboxed(check)


def test_bodies_over_the_limits_are_413() -> None:
    """The limit holds for a body that says its length, one that does not, and a gzip bomb."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 100

    async def check(client: Client) -> None:
        for data, headers in (
            (b" " * 2001, {"Content-Type": "x-json-stream"}),
            (chunks(), {"Content-Type": "x-json-stream"}),
            (gzip.compress(b" " * 10_000), STREAM),
        ):
            async with client.session.post(
                client.url(TRACK), data=data, headers=headers
            ) as response:
                assert response.status == 413
                assert (await response.json())["itemsAccepted"] == 0

    sandboxed(check, max_body_bytes=2000, max_decoded_bytes=9999)


def test_bearer_tokens() -> None:
    """A token is demanded where it is required, and refused where it is not supported."""

    async def check(client: Client) -> None:
        for token, status in (
            (None, 401), ("Bearer bad", 401), ("Basic good", 401), ("Bearer weak", 403), ("Bearer good", 200),
        ):  # fmt: skip
            headers = {"Authorization": token} if token else {}
            assert (await client.send(item(), **headers))[0] == status
        status, answer = await client.send(item(), path="/v2/track")
        assert (status, answer["errors"][0]["message"]) == (400, "Authentication not supported")

    async def check_v2(client: Client) -> None:
        status, answer = await client.send(item(), path="/v2/track", Authorization="Bearer any")
        assert (status, answer["errors"][0]["message"]) == (400, "Authentication not supported")

    sandboxed(check, tokens=["good"], forbidden_tokens=["weak"])
    sandboxed(check_v2)


def test_the_clock_can_be_moved() -> None:
    """The window of time is judged by the clock and its offset."""

    async def check(client: Client) -> None:
        assert (await client.send(item(1)))[0] == 200
        for offset, status in ((49 * 3600, 400), (-3 * 3600, 400), (47.5 * 3600, 200)):
            clock = {"offset_seconds": offset}
            async with client.session.post(client.url("/clock"), json=clock) as response:
                assert (await response.json())["now_ms"] == (NOW + offset) * 1000
            assert (await client.send(item(2)))[0] == status
        mistakes: list[object] = [{}, {"offset_seconds": "1"}, {"offset_seconds": True}, []]
        for wrong in mistakes:
            async with client.session.post(client.url("/clock"), json=wrong) as response:
                assert response.status == 400

    sandboxed(check)


def test_status_faults_and_retry_after() -> None:
    """A status comes with its Retry-After in either form, and stores nothing."""

    async def check(client: Client) -> None:
        await client.fault(
            {"kind": "status", "status": 429, "retry_after": 60},
            {"kind": "status", "status": 503, "retry_after": 60, "retry_after_form": "date"},
            {"kind": "status", "status": 402, "retry_after": "soon", "body": "over", "content_type": "text/plain"},
            {"kind": "status", "status": 502},
        )  # fmt: skip
        seen = []
        for _ in range(5):
            async with client.session.post(client.url(TRACK), json=[item()]) as response:
                text = await response.text()
                seen.append((response.status, response.headers.get("Retry-After"), text))
        assert [status for status, _, _ in seen] == [429, 503, 402, 502, 200]
        assert seen[0][1] == "60"
        assert parsedate_to_datetime(seen[1][1] or "").timestamp() == NOW + 60
        assert seen[2][1:] == ("soon", "over")
        assert seen[3][2].startswith("<html>")
        assert orjson.loads(seen[0][2])["errors"][0]["statusCode"] == 429
        assert await client.values() == [1]
        assert (await client.get("/counters"))["faults_applied"] == {"status": 4}

    sandboxed(check)


def test_resets_are_resets() -> None:
    """Before reading nothing is stored; after accepting and amid the answer everything is."""

    async def check(client: Client) -> None:
        for number, when in enumerate(("before_read", "after_accept", "mid_answer")):
            await client.fault({"kind": "reset", "when": when})
            with pytest.raises((ConnectionResetError, aiohttp.ClientError)):
                await client.send(item(number))
        assert await client.values() == [1, 2]
        log = await client.get("/requests")
        assert [(r["outcome"], r["status"], r["fault"]) for r in log] == [
            ("reset", None, "reset")
        ] * 3
        assert (await client.get("/counters"))["requests_by_status"] == {"reset": 3}

    sandboxed(check)


def test_a_reset_is_rst_and_not_an_orderly_end() -> None:
    """The sender's socket sees ECONNRESET, and amid an answer the first half of it."""

    async def raw(server: Server) -> tuple[bytes, bool]:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        body = orjson.dumps([item()])
        head = f"POST {TRACK} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        got = b""
        try:
            while part := await reader.read(100):
                got += part
        except ConnectionResetError:
            return got, True
        finally:
            writer.close()
        return got, False

    async def check(client: Client) -> None:
        await client.fault({"kind": "reset", "when": "after_accept"})
        assert await raw(client.server) == (b"", True)
        await client.fault({"kind": "reset", "when": "mid_answer"})
        got, was_reset = await raw(client.server)
        assert was_reset
        head, _, body = got.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length
        assert 0 < len(body) < int(length.group(1))

    sandboxed(check)


def test_redirects_keep_the_method_and_name_the_place() -> None:
    """A 307 or 308 leads a POST elsewhere, with or without a word on how long."""

    async def check(client: Client) -> None:
        async with connected() as other:
            await client.fault(
                {"kind": "redirect", "location": other.url(TRACK), "cache_control": "max-age=60"},
                {"kind": "redirect", "status": 308, "location": TRACK},
            )
            async with client.session.post(client.url(TRACK), json=[item(1)]) as response:
                [redirect] = response.history
                assert (redirect.status, redirect.headers["Cache-Control"]) == (307, "max-age=60")
            async with client.session.post(client.url(TRACK), json=[item(2)]) as response:
                assert [hop.status for hop in response.history] == [308]
            assert (await other.values(), await client.values()) == ([1], [2])

    sandboxed(check)


def test_item_faults_refuse_every_so_many() -> None:
    """Each k-th item gets the status and message, the others are stored."""

    async def check(client: Client) -> None:
        await client.fault({"kind": "items", "every": 3, "status_code": 500, "message": "later"})
        status, answer = await client.send(*(item(n) for n in range(7)))
        assert (status, answer["itemsAccepted"]) == (206, 5)
        assert answer["errors"] == [
            {"index": n, "statusCode": 500, "message": "later"} for n in (2, 5)
        ]
        assert await client.values() == [0, 1, 3, 4, 6]

    sandboxed(check)


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize("how", ["truncated", "garbage", "empty"])
def test_a_spoiled_answer_cannot_be_read(how: str, accept: bool) -> None:  # noqa: FBT001
    """The status is right, the body is no JSON, and the items are stored or not as asked."""

    async def check(client: Client) -> None:
        await client.fault({"kind": "answer", "how": how, "accept": accept})
        async with client.session.post(client.url(TRACK), json=[item()]) as response:
            assert response.status == 200
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(await response.read())
        assert await client.values() == ([1] if accept else [])

    sandboxed(check)


def test_a_delayed_answer_follows_the_storing() -> None:
    """The items are there at once, the answer is late; a sender that gives up has still sent."""

    async def check(client: Client) -> None:
        await client.fault({"kind": "delay", "delay_seconds": 0.2})
        started = time.monotonic()
        assert (await client.send(item(1)))[0] == 200
        assert time.monotonic() - started >= 0.2
        await client.fault({"kind": "delay", "delay_seconds": 3600})
        waiting = asyncio.ensure_future(client.send(item(2)))
        while await client.values() != [1, 2]:
            assert not waiting.done()
        waiting.cancel()

    sandboxed(check)


def test_a_storm_over_the_wire_loses_no_count() -> None:
    """Whatever the storm does, each answered item is stored and each request is in the log."""

    async def check(client: Client) -> None:
        await client.fault({"kind": "storm", "seed": 5, "times": None})
        confirmed = []
        for number in range(120):
            try:
                async with client.session.post(client.url(TRACK), json=[item(number)]) as response:
                    if response.status == 200:
                        confirmed.append(float(number))
            except (aiohttp.ClientError, ConnectionResetError):
                continue
        assert 40 < len(confirmed) < 120
        assert set(confirmed) <= set(await client.values())
        counters = await client.get("/counters")
        assert sum(counters["requests_by_status"].values()) == counters["requests"] == 120
        assert len(counters["faults_applied"]) > 3

    sandboxed(check)


def test_faults_are_listed_appended_and_cleared() -> None:
    """The script can be read and changed while the sandbox runs."""

    async def check(client: Client) -> None:
        await client.fault({"kind": "reset"}, {"kind": "pass", "times": 2})
        await client.fault({"kind": "delay"}, query="?append=1")
        assert [fault["kind"] for fault in await client.get("/faults")] == [
            "reset",
            "pass",
            "delay",
        ]
        await client.fault({"kind": "delay"})
        assert [fault["kind"] for fault in await client.get("/faults")] == ["delay"]
        async with client.session.delete(client.url("/faults")) as response:
            assert await response.json() == []
        for body in (b'[{"kind":"status","status":9}]', b"{"):
            async with client.session.post(client.url("/faults"), data=body) as response:
                assert response.status == 400
                assert re.match(
                    r"faults\[0\]\.status: |not JSON: ", (await response.json())["error"]
                )

    sandboxed(check)


def test_items_can_be_cleared() -> None:
    """After DELETE nothing is held, and the counters still tell what came."""

    async def check(client: Client) -> None:
        await client.send(item())
        before = (await client.get("/counters"))["generation"]
        async with client.session.delete(client.url("/items")) as response:
            counters = await response.json()
        assert (counters["items_stored"], counters["items_accepted"]) == (0, 1)
        assert counters["generation"] != before
        assert await client.get("/latest") == []

    sandboxed(check)


@pytest.mark.parametrize("query", ["since_ms=x", "limit=-1", "limit=1.5"])
def test_a_bad_query_is_refused_with_a_reason(query: str) -> None:
    """A filter that cannot be read is an error and not an empty list."""

    async def check(client: Client) -> None:
        async with client.session.get(client.url("/items?" + query)) as response:
            assert response.status == 400
            assert query.partition("=")[0] in (await response.json())["error"]

    sandboxed(check)


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """The page loads no foreign address, builds no HTML from values, and may not by its policy."""

    async def check(client: Client) -> None:
        async with client.session.get(client.url("/")) as response:
            assert response.content_type == "text/html"
            policy = response.headers["Content-Security-Policy"]
            html = await response.text()
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for tag in ("style", "script"):
            inline = html.partition(f"<{tag}>")[2].partition(f"</{tag}>")[0].encode()
            digest = base64.b64encode(hashlib.sha256(inline).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy
        assert re.findall(r"https?://[^\"'\s]+", html) == ["http://www.w3.org/2000/svg"]
        assert not re.search(
            r"innerHTML|insertAdjacentHTML|document\.write|eval\(| style=| on\w+=\"", html
        )

    sandboxed(check)
