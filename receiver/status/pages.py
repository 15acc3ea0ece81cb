"""The status page and the JSON API.

In: a `Monitor`. Out: aiohttp routes for `receiver.server.app`. They are read-only except for
reloading the files and retrying delivery. Described in docs/http-api.md.
"""

import asyncio
import base64
import hashlib
import math
import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web

from receiver import share
from receiver.config.followed_file import Watch
from receiver.errors import NotCommitted
from receiver.server.answers import json_response
from receiver.server.app import Pages
from receiver.status import document, runbook
from receiver.status.document import About
from receiver.status.metrics import to_text
from receiver.status.monitor import Monitor, Wanted
from receiver.text import printable

DEFAULT_LIMIT, LARGEST_LIMIT = 200, 5_000
TAP_LIMIT = 500
MATCH_LIMIT = 256
"""Longest pattern: one with thousands of stars would take a third of a second to compile."""
RETRY_PAUSE_SECONDS = 1.0
TAP_BYTES = 1 << 20
"""Limit of the items in one answer; its `after` is the start of the next."""


def make_pages(
    monitor: Monitor, watch: Watch, about: About, more: Iterable[web.RouteDef] = ()
) -> Pages:
    """Return the status, metrics and readiness functions, and the page's routes with `more` of them."""
    api = _Api(monitor, watch, about)
    return Pages(api.status, api.own_metrics, api.ready, [*api.routes(), *more])


