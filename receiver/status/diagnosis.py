"""The verdict: the receiver's state in one line, root cause first.

In: `Facts` of one moment. Out: a `Diagnosis`: findings, each with a state, a sentence, and a
hint. Pure: the page's first line, /api/v1/status, readiness and the log are made from it.

Theory of operation: `_FINDERS` run in the order of cause and effect. An unwritable disk makes
requests fail, a refusing service makes the outbox grow: the first finding is the verdict, the
others are `also`. The severity is that of the worst finding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from receiver.azure.answer import MESSAGE_LIMIT
from receiver.azure.limits import EXPIRY_MS
from receiver.azure.policy import Action
from receiver.azure.rejections import TOO_OLD
from receiver.errors import FINAL_REASONS
from receiver.events import RecentError
from receiver.intake.guard import CARDINALITY
from receiver.intake.pipeline import HARMLESS_DROPS
from receiver.intake.replicas import REPLICA
from receiver.intake.routes import OWN_ROUTE, UNROUTED
from receiver.ledger import ROUTE_FULL, Ledger
from receiver.status import outlook
from receiver.status.cost import Overrun
from receiver.status.history import Flow
from receiver.status.missing_metric import MissingMetric
from receiver.status.pairs import Pair
from receiver.status.routes import RouteView
from receiver.status.snapshot import Snapshot
from receiver.status.verdicts import MEANINGS, Severity, State, anchor
from receiver.text import moment, size, span

CLOCK_SECONDS = 600.0
"""The service accepts 2 hours ahead and 48 behind, but ten minutes already distort charts."""
OLD_SAMPLES_SECONDS = 3 * 3600.0
"""Prometheus resends about two hours: older samples have a wrong time."""
SAME_TIME_SECONDS = 3 * 86400.0
"""A time this close to now in another unit was written in that unit."""
STEADY_REFUSALS = 2
"""Number of refused requests in a window that is reported."""
EXPLODES = (
    "Remove the label at its source or in Prometheus (labeldrop; a recording rule that sums without it, "
    "where series become equal); if so many series are intended, raise the limit."
)


@dataclass(frozen=True, slots=True)
class Patience:
    """The times after which a state becomes a verdict, in seconds; tests shorten them.

    They are extended where the observed interval of requests is longer than they allow for.
    """

    window: float = 130.0
    """The current window: longer than a minute, the interval of an _irate, plus its delay."""
    starting: float = 60.0
    first_values: float = 20.0
    first_irates: float = 150.0
    """An _irate needs two scrapes and an evaluation, once a minute."""
    silent: float = 120.0
    """Prometheus sends at least every scrape interval, usually 15 s to a minute."""
    silent_unknown: float = 330.0
    """The same before the interval is known: five minutes is Prometheus' longest useful interval."""
    behind: float = 120.0
    step: float = 10.0
    """Interval of the monitor's checks."""

    def scaled(self, factor: float) -> "Patience":
        """Multiply all times by a factor."""
        return Patience(*(getattr(self, time.name) * factor for time in fields(self)))


INTERVALS = 2.5
"""Number of observed intervals without data before a verdict: one may be late, one missing."""

PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Facts:
    """The input of a diagnosis. `flow` covers the window of `patience`, or longer.

    `clock_ahead_seconds`: this machine's clock minus the service's, None while unknown;
    `newest_sample_at`: the time of the latest sample, 0 before the first;
    `first_received_at`: the time of this process' first sample, 0 before it; `interval` and
    `selected_interval`: the observed intervals of samples, 0 while unknown; `refusals`: the
    recent errors of requests by reason; `first_seen`: the start of each current state;
    `items_per_second`, by the name in `rate_setting`, and `senders` limit delivery.
    """

    snapshot: Snapshot
    flow: Flow
    names_seen: int = 0
    absences: Sequence[MissingMetric] = ()
    clock_ahead_seconds: float | None = None
    newest_sample_at: float = 0.0
    first_received_at: float = 0.0
    outbox_error: str = ""
    last_rejection: str = ""
    interval: float = 0.0
    selected_interval: float = 0.0
    refusals: Mapping[str, RecentError] = field(default_factory=dict)
    overrun: Overrun | None = None
    pair: Pair | None = None
    first_seen: Mapping[State, float] = field(default_factory=dict)
    items_per_second: int = 0
    rate_setting: str = "RECEIVER_ITEMS_PER_SECOND"
    senders: int = 0
    patience: Patience = PATIENCE


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, or the absence of problems: a state, a sentence, and a hint."""

    state: State
    detail: str
    hint: str = ""

    @property
    def line(self) -> str:
        """The line: the state, then the sentence."""
        return f"{self.state.value}: {self.detail}"

    @property
    def severity(self) -> Severity:
        """The severity of the state."""
        return MEANINGS[self.state][0]

    @property
    def runbook(self) -> str:
        """The path of its section in the runbook, served by the receiver."""
        return f"/runbook#{anchor(self.state)}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The verdict: the first finding is the cause, `severity` is that of the worst."""

    findings: tuple[Finding, ...]

    @property
    def first(self) -> Finding:
        """The cause."""
        return self.findings[0]

    @property
    def state(self) -> State:
        """The cause's state."""
        return self.first.state

    @property
    def line(self) -> str:
        """The first line of the status page."""
        return self.first.line

    @property
    def also(self) -> tuple[str, ...]:
        """The lines of the other findings."""
        return tuple(finding.line for finding in self.findings[1:])

    @property
    def severity(self) -> Severity:
        """The severity of the worst finding."""
        return max((finding.severity for finding in self.findings), key=list(Severity).index)


