"""The storm: everything goes wrong at once, and at the end each sample is accounted for.

Senders that behave as Prometheus write numbered streams to a receiver that is killed
with -9, stopped, frozen and given another metrics.json at random moments, while the service, two sandboxes, throws
every fault that it knows at random, and is away now and then. All is drawn from one seed.
Beside its stream each writes counters that are folded (`tests.storm.counters`).

What is held against it, at each look at /api/v1/status and at the end:
- the ledger adds up, never forgets what it had counted, and knows all that was acknowledged;
- each sample that a 2xx covered is in a sandbox, or among the dead letters with the
  service's refusal (which the storm throws too): none is lost;
- the ledger received each sample once, however often its request was sent: no request
  was committed twice;
- each sample that is in the sandboxes twice was in a request whose answer was lost;
- the items of folded counters, one a series and window, add up to the counters' true growth
  to the last unit; copies of an item are equal, and are explained as those of samples are;
- each sender has a second replica beside it, which writes what it wrote: none of its samples
  counts, whatever is killed (RECEIVER_REPLICA_LABEL).

With routes each sender's stream has a resource of its own: one is the receiver's, one is that of a
route which is open, one that of a route which is blocked for most of the storm and then opened, into all the
faults. The same is held against it, for all of them; and nothing of the blocked route arrives
anywhere until then, or in another's resource at any time, while the others are delivered. A full share
of the outbox would drop samples, so there is room for all of them; without routes it is scarce, and answers 503.
"""

import asyncio
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson

from receiver.cli.rejected_items import read_dead_letters
from receiver.sandbox import Sandbox, Server, serve
from receiver.sandbox.faults import parse as parse_faults
from tests.integration.receivers import ReceiverProcess, read_status
from tests.integration.remote_write import Point, numbered
from tests.integration.waiting import until
from tests.storm.counters import Counters, Labels, Total, write_metrics_json
from tests.storm.sender import Sender

SENDERS = 3
OPEN_SHARD, BLOCKED_SHARD = 1, 2
"""The senders whose streams take the routes, in a storm with routes."""
OPENED_AFTER = 0.7
"""When the blocked route is opened, as a part of the storm."""
SAMPLES_PER_REQUEST = 500
REPLICAS = {
    "RECEIVER_REPLICA_LABEL": "replica",
    "RECEIVER_CLUSTER_LABEL": "shard",
    "RECEIVER_REPLICA_TIMEOUT": "3600s",  # the leaders are there all the time
}
SEND_TIMEOUT_SECONDS = 1.5
REMOTE_TIMEOUT_SECONDS = 2.0
STOP_TIMEOUT_SECONDS = 1.0
BEFORE_SECONDS = 1.0
"""How long before a kill, a stop or a freeze a POST may have begun whose answer it made us miss."""
AFTER_SECONDS = 0.3
"""How long after one the sandbox may still find a POST that the kernel had for it."""

BLOCKED = {"kind": "status", "status": 403, "times": None}
_PAGE = "<!DOCTYPE html><html><title>Sign in</title></html>"
_BAD_KEY = '{"itemsReceived":0,"itemsAccepted":0,"errors":[{"index":0,"statusCode":400,"message":"Invalid instrumentation key"}]}'
_NSP = '{"itemsReceived":0,"itemsAccepted":0,"errors":[{"index":0,"statusCode":400,"message":"NSP enabled component is only supported with connection string."}]}'
_CACHED = '{"itemsReceived":100000,"itemsAccepted":100000,"appId":null,"errors":[]}'
_TOO_LONG = "100: Field 'name' on type 'DataPoint' is too long. Expected: 1024 characters"
THE_SERVICE_SAYS = (_TOO_LONG, "Telemetry sampled out.", "Request entity too large")
"""What the sandbox, as the service, rejects items with; any other words are someone else's."""


