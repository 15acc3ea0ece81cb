"""Tokens come in time or not at all, and one in hand is used to its end."""

import asyncio
from dataclasses import dataclass, field

import pytest
import structlog
from azure.core.credentials import AccessToken

from receiver.azure.credentials import (
    RENEW_AHEAD_SECONDS,
    RENEW_APART_SECONDS,
    Tokens,
    _reason,
    identity_endpoint,
)
from receiver.errors import Unreachable
from receiver.events import Events
from tests.integration.waiting import in_loop, until


@dataclass
class Platform:
    """Gives tokens of an hour, unless it is silent or refuses. It is also its own clock."""

    now: float = 1000.0
    silent: bool = False
    words: str = ""
    asked: int = 0
    closed: int = 0
    events: Events = field(default_factory=Events)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def get_token(self, _: str) -> AccessToken:
        self.asked += 1
        number = self.asked
        if self.silent:
            await self.go.wait()
        if self.words:
            raise RuntimeError(self.words)
        return AccessToken(f"token-{number}", int(self.now) + 3600)

    async def close(self) -> None:
        self.closed += 1

    def tokens(self, timeout_seconds: float = 0.05) -> Tokens:
        return Tokens(lambda: self, "scope", lambda: self.now, self.events, timeout_seconds)  # type: ignore[arg-type, return-value]


@in_loop()
async def test_a_platform_that_is_silent_is_named_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the token was asked for, and how long; the next try begins anew."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:9/msi/token")
    platform = Platform(silent=True)
    tokens = platform.tokens()
    for tries in (1, 2):
        with pytest.raises(
            Unreachable, match=r"http://127.0.0.1:9/msi/token did not answer in 0.05 s"
        ):
            await tokens.get()
        assert (platform.asked, platform.closed) == (tries, tries)
    platform.silent = False
    assert await tokens.get() == "token-3"


@in_loop()
async def test_who_comes_together_asks_once() -> None:
    """Four senders, one question; one of them that goes away takes nothing from the others."""
    platform = Platform(silent=True)
    tokens = platform.tokens(10)
    waiting = [asyncio.create_task(tokens.get()) for _ in range(4)]
    await until(lambda: platform.asked, "the question")
    waiting[0].cancel()
    platform.go.set()
    assert await asyncio.gather(*waiting[1:]) == ["token-1"] * 3


@in_loop()
async def test_a_renewal_that_hangs_stops_nothing() -> None:
    """The token in hand is good: it is given at once, and the failure is said, not each second."""
    platform = Platform()
    tokens = platform.tokens()
    await tokens.get()
    platform.now += 3600 - RENEW_AHEAD_SECONDS
    platform.silent = True
    with structlog.testing.capture_logs() as log:
        for _ in range(3):
            assert await asyncio.wait_for(tokens.get(), 0.04) == "token-1"
        await until(lambda: log, "a line")
        assert await tokens.get() == "token-1"
    assert [line["event"] for line in log] == ["token not renewed"]
    assert [error.where for error in platform.events.latest()] == ["delivery"]
    assert platform.asked == 2
    platform.now += RENEW_APART_SECONDS
    platform.silent = False
    assert await tokens.get() == "token-1"
    await until(lambda: platform.asked == 3, "the next try")
    await asyncio.sleep(0)
    assert await tokens.get() == "token-3"


@in_loop()
async def test_a_token_at_its_end_is_waited_for() -> None:
    """Then the failure is the POST's."""
    platform = Platform()
    tokens = platform.tokens()
    await tokens.get()
    platform.now += 3600
    platform.words = "the identity was removed"
    with pytest.raises(Unreachable, match="the identity was removed"):
        await tokens.get()


@in_loop()
async def test_a_refused_token_is_not_used_again() -> None:
    """The credential that keeps it is closed; those that were refused together ask once."""
    platform = Platform()
    tokens = platform.tokens()
    first = await tokens.get()
    both = list(await asyncio.gather(tokens.get(first), tokens.get(first)))
    assert both == ["token-2", "token-2"]
    assert (platform.asked, platform.closed) == (2, 1)
    assert await tokens.get(first) == "token-2"


@in_loop()
async def test_an_end_waits_for_no_token() -> None:
    """Whatever the platform does."""
    platform = Platform(silent=True)
    tokens = platform.tokens(60)
    waiting = asyncio.create_task(tokens.get())
    await until(lambda: platform.asked, "the question")
    await asyncio.wait_for(tokens.close(), 5)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert platform.closed == 1


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, "http://169.254.169.254"),
        ({"IDENTITY_ENDPOINT": "http://x/msi"}, "http://x/msi"),
        ({"AZURE_FEDERATED_TOKEN_FILE": "/f"}, "https://login.microsoftonline.com"),
        ({"AZURE_FEDERATED_TOKEN_FILE": "/f", "AZURE_AUTHORITY_HOST": "https://l.us"}, "https://l.us"),
    ],
)  # fmt: skip
def test_where_tokens_come_from(environ: dict[str, str], endpoint: str) -> None:
    """As azure-identity chooses it."""
    assert identity_endpoint(environ) == endpoint


def test_the_default_chain_says_first_what_servers_have() -> None:
    """Its reason stood behind 300 characters on a developer's tools."""
    text = (
        "DefaultAzureCredential failed to retrieve a token from the included credentials.\n"
        "Attempted credentials:\n"
        f"\tEnvironmentCredential: {'unavailable ' * 30}\nVisit https://aka.ms/x to troubleshoot.\n"
        "\tManagedIdentityCredential: no response from the IMDS endpoint.\n"
        "\tAzureCliCredential: Azure CLI not found on path\n"
        "To mitigate this issue, please refer to …"
    )
    assert _reason(text).startswith(
        "ManagedIdentityCredential: no response from the IMDS endpoint.; E"
    )
    assert _reason("a\n b") == "a b"