@dataclass(frozen=True, slots=True)
class View:
    """The state at one moment; `flow` covers the window of the diagnosis."""

    snapshot: Snapshot
    flow: Flow
    diagnosis: Diagnosis


def diagnose(facts: Facts) -> Diagnosis:
    """Return the findings, the cause first. Raises: nothing."""
    first, *rest = [finding for finder in _FINDERS for finding in finder(facts)]
    return Diagnosis(
        (first, *(finding for finding in rest if finding.severity is not Severity.GOOD))
    )


def _disk(facts: Facts) -> Iterator[Finding]:
    snapshot = facts.snapshot
    words = facts.outbox_error if snapshot.outbox_failing else ""
    if not words and snapshot.outbox.size_bytes < snapshot.outbox.max_bytes:
        words = snapshot.outbox.full  # full for another reason than its size
    if snapshot.outbox_failing or words:
        hint = "Free disk space, or make RECEIVER_OUTBOX_DIR writable; the receiver then continues by itself."
        if "restart" in words:
            hint = "Do not touch the files in RECEIVER_OUTBOX_DIR while the receiver runs."
        detail = _with(words or "the outbox cannot be written", _since(facts, State.DISK))
        yield Finding(State.DISK, _with(detail, outlook.loss(snapshot, facts.flow)), hint)


def wrong_clock(ahead_seconds: float) -> str:
    """Say by how much the clock is ahead of, or behind, the service's; empty within the tolerance."""
    if abs(ahead_seconds) <= CLOCK_SECONDS:
        return ""
    side = "ahead of" if ahead_seconds > 0 else "behind"
    return f"this machine's clock is {span(abs(ahead_seconds))} {side} Application Insights'"


def _clock(facts: Facts) -> Iterator[Finding]:
    now = facts.snapshot.now
    if detail := wrong_clock(facts.clock_ahead_seconds or 0.0):
        yield Finding(State.CLOCK, detail, "Set the clock (chronyc makestep, timedatectl); a container uses its host's.")  # fmt: skip
        return
    hint = "Set the clock of the machine that Prometheus runs on, which gives samples their times."
    if count := facts.flow.ledger.rejected.get("too_new"):
        yield Finding(State.CLOCK, f"{_items(count)} rejected: more than 2 hours in the future by Application Insights' clock", hint)  # fmt: skip
    elif facts.newest_sample_at and facts.flow.ledger.committed:
        if unit := wrong_unit(facts.newest_sample_at, now):
            detail = f"the samples' times are in {unit}, but remote-write requires milliseconds"
            yield Finding(State.CLOCK, detail, "The sender uses the wrong unit, no clock is wrong: convert its timestamps.")  # fmt: skip
            return
        age = now - facts.newest_sample_at
        if age > OLD_SAMPLES_SECONDS or age < -CLOCK_SECONDS:
            side = "old" if age > 0 else "in the future"
            detail = f"the samples that arrive are {span(abs(age))} {side} by this machine's clock"
            yield Finding(State.CLOCK, detail, hint)


def wrong_unit(sample_at: float, now: float) -> str:
    """Return the wrong unit of a sample's time; empty for milliseconds."""
    for unit, factor in (("seconds", 1e3), ("microseconds", 1e-3), ("nanoseconds", 1e-6)):
        if abs(sample_at * factor - now) < SAME_TIME_SECONDS:
            return unit
    return ""