def faults(elsewhere: str) -> list[tuple[float, dict[str, Any]]]:
    """List every fault of the service with its probability; the redirect leads to `elsewhere`."""

    def status(code: int, **more: Any) -> dict[str, Any]:
        return {"kind": "status", "status": code} | more

    return [
        (0.04, status(503)),
        (0.03, status(500)),
        (0.02, status(502)),
        (0.02, status(504)),
        (0.02, status(408)),
        (0.02, status(429)),
        (0.02, status(429, retry_after=1)),
        (0.02, status(429, retry_after=1, retry_after_form="date")),
        (0.01, status(402, retry_after=1)),
        (0.01, status(439, retry_after=1)),
        (0.02, status(401)),
        (0.02, status(403)),
        (0.02, status(404)),
        (0.01, status(405)),
        (0.01, status(400, body=_BAD_KEY)),
        (0.03, status(413)),
        (0.03, {"kind": "redirect", "status": 307, "location": elsewhere, "cache_control": "max-age=2"}),
        (0.02, {"kind": "redirect", "status": 308, "location": elsewhere, "cache_control": "max-age=1"}),
        (0.02, {"kind": "redirect", "location": "http://localhost:9/v2.1/track"}),
        (0.05, {"kind": "reset", "when": "before_read"}),
        (0.05, {"kind": "reset", "when": "after_accept"}),
        (0.03, {"kind": "reset", "when": "mid_answer"}),
        (0.05, {"kind": "items", "every": 3, "status_code": 500}),
        (0.03, {"kind": "items", "every": 2, "status_code": 429, "retry_after": 1}),
        (0.02, {"kind": "items", "every": 60, "status_code": 400, "message": _TOO_LONG}),
        (0.01, {"kind": "items", "every": 90, "status_code": 206, "message": "Telemetry sampled out."}),
        (0.02, {"kind": "answer", "how": "truncated"}),
        (0.02, {"kind": "answer", "how": "garbage"}),
        (0.01, {"kind": "answer", "how": "empty"}),
        *((0.004, status(200, body=body)) for body in ("OK", '{"status":"ok"}', "[]", _PAGE, "\ufeff" + _PAGE, _CACHED)),
        *((0.004, status(code, body=_PAGE, gzip=True)) for code in (200, 206, 400, 403)),
        *((0.004, status(code, body=_PAGE)) for code in (201, 203, 206, 302, 400, 403, 404, 407, 413, 415, 429, 500, 511)),
        *((0.004, status(code, body="")) for code in (202, 206, 400, 403, 413, 500)),
        *((0.004, status(400, body=body)) for body in ("Bad Request", "<?xml version='1.0'?><Error/>", '{"error":{"code":"BadRequest"}}', _NSP)),
        (0.004, status(204)),
        (0.05, {"kind": "pass", "delay_seconds": 0.3}),
        (0.02, {"kind": "delay", "delay_seconds": 2 * SEND_TIMEOUT_SECONDS}),
    ]  # fmt: skip


