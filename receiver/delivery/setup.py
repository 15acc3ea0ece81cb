"""The set-up of delivery: connections, tokens and rate limits.

In: settings, and resources. Out: `Deliveries` that are ready to run: one for the receiver's
own connection string, and one for each route's.
"""

import asyncio
import math
import os
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from receiver import __version__
from receiver.azure import credentials as entra
from receiver.azure.connection_string import Connection
from receiver.azure.redirect import Endpoint
from receiver.config.resources import Resource
from receiver.config.settings import Settings
from receiver.delivery.backoff import Backoff
from receiver.delivery.http_client import Client
from receiver.delivery.lanes import Changed, Deliveries
from receiver.delivery.picker import Picker
from receiver.delivery.proxy import Proxy, proxy_of
from receiver.delivery.rate_limit import TokenBucket
from receiver.delivery.sender import Delivery, DeliveryCounts
from receiver.delivery.service_clock import ServiceClock
from receiver.delivery.transport import Send, Token, Transport
from receiver.events import Events
from receiver.outbox.committer import Committer


def open_sender(
    timeout_seconds: float,
    stack: AsyncExitStack,
    suffix: str = "",
    environ: Mapping[str, str] | None = None,
) -> Send:
    """Return a function that POSTs, each within `timeout_seconds` (0: no limit); `stack` closes it.

    `environ`, instead of the environment, sets the proxy.
    """
    agent = f"appinsights-receiver/{__version__}{suffix}"
    client = Client(agent, timeout_seconds or None, os.environ if environ is None else environ)
    stack.callback(client.close)
    return client.post


def _tokens(
    settings: Settings,
    resource: Resource,
    stack: AsyncExitStack,
    clock: Callable[[], float],
    events: Events,
) -> Token | None:
    """Set up sign-in with Microsoft Entra ID, if it is configured. Raises: SettingsError."""
    authentication = entra.parse(resource.authentication_string)
    if authentication is None:
        return None
    connection = resource.connection
    make = entra.credential_maker(authentication, connection)
    seconds = min(entra.TOKEN_SECONDS, (settings.send_timeout_seconds or math.inf) / 2)
    tokens = entra.Tokens(make, entra.scope_of(connection), clock, events, seconds)
    stack.push_async_callback(tokens.close)
    return tokens.get


def own_resource(settings: Settings, connection: Connection) -> Resource:
    """Return the resource of series without a route."""
    return Resource(
        "",
        connection,
        settings.authentication_string,
        settings.items_per_second,
        settings.senders,
    )


def open_deliveries(
    settings: Settings,
    connection: Connection,
    committer: Committer,
    clock: Callable[[], float],
    events: Events,
    changed: Changed,
) -> Deliveries:
    """Return the deliveries, ready to run. Raises: SettingsError."""
    ticks = asyncio.get_running_loop().time
    longest_seconds = settings.retry_max_seconds
    service_clock = ServiceClock(ticks, clock)  # Azure has one clock, whichever resource answers

    def open_delivery(
        resource: Resource, stack: AsyncExitStack, signal: asyncio.Event, counts: DeliveryCounts
    ) -> Delivery:
        check_resource(resource)
        send = open_sender(settings.send_timeout_seconds, stack, environ=resource.environ)
        tokens = _tokens(settings, resource, stack, clock, events)
        url, key = resource.connection.track_url, resource.connection.instrumentation_key
        return Delivery(
            committer,
            Transport(send, Endpoint(url, ticks), tokens),
            key,
            Picker(ticks, Backoff(random.random, longest_seconds), resource.name),
            Backoff(random.random, longest_seconds),
            TokenBucket(resource.items_per_second, ticks),
            resource.senders,
            service_clock,
            clock,
            events,
            signal,
            lane=resource.name,
            counts=counts,
        )

    return Deliveries(own_resource(settings, connection), open_delivery, committer, changed)


def check_resource(resource: Resource) -> Proxy | None:
    """Return the proxy of a resource, if it has one.

    Raises: SettingsError where the proxy or the sign-in cannot be used.
    """
    if authentication := entra.parse(resource.authentication_string):
        entra.credential_maker(authentication, resource.connection)
    environ = os.environ if resource.environ is None else resource.environ
    return proxy_of(resource.connection.track_url, environ)