def _service(facts: Facts) -> Iterator[Finding]:
    snapshot, backoff = facts.snapshot, facts.snapshot.backoff
    if not backoff.failures:
        return
    words = backoff.reason[:MESSAGE_LIMIT].rstrip(".")
    until = moment(snapshot.now + snapshot.backoff_seconds)
    waits = _with(outlook.waiting(snapshot), outlook.loss(snapshot, facts.flow))
    hint = backoff.hint
    match backoff.action:
        case Action.BLOCKED:
            yield Finding(State.BLOCKED, _with(words, waits), hint)
        case Action.QUOTA:
            hint = hint or "Raise the daily cap, or send fewer metrics."
            yield Finding(State.QUOTA, _with(f"{words}; tried again at {until}", waits), hint)
        case Action.THROTTLE:
            hint = hint or "Send fewer metrics, or raise the resource's limits if this persists."
            yield Finding(State.THROTTLED, _with(f"until {until}: {words}", waits), hint)
        case _ if words[:1].isdigit():
            hint = hint or "A fault of the service: see Azure's status page if it persists."
            yield Finding(
                State.FAILING, _with(f"{words}, {backoff.failures} in a row", waits), hint
            )
        case _:
            detail = _with(f"{words}, {backoff.failures} in a row", waits)
            yield Finding(State.UNREACHABLE, detail, hint)


def _full(facts: Facts) -> Iterator[Finding]:
    outbox = facts.snapshot.outbox
    if outbox.full and outbox.size_bytes >= outbox.max_bytes:
        detail = f"the outbox holds {size(outbox.size_bytes)} of {size(outbox.max_bytes)}, and every request is answered 503"
        detail = _with(detail, _since(facts, State.FULL))
        hint = "Application Insights accepts fewer items than arrive: correct that first, or raise RECEIVER_OUTBOX_MAX_BYTES."
        yield Finding(State.FULL, _with(detail, outlook.loss(facts.snapshot, facts.flow)), hint)


Finder = Callable[[Facts], Iterator[Finding]]


def _each_route(find: Finder) -> Finder:
    """Return a finder that checks every route and names it, or the receiver without routes."""

    def find_all(facts: Facts) -> Iterator[Finding]:
        if not facts.snapshot.routes:
            yield from find(facts)
        for route in (view for view in facts.snapshot.routes if view.is_served):
            for finding in find(_facts_of(route, facts)):
                yield replace(finding, detail=f"route {route.name}: {finding.detail}")

    return find_all


def _facts_of(route: RouteView, facts: Facts) -> Facts:
    """Return the facts of one route, as of a receiver without others."""
    snapshot, waiting = facts.snapshot, route.outbox
    outbox = replace(
        snapshot.outbox,
        items=route.ledger.pending,
        batches=waiting.batches,
        size_bytes=waiting.size_bytes,
        max_bytes=waiting.max_bytes or snapshot.outbox.max_bytes,
        oldest_ms=waiting.oldest_ms,
    )
    alone = replace(
        snapshot,
        ledger=route.ledger,
        outbox=outbox,
        backoff=route.backoff,
        backoff_seconds=route.backoff_seconds,
        refused_alone=route.refused_alone,
        routes=(),
    )
    flow = facts.flow.routes.get(route.name, Flow(facts.flow.seconds, Ledger()))
    setting = facts.rate_setting if route.name == OWN_ROUTE else "items_per_second"
    return replace(
        facts,
        snapshot=alone,
        flow=flow,
        items_per_second=route.items_per_second,
        rate_setting=setting,
    )


def _route_full(facts: Facts) -> Iterator[Finding]:
    for route in facts.snapshot.routes:
        flow = facts.flow.routes.get(route.name, Flow(0.0, Ledger()))
        dropped, rejected = flow.ledger.dropped.get(ROUTE_FULL, 0), flow.ledger.rejected.get(ROUTE_FULL, 0)  # fmt: skip
        if not (dropped or rejected or route.outbox.is_full):
            continue
        detail = f"route {route.name} holds {size(route.outbox.size_bytes)} of {size(route.outbox.max_bytes)}"
        if dropped or rejected:
            detail += f"; {dropped} samples and {_items(rejected)} of windows dropped in {span(facts.flow.seconds)}"
        hint = "Its resource accepts fewer items than arrive: correct that first, or raise outbox_max_bytes of the route in routes.json."
        yield Finding(State.ROUTE_FULL, detail, hint)