@dataclass(slots=True)
class Report:
    """What the storm did, and what became of the samples."""

    seed: int
    seconds: float
    requests: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    stops: int = 0
    freezes: int = 0
    service_away: int = 0
    metrics_json_changed: int = 0
    posts_to_the_service: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    looks_at_the_ledger: int = 0
    samples_of_followers: int = 0
    samples_acknowledged: int = 0
    samples_of_them_selected: int = 0
    delivered: int = 0
    rejected_by_the_service: int = 0
    condemned_by_others: int = 0
    lost: int = 0
    doubled: int = 0
    doubled_why: Counter[str] = field(default_factory=Counter)
    doubled_unexplained: int = 0
    repeats_recognised: int = 0  # as far as they were seen before a kill
    of_a_request_sent_twice: int = 0
    set_aside: int = 0
    others_acknowledged_while_blocked: int = 0
    others_delivered_while_blocked: int = 0
    of_the_blocked_acknowledged_then: int = 0
    of_the_blocked_delivered: int = 0
    of_the_blocked_doubled: int = 0
    in_a_resource_of_others: int = 0
    samples_folded: int = 0
    counters_began_anew: int = 0
    folded_items: int = 0
    folded_items_rejected: int = 0
    folded_totals: int = 0
    folded_grown: Counter[str] = field(default_factory=Counter)
    folded_totals_wrong: int = 0
    folded_doubled: int = 0
    folded_doubled_why: Counter[str] = field(default_factory=Counter)
    folded_units_doubled: int = 0
    drained_in_seconds: float = 0.0

    def __str__(self) -> str:
        """One line an entry, those with parts indented under it."""
        lines = []
        for name in self.__slots__:
            value = getattr(self, name)
            label = name.replace("_", " ")
            if isinstance(value, Counter):
                lines.append(f"{label:<26} {value.total()}")
                lines += [f"  {part:<24} {count}" for part, count in sorted(value.items())]
            else:
                lines.append(f"{label:<26} {value}")
        return "\n".join(lines)


def mixed(shard: int, first: int, count: int, timestamp_ms: int) -> list[Point]:
    """Make a numbered stream of which each tenth sample is not selected."""
    points = numbered(shard, first, count, timestamp_ms)
    return [each if each.value % 10 else each._replace(name="other") for each in points]


class Folded(NamedTuple):
    """What there is one item of: a series and a window."""

    name: str
    labels: Labels
    start_ms: int


Numbers = tuple[float, int]
"""A folded item's value and count."""


class FoldedLetter(NamedTuple):
    """A folded item that the service has refused."""

    numbers: Numbers
    words: str


