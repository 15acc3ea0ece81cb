"""What the client sends where, and which connection it takes: no socket, on a clock that jumps."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from receiver.delivery.dial import CannotConnect, Stage
from receiver.delivery.http_client import IDLE_SECONDS, Client, TimedOut, make_context
from receiver.delivery.http_connection import Answer, BrokenOff
from receiver.delivery.proxy import Proxy
from tests.unit.delivery.jumping import run

OK = Answer(200, {}, b"")
HOST = "https://service.example/v2.1/track"
PROXY = Proxy("HTTPS_PROXY", "http", "p", 1, "Basic secret")


class FakeConnection:
    """A connection that answers as it is told to: an `Answer`, an error, or seconds of silence."""

    def __init__(self, *answers: Answer | Exception | float) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.may_go_on = True
        self.answer_has_begun = False
        self.idle_since: float | None = None
        self.aborted = False

    async def ask(self, request: bytes) -> Answer:
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else OK
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return OK
        if isinstance(answer, Exception):
            raise answer
        return answer

    def keep(self, now: float) -> None:
        self.idle_since = now

    def abort(self) -> None:
        self.aborted, self.may_go_on = True, False


class Desk:
    """A client, and the connections that it is given, one after the other."""

    def __init__(
        self, *connections: FakeConnection, environ: Mapping[str, str] | None = None
    ) -> None:
        self.client = Client("tester/1", 20.0, environ or {})
        self.waiting = list(connections)
        self.dialled: list[tuple[str, str, int, Proxy | None]] = []
        self.seconds = 0.0
        stands_in: Any = self
        self.client._dialer = stands_in

    async def connect(
        self, scheme: str, host: str, port: int, proxy: Proxy | None, stage: Stage
    ) -> FakeConnection:
        """Stand in for the dialer."""
        self.dialled.append((scheme, host, port, proxy))
        stage.now = f"connecting to {host}"
        await asyncio.sleep(self.seconds)
        return self.waiting.pop(0) if self.waiting else FakeConnection()

    async def post(self, url: str = HOST, body: bytes = b"body") -> Answer:
        return await self.client.post(url, {"X": "y"}, body)


def jumping(main: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """Run a test on jumping time."""

    def on_jumping_time() -> None:
        run(main())  # type: ignore[arg-type]

    on_jumping_time.__doc__ = main.__doc__
    return on_jumping_time


@pytest.mark.parametrize(
    ("url", "proxy", "head"),
    [
        ("https://a.example/v2.1/track", None, "POST /v2.1/track HTTP/1.1|Host: a.example"),
        ("https://a.example:8443", None, "POST / HTTP/1.1|Host: a.example:8443"),
        ("http://user:word@a.example/x?y=1&z=%20", None, "POST /x?y=1&z=%20 HTTP/1.1|Host: a.example"),
        ("http://[::1]:8/ü X", None, "POST /%C3%BC%20X HTTP/1.1|Host: [::1]:8"),
        ("http://a.example/%/?:@!$&'()*+,;=~-._[]", None, "POST /%/?:@!$&'()*+,;=~-._[] HTTP/1.1|Host: a.example"),
        ("https://a.example/x", PROXY, "POST /x HTTP/1.1|Host: a.example"),
        ("http://a.example/x?y", PROXY, "POST http://a.example/x?y HTTP/1.1|Host: a.example|Proxy-Authorization: Basic secret"),
        ("http://a.example/x", Proxy("HTTP_PROXY", "http", "p", 1), "POST http://a.example/x HTTP/1.1|Host: a.example"),
    ],
)  # fmt: skip
def test_a_request_as_it_is_sent(url: str, proxy: Proxy | None, head: str) -> None:
    """RFC 9112, 3.2; a proxy's password goes to the proxy alone, and not through a tunnel."""
    request = Client("tester/1")._request(url, {"A": "b", "C": "d"}, b"12345", proxy)
    rest = "User-Agent: tester/1|Accept: application/json|A: b|C: d|Content-Length: 5||"
    assert request.decode("latin-1") == f"{head}|{rest}".replace("|", "\r\n") + "12345"


@jumping
async def test_a_connection_is_to_its_place_and_kept_for_it() -> None:
    """Scheme, host and port; the ports that schemes imply."""
    desk = Desk()
    for url in (HOST, "http://a.example/", "http://b.example:81/", "https://a.example:8443/x"):
        for _ in range(3):
            assert await desk.post(url) is OK
    assert desk.dialled == [
        ("https", "service.example", 443, None),
        ("http", "a.example", 80, None),
        ("http", "b.example", 81, None),
        ("https", "a.example", 8443, None),
    ]