def _route_held(facts: Facts) -> Iterator[Finding]:
    for route in facts.snapshot.routes:
        if not route.is_served and route.ledger.pending:
            detail = (
                f"{_items(route.ledger.pending)} of route {route.name}, which is not in routes.json"
            )
            oldest = EXPIRY_MS / 1000 - route.oldest_seconds(facts.snapshot.now)
            detail = _with(detail, f"the oldest expires in {span(max(0.0, oldest))}")
            yield Finding(State.ROUTE_HELD, detail, "Add the route to routes.json again, under the same name: its items are delivered only to its own resource.")  # fmt: skip


def _receiving(facts: Facts) -> Iterator[Finding]:
    snapshot, flow = facts.snapshot, facts.flow
    last_at, up = snapshot.write_handler.last_request_at, snapshot.now - snapshot.started_at
    patience = facts.patience
    hint = "Check that Prometheus runs and that its remote_write names this receiver; appinsights-receiver doctor checks both."
    misled = _misled(facts)
    if misled and flow.requests <= sum(flow.refused.values()):
        yield Finding(State.NOT_RECEIVING, misled.words, misled.hint)
    elif not last_at:
        if up < patience.starting:
            yield Finding(State.WAITING, f"started {span(up)} ago, no request yet", hint)
        else:
            detail = f"no request since the start {span(up)} ago"
            yield Finding(State.NOT_RECEIVING, detail, hint)
    elif snapshot.now - last_at > _silence(facts):
        detail = f"last request {span(snapshot.now - last_at)} ago, at {moment(last_at)}"
        if facts.interval > patience.silent / INTERVALS:
            detail += f"; they came every {span(facts.interval)}"
        yield Finding(State.NOT_RECEIVING, detail, hint)
    elif flow.requests and sum(flow.refused.values()) >= flow.requests:
        detail = f"all {flow.requests} requests of the last {span(flow.seconds)}"
        yield _refused(State.REFUSING, facts, flow.refused, detail)
    else:
        lost = {reason: n for reason, n in flow.refused.items() if reason in FINAL_REASONS}
        if sum(lost.values()) >= STEADY_REFUSALS:
            detail = f"{sum(lost.values())} of {flow.requests} requests of the last {span(flow.seconds)} for good"
            yield _refused(State.REFUSING_PART, facts, lost, detail)


def _misled(facts: Facts) -> RecentError | None:
    """Return the error of a sender with a wrong path or method in this window, if any."""
    misled = facts.flow.refused.keys() & {"wrong_address", "wrong_method"}
    return next((facts.refusals[reason] for reason in misled if reason in facts.refusals), None)


def _silence(facts: Facts) -> float:
    """Return the time without requests that is reported, by the senders' interval."""
    if not facts.interval:
        return max(facts.patience.silent, facts.patience.silent_unknown)
    return max(facts.patience.silent, INTERVALS * facts.interval)


def _refused(state: State, facts: Facts, refused: Mapping[str, int], detail: str) -> Finding:
    """Describe the refused requests: reasons, sender, and lost bytes."""
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(refused.items()))
    detail = f"{detail}: {reasons}"
    if facts.flow.lost_bytes:
        detail += f"; {size(facts.flow.lost_bytes)} of samples lost"
    worst = max(refused, key=lambda reason: (refused[reason], reason))
    error = facts.refusals.get(worst)
    if error is None:
        return Finding(state, detail, "See the answer in the sender's log for the reason.")
    if sender := error.fields.get("sender"):
        detail += f"; sender {sender}"
    return Finding(state, f"{detail}. {error.words[:MESSAGE_LIMIT]}", error.hint)


def _selecting(facts: Facts) -> Iterator[Finding]:
    snapshot, ledger = facts.snapshot, facts.flow.ledger
    if not ledger.received or ledger.received > ledger.unselected:
        return
    names = snapshot.metric_names
    only_irates = all(name.endswith("_irate") for name in names)
    grace = facts.patience.first_irates if only_irates else facts.patience.first_values
    if not facts.first_received_at or snapshot.now - facts.first_received_at < grace:
        detail = "samples arrive, but no selected one yet"
        yield Finding(State.WAITING, detail)
        return
    arriving = f" of {facts.names_seen} metrics that arrive" if facts.names_seen else ""
    detail = f"0{arriving} are selected ({ledger.received} samples in {span(facts.flow.seconds)})"
    if facts.absences:
        first = facts.absences[0]
        detail += f". {first.name}: {first.why}"
    listed = "metric" if len(names) == 1 else "metrics"
    hint = f"{snapshot.metrics_json} names {len(names)} {listed}, and none of them arrives: appinsights-receiver explain METRIC says why."
    yield Finding(State.FILTERED_OUT, detail, hint)


