"""Answers to a batch, byte by byte, and who gives them: docs/answers.md is made from these.

`ROWS` are cases; `expected` says what the policy table makes of one. What a running receiver
makes of it over a real socket is held against that by tests/integration/test_answers.py.
"""

import gzip
import json
import zlib
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from time import asctime, gmtime, time

from receiver.azure.policy import Action
from receiver.azure.rejections import TOO_OLD
from receiver.azure.verdict import Verdict, judge
from receiver.delivery.backoff import Backoff
from receiver.status.verdicts import State

ITEMS = 4
WRITTEN_AT = float(int(time()))
"""When the answers that hold a date were written."""
Errors = dict[int, tuple[int, str]]

SERVICE, PROXY, GATEWAY, PORTAL, FIREWALL, SERVER, LINK = (
    "the service", "a proxy", "a gateway", "a portal", "a firewall", "a web server", "private link",
)  # fmt: skip
TOO_LONG = "100: Field 'name' on type 'DataPoint' is too long. Expected: 1024 characters"
OLD = "103: Field 'time' on type 'Envelope' is older than the allowed min date. Expected: now - 172800000ms"
SAMPLED = "Telemetry sampled out."
KEY = "Invalid instrumentation key"
NSP = "NSP enabled component is only supported with connection string."
STAMP = "Ingestion is allowed only from stamp specific endpoint - must update connection string"
BOM = b"\xef\xbb\xbf"
PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head></html>"


def own(errors: Errors | None = None, *, items: int = ITEMS, received: int | None = None, accepted: int | None = None) -> bytes:  # fmt: skip
    """Spell the service's body; `errors` are (status, message) by index."""
    errors = errors or {}
    received = items if received is None else received
    listed = [{"index": i, "statusCode": code, "message": words} for i, (code, words) in errors.items()]  # fmt: skip
    counted = max(0, received - len(errors)) if accepted is None else accepted
    body = {"itemsReceived": received, "itemsAccepted": counted, "appId": None, "errors": listed}
    return json.dumps(body, separators=(",", ":")).encode()


def whole(status: int, words: str) -> bytes:
    """Spell the service's refusal of a request as a whole."""
    return own({0: (status, words)}, received=0)


def all_of(status: int, words: str, items: int = ITEMS) -> bytes:
    """Spell the service's refusal of each item."""
    return own(dict.fromkeys(range(items), (status, words)), items=items)