@jumping
async def test_each_place_has_its_proxy() -> None:
    """As NO_PROXY says of its host; asked for once."""
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "near.example"}
    desk = Desk(environ=environ)
    await desk.post("https://near.example/")
    await desk.post("https://far.example/")
    assert [proxy and proxy.host for *_, proxy in desk.dialled] == [None, "p"]
    environ.clear()
    desk.client.close()
    await desk.post("https://far.example/")
    assert desk.dialled[-1][3] == Proxy("HTTPS_PROXY", "http", "p", 1)


@jumping
async def test_a_proxy_that_cannot_be_used_is_no_connection() -> None:
    """Of a host that a redirect named: the configured one is looked at when the receiver starts."""
    desk = Desk(environ={"HTTPS_PROXY": "socks5://p"})
    with pytest.raises(CannotConnect, match="socks5 proxy is not supported"):
        await desk.post()
    assert desk.dialled == []


@jumping
async def test_a_kept_connection_that_died_costs_a_new_one() -> None:
    """And the others that were kept: they have waited longer still."""
    desk = Desk(environ={"HTTPS_PROXY": "http://p:1"})
    for error in (BrokenOff("reset"), TimedOut("late")):
        one, other, new = FakeConnection(1.0), FakeConnection(0.5), FakeConnection()
        desk.waiting = [one, other, new]
        await asyncio.gather(desk.post(), desk.post())
        one.answers = [error]
        assert await desk.post() is OK
        assert (one.aborted, other.aborted, new.aborted) == (True, True, False)
        assert len(new.requests) == 1
        assert desk.dialled[-1][3] == Proxy("HTTPS_PROXY", "http", "p", 1)
        desk.client.close()
        assert new.aborted


@jumping
async def test_what_may_have_arrived_is_not_sent_again() -> None:
    """An answer that began and broke off; any failure of a new connection."""
    kept, new = FakeConnection(OK, BrokenOff("amid it")), FakeConnection(BrokenOff("at once"))
    desk = Desk(kept, new)
    await desk.post()
    kept.answer_has_begun = True
    with pytest.raises(BrokenOff, match="amid it"):
        await desk.post()
    with pytest.raises(BrokenOff, match="at once"):
        await desk.post()
    assert kept.aborted
    assert new.aborted
    assert len(desk.dialled) == 2


@pytest.mark.parametrize(("seconds", "again"), [(IDLE_SECONDS - 0.1, True), (IDLE_SECONDS, False), (99.0, False)])  # fmt: skip
def test_a_connection_waits_half_a_minute(seconds: float, *, again: bool) -> None:
    """Servers close those that wait longer; it is given up then."""

    async def main() -> None:
        assert IDLE_SECONDS == 30
        connection = FakeConnection()
        desk = Desk(connection)
        await desk.post()
        await asyncio.sleep(seconds)
        await desk.post()
        assert (len(desk.dialled) == 1) is again
        assert connection.aborted is not again

    run(main())


@jumping
async def test_a_connection_that_has_to_end_is_not_kept() -> None:
    """Nor is one taken that ended while it waited; of two the one that waited least is taken."""
    closing = FakeConnection()
    desk = Desk(closing)
    closing.may_go_on = False
    await desk.post()
    assert closing.aborted
    one, other = FakeConnection(1.0), FakeConnection(2.0)
    desk.waiting = [one, other]
    await asyncio.gather(desk.post(), desk.post())
    await desk.post()
    assert len(other.requests) == 2
    other.may_go_on = False
    await desk.post()
    assert len(one.requests) == 2
    assert other.aborted
    assert len(desk.dialled) == 3


@jumping
async def test_a_time_that_is_over_says_what_took_it() -> None:
    """Connecting, or waiting for an answer; over a kept connection too."""
    desk = Desk()
    desk.seconds = 21.0
    with pytest.raises(
        TimedOut, match=r"^no answer in time, while connecting to service\.example$"
    ):
        await desk.post()
    desk.seconds = 5.0
    slow = FakeConnection(16.0)
    desk.waiting = [slow]
    with pytest.raises(TimedOut, match=r"^no answer in time, while waiting for the answer$"):
        await desk.post()
    assert slow.aborted
    kept = FakeConnection(14.0, 21.0)
    desk.waiting = [kept]
    await desk.post()
    kept.answer_has_begun = True
    with pytest.raises(TimedOut, match=r"^no answer in time, while waiting for the answer$"):
        await desk.post()


@jumping
async def test_one_that_is_cancelled_gives_its_connection_up() -> None:
    """What comes over it later is nobody's answer."""
    slow = FakeConnection(9.0)
    desk = Desk(slow)
    task = asyncio.create_task(desk.post())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.aborted
    assert slow.idle_since is None


def test_certificates_are_looked_at() -> None:
    """And the names in them."""
    context = make_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
