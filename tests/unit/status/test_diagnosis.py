"""Each verdict from the facts that cause it, and the order in which causes come."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from receiver.azure.policy import Action
from receiver.config.followed_file import ReloadState
from receiver.delivery.backoff import BackoffState
from receiver.delivery.picker import RefusedAlone
from receiver.delivery.sender import DeliveryCounts
from receiver.events import RecentError
from receiver.fold.folder import FoldCounts
from receiver.intake.guard import Explosion
from receiver.intake.recogniser import CacheStatistics
from receiver.intake.replicas import ClusterView, ReplicaView
from receiver.ledger import WORDS, Ledger
from receiver.outbox.schema import GONE
from receiver.outbox.values import LaneStatistics, Statistics
from receiver.server.admission import AdmissionStatistics
from receiver.server.connections import ConnectionCounts
from receiver.server.write_handler import WriteCounts
from receiver.status.cost import Overrun
from receiver.status.diagnosis import Facts, diagnose, wrong_unit
from receiver.status.history import Flow
from receiver.status.missing_metric import MissingMetric
from receiver.status.pairs import Pair
from receiver.status.routes import RouteView
from receiver.status.snapshot import Snapshot
from receiver.status.verdicts import MEANINGS, Severity, State, anchor
from receiver.text import size, span

NOW = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC
FLOW = Flow(130.0, Ledger(420, 300, rendered=120, accepted=120), 9)
SNAPSHOT = Snapshot(
    ledger=Ledger(420, 300, rendered=120, accepted=120),
    outbox=Statistics(0, 0, 0, 1_000_000_000, 0, 0),
    outbox_failing=False,
    write_handler=WriteCounts(replies=Counter({"204": 9}), last_request_at=NOW - 4),
    delivery=DeliveryCounts(),
    backoff=BackoffState(),
    backoff_seconds=0.0,
    cache=CacheStatistics(1, 1, 1, 1),
    metadata_families=0,
    admission=AdmissionStatistics(0, 0, 0),
    connections=ConnectionCounts(),
    metrics_json="metrics.json",
    metric_names=("nv_a", "nv_b"),
    endpoint="https://example.test/v2.1/track",
    started_at=NOW - 4000,
    now=NOW,
)
FACTS = Facts(SNAPSHOT, FLOW, names_seen=42, newest_sample_at=NOW - 4, first_received_at=NOW - 3900)
PENDING: dict[str, Any] = {
    "outbox": Statistics(900, 3, 41_000_000, 1_000_000_000, int((NOW - 540) * 1000), 0),
    "ledger": Ledger(420, rendered=420, pending=420),
}


def changed_flow(changes: dict[str, Any]) -> Flow:
    """Change a flow, or words of its ledger."""
    words = {name: value for name, value in changes.items() if name in WORDS}
    rest = {name: value for name, value in changes.items() if name not in WORDS}
    return replace(FLOW, ledger=replace(FLOW.ledger, **words), **rest)


MISLED = RecentError("request", "wrong_address", "404 POST http://h:9201/ takes no writes: the url is http://h:9201/api/v1/write", "Mend the url.", NOW, NOW)  # fmt: skip
TOO_LARGE = RecentError("request", "too_large", "413 the body has 20000000 bytes or more", "Lower max_samples_per_send.", NOW, NOW, 40, {"sender": "Prometheus/3.5.0"})  # fmt: skip


def facts(*, flow: dict[str, Any] | None = None, facts: dict[str, Any] | None = None, **snapshot: Any) -> Facts:  # fmt: skip
    """Make the facts of a healthy receiver, some of them changed."""
    more = dict(facts or {})
    seconds = more.pop("flow_seconds", FLOW.seconds)
    changed: dict[str, Any] = {
        "snapshot": replace(SNAPSHOT, **snapshot),
        "flow": changed_flow({"seconds": seconds, **(flow or {})}),
    }
    return replace(FACTS, **changed, **more)


def backoff(action: Action, reason: str, hint: str = "", failures: int = 3) -> dict[str, Any]:
    return {
        "backoff": BackoffState(action, 0.0, 0.0, failures, reason, hint),
        "backoff_seconds": 2840.0,
    }


CLUSTER = ClusterView("east", "a", NOW - 60, 2.0, 3, 0, (ReplicaView("a", True, 2.0, 7, 0), ReplicaView("b", False, 2.0, 0, 7)))  # fmt: skip # noqa: FBT003 - who leads
NOTHING_SELECTED = {"unselected": 420, "rendered": 0, "accepted": 0}
NO_REQUEST: dict[str, Any] = {"write_handler": WriteCounts()}

OWN_ROUTE = RouteView("default", ledger=SNAPSHOT.ledger)


def routed(flow: Ledger | None = None, **changes: Any) -> Facts:
    """Make the facts of a receiver with a route beside its own, some of it changed."""
    made = facts(routes=(OWN_ROUTE, RouteView("team-a", **changes)))
    flows = {"team-a": Flow(130.0, flow or Ledger())}
    return replace(made, flow=replace(made.flow, routes=flows))


WAITS_IN_A: dict[str, Any] = {
    "ledger": Ledger(rendered=900, pending=900),
    "outbox": LaneStatistics(3, 41_000_000, 500_000_000, int((NOW - 540) * 1000)),
}

CASES: dict[str, tuple[Facts, str]] = {
    "a route is blocked": (
        routed(**WAITS_IN_A, backoff=backoff(Action.BLOCKED, "403 Forbidden", "Look.")["backoff"]),
        "BLOCKED: route team-a: 403 Forbidden; 41.0 MB wait, the oldest since 2026-11-18T10:57:40Z; the oldest expires in 48 h",
    ),
    "a route is full": (
        routed(
            Ledger(dropped={"route_full": 70}, rejected={"route_full": 1}),
            outbox=LaneStatistics(3, 41_000_000, 41_000_000, int((NOW - 40) * 1000)),
        ),
        "ROUTE FULL: route team-a holds 41.0 MB of 41.0 MB; 70 samples and 1 item of windows dropped in 2 min",
    ),
    "a route is late": (
        routed(**WAITS_IN_A),
        "BEHIND: route team-a: 41.0 MB wait",
    ),
    "a route is gone": (
        routed(**WAITS_IN_A | {"is_served": False, "outbox": LaneStatistics(3, 5, 0, int((NOW - 40) * 1000))}),
        "ROUTE HELD: 900 items of route team-a, which is not in routes.json; the oldest expires in 48 h",
    ),
    "a batch of a route is set back": (
        routed(refused_alone=RefusedAlone(1, 5, "400 no", "Look.")),
        "SET BACK: route team-a: 1 batch (5 items) refused while others are accepted: 400 no",
    ),
    "no series takes a route": (
        facts(flow={"dropped": {"unrouted": 120}, "rendered": 0, "accepted": 0}),
        "DROPPING: no route matches any selected sample: 120 unrouted",
    ),
    "fine": (facts(), "OK: 55 items a minute delivered, 0 waiting, last request 4 s ago"),
    "fine at the start": (
        facts(flow={"seconds": 4.0, "accepted": 1}),
        "OK: 1 item delivered since the start, 0 waiting, last request 4 s ago",
    ),
    "disk": (
        facts(outbox_failing=True, facts={"outbox_error": "database or disk is full"}),
        "DISK: database or disk is full",
    ),
    "disk nearly full": (
        facts(outbox=Statistics(0, 0, 0, 10**9, 0, 0, "the disk has 3 MB left")),
        "DISK: the disk has 3 MB left",
    ),
    "our clock ahead": (
        facts(facts={"clock_ahead_seconds": 3 * 86400.0}),
        "CLOCK: this machine's clock is 3 days ahead of Application Insights'",
    ),
    "our clock behind": (
        facts(facts={"clock_ahead_seconds": -3600.0 * 5}),
        "CLOCK: this machine's clock is 5 h behind Application Insights'",
    ),
    "their clock ahead, by the service": (
        facts(flow={"rejected": {"too_new": 7}}),
        "CLOCK: 7 items rejected: more than 2 hours in the future",
    ),
    "their clock behind, by ours": (
        facts(facts={"newest_sample_at": NOW - 3 * 86400}),
        "CLOCK: the samples that arrive are 3 days old by this machine's clock",
    ),
    "blocked": (
        facts(**PENDING, **backoff(Action.BLOCKED, "403 Forbidden", "The identity lacks the role.")),
        "BLOCKED: 403 Forbidden; 41.0 MB wait, the oldest since 2026-11-18T10:57:40Z; the oldest expires in 48 h",
    ),
    "blocked in the service's words": (
        facts(**PENDING, **backoff(Action.BLOCKED, "403 The identity lacks the role X", "The identity lacks the role.")),
        "BLOCKED: 403 The identity lacks the role X; 41.0 MB wait",
    ),
    "blocked by a wrong key": (
        facts(**backoff(Action.BLOCKED, "400 Invalid instrumentation key", "Copy it again.")),
        "BLOCKED: 400 Invalid instrumentation key",
    ),
    "blocked by a web server": (
        facts(**backoff(Action.BLOCKED, "404 Not Found", "Nothing listens at that address.")),
        "BLOCKED: 404 Not Found",
    ),
    "blocked without words": (
        facts(**backoff(Action.BLOCKED, "403", "The identity lacks the role.")),
        "BLOCKED: 403",
    ),
    "blocked by whoever answers": (
        facts(**backoff(Action.BLOCKED, "200 OK (from https://proxy.example)", "Something answers.")),
        "BLOCKED: 200 OK (from https://proxy.example)",
    ),
    "unconfirmed": (
        facts(flow={"unconfirmed": 40}),
        "UNCONFIRMED: 40 items in 2 min: answered 200 without the service's body",
    ),
    "set back": (
        facts(refused_alone=RefusedAlone(2, 17, "500 Internal server error", "See Azure's status page.")),
        "SET BACK: 2 batches (17 items) refused while others are accepted: 500 Internal server error",
    ),
    "quota": (
        facts(**backoff(Action.QUOTA, "439 Daily quota exceeded")),
        "QUOTA: 439 Daily quota exceeded; tried again at 2026-11-18T11:54:00Z",
    ),
    "throttled": (facts(**backoff(Action.THROTTLE, "429 Slow down")), "THROTTLED: until 2026-11-18T11:54:00Z: 429 Slow down"),
    "no way": (
        facts(**backoff(Action.RETRY, "the host's name cannot be resolved", "Check DNS.")),
        "UNREACHABLE: the host's name cannot be resolved, 3 in a row",
    ),
    "service error": (facts(**backoff(Action.RETRY, "503 Busy")), "FAILING: 503 Busy, 3 in a row"),
    "full": (
        facts(outbox=Statistics(9, 1, 10**9, 10**9, 0, 0, "1 GB waits"), facts={"first_seen": {State.FULL: NOW - 600}}),
        "FULL: the outbox holds 1.0 GB of 1.0 GB, and every request is answered 503; since 2026-11-18T10:56:40Z; Prometheus keeps refused data for about 2 h",
    ),
    "just started": (facts(**NO_REQUEST, started_at=NOW - 12), "WAITING: started 12 s ago, no request yet"),
    "never received": (facts(**NO_REQUEST), "NOT RECEIVING: no request since the start 67 min ago"),
    "a url without its path": (
        facts(flow={"requests": 3, "refused": {"wrong_address": 3}}, facts={"refusals": {"wrong_address": MISLED}}),
        "NOT RECEIVING: 404 POST http://h:9201/ takes no writes: the url is http://h:9201/api/v1/write",
    ),
    "a redirect on the way": (
        facts(flow={"requests": 3, "refused": {"wrong_method": 3}}, facts={"refusals": {"wrong_method": MISLED}}),
        "NOT RECEIVING: 404 POST http://h:9201/ takes no writes",
    ),
    "scrapes each 240 s are no silence": (
        facts(write_handler=WriteCounts(last_request_at=NOW - 239), facts={"interval": 240.0}),
        "OK:",
    ),
    "an interval that is not known yet": (
        facts(write_handler=WriteCounts(last_request_at=NOW - 239)),
        "OK:",
    ),
    "scrapes each 240 s that stopped": (
        facts(write_handler=WriteCounts(last_request_at=NOW - 720), facts={"interval": 240.0}),
        "NOT RECEIVING: last request 12 min ago, at 2026-11-18T10:54:40Z; they came every 4 min",
    ),
    "a part is refused": (
        facts(
            flow={"requests": 120, "refused": {"too_large": 40, "unsupported_media": 38}, "lost_bytes": 1_200_000},
            facts={"refusals": {"too_large": TOO_LARGE}},
        ),
        "REFUSING PART: 78 of 120 requests of the last 2 min for good: 40 too_large, 38 unsupported_media; 1.2 MB of samples lost; sender Prometheus/3.5.0. 413 the body has 20000000 bytes or more",
    ),
    "one refused request is an accident": (facts(flow={"refused": {"undecodable": 1}}), "OK:"),
    "what is sent again is not lost": (facts(flow={"refused": {"overloaded": 5, "broken_off": 2}}), "OK:"),
    "silent": (
        facts(write_handler=WriteCounts(last_request_at=NOW - 720)),
        "NOT RECEIVING: last request 12 min ago, at 2026-11-18T10:54:40Z",
    ),
    "refusing": (
        facts(flow={"requests": 9, "refused": {"undecodable": 9}}),
        "REFUSING: all 9 requests of the last 2 min: 9 undecodable",
    ),
    "filtered out": (
        facts(flow=NOTHING_SELECTED, facts={"absences": [MissingMetric("nv_a", "misspelt? nv_aa arrives")]}),
        "FILTERED OUT: 0 of 42 metrics that arrive are selected (420 samples in 2 min). nv_a: misspelt? nv_aa arrives",
    ),
    "nothing selected yet": (
        facts(flow=NOTHING_SELECTED, facts={"first_received_at": NOW - 5}),
        "WAITING: samples arrive",
    ),
    "irates are waited for": (
        facts(flow=NOTHING_SELECTED, metric_names=("a_irate",), facts={"first_received_at": NOW - 100}),
        "WAITING: samples arrive",
    ),
    "rejected": (
        facts(flow={"rejected": {"too_long": 2}}, facts={"last_rejection": "100: Field 'x'"}),
        "REJECTED: 2 items rejected in 2 min (2 too_long): 100: Field 'x'",
    ),
    "expired": (facts(flow={"expired": 1}), "DROPPING: 1 item expired"),
    "dropping": (
        facts(flow={"dropped": {"infinite": 4}}),
        "DROPPING: samples that cannot be sent in 2 min: 4 infinite",
    ),
    "a label that explodes": (
        facts(flow={"dropped": {"cardinality": 7}}, explosion=Explosion("nv_a", 20, 20, False, "id", 5, 7)),  # noqa: FBT003 - of a metric
        ("DROPPING: samples that cannot be sent in 2 min: 7 cardinality; 20 series of nv_a are known "
        "(RECEIVER_METRIC_SERIES_MAX), new ones of nv_a are dropped; its label id explodes: 5 values or more"),
    ),
    "over budget": (
        facts(facts={"overrun": Overrun(12.34, 5.0, 28.4, (("nv_a", 8.0), ("nv_b", 0.25)))}),
        "OVER BUDGET: 12.3 GB a month at the last hour's rate (it costs 28.40), and the budget is 5.0 GB; most: nv_a 8.0 GB, nv_b 0.25 GB",
    ),
    "only not-numbers": (
        facts(flow={"dropped": {"nan": 120}, "rendered": 0}),
        "DROPPING: no selected sample is a number: 120 nan",
    ),
    "some not-numbers are usual": (facts(flow={"dropped": {"nan": 4, "stale": 1}}), "OK:"),
    "times in seconds": (
        facts(facts={"newest_sample_at": NOW / 1000}),
        "CLOCK: the samples' times are in seconds, but remote-write requires milliseconds",
    ),
    "held back by its pace": (
        facts(
            **PENDING,
            flow={"accepted": 60, "pending": 60, "outbox_bytes": 10_000},
            facts={"items_per_second": 1, "senders": 4, "flow_seconds": 60.0},
        ),
        "BEHIND: 41.0 MB wait, the oldest since 2026-11-18T10:57:40Z; 120 items a minute in, 60 out: grows by 60 a minute; the oldest expires in 48 h, full at this rate in 67 days",
    ),
    "held back by its senders": (
        facts(
            **PENDING,
            flow={"accepted": 60, "pending": 60, "delivery_seconds": 230.0, "posts": 46},
            facts={"items_per_second": 9999, "senders": 4, "flow_seconds": 60.0},
        ),
        "BEHIND: 41.0 MB wait",
    ),
    "catching up": (
        facts(**PENDING, flow={"accepted": 330, "pending": -210, "outbox_bytes": -9}, facts={"flow_seconds": 60.0}),
        "BEHIND: 41.0 MB wait, the oldest since 2026-11-18T10:57:40Z; 120 items a minute in, 330 out: empty in 2 min",
    ),
    "behind": (facts(**PENDING), "BEHIND: 41.0 MB wait, the oldest since 2026-11-18T10:57:40Z; 55 items a minute in, 55 out; the oldest expires in 48 h"),
    "broken metrics.json": (
        facts(reload=ReloadState(successful=False, error="metrics.json:3: not JSON")),
        "CONFIG: the previous version stays in force: metrics.json:3: not JSON",
    ),
    "a pair that nobody named": (
        facts(facts={"pair": Pair("prometheus_replica", ("a", "b"), 9)}),
        "REPLICAS: 2 senders send the same series and differ only in prometheus_replica (a, b): every item exists 2 times",
    ),
    "a pair that nothing tells apart": (
        facts(facts={"pair": Pair("", examples=("nv_a",))}),
        "REPLICAS: two senders send the same series with the same labels: the times of nv_a alternate",
    ),
    "a leader that changes all the time": (
        facts(replicas=(replace(CLUSTER, changes_often=True),)),
        "REPLICAS: the leader of cluster east changed three times within ten minutes: a, b",
    ),
    "a follower is no loss": (
        facts(replicas=(CLUSTER,), flow={"dropped": {"replica": 120}, "received": 540}),
        "OK: 55 items a minute delivered",
    ),
    "another receiver gets samples": (
        facts(fold=FoldCounts(gap_share=0.52)),
        "SHARED: 52% of the intervals of folded series are longer than usual",
    ),
    "one never seen": (
        facts(facts={"absences": [MissingMetric("nv_b", "there is no GPU")]}),
        "INCOMPLETE: 1 of 2 entries of metrics.json never seen. nv_b: there is no GPU",
    ),
    "not missed yet": (
        facts(facts={"absences": [MissingMetric("nv_b", "…")], "first_received_at": NOW - 30}),
        "OK:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cause_has_its_line(name: str) -> None:
    """Each cause alone gives its line, and nothing else beside it."""
    given, line = CASES[name]
    found = diagnose(given)
    assert found.line.startswith(line)
    assert not found.also
    assert found.first.hint or found.severity is Severity.GOOD
    assert found.first.hint.lower() not in found.line.lower() or not found.first.hint


def test_every_state_is_reached() -> None:
    """No state is there that no facts lead to."""
    assert {diagnose(given).state for given, _ in CASES.values()} == set(State) == set(MEANINGS)


ORDER = {
    "a full disk before the silence that it causes": (
        facts(outbox_failing=True, write_handler=WriteCounts(last_request_at=NOW - 720)),
        [State.DISK, State.NOT_RECEIVING],
    ),
    "a wrong clock before the rejections": (
        facts(facts={"clock_ahead_seconds": 9e5}, flow={"rejected": {"too_new": 9, "other": 1}}),
        [State.CLOCK, State.REJECTED],
    ),
    "no role before the full outbox": (
        facts(
            outbox=Statistics(9, 1, 10**9, 10**9, 0, 0, "1 GB waits"),
            **backoff(Action.BLOCKED, "403", "h"),
        ),
        [State.BLOCKED, State.FULL],
    ),
    "silence before what is missing": (
        facts(**NO_REQUEST, facts={"absences": [MissingMetric("nv_b", "…")]}),
        [State.NOT_RECEIVING, State.INCOMPLETE],
    ),
    "nothing selected before the broken file": (
        facts(flow=NOTHING_SELECTED, reload=ReloadState(successful=False, error="broken")),
        [State.FILTERED_OUT, State.CONFIG],
    ),
}


@pytest.mark.parametrize("name", ORDER)
def test_cause_comes_first(name: str) -> None:
    """Of two that are wrong the cause is the verdict, and the other is said as well."""
    given, order = ORDER[name]
    found = diagnose(given)
    assert [found.state, *(line.split(":")[0] for line in found.also)] == order


def test_how_bad_it_is_says_the_worst() -> None:
    """A service with troubles of its own is a warning; the full outbox behind it is not."""
    found = diagnose(
        facts(
            outbox=Statistics(9, 1, 10**9, 10**9, 0, 0, "1 GB waits"),
            **backoff(Action.RETRY, "503 Busy", "h"),
        )
    )
    assert found.first.severity is Severity.WARN
    assert found.severity is Severity.BAD
    assert [each.state for each in found.findings] == [State.FAILING, State.FULL]


def test_what_holds_delivery_back_is_named() -> None:
    """By its setting, with its value; where nothing does, it catches up by itself."""
    assert "RECEIVER_ITEMS_PER_SECOND=1 limits it" in diagnose(CASES["held back by its pace"][0]).first.hint  # fmt: skip
    assert "All 4 senders are busy, a POST takes 5.0 s" in diagnose(CASES["held back by its senders"][0]).first.hint  # fmt: skip
    assert "catches up by itself" in diagnose(CASES["catching up"][0]).first.hint


@pytest.mark.parametrize(("factor", "unit"), [(1e-3, "seconds"), (1e3, "microseconds"), (1e6, "nanoseconds"), (1.0, ""), (1.001, "")])  # fmt: skip
def test_a_wrong_unit_is_no_wrong_clock(factor: float, unit: str) -> None:
    """By the size of the number alone."""
    assert wrong_unit(NOW * factor, NOW) == unit


def test_runbook_names_the_heading() -> None:
    """A verdict's link is its heading's anchor."""
    assert anchor(State.FILTERED_OUT) == "filtered-out"
    assert diagnose(facts(**NO_REQUEST)).first.runbook == "/runbook#not-receiving"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (259_200, "3 days")],
)  # fmt: skip
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (4100, "4.1 kB"), (41e6, "41.0 MB"), (5e12, "5000.0 GB")]
)  # fmt: skip
def test_size(count: float, text: str) -> None:
    assert size(count) == text


def test_a_route_is_held_back_by_its_own_setting() -> None:
    """Not by the receiver's, which limits other items."""
    held = routed(Ledger(rendered=240, accepted=120, pending=120), **WAITS_IN_A, items_per_second=1)
    [finding] = diagnose(replace(held, items_per_second=9999)).findings
    assert finding.state is State.BEHIND
    assert finding.hint.startswith("items_per_second=1 limits it")


def test_a_hint_does_not_contradict_the_line() -> None:
    """A full disk recovers when there is room; a removed file does not."""
    full = diagnose(facts(outbox_failing=True, facts={"outbox_error": "database or disk is full"}))
    gone = diagnose(facts(outbox_failing=True, facts={"outbox_error": GONE}))
    assert "continues by itself" in full.first.hint
    assert "continues by itself" not in gone.first.hint


def test_a_label_that_exploded_before_the_window_is_no_cause_of_other_drops() -> None:
    """The line speaks of it while newcomers are dropped, and no longer."""
    exploded = Explosion("nv_a", 20, 20, is_total=False, label="id", values=5, refused=7)
    now = diagnose(facts(flow={"dropped": {"cardinality": 4}}, explosion=exploded))
    later = diagnose(facts(flow={"dropped": {"infinite": 4}}, explosion=exploded))

    assert "labeldrop" in now.first.hint
    assert later.line == "DROPPING: samples that cannot be sent in 2 min: 4 infinite"