def _rejecting(facts: Facts) -> Iterator[Finding]:
    ledger, seconds = facts.flow.ledger, facts.flow.seconds
    elsewhere = ("too_new", ROUTE_FULL)
    rejected = {reason: n for reason, n in ledger.rejected.items() if reason not in elsewhere}
    if count := sum(rejected.values()):
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(rejected.items()))
        words = f": {facts.last_rejection[:MESSAGE_LIMIT]}" if facts.last_rejection else ""
        detail = f"{_items(count)} rejected in {span(seconds)} ({reasons}){words}"
        yield Finding(State.REJECTED, detail, "appinsights-receiver dead-letters shows them.")
    if ledger.expired:
        detail = f"{_items(ledger.expired)} expired ({TOO_OLD}): older than the 48 hours that Application Insights accepts"
        yield Finding(State.DROPPING, detail, "Expected after an outage of more than two days; otherwise check Prometheus' clock.")  # fmt: skip


def _dropping(facts: Facts) -> Iterator[Finding]:
    ledger, seconds = facts.flow.ledger, facts.flow.seconds
    dropped = {reason: n for reason, n in ledger.dropped.items() if reason != ROUTE_FULL}
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(dropped.items()))
    if any(reason not in HARMLESS_DROPS for reason in dropped):
        hint = "docs/metrics.md explains the reasons."
        if "bad_timestamp" in ledger.dropped:
            hint = "Timestamps in remote-write are milliseconds since 1970; this sender probably uses micro- or nanoseconds."
        explosion = facts.snapshot.explosion if CARDINALITY in ledger.dropped else None
        if explosion:
            hint = EXPLODES
        detail = f"samples that cannot be sent in {span(seconds)}: {reasons}"
        yield Finding(State.DROPPING, _with(detail, explosion.words if explosion else ""), hint)
    elif UNROUTED in dropped and not ledger.committed:
        yield Finding(State.DROPPING, f"no route matches any selected sample: {reasons}", 'routes.json has "unmatched": "drop"; appinsights-receiver explain METRIC shows the route of a series.')  # fmt: skip
    elif dropped.keys() - {REPLICA} and not ledger.committed:
        yield Finding(State.DROPPING, f"no selected sample is a number: {reasons}", "Quantiles are not numbers without requests: send traffic to Triton, or select other metrics.")  # fmt: skip


def _unconfirmed(facts: Facts) -> Iterator[Finding]:
    if count := facts.flow.unconfirmed:
        detail = f"{_items(count)} in {span(facts.flow.seconds)}: answered 200 without the service's body, counted as accepted"
        yield Finding(State.UNCONFIRMED, detail, "A proxy or load balancer may answer instead of the service: check that the items are in Application Insights.")  # fmt: skip


def _set_back(facts: Facts) -> Iterator[Finding]:
    refused_alone = facts.snapshot.refused_alone
    if refused_alone.batches:
        batches = "1 batch" if refused_alone.batches == 1 else f"{refused_alone.batches} batches"
        words = refused_alone.reason[:MESSAGE_LIMIT].rstrip(".")
        detail = (
            f"{batches} ({_items(refused_alone.items)}) refused while others are accepted: {words}"
        )
        yield Finding(State.SET_BACK, detail, refused_alone.hint)


def _behind(facts: Facts) -> Iterator[Finding]:
    snapshot = facts.snapshot
    if snapshot.oldest_seconds > facts.patience.behind and not snapshot.backoff.failures:
        rate_limit = facts.rate_setting, facts.items_per_second
        rates, hint = outlook.rates(snapshot, facts.flow, rate_limit, facts.senders)
        detail = _with(outlook.waiting(snapshot), rates)
        yield Finding(State.BEHIND, _with(detail, outlook.loss(snapshot, facts.flow)), hint)


def _configured(facts: Facts) -> Iterator[Finding]:
    if error := facts.snapshot.reload.error:
        detail = f"the previous version stays in force: {error}"
        yield Finding(State.CONFIG, detail, "Correct the file; it is read again when it changes.")


