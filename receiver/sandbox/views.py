"""The sandbox's own routes: its items as JSON, and the controls for tests.

Not part of Application Insights. Large lists are streamed, so a test that compares a
million items does not hold them in memory twice.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.resources import files
from itertools import islice
from typing import Any

import orjson
from aiohttp import web

from receiver.sandbox import faults
from receiver.sandbox.checks import InvalidFaultError
from receiver.sandbox.series import Series
from receiver.sandbox.state import INSTRUMENTATION_KEY, Sandbox, utc_text, utc_text_ms
from receiver.sandbox.store import StoredItem
from receiver.sandbox.track import SANDBOX

_STREAM_ITEMS = 1_000  # items written at once
_MAX_HISTORY_SERIES = 200
_DEFAULT_REQUESTS = 1_000
_MAX_FAULTS = 1_000
_MAX_OFFSET_SECONDS = 10 * 365 * 86_400
_JSON = "application/json; charset=utf-8"

routes = web.RouteTableDef()


@routes.get("/")
async def page(_request: web.Request) -> web.Response:
    """Return the HTML page."""
    html = files("receiver.sandbox").joinpath("page.html").read_text("utf-8")
    hashes = [_inline_hash(html, tag) for tag in ("style", "script")]
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
        f"form-action 'none'; frame-ancestors 'none'; "
        f"style-src '{hashes[0]}'; script-src '{hashes[1]}'"
    )
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return web.Response(text=html, content_type="text/html", headers=headers)


@routes.get("/items")
async def items(request: web.Request) -> web.StreamResponse:
    """List accepted items in the order accepted: `name` (glob), `since_ms`, `limit`, `format`."""
    store = request.app[SANDBOX].store
    picked = store.select(
        request.query.get("name", "*"), _whole(request, "since_ms"), _whole(request, "limit")
    )
    write = _compact_item if request.query.get("format") == "compact" else _item
    response = web.StreamResponse(headers={"Content-Type": _JSON})
    await response.prepare(request)
    opening = b"["
    for block in _blocks(picked, write):
        await response.write(opening + block)
        opening = b","
    await response.write(b"[]" if opening == b"[" else b"]")
    await response.write_eof()
    return response


@routes.get("/latest")
async def latest(request: web.Request) -> web.Response:
    """List the newest value of every series: `name` (glob), `after` (a sequence number)."""
    sandbox = request.app[SANDBOX]
    newest = sandbox.store.latest(request.query.get("name", "*"), _whole(request, "after") or 0)
    headers = {"Sandbox-Sequence": str(sandbox.store.sequence)}
    return _json([_latest(series) for series in newest], headers=headers)


@routes.get("/history")
async def history(request: web.Request) -> web.Response:
    """Return the recent points of some series: `ids=1,2,3` as numbered in /latest."""
    store = request.app[SANDBOX].store
    ids = [part for part in request.query.get("ids", "").split(",") if part.isdecimal()]
    listed = (store.by_id(int(part)) for part in ids[:_MAX_HISTORY_SERIES])
    return _json({str(series.id): series.history() for series in listed if series})


@routes.get("/requests")
async def requests(request: web.Request) -> web.Response:
    """List the latest requests, oldest first: `limit`."""
    limit = _whole(request, "limit")
    return _json(
        request.app[SANDBOX].ledger.requests(_DEFAULT_REQUESTS if limit is None else limit)
    )


@routes.get("/counters")
async def counters(request: web.Request) -> web.Response:
    """Return all counters and the state of the store and the clock."""
    return _json(_counters(request.app[SANDBOX]))


@routes.get("/faults")
async def list_faults(request: web.Request) -> web.Response:
    """List the queued faults."""
    return _json(request.app[SANDBOX].script.listing())


@routes.post("/faults")
async def set_faults(request: web.Request) -> web.Response:
    """Set faults: a list or one; `?append=1` appends them to the queue."""
    script = request.app[SANDBOX].script
    try:
        wanted = faults.parse(await _document(request))
    except InvalidFaultError as error:
        raise _bad_request(str(error)) from error
    append = request.query.get("append", "0") not in ("", "0", "false")
    if len(wanted) + append * len(script) > _MAX_FAULTS:
        raise _bad_request(f"more than {_MAX_FAULTS} faults")
    if append:
        script.append(wanted)
    else:
        script.replace(wanted)
    return _json(script.listing())


@routes.delete("/faults")
async def clear_faults(request: web.Request) -> web.Response:
    """Remove all faults."""
    request.app[SANDBOX].script.replace([])
    return _json([])


@routes.delete("/items")
async def clear_items(request: web.Request) -> web.Response:
    """Remove all items; the counters stay."""
    request.app[SANDBOX].store.clear()
    return _json(_counters(request.app[SANDBOX]))


@routes.post("/clock")
async def set_clock(request: web.Request) -> web.Response:
    """Shift the clock by which items are judged: {"offset_seconds": number}."""
    document = await _document(request)
    offset = document.get("offset_seconds") if isinstance(document, dict) else None
    if (
        not isinstance(offset, int | float)
        or isinstance(offset, bool)
        or abs(offset) > _MAX_OFFSET_SECONDS
    ):
        raise _bad_request('expected {"offset_seconds": a number within ten years}')
    sandbox = request.app[SANDBOX]
    sandbox.clock_offset_seconds = float(offset)
    return _json(_clock(sandbox))


def _inline_hash(html: str, tag: str) -> str:
    element = re.search(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    text = element.group(1) if element else ""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _blocks(picked: Iterator[StoredItem], write: Callable[[StoredItem], Any]) -> Iterator[bytes]:
    """Yield blocks of items of a JSON list, without its brackets."""
    while block := [write(item) for item in islice(picked, _STREAM_ITEMS)]:
        yield orjson.dumps(block)[1:-1]


def _item(item: StoredItem) -> dict[str, Any]:
    series = item.series
    written: dict[str, Any] = _identity(series) | {
        "time": utc_text_ms(item.time_ms),
        "time_ms": item.time_ms,
        "value": item.value,
        "request": item.request,
    }
    if item.spread is not None:
        written |= asdict(item.spread)
    return written


def _compact_item(item: StoredItem) -> list[Any]:
    s = item.series
    return [s.name, s.properties, item.time_ms, item.value, s.ikey, s.tags, item.request]


def _latest(series: Series) -> dict[str, Any]:
    return _identity(series) | {
        "id": series.id,
        "time": utc_text_ms(series.latest_ms),
        "time_ms": series.latest_ms,
        "value": series.latest_value,
        "items": series.items,
        "sequence": series.sequence,
    }


def _identity(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "properties": series.properties,
        "role": series.tags.get("ai.cloud.role"),
        "role_instance": series.tags.get("ai.cloud.roleInstance"),
        "ikey": series.ikey,
        "ns": series.namespace,
        "tags": series.tags,
    }


def _counters(sandbox: Sandbox) -> dict[str, Any]:
    store = sandbox.store
    return sandbox.ledger.counters() | {
        "generation": sandbox.generation,
        "instrumentation_key": INSTRUMENTATION_KEY,
        "items_stored": store.items,
        "items_evicted": store.items_evicted,
        "copies": store.copies,
        "max_items": store.max_items,
        "series": store.series,
        "faults_waiting": len(sandbox.script.listing()),
        "clock": _clock(sandbox),
    }


def _clock(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "offset_seconds": sandbox.clock_offset_seconds,
        "now": utc_text(sandbox.clock()),
        "now_ms": int(sandbox.clock() * 1000),
    }


async def _document(request: web.Request) -> object:
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise _bad_request(f"not JSON: {error}") from error


def _whole(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise _bad_request(f"{name}: expected a whole number, got {text[:80]!r}")
    return int(text)


def _json(document: object, headers: dict[str, str] | None = None) -> web.Response:
    head = {"Content-Type": _JSON, "Cache-Control": "no-store"} | (headers or {})
    return web.Response(body=orjson.dumps(document), headers=head)


def _bad_request(message: str) -> web.HTTPBadRequest:
    text = orjson.dumps({"error": message}).decode()
    return web.HTTPBadRequest(text=text, content_type="application/json")