@dataclass(frozen=True, slots=True)
class Row:
    """An answer: `body` in words for readers, `content` for the wire; `cut` bytes of it never come."""

    status: int
    who: str
    body: str
    content: bytes = b""
    encoding: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    items: int = ITEMS
    cut: int = 0

    @property
    def name(self) -> str:
        """Tell it from the others."""
        items = "" if self.items == ITEMS else f", {self.items} item"
        told = "".join(f", {name}" for name in self.headers if name == "Retry-After")
        date = f" {len(self.headers['Retry-After'])}" if told else ""
        return f"{self.status} {self.who}: {self.body}{', ' if self.encoding else ''}{self.encoding}{told}{date}{items}"

    def wire(self) -> bytes:
        """Write it as HTTP/1.1; the connection ends after it where it is cut or has no length."""
        content, lines = self.content, [f"HTTP/1.1 {self.status} Any"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += (
            [f"Content-Encoding: {self.encoding}"] if self.encoding in ("gzip", "deflate") else []
        )
        if self.status in (204, 304):
            return "\r\n".join([*lines, "", ""]).encode()
        sent = content[: len(content) - self.cut]
        if self.encoding == "chunked":
            lines.append("Transfer-Encoding: chunked")
            half = len(sent) // 2
            parts = [
                b"%x\r\n%s\r\n" % (len(part), part) for part in (sent[:half], sent[half:]) if part
            ]
            sent = b"".join(parts) + (b"" if self.cut else b"0\r\n\r\n")
        elif self.encoding != "until the end":
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join([*lines, "", ""]).encode() + sent

    @property
    def received(self) -> bytes:
        """What arrives of the body: one whose length was told and that breaks off is none."""
        return b"" if self.cut or self.status in (204, 304) else self.content


def _rows() -> list[Row]:
    later = {1: (500, "busy"), 3: (503, "busy")}
    soon = {"Retry-After": "7"}
    in_7_s = WRITTEN_AT + 7
    return [
        Row(200, SERVICE, "all accepted", own()),
        Row(200, SERVICE, "all accepted", gzip.compress(own(), mtime=0), "gzip"),
        Row(200, SERVICE, "all accepted", zlib.compress(own()), "deflate"),
        Row(200, SERVICE, "all accepted", own(), "chunked"),
        Row(200, SERVICE, "all accepted", own(), "until the end"),
        Row(200, SERVICE, "all accepted, a byte order mark in front", BOM + own()),
        Row(200, SERVICE, "one is not accepted, and none is named", own(accepted=3)),
        Row(200, SERVICE, "nothing"),
        Row(200, SERVICE, "cut off", own(), cut=20),
        Row(200, SERVICE, "cut off", own(), "chunked", cut=20),
        Row(200, SERVICE, "cut off, its length that of the rest", own()[:30]),
        Row(200, SERVICE, "cut off", gzip.compress(own(), mtime=0)[:40], "gzip"),
        Row(206, SERVICE, "one too long", own({1: (400, TOO_LONG)})),
        Row(206, SERVICE, "one sampled out", own({1: (206, SAMPLED)})),
        Row(206, SERVICE, "one too old", own({1: (400, OLD)})),
        Row(206, SERVICE, "two later (500, 503)", own(later)),
        Row(206, SERVICE, "two later (500, 503)", gzip.compress(own(later), mtime=0), "gzip"),
        Row(206, SERVICE, "all later (500)", all_of(500, "busy")),
        Row(206, SERVICE, "one later (429)", own({1: (429, "Too many requests")})),
        Row(206, SERVICE, "one later (402)", own({1: (402, "Monthly quota exceeded")})),
        Row(206, SERVICE, "one later (439)", own({1: (439, "Daily quota exceeded")})),
        Row(206, SERVICE, "one later (401)", own({1: (401, "Unauthorized")})),
        Row(206, SERVICE, "one too long, one later (500)", own({0: (400, TOO_LONG), 1: (500, "busy")})),
        Row(206, SERVICE, "one too long, one more not accepted", own({0: (400, TOO_LONG)}, accepted=2)),
        Row(206, SERVICE, "nothing"),
        Row(206, SERVICE, "cut off", own(later), cut=9),
        Row(400, SERVICE, "all too old", all_of(400, OLD)),
        Row(400, SERVICE, "two too long, two too old", own({0: (400, TOO_LONG), 1: (400, TOO_LONG), 2: (400, OLD), 3: (400, OLD)})),
        Row(400, SERVICE, "all later (503)", all_of(503, "busy")),
        Row(400, SERVICE, f"all: {KEY}", all_of(400, KEY)),
        Row(400, SERVICE, f"{KEY}, of no item", whole(400, KEY)),
        Row(400, SERVICE, "all: Authentication not supported", all_of(400, "Authentication not supported")),
        Row(400, SERVICE, f"all: {NSP}", all_of(400, NSP)),
        Row(400, SERVICE, "all: an unknown message", all_of(400, "No such thing")),
        Row(400, SERVICE, "none accepted, and no word of any", own(accepted=0)),
        Row(400, SERVICE, "SyntaxError, none received", whole(400, "SyntaxError: Unexpected token N")),
        Row(400, SERVICE, "SyntaxError, none received", whole(400, "SyntaxError: Unexpected token N"), items=1),
        Row(401, SERVICE, "Unauthorized", whole(401, "Unauthorized")),
        Row(402, SERVICE, "Monthly quota exceeded", whole(402, "Monthly quota exceeded")),
        Row(403, SERVICE, "Forbidden", whole(403, "Forbidden")),
        Row(404, SERVICE, "stamp specific endpoint", whole(404, STAMP)),
        Row(408, SERVICE, "Request timeout", whole(408, "Request timeout")),
        Row(413, SERVICE, "too large", whole(413, "Request entity too large")),
        Row(413, SERVICE, "too large", whole(413, "Request entity too large"), items=1),
        Row(429, SERVICE, "Too many requests", whole(429, "Too many requests")),
        Row(429, SERVICE, "Too many requests", whole(429, "Too many requests"), headers=soon),
        Row(429, SERVICE, "Too many requests", whole(429, "Too many requests"), headers={"Retry-After": formatdate(in_7_s, usegmt=True)}),
        Row(429, SERVICE, "Too many requests", whole(429, "Too many requests"), headers={"Retry-After": asctime(gmtime(in_7_s))}),
        Row(439, SERVICE, "Daily quota exceeded", whole(439, "Daily quota exceeded")),
        Row(439, SERVICE, "Daily quota exceeded", whole(439, "Daily quota exceeded"), headers=soon),
        Row(500, SERVICE, "Internal server error", whole(500, "Internal server error")),
        Row(503, SERVICE, "Service unavailable", whole(503, "Service unavailable"), headers=soon),
        Row(200, GATEWAY, "OK", b"OK"),
        Row(200, GATEWAY, '{"status":"ok"}', b'{"status":"ok"}'),
        Row(200, GATEWAY, "[]", b"[]"),
        Row(200, GATEWAY, "XML", b"<?xml version='1.0'?><ok/>"),
        Row(200, GATEWAY, '{"itemsAccepted":4}', b'{"itemsAccepted":4}'),
        Row(200, PROXY, "the answer to another batch, from a cache", own(items=9)),
        Row(200, PROXY, "in an encoding that was not requested", b"\x8b\x05\x80OK\x03", headers={"Content-Encoding": "br"}),
        Row(200, PORTAL, "a page", PAGE),
        Row(200, PORTAL, "a page, a byte order mark in front", BOM + PAGE),
        Row(200, PORTAL, "a page", gzip.compress(PAGE, mtime=0), "gzip"),
        Row(200, PORTAL, "a page", PAGE, "chunked"),
        Row(201, SERVER, '{"id":7}', b'{"id":7}'),
        Row(202, GATEWAY, "nothing"),
        Row(203, PROXY, "a page", PAGE),
        Row(204, SERVER, "nothing"),
        Row(206, PORTAL, "a page", PAGE),
        Row(206, PORTAL, "a page", gzip.compress(PAGE, mtime=0), "gzip"),
        Row(206, SERVER, "a part of a file", b"some bytes"),
        Row(302, PORTAL, "to its page", headers={"Location": "http://portal.example/"}),
        Row(304, PROXY, "nothing"),
        Row(400, GATEWAY, "nothing"),
        Row(400, GATEWAY, "Bad Request", b"Bad Request"),
        Row(400, GATEWAY, "XML", b"<?xml version='1.0'?><Error/>"),
        Row(400, GATEWAY, "other JSON", b'{"error":{"code":"BadRequest"}}'),
        Row(400, SERVER, "plain HTTP was sent to an HTTPS port", b"<html>The plain HTTP request was sent to HTTPS port</html>"),
        Row(400, FIREWALL, "a page", PAGE, items=1),
        Row(401, PROXY, "a page", PAGE),
        Row(402, GATEWAY, "a page", PAGE),
        Row(403, FIREWALL, "a page", PAGE),
        Row(403, FIREWALL, "nothing"),
        Row(403, LINK, "access from a public network", b"Access from a public network is denied"),
        Row(404, SERVER, "a page", PAGE),
        Row(405, SERVER, "a page", PAGE),
        Row(407, PROXY, "a page", PAGE),
        Row(408, PROXY, "a page", PAGE),
        Row(411, PROXY, "a page", PAGE),
        Row(413, SERVER, "a page", PAGE),
        Row(413, SERVER, "a page", PAGE, items=1),
        Row(415, GATEWAY, "Unsupported Media Type", b"Unsupported Media Type"),
        Row(418, SERVER, "a page", PAGE),
        Row(422, GATEWAY, "other JSON", b'{"detail":"no"}'),
        Row(429, GATEWAY, "a page", PAGE),
        Row(451, FIREWALL, "a page", PAGE),
        Row(500, SERVER, "a page", PAGE),
        Row(502, PROXY, "a page", PAGE),
        Row(503, GATEWAY, "a page", PAGE, headers={"Retry-After": "7"}),
        Row(504, PROXY, "a page", gzip.compress(PAGE, mtime=0), "gzip"),
        Row(511, PORTAL, "a page", PAGE),
        Row(520, PROXY, "nothing"),
    ]  # fmt: skip


ROWS = _rows()


@dataclass(frozen=True, slots=True)
class Expected:
    """What becomes of a row's items, the verdict on the page, and how long the way waits.

    `rejected` are numbers by reason; `states` are empty where delivery has nothing to say.
    """

    accepted: int
    unconfirmed: int
    expired: int
    rejected: dict[str, int]
    batches: int
    states: tuple[State, ...]
    wait_seconds: float

    def items_text(self, items: int) -> str:
        """Say it in words."""
        ends = [
            (self.accepted, "unconfirmed, counted as accepted" if self.unconfirmed else "accepted"),
            *((count, f"rejected (`{reason}`)") for reason, count in self.rejected.items()),
            (self.expired, "expired"),
            (items - self.accepted - self.expired - sum(self.rejected.values()), "kept, in halves" if self.batches > 1 else "kept"),
        ]  # fmt: skip
        return ", ".join(f"{count} {end}" for count, end in ends if count)

    @property
    def next_text(self) -> str:
        """Say when the next try is, and of what."""
        if not self.wait_seconds:
            return "at once, after the others" if self.batches else "at once"
        return f"after {self.wait_seconds:.0f} s"


_STATES = {
    Action.BLOCKED: State.BLOCKED,
    Action.QUOTA: State.QUOTA,
    Action.THROTTLE: State.THROTTLED,
    Action.RETRY: State.FAILING,
    Action.SPLIT: State.FAILING,
}


def verdict_on(row: Row, now: float) -> Verdict:
    """Ask the policy."""
    headers = row.headers | ({"Content-Encoding": row.encoding} if row.encoding in ("gzip", "deflate") else {})  # fmt: skip
    return judge(row.status, headers, row.received, row.items, now)


def expected(row: Row, now: float) -> Expected:
    """Say what the policy table makes of an answer to the first batch that is sent."""
    verdict = verdict_on(row, now)
    rejected = Counter(rejection.reason for rejection in verdict.rejected)
    expired = rejected.pop(TOO_OLD, 0)
    if verdict.unexplained:
        rejected["unexplained"] += verdict.unexplained
    settles = verdict.action in (Action.SETTLE, Action.UNCONFIRMED)
    action: Action | None = verdict.action
    if settles:
        taken = verdict.accepted >= len(verdict.retry) and verdict.wait is Action.RETRY
        action = verdict.wait if verdict.retry and not taken else None
    backoff = Backoff(lambda: 0.5)
    states: list[State] = []
    if action:
        closed = Action.RETRY if action is Action.SPLIT else action
        backoff.failed(closed, 0.0, 0.0, verdict.retry_after_seconds)
        states.append(_STATES[action])
    states += [State.REJECTED] if rejected else []
    states += [State.DROPPING] if expired else []
    states += [State.UNCONFIRMED] if verdict.action is Action.UNCONFIRMED else []
    kept = row.items if not settles else len(verdict.retry)
    return Expected(
        accepted=verdict.accepted,
        unconfirmed=verdict.accepted if verdict.action is Action.UNCONFIRMED else 0,
        expired=expired,
        rejected=dict(rejected),
        batches=2 if verdict.action is Action.SPLIT else int(bool(kept)),
        states=tuple(states),
        wait_seconds=backoff.wait_seconds(0.0),
    )


def table() -> tuple[tuple[str, ...], list[list[str]]]:
    """Give the head and the rows of docs/answers.md."""
    head = ("status", "by", "body", "items", "verdict", "next try")
    rows = []
    for row in ROWS:
        want = expected(row, WRITTEN_AT)
        told = row.headers.get("Retry-After", "")
        told = told if told.isdigit() else "a date 7 s ahead" if told else ""
        parts = (row.body, row.encoding, f"`Retry-After`: {told}" if told else "")
        verdict = ", ".join(want.states) or State.OK.value
        items = want.items_text(row.items)
        rows.append([str(row.status), row.who, "; ".join(filter(None, parts)), items, verdict, want.next_text])  # fmt: skip
    return head, rows