class Storm:
    """One storm. `run` returns its report, or raises AssertionError where a promise is broken."""

    def __init__(
        self, folder: Path, seconds: float, kills: int, seed: int, *, routes: bool = False
    ) -> None:
        """Use `folder` for outbox and logs; kill `kills` times in `seconds`."""
        self._with_routes = routes
        self._folder = folder
        self._seconds = seconds
        self._kills = kills
        self._seed = seed
        self._blows: list[tuple[float, float, str]] = []
        self._over = False
        self._scripts = -1
        self._opened_at = 0.0
        self._acknowledged_then: list[int] = []
        self._received = 0
        self._repeats: dict[int, int] = {}
        self._counters: list[Counters] = []
        self.wrong: dict[Total, tuple[int, float]] = {}
        """What the items do not add up to: what the counters grew, and what the items say."""
        self.unexplained: dict[tuple[int, int], list[dict[str, Any]]] = {}
        """The POSTs whose items came again for no reason known, with all that brought them."""
        self.report = Report(seed, seconds)

    def _chance(self, role: str) -> random.Random:
        return random.Random(f"{self._seed} {role}")

    async def run(self) -> Report:
        """Let it blow, let it settle, and take stock."""
        self._change_metrics_json()
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REMOTE_TIMEOUT_SECONDS))
            )
            second = await stack.enter_async_context(serve(Sandbox()))
            first = Sandbox()
            self._up = await stack.enter_async_context(AsyncExitStack())
            server = await self._up.enter_async_context(serve(first))
            self._script(server, second)
            self._script(second, server)
            boxes = [first, second.sandbox]
            flags: list[str] = []
            blocked = None
            if self._with_routes:
                blocked = await stack.enter_async_context(serve(Sandbox()))
                blocked.sandbox.script.replace(parse_faults([BLOCKED]))
                boxes.append(blocked.sandbox)
                flags = ["--routes", str(self._write_routes(second, blocked))]
            receiver = await stack.enter_async_context(
                ReceiverProcess(
                    self._folder,
                    server.connection_string,
                    *("--send-timeout", f"{SEND_TIMEOUT_SECONDS}s"),
                    *("--outbox-max-bytes", "64MiB" if self._with_routes else "128KiB"),
                    *("--shutdown-timeout", f"{STOP_TIMEOUT_SECONDS}s"),
                    *flags,
                    environment=REPLICAS,
                )
            )
            senders = [self._sender(receiver, shard) for shard in range(SENDERS)]
            async with asyncio.TaskGroup() as tasks:
                if blocked:
                    tasks.create_task(self._open(blocked, senders))
                await self._blow(session, receiver, server, senders)
            begun_at = time.monotonic()
            for box in boxes:
                box.script.replace([])
            status = await self._settled(session, receiver, boxes)
            self.report.drained_in_seconds = round(time.monotonic() - begun_at, 1)
            receiver.signal(signal.SIGTERM)
            assert await receiver.ended() == 0, "a stop in peace exits 0"
            await until(lambda: _ended(boxes), "the end of answers that are late")
            self._take_stock(status, senders, boxes)
            await self._up.aclose()
        return self.report

    def _script(self, server: Server, other: Server) -> None:
        """Have a sandbox throw every fault; it redirects to the other."""
        chances = [
            {"probability": probability, "fault": fault}
            for probability, fault in faults(f"{other.url}/v2.1/track")
        ]
        self._scripts += 1
        storm = {"kind": "storm", "seed": self._seed + self._scripts, "faults": chances}
        server.sandbox.script.replace(parse_faults([storm | {"times": None}]))

    def _write_routes(self, is_open: Server, blocked: Server) -> Path:
        path = self._folder / "routes.json"
        routes = [
            {"name": name, "match": {"shard": str(shard)}, "connection_string": server.connection_string}
            for name, shard, server in (("open", OPEN_SHARD, is_open), ("blocked", BLOCKED_SHARD, blocked))
        ]  # fmt: skip
        path.write_text(orjson.dumps({"routes": routes}).decode())
        path.chmod(0o600)
        return path

    async def _open(self, blocked: Server, senders: list[Sender]) -> None:
        """Open the blocked route late in the storm.

        Only notes are taken here, since what holds the loop up makes the sandboxes' answers late.
        """
        await asyncio.sleep(self._seconds * OPENED_AFTER)
        its_own = senders[BLOCKED_SHARD]
        await until(lambda: its_own.acknowledged, "samples of the blocked", self._seconds + 60)
        assert not any(True for _ in blocked.sandbox.store.select()), "taken although it is blocked"
        self._opened_at = time.time()
        self._acknowledged_then = [len(sender.acknowledged) for sender in senders]
        self._script(blocked, blocked)

    def _sender(self, receiver: ReceiverProcess, shard: int) -> Sender:
        counters = Counters(shard, self._chance(f"counters {shard}"), int(time.time() * 1000))
        self._counters.append(counters)
        return Sender(
            lambda: receiver.url,
            shard=shard,
            samples_per_request=SAMPLES_PER_REQUEST,
            chance=self._chance(f"sender {shard}"),
            make=lambda *numbers: [*mixed(*numbers), *counters.scrape()],
            last=counters.last_scrapes,
            pause_seconds=0.3,
            timeout_seconds=REMOTE_TIMEOUT_SECONDS,
            labels=(("replica", "a"),),
        )

    def _follower(self, receiver: ReceiverProcess, shard: int, leader: Sender) -> Sender:
        """Make a second replica, which writes again what the first has brought."""
        return Sender(
            lambda: receiver.url,
            shard=shard,
            samples_per_request=1,
            chance=self._chance(f"follower {shard}"),
            make=lambda *_: [each for each in leader.acknowledged[-200:] if each.name != "other"],
            pause_seconds=0.6,
            timeout_seconds=REMOTE_TIMEOUT_SECONDS,
            labels=(("replica", "b"),),
        )

    async def _follow(self, leader: Sender, follower: Sender) -> None:
        """Have a replica write from its leader's first answer on."""
        await until(lambda: leader.acknowledged, "a first answer", self._seconds + 60)
        await follower.run()

    async def _blow(
        self,
        session: aiohttp.ClientSession,
        receiver: ReceiverProcess,
        server: Server,
        senders: list[Sender],
    ) -> None:
        deadline = time.monotonic() + self._seconds
        async with asyncio.TaskGroup() as tasks:
            writing = [tasks.create_task(sender.run()) for sender in senders]
            followers = [self._follower(receiver, *each) for each in enumerate(senders)]
            following = map(self._follow, senders, followers)
            writing += [tasks.create_task(each) for each in following]
            looking = tasks.create_task(self._look(session, receiver, senders))
            away = tasks.create_task(self._go_away(server, deadline))
            changing = tasks.create_task(self._change_entries(deadline))
            await self._torment(receiver, senders, deadline)
            await away
            await changing
            for sender in (*senders, *followers):
                sender.stop()
            await asyncio.wait(writing, timeout=60)
            waiting = [
                each.attempts
                for each, task in zip((*senders, *followers), writing, strict=True)
                if not task.done()
            ]
            assert not waiting, f"a request is never answered: {waiting}"
            self._over = True
            await looking

    async def _torment(
        self, receiver: ReceiverProcess, senders: list[Sender], deadline: float
    ) -> None:
        """Kill the receiver at random moments, its starts among them; sometimes stop or freeze it."""
        chance = self._chance("kills")
        while (left := deadline - time.monotonic()) > 0:
            to_come = max(1, self._kills - self.report.kills)
            await asyncio.sleep(min(left, chance.uniform(0, 2 * left / (to_come + 1))))
            if chance.random() < 0.7:
                await self._amid_a_request(senders, chance)
            what = chance.random()
            if what < 0.08 and receiver.running.process.returncode is None:
                self.report.stops += 1
                self._note("receiver stopped", STOP_TIMEOUT_SECONDS)
                receiver.signal(signal.SIGTERM)
                await receiver.ended()
            elif what < 0.25:
                self.report.freezes += 1
                self._note("receiver frozen")
                receiver.signal(signal.SIGSTOP)
                await asyncio.sleep(chance.uniform(0.5, 1.5) * REMOTE_TIMEOUT_SECONDS)
                receiver.signal(signal.SIGCONT)
                continue
            else:
                await self._kill(receiver)
            await receiver.begin()
            if chance.random() < 0.2:
                await asyncio.sleep(chance.uniform(0, 1))
                await self._kill(receiver)
                await receiver.begin()
        while self.report.kills < self._kills:
            await self._kill(receiver)
            await receiver.begin()
            await receiver.event("receiver listens")

    async def _amid_a_request(self, senders: list[Sender], chance: random.Random) -> None:
        """Return some milliseconds after a sender has begun a request: before, amid or after its commit."""
        sender = chance.choice(senders)
        sender.posting.clear()
        try:
            async with asyncio.timeout(2):
                await sender.posting.wait()
        except TimeoutError:
            return
        await asyncio.sleep(chance.uniform(0, 0.03))

    def _note(self, why: str, lasts_seconds: float = 0.0) -> None:
        """Note that answers to POSTs that begin about now may be missed, and why."""
        now = time.time()
        self._blows.append((now - BEFORE_SECONDS, now + lasts_seconds + AFTER_SECONDS, why))

    async def _kill(self, receiver: ReceiverProcess) -> None:
        self._note("receiver killed")
        self.report.kills += 1
        await receiver.kill()

    async def _go_away(self, server: Server, deadline: float) -> None:
        """Take the service away now and then: connections are refused."""
        chance = self._chance("away")
        while (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(left, chance.uniform(0, 20)))
            await self._up.aclose()
            await asyncio.sleep(chance.uniform(0, 2))
            await self._up.enter_async_context(serve(server.sandbox, port=server.port))
            self.report.service_away += 1

    async def _change_entries(self, deadline: float) -> None:
        """Change metrics.json now and then: the entries that stay go on, and windows are looked for."""
        chance = self._chance("metrics.json")
        while (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(left, chance.uniform(0, 4)))
            self._change_metrics_json()

    def _change_metrics_json(self) -> None:
        self.report.metrics_json_changed += 1
        write_metrics_json(self._folder / "metrics.json", self.report.metrics_json_changed)

    async def _look(
        self, session: aiohttp.ClientSession, receiver: ReceiverProcess, senders: list[Sender]
    ) -> None:
        """Read the status whenever it can be read, and hold it against what is known."""
        while not self._over:
            known = sum(len(sender.acknowledged) for sender in senders)
            try:
                status = await read_status(session, receiver.url)
            except (aiohttp.ClientError, OSError):  # a time-out is one
                await asyncio.sleep(0.05)
                continue
            self._check(status, known)
            self._repeats[receiver.starts] = status["requests"]["repeated"]
            await asyncio.sleep(0.05)

    def _check(self, status: dict[str, Any], known: int) -> None:
        self.report.looks_at_the_ledger += 1
        received = status["received"] - status["dropped"].get("replica", 0)
        assert received >= self._received, "the ledger has forgotten something"
        assert received >= known, "acknowledged, and not in the ledger"
        assert status["outbox"]["set_aside"] == 0, "kill -9 does not damage a database"
        for route in status["routes"]:
            assert route["adds_up"], route
        assert not status["dropped"].get("route_full"), (
            "a share is full: the storm has room for all"
        )
        self._received = received

    async def _settled(
        self, session: aiohttp.ClientSession, receiver: ReceiverProcess, boxes: list[Sandbox]
    ) -> dict[str, Any]:
        last = {
            Folded(total.name, total.labels, counters.ends_in_ms)
            for counters in self._counters
            for total in counters.totals
        }

        async def nothing_pending() -> dict[str, Any] | None:
            try:
                status = await read_status(session, receiver.url)
            except (aiohttp.ClientError, OSError):
                return None
            self._check(status, 0)
            self._repeats[receiver.starts] = status["requests"]["repeated"]
            return None if status["pending"] else status

        async def nothing_to_come() -> dict[str, Any] | None:
            status = await nothing_pending()
            if not status:
                return None
            return (
                None
                if last - _folded(boxes).keys() - _refused(self._folder / "outbox")[1].keys()
                else status
            )

        await until(nothing_pending, "nothing pending", 90)
        self._change_metrics_json()  # windows are looked for at once
        found: dict[str, Any] = await until(nothing_to_come, "the items of the last windows", 30)
        return found

    def _take_stock(
        self, status: dict[str, Any], senders: list[Sender], boxes: list[Sandbox]
    ) -> None:
        report = self.report
        acknowledged = [point for sender in senders for point in sender.acknowledged]
        wanted = {point for point in acknowledged if point.name.startswith("nv_")}
        deliveries = _deliveries(boxes)
        refused, folded_refused = _refused(self._folder / "outbox")
        missing = wanted - deliveries.keys()
        report.requests = sum(sender.requests for sender in senders)
        for sender in senders:
            report.attempts += sender.attempts
        report.samples_acknowledged = len(acknowledged)
        report.samples_of_them_selected = len(wanted)
        report.delivered = len(wanted & deliveries.keys())
        report.rejected_by_the_service = sum(status["rejected"].values())
        report.lost = len(missing - refused.keys())
        report.condemned_by_others = sum(
            words not in THE_SERVICE_SAYS
            for words in (*refused.values(), *(said.words for said in folded_refused.values()))
        )
        report.samples_of_followers = status["dropped"].get("replica", 0)
        assert all(each["leader"] == "a" and not each["changes"] for each in status["replicas"])
        leaders_received = status["received"] - report.samples_of_followers
        report.of_a_request_sent_twice = leaders_received - len(acknowledged)
        report.repeats_recognised = sum(self._repeats.values())
        report.set_aside = status["outbox"]["set_aside"]
        for box in boxes:
            for record in box.ledger.requests(10_000):
                report.posts_to_the_service += 1
                if record["fault"]:
                    kind = record["fault"]
                    answer = "" if kind in ("reset", "delay", "answer") else f" {record['status']}"
                    report.faults[f"{kind}{answer}"] += 1
        report.doubled_why = self._explain_doubles(deliveries.values(), boxes)
        report.doubled = report.doubled_why.total()
        if self._with_routes:
            self._take_stock_of_the_routes(deliveries, senders, boxes)
        self._take_stock_of_the_folded(status, boxes, folded_refused)
        for why in (report.doubled_why, report.folded_doubled_why):
            report.doubled_unexplained += why.pop("", 0)
        assert not any(sender.dropped for sender in senders), "a good request was answered 4xx"
        assert not deliveries.keys() - wanted, "delivered what nobody acknowledged or wanted"
        assert status["expired"] == 0

    def _take_stock_of_the_routes(
        self,
        deliveries: dict[Point, list[tuple[int, int]]],
        senders: list[Sender],
        boxes: list[Sandbox],
    ) -> None:
        """Find each item of the blocked route in its resource, no other's there, and what was early."""
        *_, its_own = range(len(boxes))
        early = {
            (number, record["number"])
            for number, box in enumerate(boxes)
            for record in box.ledger.requests(10_000)
            if datetime.fromisoformat(record["time"]).timestamp() < self._opened_at
        }
        for shard, (sender, count) in enumerate(zip(senders, self._acknowledged_then, strict=True)):
            wanted = {
                point for point in sender.acknowledged[:count] if point.name.startswith("nv_")
            }
            if shard == BLOCKED_SHARD:
                self.report.of_the_blocked_acknowledged_then = len(wanted)
            else:
                self.report.others_acknowledged_while_blocked += len(wanted)
                self.report.others_delivered_while_blocked += sum(
                    not early.isdisjoint(deliveries.get(point, ())) for point in wanted
                )
        blocked = ("shard", str(BLOCKED_SHARD))
        for point, requests in deliveries.items():
            if blocked in point.labels:
                self.report.of_the_blocked_delivered += 1
                self.report.of_the_blocked_doubled += len(requests) - 1
        self.report.in_a_resource_of_others = sum(
            (item.series.properties.get("shard") == str(BLOCKED_SHARD)) != (number == its_own)
            for number, box in enumerate(boxes)
            for item in box.store.select()
        )

    def _take_stock_of_the_folded(
        self, status: dict[str, Any], boxes: list[Sandbox], refused: dict[Folded, FoldedLetter]
    ) -> None:
        """Add up the items, one a series and window, and hold them against what the counters grew."""
        report = self.report
        arrived = _folded(boxes)
        items = {key: letter.numbers for key, letter in refused.items()}
        for key, copies in arrived.items():
            numbers = items.setdefault(key, copies[0][1])
            assert all(said == numbers for _, said in copies), f"two items, one window: {key}"
            report.folded_units_doubled += round(sum(value for _, (value, _) in copies[1:]))
        found: defaultdict[Total, float] = defaultdict(float)
        for key, (value, count) in items.items():
            found[Total(key.name, key.labels, "value")] += value
            if key.name.startswith("busy"):
                found[Total(key.name, key.labels, "count")] += count
        grown = sum((counters.totals for counters in self._counters), Counter())
        self.wrong = {
            total: (grown[total], found[total])
            for total in grown.keys() | found.keys()
            if grown[total] != found[total]
        }
        for total, units in grown.items():
            report.folded_grown[f"{total.name}, {total.of}"] += units
        report.samples_folded = status["folded"]
        report.counters_began_anew = sum(counters.restarts for counters in self._counters)
        report.folded_items = len(items)
        report.folded_items_rejected = len(refused.keys() - arrived.keys())
        report.folded_totals = len(grown)
        report.folded_totals_wrong = len(self.wrong)
        deliveries = [[request for request, _ in copies] for copies in arrived.values()]
        report.folded_doubled_why = self._explain_doubles(deliveries, boxes)
        report.folded_doubled = report.folded_doubled_why.total()
        assert status["flushed"] == len(items), "an item is lost, or a window had two"

    def _explain_doubles(
        self, deliveries: Iterable[list[tuple[int, int]]], boxes: list[Sandbox]
    ) -> Counter[str]:
        """Count for each delivery but an item's last why its answer did not settle it; "" is unknown."""
        records = {
            (number, record["number"]): record
            for number, box in enumerate(boxes)
            for record in box.ledger.requests(10_000)
        }
        found: Counter[str] = Counter()
        for requests in deliveries:
            *earlier, _ = sorted(requests, key=lambda key: records[key]["time"])
            for key in earlier:
                why = self._why_lost(records[key])
                found[why] += 1
                if not why:
                    self.unexplained[key] = [records[each] for each in requests]
        return found

    def _why_lost(self, record: dict[str, Any]) -> str:
        """Say how the receiver missed an answer of the service; empty where it cannot have."""
        begun_at = datetime.fromisoformat(record["time"]).timestamp()
        if record["outcome"] == "reset":
            return "reset after accept"
        if record["outcome"] == "gone":
            return "service went away"
        if record["fault"] == "delay":
            return "answer too late"
        if record["fault"] == "answer":
            return "answer spoiled"
        for earliest, latest, why in self._blows:
            if earliest <= begun_at <= latest:
                return why
        return ""