class _Api:
    def __init__(self, monitor: Monitor, watch: Watch, about: About) -> None:
        self._monitor = monitor
        self._watch = watch
        self._about = about
        self._tried_at = -math.inf

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", _page),
            web.get("/runbook", _runbook),
            web.post("/-/retry", self.retry),
            web.get("/api/v1/series", self.series),
            web.get("/api/v1/settings", self.settings),
            web.get("/api/v1/dead-letters", self.dead_letters),
            web.post("/-/reload", self.reload),
            web.get("/api/v1/metrics", self.metrics),
            web.get("/api/v1/history", self.history),
            web.get("/api/v1/cost", self.cost),
            web.get("/api/v1/tap", self.tap),
        ]

    async def status(self) -> bytes:
        monitor = self._monitor
        view = await monitor.view()
        spending, snapshot = monitor.spending, view.snapshot
        body = document.status(
            view,
            monitor.events.latest(),
            spending.costs(snapshot),
            spending.budget(snapshot),
            self._about,
            spending.costs_of_routes(snapshot),
        )
        return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    async def own_metrics(self) -> bytes:
        return to_text((await self._monitor.view()).snapshot)

    async def ready(self) -> str:
        """Return why no request can be accepted now, else an empty text. Azure's state does not matter."""
        try:
            view = await self._monitor.view()
        except NotCommitted as error:
            return str(error)
        snapshot = view.snapshot
        if snapshot.outbox_failing or snapshot.outbox.full:
            lines = (view.diagnosis.line, *view.diagnosis.also)
            return ". ".join((*lines, view.diagnosis.first.hint))
        return ""

    async def reload(self, _: web.Request) -> web.Response:
        """Reload the changed files at once."""
        state = await self._watch.asked()
        if state.error:
            text = printable(f"{state.error}. The previous version stays in force.")
            return web.Response(status=422, text=f"{text}\n")
        return web.Response(text="The files on disk are in force.\n")

    async def retry(self, request: web.Request) -> web.Response:
        """Retry delivery at once, after a fix; at most once a second.

        `route` names one route; without it all are retried.
        """
        now = asyncio.get_running_loop().time()
        if now - self._tried_at < RETRY_PAUSE_SECONDS:
            return web.Response(text="Delivery was just retried.\n")
        route = request.query.get("route", "")
        was_waiting = self._monitor.retry_now(route)
        if was_waiting is None:
            name = printable(route[:80])
            return web.Response(status=404, text=f"There is no route {name}; /api/v1/status lists them.\n")  # fmt: skip
        self._tried_at = now
        if was_waiting:
            return web.Response(text="Delivery is retried now.\n")
        return web.Response(text="Delivery was not waiting.\n")

    async def series(self, request: web.Request) -> web.Response:
        """List the series of the metric `name`, at most `limit`."""
        limit = min(_number(request, "limit", DEFAULT_LIMIT), LARGEST_LIMIT)
        return json_response(self._monitor.series(request.query.get("name", ""), int(limit)))

    async def settings(self, _: web.Request) -> web.Response:
        """List the settings in effect, with their sources."""
        return json_response(document.settings(self._about))

    async def dead_letters(self, request: web.Request) -> web.Response:
        """List the latest rejected items, at most `limit`."""
        limit = min(_number(request, "limit", DEFAULT_LIMIT), LARGEST_LIMIT)
        try:
            return json_response(await self._monitor.dead_letters(int(limit)))
        except NotCommitted as error:
            return json_response({"error": str(error)}, 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """List the metrics: `match` (words or a glob), `limit` of rows, in total or with `each=category`."""
        limit = min(_number(request, "limit", DEFAULT_LIMIT), LARGEST_LIMIT)
        wanted = Wanted(
            matcher(request.query.get("match", "")),
            int(limit),
            each_category=request.query.get("each") == "category",
            without=frozenset(request.query.getall("without", ())),
        )
        return json_response(self._monitor.metrics(wanted))

    async def cost(self, _: web.Request) -> web.Response:
        """Forecast a month by entry."""
        return json_response(await self._monitor.spending.by_entry())

    async def history(self, request: web.Request) -> web.Response:
        """Return the points of the last hour, or those `after` a time."""
        return json_response(self._monitor.history.columns(_number(request, "after", 0)))

    async def tap(self, request: web.Request) -> web.Response:
        """Return the items tapped since number `after` whose names match `match`."""
        fits = matcher(request.query.get("match", ""))
        after = int(_number(request, "after", 0))
        items: list[dict[str, Any]] = []
        last, size = after, 0
        for tapped in self._monitor.sampling.tapped(after):
            size += tapped.size_bytes
            if len(items) == TAP_LIMIT or (items and size > TAP_BYTES):
                break
            last = tapped.number
            if fits(tapped.name):
                items.append(document.tapped(tapped))
        return json_response({"after": last, "items": items})


def matcher(text: str) -> Callable[[str], bool]:
    """Return a test of names: by a glob, or by words that must all occur in the name."""
    text = text.strip().lower()
    if len(text) > MATCH_LIMIT:
        raise web.HTTPBadRequest(text=f"match has more than {MATCH_LIMIT} characters\n")
    if "*" in text or "?" in text:
        pattern = re.compile(translate(text))
        return lambda name: bool(pattern.match(name.lower()))
    words = text.split()
    return lambda name: all(word in name.lower() for word in words)


def _number(request: web.Request, name: str, default: float) -> float:
    text = request.query.get(name, "")
    try:
        number = float(text) if text else default
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e15:
        shown = printable(text[:40])
        raise web.HTTPBadRequest(text=f"{name}={shown} is not a number of at least 0\n")
    return number


async def _page(_: web.Request) -> web.Response:
    return _html(*_packaged_page())


async def _runbook(_: web.Request) -> web.Response:
    return _html(*_packaged_runbook())


def _html(body: bytes, policy: str) -> web.Response:
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)


@cache
def _packaged_runbook() -> tuple[bytes, str]:
    page, _ = _packaged_page()
    [style] = re.findall(b"<style>.*?</style>", page, re.DOTALL)
    head = b'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Runbook</title><link rel="icon" href="data:,">'
    text = runbook.to_html(share.read("runbook.md")).encode()
    body = head + style + b'</head><body><main class="text"><p><a href="./">Status</a></p>' + text + b"</main></body></html>"  # fmt: skip
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors 'none'; style-src '{_hash_of(body, b'style')}'"
    )
    return body, policy


@cache
def _packaged_page() -> tuple[bytes, str]:
    body = files("receiver.status").joinpath("page.html").read_bytes()
    style, script = (_hash_of(body, tag) for tag in (b"style", b"script"))
    policy = (
        "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors 'none'; style-src '{style}'; script-src '{script}'"
    )
    return body, policy


def _hash_of(page: bytes, tag: bytes) -> str:
    element = re.search(b"<%s>(.*?)</%s>" % (tag, tag), page, re.DOTALL)
    assert element, tag
    return f"sha256-{base64.b64encode(hashlib.sha256(element[1]).digest()).decode()}"
