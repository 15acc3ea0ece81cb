"""Where batches go out: the connections, the tokens and the pace of delivery, wired.

In: settings, and where to deliver to. Out: a `Delivery` that is ready to run.
"""

import asyncio
import math
import os
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

from receiver import __version__
from receiver.azure import credentials as entra
from receiver.azure.connection_string import Connection
from receiver.azure.destination import Destination
from receiver.azure.redirect import Route
from receiver.config.settings import Settings
from receiver.delivery.backoff import Backoff
from receiver.delivery.http_client import Client
from receiver.delivery.picker import Picker
from receiver.delivery.proxy import proxy_of
from receiver.delivery.rate_limit import TokenBucket
from receiver.delivery.sender import Delivery
from receiver.delivery.service_clock import ServiceClock
from receiver.delivery.transport import Send, Token, Transport
from receiver.events import Events
from receiver.outbox.committer import Committer


def open_sender(timeout_seconds: float, stack: AsyncExitStack, suffix: str = "") -> Send:
    """Make what POSTs, each within `timeout_seconds` (0: no limit); `stack` closes it."""
    client = Client(f"appinsights-receiver/{__version__}{suffix}", timeout_seconds or None)
    stack.callback(client.close)
    return client.post


def _tokens(
    settings: Settings, connection: Connection, stack: AsyncExitStack, clock: Callable[[], float]
) -> Token | None:
    """Set up signing in with Microsoft Entra ID, where that is asked for. Raises: SettingsError."""
    authentication = entra.parse(settings.authentication_string)
    if authentication is None:
        return None
    make = entra.credential_maker(authentication, connection)
    seconds = min(entra.TOKEN_SECONDS, (settings.send_timeout_seconds or math.inf) / 2)
    tokens = entra.Tokens(make, entra.scope_of(connection), clock, seconds)
    stack.push_async_callback(tokens.close)
    return tokens.get


def open_delivery(
    settings: Settings,
    connection: Connection,
    committer: Committer,
    stack: AsyncExitStack,
    clock: Callable[[], float],
    events: Events,
    changed: asyncio.Event,
) -> Delivery:
    """Make what delivers; `stack` closes its connections. Raises: SettingsError."""
    proxy_of(connection.track_url, os.environ)  # one that cannot be used is refused at start
    send = open_sender(settings.send_timeout_seconds, stack)
    tokens = _tokens(settings, connection, stack, clock)
    ticks = asyncio.get_running_loop().time
    longest_seconds = settings.retry_max_seconds
    return Delivery(
        committer,
        Transport(send, Route(connection.track_url, ticks), tokens),
        Destination(connection.instrumentation_key, signed_in=tokens is not None),
        Picker(ticks, Backoff(random.random, longest_seconds)),
        Backoff(random.random, longest_seconds),
        TokenBucket(settings.items_per_second, ticks),
        settings.senders,
        ServiceClock(ticks, clock),
        clock,
        events,
        changed,
    )
