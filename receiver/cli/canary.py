"""A test of the path to Application Insights: DNS, then one item sent as the receiver sends it.

In: the destination. Out: findings, the clock difference among them. Sends one item
named `appinsights_receiver_doctor`, which is billed like any other.
"""

import asyncio
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import orjson

from receiver.azure import credentials as entra
from receiver.azure.connection_string import Connection
from receiver.azure.envelope import Identity, format_time, line, make_template
from receiver.azure.policy import Action
from receiver.azure.redirect import Endpoint
from receiver.azure.verdict import Verdict, judge, parse_http_date
from receiver.cli.findings import Finding, Mark
from receiver.config.settings import Settings
from receiver.delivery.http_connection import Answer
from receiver.delivery.proxy import proxy_of
from receiver.delivery.setup import open_sender
from receiver.delivery.transport import Transport
from receiver.errors import SettingsError, Unreachable
from receiver.events import Events
from receiver.outbox.gzip_body import compress
from receiver.status.diagnosis import wrong_clock

NAME = "appinsights_receiver_doctor"
_WHAT = {
    Action.BLOCKED: "it refuses, and the receiver would wait for an operator",
    Action.QUOTA: "the daily quota is used up",
    Action.THROTTLE: "it asks to wait",
    Action.RETRY: "it has a server error",
    Action.SPLIT: "it finds one item too large",
}


def look_up(connection: Connection, environ: Mapping[str, str] = os.environ) -> Finding:
    """Resolve the endpoint's name."""
    host = urlsplit(connection.endpoint).hostname or ""
    try:
        proxy = proxy_of(connection.track_url, environ)
    except SettingsError as error:
        return Finding("dns", Mark.FAIL, str(error), "Correct the variable; NO_PROXY names the hosts that need no proxy.")  # fmt: skip
    if proxy:
        return Finding("dns", Mark.SKIP, f"the proxy {proxy.address} ({proxy.variable}) connects to {host} and resolves its name")  # fmt: skip
    try:
        addresses = {
            str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        }
    except OSError as error:
        fix = "Check the connection string's endpoint, and this machine's DNS."
        return Finding("dns", Mark.FAIL, f"{host} cannot be resolved: {error.strerror}", fix)
    return Finding(
        "dns", Mark.OK, f"{host} is {', '.join(sorted(addresses)[:3])}, reached without a proxy"
    )


async def send_canary(
    settings: Settings, connection: Connection, environ: Mapping[str, str] = os.environ
) -> list[Finding]:
    """Send one item through the proxy of `environ`, and report the service's verdict on it."""
    body = compress([_item(settings, connection)])
    try:
        answer = await _post(settings, connection, body, environ)
    except Unreachable as error:
        what = "tls" if error.cause.startswith("TLS") else "endpoint"
        return [Finding(what, Mark.FAIL, error.cause, error.hint)]
    signed_in = bool(settings.authentication_string)
    verdict = judge(answer.status, answer.headers, answer.body, 1, time.time(), address=connection.endpoint, signed_in=signed_in)  # fmt: skip
    clock = _clock(answer) if verdict.by_the_service else ()
    return [*clock, _judged(verdict, connection)]


async def _post(
    settings: Settings, connection: Connection, body: bytes, environ: Mapping[str, str]
) -> Answer:
    loop = asyncio.get_running_loop()
    authentication = entra.parse(settings.authentication_string)
    tokens = None
    async with AsyncExitStack() as stack:
        timeout = min(settings.send_timeout_seconds or 30.0, 30.0)
        send = open_sender(timeout, stack, " doctor", environ)
        if authentication:
            make = entra.credential_maker(authentication, connection)
            tokens = entra.Tokens(make, entra.scope_of(connection), time.time, Events())
        endpoint = Endpoint(connection.track_url, loop.time)
        try:
            return await Transport(send, endpoint, tokens.get if tokens else None).post(body)
        finally:
            if tokens:
                await tokens.close()


def _item(settings: Settings, connection: Connection) -> bytes:
    identity = Identity(connection.instrumentation_key, settings.host, settings.cloud_role, settings.cloud_role_instance)  # fmt: skip
    template = make_template({"__name__": NAME, "job": "appinsights-receiver"}, identity)
    time_text = format_time(round(time.time() * 1000))
    assert time_text
    return line(time_text, template.middle, orjson.dumps(1))


def _clock(answer: Answer) -> Iterator[Finding]:
    moment = parse_http_date(answer.headers.get("Date", ""))
    if moment is None:
        return
    ahead = time.time() - moment
    if detail := wrong_clock(ahead):
        yield Finding("clock", Mark.FAIL, detail, "Set the clock (chronyc makestep, timedatectl): items older than 48 h or 2 h ahead are refused.")  # fmt: skip
    else:
        yield Finding("clock", Mark.OK, f"within {max(1, round(abs(ahead)))} s of Application Insights'")  # fmt: skip


def _judged(verdict: Verdict, connection: Connection) -> Finding:
    if verdict.action is Action.SETTLE and verdict.accepted:
        return Finding("canary", Mark.OK, f"{connection.endpoint} accepted an item")
    if verdict.action is Action.UNCONFIRMED:
        return Finding("canary", Mark.WARN, f"{connection.endpoint}: {verdict.reason}, so it is unknown whether the item was accepted", verdict.hint)  # fmt: skip
    if verdict.action is Action.SETTLE and not verdict.retry:
        words = verdict.rejected[0].message if verdict.rejected else verdict.reason
        return Finding("canary", Mark.FAIL, f"the item was rejected: {words}", verdict.hint)
    action = verdict.wait if verdict.retry else verdict.action
    mark = Mark.WARN if action in {Action.THROTTLE, Action.RETRY} else Mark.FAIL
    detail = f"{verdict.reason}: {_WHAT.get(action, action.value)}"
    return Finding("canary", mark, detail, verdict.hint)
