"""Deliveries as the receiver opens them, on a real connection over loopback."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from receiver import __version__
from receiver.azure.connection_string import Connection
from receiver.config.resources import Resource
from receiver.config.settings import Settings, resolve
from receiver.delivery.lanes import Changed
from receiver.delivery.setup import check_resource, open_deliveries, open_sender, own_resource
from receiver.errors import SettingsError
from receiver.events import Events
from tests.integration.waiting import in_loop, until
from tests.unit.delivery.bench import FakeOutbox, own

AAD = "Authorization=AAD"


def settings(**environment: str) -> Settings:
    return resolve({}, environment)[0]


def resource(authentication_string: str = "", proxy: str | None = "") -> Resource:
    connection = Connection("key", "https://service.example")
    return Resource("a", connection, authentication_string, 0, 1, proxy)


class Service:
    """Accepts all items, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, list[bytes]]] = []

    async def track(self, request: web.Request) -> web.Response:
        lines = (await request.read()).splitlines(keepends=True)  # aiohttp has decompressed it
        self.requests.append((request.headers["User-Agent"], lines))
        answer = own(200, len(lines))
        return web.Response(status=answer.status, body=answer.body)


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[str]:
    """Serve it on loopback; gives its address."""
    application = web.Application()
    application.router.add_post("/v2.1/track", service.track)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


class Committer:
    """Asks an outbox that is a few lines."""

    def __init__(self) -> None:
        self.outbox = FakeOutbox()
        self.busy_lanes: set[str] = set()

    async def ask(self, query: Callable[[Any], Any]) -> Any:
        return query(self.outbox)

    async def settle(self, outcome: Any) -> Any:
        return self.outbox.settle(outcome)


@in_loop()
async def test_a_batch_goes_to_the_resource_of_the_connection_string() -> None:
    """With its key, although the batch was made for another one, and with the receiver's name."""
    service, committer = Service(), Committer()
    stands_in: Any = committer
    async with serving(service) as url:
        deliveries = open_deliveries(
            settings(), Connection("new", url), stands_in, time.time, Events(), Changed()
        )
        line = b'{"iKey":"key","tags":{}}\n'
        committer.outbox.add([line], round(time.time() * 1000), round(time.time() * 1000))
        running = asyncio.create_task(deliveries.run())
        await until(lambda: committer.outbox.totals["accepted"], "the batch")
        deliveries.stop()
        await running
    assert service.requests == [
        (f"appinsights-receiver/{__version__}", [line.replace(b'"key"', b'"new"')])
    ]
    assert deliveries.default.counts.attempts == {"200": 1}


@in_loop()
async def test_what_a_verb_sends_has_the_verb_in_its_name() -> None:
    """`doctor` is no receiver; without a proxy, whatever the environment has."""
    service = Service()
    async with serving(service) as url, AsyncExitStack() as stack:
        send = open_sender(10, stack, suffix=" (doctor)", environ={})
        assert (await send(f"{url}/v2.1/track", {}, b"line\n")).status == 200
    assert service.requests == [(f"appinsights-receiver/{__version__} (doctor)", [b"line\n"])]


def test_the_receiver_s_own_resource_is_that_of_its_settings() -> None:
    """Without a name, and with the environment's proxy."""
    given = settings(
        APPLICATIONINSIGHTS_AUTHENTICATION_STRING=AAD,
        RECEIVER_ITEMS_PER_SECOND="7",
        RECEIVER_SENDERS="3",
    )
    made = own_resource(given, Connection("key"))
    assert made == Resource("", Connection("key"), AAD, 7, 3, None)


def test_a_resource_s_proxy_is_its_own_or_the_environment_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An empty one is none, whatever the environment has."""
    monkeypatch.setenv("HTTPS_PROXY", "http://environment:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    proxies = [check_resource(resource(proxy=proxy)) for proxy in (None, "http://own:2", "")]
    assert [proxy and proxy.host for proxy in proxies] == ["environment", "own", None]


@pytest.mark.parametrize(
    "unusable",
    [resource(proxy="socks5://x:1"), resource("Authorization=None")],
    ids=["a proxy", "a sign-in"],
)
def test_a_resource_that_cannot_be_used_is_a_wrong_setting(unusable: Resource) -> None:
    """Found before anything is sent."""
    with pytest.raises(SettingsError):
        check_resource(unusable)


@pytest.mark.parametrize(
    ("proxy", "sign_in"),
    [("socks5://x:1", ""), ("", "Authorization=None")],
    ids=["a proxy", "a sign-in"],
)
@in_loop()
async def test_the_receiver_s_own_resource_is_checked_too(
    monkeypatch: pytest.MonkeyPatch, proxy: str, sign_in: str
) -> None:
    """At the start, not at the first batch."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    given = settings(APPLICATIONINSIGHTS_AUTHENTICATION_STRING=sign_in)
    stands_in: Any = Committer()
    connection = Connection("key", "https://service.example")
    with pytest.raises(SettingsError):
        open_deliveries(given, connection, stands_in, time.time, Events(), Changed())
