"""What the receiver shows of itself, over HTTP: the status page and its JSON.

In: an `Monitor`. Out: aiohttp routes, for `receiver.server.app` to serve. Whoever may see the
page may see all of this, and have metrics.json read again; nothing else can be changed.
Described in docs/http-api.md.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from fnmatch import translate
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web

from receiver.config.followed_file import Watch
from receiver.errors import NotCommitted
from receiver.server.app import Pages
from receiver.status import document
from receiver.status.metrics import to_text
from receiver.status.monitor import Monitor

DEFAULT_LIMIT, LARGEST_LIMIT = 200, 5_000
TAP_LIMIT = 500


def make_pages(monitor: Monitor, watch: Watch) -> Pages:
    """Make all that the receiver shows of itself."""

    async def status() -> bytes:
        view = await monitor.view()
        body = document.status(view, monitor.events.latest(), monitor.cost(view))
        return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    async def metrics() -> bytes:
        return to_text((await monitor.view()).snapshot)

    async def ready() -> str:
        """Say why no request can be taken now; nothing when one can. Azure's state is no reason."""
        try:
            view = await monitor.view()
        except NotCommitted as error:
            return str(error)
        found = view.snapshot
        if found.outbox_failing or found.outbox.full:
            lines = (view.diagnosis.line, *view.diagnosis.also)
            return ". ".join((*lines, view.diagnosis.hint))
        return ""

    return Pages(status, metrics, ready, _page_routes(monitor, watch))


def _page_routes(monitor: Monitor, watch: Watch) -> list[web.RouteDef]:
    """Make the routes of the page."""
    shown = _Shown(monitor)

    async def reload(request: web.Request) -> web.Response:
        """Read metrics.json again, now; a page of another site cannot ask for it."""
        if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            return web.Response(status=403, text="Not from another site.\n")
        watch.look_again()
        if watch.state.error:
            return web.Response(status=422, text=f"{watch.state.error}. The list before is kept.\n")
        return web.Response(text="metrics.json was read again.\n")

    return [
        web.get("/", _page),
        web.post("/-/reload", reload),
        web.get("/api/v1/metrics", shown.metrics),
        web.get("/api/v1/history", shown.history),
        web.get("/api/v1/tap", shown.tap),
    ]


class _Shown:
    def __init__(self, monitor: Monitor) -> None:
        self._instrument = monitor

    async def metrics(self, request: web.Request) -> web.Response:
        """List the metrics: `match` (words or a glob), `limit` of rows."""
        fits = matcher(request.query.get("match", ""))
        limit = min(_number(request, "limit", DEFAULT_LIMIT), LARGEST_LIMIT)
        return _json(self._instrument.metrics(fits, int(limit)))

    async def history(self, request: web.Request) -> web.Response:
        """Give the points of the last hour, or those `after` a time."""
        return _json(self._instrument.history.columns(_number(request, "after", 0)))

    async def tap(self, request: web.Request) -> web.Response:
        """Give the items that went by since number `after`, of names that fit `match`."""
        fits = matcher(request.query.get("match", ""))
        after = int(_number(request, "after", 0))
        items: list[dict[str, Any]] = []
        last = after
        for each in self._instrument.observation.tapped(after):
            if len(items) == TAP_LIMIT:
                break
            last = each.number
            item = document.item(each.line)
            if fits(item["name"]):
                items.append(item)
        return _json({"after": last, "items": items})


def matcher(text: str) -> Callable[[str], bool]:
    """Make a test of names: a glob, or words that all must occur in the name."""
    text = text.strip().lower()
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
        raise web.HTTPBadRequest(text=f"{name}={text[:40]} is not a number of at least 0\n")
    return number


def _json(content: Any) -> web.Response:
    body = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
    headers = {"Cache-Control": "no-store"}
    return web.Response(body=body, content_type="application/json", headers=headers)


async def _page(_: web.Request) -> web.Response:
    body, policy = _packaged_page()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
    return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)


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
    found = re.search(b"<%s>(.*?)</%s>" % (tag, tag), page, re.DOTALL)
    assert found, tag
    return f"sha256-{base64.b64encode(hashlib.sha256(found[1]).digest()).decode()}"