def _ended(boxes: list[Sandbox]) -> bool:
    """Say whether each request that brought an item is in its sandbox's record."""
    return all(
        {item.request for item in box.store.select()}
        <= {record["number"] for record in box.ledger.requests(10_000)}
        for box in boxes
    )


def _deliveries(boxes: list[Sandbox]) -> dict[Point, list[tuple[int, int]]]:
    """List for each sample the requests that brought it, as (sandbox, request)."""
    found: dict[Point, list[tuple[int, int]]] = {}
    for number, box in enumerate(boxes):
        for item in box.store.select("nv_*"):
            labels = tuple(sorted(item.series.properties.items()))
            point = Point(item.series.name, labels, item.time_ms, item.value)
            found.setdefault(point, []).append((number, item.request))
    return found


def _folded(boxes: list[Sandbox]) -> dict[Folded, list[tuple[tuple[int, int], Numbers]]]:
    """List for each folded item the requests that brought it, and what it said each time."""
    found: dict[Folded, list[tuple[tuple[int, int], Numbers]]] = {}
    for number, box in enumerate(boxes):
        for item in box.store.select():
            series = item.series
            if series.name.startswith("nv_"):
                continue
            key = Folded(series.name, tuple(sorted(series.properties.items())), item.time_ms)
            numbers = item.value, item.spread.count if item.spread else 1
            found.setdefault(key, []).append(((number, item.request), numbers))
    return found


def _refused(outbox: Path) -> tuple[dict[Point, str], dict[Folded, FoldedLetter]]:
    """Read the dead letters: the samples and items that the service has refused, and its words."""
    points = {}
    folded = {}
    for letter in read_dead_letters(outbox):
        item = orjson.loads(letter.item)
        data = item["data"]["baseData"]
        (metric,) = data["metrics"]
        time_ms = round(datetime.fromisoformat(item["time"]).timestamp() * 1000)
        labels = tuple(sorted(data["properties"].items()))
        name, value = metric["name"], metric["value"]
        if name.startswith("nv_"):
            points[Point(name, labels, time_ms, value)] = letter.message
        else:
            numbers = (value, metric.get("count", 1))
            folded[Folded(name, labels, time_ms)] = FoldedLetter(numbers, letter.message)
    return points, folded