def _within_budget(facts: Facts) -> Iterator[Finding]:
    if facts.overrun:
        hint = "Fold metrics (docs/folding.md), select fewer, or raise RECEIVER_BUDGET_GB; appinsights-receiver cost estimates the cost of a selection."
        yield Finding(State.OVER_BUDGET, facts.overrun.words, hint)


def _replicated(facts: Facts) -> Iterator[Finding]:
    if pair := facts.pair:
        yield _unnoticed(pair)
    for cluster in facts.snapshot.replicas:
        if cluster.changes_often:
            of = f" of cluster {cluster.cluster}" if cluster.cluster else ""
            names = ", ".join(replica.replica for replica in cluster.replicas)
            detail = f"the leader{of} changed three times within ten minutes: {names}"
            hint = "Set RECEIVER_REPLICA_TIMEOUT to at least two and a half scrape intervals. If it is, the leader's requests do not arrive: see its log."
            yield Finding(State.REPLICAS, detail, hint)
            return


def _shared(facts: Facts) -> Iterator[Finding]:
    if share := facts.snapshot.fold.gap_share:
        detail = f"{share:.0%} of the intervals of folded series are longer than usual: another receiver gets the samples in between, and both count the growth"
        hint = "Have Prometheus write all series of a target to one receiver: appinsights-receiver relabel --shards N prints how (docs/scaling.md). With only one receiver scrapes fail: see up in Prometheus."
        yield Finding(State.SHARED, detail, hint)


def _unnoticed(pair: Pair) -> Finding:
    """Describe two senders of the same series, both of which are counted."""
    if pair.label:
        detail = f"{len(pair.values)} senders send the same series and differ only in {pair.label} ({', '.join(pair.values)}): every item exists {len(pair.values)} times"
        hint = f"Set RECEIVER_REPLICA_LABEL={pair.label}: one sender counts, and another takes over when it is silent (docs/replicas.md)."
        return Finding(State.REPLICAS, detail, hint)
    of = f" of {', '.join(pair.examples)}" if pair.examples else ""
    detail = f"two senders send the same series with the same labels: the times{of} alternate, and counters may seem to fall"
    hint = "Give each Prometheus an external label of its own, and name it: RECEIVER_REPLICA_LABEL=prometheus_replica (docs/replicas.md). Two scrape jobs for one target look the same: remove one."
    return Finding(State.REPLICAS, detail, hint)


def _complete(facts: Facts) -> Iterator[Finding]:
    snapshot, ledger, patience = facts.snapshot, facts.flow.ledger, facts.patience
    if not facts.first_received_at or ledger.received <= ledger.unselected:
        return
    waited = snapshot.now - facts.first_received_at
    interval = INTERVALS * max(facts.interval, facts.selected_interval)
    late = [
        missing
        for missing in facts.absences
        if waited
        >= max(
            patience.first_irates if missing.name.endswith("_irate") else patience.starting,
            interval,
        )
    ]
    if late:
        first = late[0]
        detail = f"{len(late)} of {len(snapshot.metric_names)} entries of metrics.json never seen. {first.name}: {first.why}"
        yield Finding(State.INCOMPLETE, detail, f"appinsights-receiver explain {first.name}")


def _fine(facts: Facts) -> Iterator[Finding]:
    snapshot, flow = facts.snapshot, facts.flow
    accepted = flow.ledger.accepted
    if flow.seconds < facts.patience.starting:  # too short for a rate
        delivered = f"{_items(accepted)} delivered since the start"
    else:
        delivered = f"{flow.a_minute(accepted):.0f} items a minute delivered"
    last = span(max(0.0, snapshot.now - snapshot.write_handler.last_request_at))
    detail = f"{delivered}, {snapshot.ledger.pending} waiting, last request {last} ago"
    yield Finding(State.OK, detail)


_FINDERS: tuple[Finder, ...] = (
    _disk, _clock, _each_route(_service), _full, _route_full, _receiving, _selecting, _rejecting,
    _dropping, _unconfirmed, _route_held, _each_route(_set_back), _each_route(_behind), _configured,
    _within_budget, _replicated, _shared, _complete, _fine,
)  # fmt: skip


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count} items"


def _since(facts: Facts, state: State) -> str:
    at = facts.first_seen.get(state)
    return f"since {moment(at)}" if at else ""


def _with(text: str, more: str) -> str:
    return "; ".join(part for part in (text, more) if part)
