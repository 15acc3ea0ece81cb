"""POST /v2.1/track and /v2/track: the contract's answer, or a fault.

The only place where faults affect an answer. Items are stored before the answer is delayed,
lost or corrupted, as in the real service.
"""

import asyncio
import gzip
import socket
import struct
from email.utils import formatdate

from aiohttp import web

from receiver.sandbox.contract import ItemError, Judgement, refused_whole
from receiver.sandbox.faults import Answer, Fault, Items, Redirect, Reset, Status
from receiver.sandbox.ledger import RequestRecord
from receiver.sandbox.state import Sandbox, utc_text

SANDBOX = web.AppKey("sandbox", Sandbox)
_INLINE_BYTES = 32 * 1024  # a longer body is judged in a thread
_LINGER_NONE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close with RST
_JSON = "application/json; charset=utf-8"
_HTML = "text/html"
# The messages of the service, or of the gateway before it. Source: SDK comments and issues.
_WORDS = {
    400: "Bad request",
    401: "Unauthorized: the token is absent, invalid or expired",
    402: "Monthly quota exceeded",
    403: "The identity lacks the role Monitoring Metrics Publisher",
    404: "Ingestion is allowed only from stamp specific endpoint - must update connection string",
    408: "Request timeout",
    413: "Request entity too large",
    429: "Too many requests",
    439: "Daily quota exceeded",
    500: "Internal server error",
    503: "Service unavailable",
}
_GATEWAY = frozenset({502, 504})
_BODILESS = frozenset({204, 304})


class _RefusedBodyError(Exception):
    """A body that is not read completely; `status` and `message` are the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


async def track(request: web.Request) -> web.StreamResponse:
    """Answer one batch of telemetry."""
    sandbox = request.app[SANDBOX]
    path = "/" + request.path.lstrip("/")
    record = sandbox.ledger.begin(utc_text(sandbox.clock()), path)
    fault = sandbox.script.take()
    record.fault = fault.kind if fault else None
    record.outcome = "gone"  # until the outcome is known
    try:
        response = await _answer(request, sandbox, path, fault, record)
        if response is None:
            record.outcome = "reset"
            _reset(request)
            return web.Response()
        record.outcome = "answered"
        record.status = response.status
        response.headers["Date"] = formatdate(sandbox.clock(), usegmt=True)
        return response
    finally:
        sandbox.ledger.end(record)


async def _answer(
    request: web.Request,
    sandbox: Sandbox,
    path: str,
    fault: Fault | None,
    record: RequestRecord,
) -> web.StreamResponse | None:
    """Return the answer, or None to reset the connection."""
    delay_seconds = fault.delay_seconds if fault else 0
    if isinstance(fault, Reset) and fault.when == "before_read":
        await asyncio.sleep(delay_seconds)
        return None
    try:
        body = await _read(request, sandbox)
    except _RefusedBodyError as error:
        return _whole(error.status, error.message)
    record.bytes_in = len(body)
    if isinstance(fault, Status | Redirect):
        await asyncio.sleep(delay_seconds)
        return _scripted(fault, sandbox)
    refusal = sandbox.authorization_refusal(path, request.headers.get("Authorization"))
    if refusal:
        return _whole(*refusal)
    judgement = await _judged(request, sandbox, body)
    if isinstance(fault, Items):
        judgement = judgement.refusing(_refusals(fault, judgement))
    if not isinstance(fault, Answer) or fault.accept:
        sandbox.keep(judgement, record)
    if delay_seconds:
        await asyncio.sleep(delay_seconds)
    if isinstance(fault, Reset):
        if fault.when == "mid_answer":
            await _send_half(request, judgement)
        return None
    return _response(judgement, fault)


async def _read(request: web.Request, sandbox: Sandbox) -> bytes:
    too_large = f"The body must not exceed {sandbox.max_body_bytes} bytes"
    if (request.content_length or 0) > sandbox.max_body_bytes:
        raise _RefusedBodyError(413, too_large)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.content.iter_any():
            size += len(part)
            sandbox.reading_bytes += len(part)
            if size > sandbox.max_body_bytes:
                raise _RefusedBodyError(413, too_large)
            if sandbox.reading_bytes > sandbox.max_reading_bytes:
                raise _RefusedBodyError(503, "The sandbox is reading too many bodies")
            parts.append(part)
    finally:
        sandbox.reading_bytes -= size
    return b"".join(parts)


async def _judged(request: web.Request, sandbox: Sandbox, body: bytes) -> Judgement:
    content_type = request.headers.get("Content-Type", "")
    encoding = request.headers.get("Content-Encoding", "")
    if len(body) <= _INLINE_BYTES:
        return sandbox.judge(content_type, encoding, body)
    return await asyncio.to_thread(sandbox.judge, content_type, encoding, body)


def _response(judgement: Judgement, fault: Fault | None) -> web.Response:
    body = judgement.body()
    headers = {"Content-Type": _JSON}
    if isinstance(fault, Items) and fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    if isinstance(fault, Answer):
        spoiled = {"truncated": body[: len(body) // 2], "garbage": b"\x00\xff<>", "empty": b""}
        body = spoiled[fault.how]
    return web.Response(status=judgement.status, body=body, headers=headers)


def _refusals(fault: Items, judgement: Judgement) -> list[ItemError]:
    message = fault.message or _WORDS.get(fault.status_code, f"Status {fault.status_code}")
    every = fault.every
    indices = range(every - 1, judgement.items_received, every)
    return [ItemError(index, fault.status_code, message) for index in indices]


def _scripted(fault: Status | Redirect, sandbox: Sandbox) -> web.Response:
    headers: dict[str, str] = {}
    if isinstance(fault, Redirect):
        headers["Location"] = fault.location
        if fault.cache_control:
            headers["Cache-Control"] = fault.cache_control
        return web.Response(status=fault.status, headers=headers)
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
        if fault.retry_after_form == "date" and isinstance(fault.retry_after, int):
            moment = sandbox.clock() + fault.retry_after
            headers["Retry-After"] = formatdate(moment, usegmt=True)
    if fault.status in _BODILESS:
        return web.Response(status=fault.status, headers=headers)
    words = _WORDS.get(fault.status, f"Status {fault.status}")
    gateway = fault.status in _GATEWAY
    page = f"<html><body><h1>{fault.status} Bad Gateway</h1></body></html>".encode()
    body = page if gateway else refused_whole(fault.status, words).body()
    if fault.body is not None:
        body = fault.body.encode()
    headers["Content-Type"] = fault.content_type or (_HTML if gateway else _JSON)
    if fault.gzip:
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body)
    return web.Response(status=fault.status, body=body, headers=headers)


def _whole(status: int, message: str) -> web.Response:
    return _response(refused_whole(status, message), None)


async def _send_half(request: web.Request, judgement: Judgement) -> None:
    body = judgement.body()
    response = web.StreamResponse(status=judgement.status, headers={"Content-Type": _JSON})
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])


def _reset(request: web.Request) -> None:
    """Close the connection with RST; the sender may still read what was sent before."""
    transport = request.transport
    if transport is None:  # the sender has disconnected
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    transport.abort()
