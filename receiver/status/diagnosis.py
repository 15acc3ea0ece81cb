"""One line that says how the receiver is, the cause of what is wrong first.

In: `Facts`, what is known at one moment. Out: a `Diagnosis`: a state, a sentence, what
to do. Pure: the page's first line, /api/v1/status, readiness and the log all say this.

Theory of operation: `_FINDERS` are asked in the order of cause and effect. A disk that
cannot be written makes requests fail, a service that refuses makes the outbox grow:
whatever is found first is the verdict, the others are `also`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from receiver.azure.policy import Action
from receiver.azure.rejections import TOO_OLD
from receiver.status.history import Flow
from receiver.status.missing_metric import MissingMetric
from receiver.status.snapshot import Snapshot
from receiver.status.verdicts import MEANINGS, Severity, State, anchor
from receiver.text import clock_time, size, span

SILENT_SECONDS = 120.0
"""Prometheus comes at least each scrape interval, 15 s to a minute, and once a minute with metadata."""
STARTING_SECONDS = 60.0
FIRST_VALUES_SECONDS = 20.0
FIRST_IRATES_SECONDS = 150.0
"""An _irate takes two scrapes and an evaluation each minute."""
BEHIND_SECONDS = 120.0
CLOCK_SECONDS = 600.0
"""The service takes two hours ahead and 48 behind; ten minutes off already puts charts wrong."""
OLD_SAMPLES_SECONDS = 3 * 3600.0
"""Prometheus keeps some two hours to send again: what is older has a wrong time."""
HARMLESS_DROPS = frozenset({"stale", "nan"})
WORDS_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Facts:
    """What a diagnosis is made from. `flow` covers the last two minutes and a bit.

    `clock_ahead_seconds` is how far our clock is ahead of the service's, None while
    unknown; `newest_sample_at` is the time of the latest sample that came, 0 before the
    first; `first_received_at` when this process got its first sample, 0 before it.
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
    config_error: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The verdict: `line` is what people read first, `hint` what they should do."""

    state: State
    detail: str
    hint: str = ""
    also: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The one line, the state's word in front."""
        return f"{self.state.value}: {self.detail}"

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return MEANINGS[self.state][0]

    @property
    def runbook(self) -> str:
        """Where the runbook speaks of it."""
        return f"docs/runbook.md#{anchor(self.state)}"


def diagnose(facts: Facts) -> Diagnosis:
    """Find what is wrong, the cause first. Raises: nothing."""
    found = [each for finder in _FINDERS for each in finder(facts)]
    first, rest = found[0], found[1:]
    also = tuple(each.line for each in rest if each.severity is not Severity.GOOD)
    return Diagnosis(first.state, first.detail, first.hint, also)


def _disk(facts: Facts) -> Iterator[Diagnosis]:
    found = facts.snapshot
    words = facts.outbox_error if found.outbox_failing else ""
    if not words and found.outbox.size_bytes < found.outbox.max_bytes:
        words = found.outbox.full  # not for its own size
    if found.outbox_failing or words:
        hint = "Make room, or make RECEIVER_OUTBOX_DIR writable; the receiver goes on by itself."
        if "restart" in words:
            hint = "And leave the files in RECEIVER_OUTBOX_DIR to the receiver while it runs."
        yield Diagnosis(State.DISK, words or "the outbox cannot be written", hint)


def _clock(facts: Facts) -> Iterator[Diagnosis]:
    ahead, now = facts.clock_ahead_seconds, facts.snapshot.now
    if ahead is not None and abs(ahead) > CLOCK_SECONDS:
        side = "ahead of" if ahead > 0 else "behind"
        detail = f"this machine's clock is {span(abs(ahead))} {side} Application Insights'"
        yield Diagnosis(State.CLOCK, detail, "Set the clock (chronyc makestep, timedatectl); look at the host's of a container.")  # fmt: skip
        return
    hint = "Set the clock of the machine that Prometheus runs on: a sample's time is its."
    if facts.flow.ledger.rejected.get("too_new"):
        count = facts.flow.ledger.rejected["too_new"]
        yield Diagnosis(State.CLOCK, f"{_items(count)} rejected: more than 2 hours in the future by Application Insights' clock", hint)  # fmt: skip
    elif facts.newest_sample_at and facts.flow.ledger.committed:
        age = now - facts.newest_sample_at
        if age > OLD_SAMPLES_SECONDS or age < -CLOCK_SECONDS:
            side = "old" if age > 0 else "in the future"
            detail = f"the samples that arrive are {span(abs(age))} {side} by this machine's clock"
            yield Diagnosis(State.CLOCK, detail, hint)


def _service(facts: Facts) -> Iterator[Diagnosis]:
    gate = facts.snapshot.gate
    if not gate.failures:
        return
    waiting = f"; {_waiting(facts.snapshot)}" if facts.snapshot.ledger.pending else ""
    words = gate.reason[:WORDS_LIMIT]
    until = clock_time(facts.snapshot.now + facts.snapshot.gate_wait_seconds)
    match gate.action:
        case Action.BLOCKED:
            said = words.startswith("400 ") or gate.hint[:20].lower() in words.lower()
            detail = (
                words if said else f"{words}: {gate.hint}"
            )  # a web server's words name no cause
            yield Diagnosis(State.BLOCKED, detail.rstrip(".") + waiting, gate.hint)
        case Action.QUOTA:
            hint = gate.hint or "Raise the daily cap, or send fewer metrics."
            yield Diagnosis(State.QUOTA, f"{words}; tried again at {until}{waiting}", hint)
        case Action.THROTTLE:
            hint = gate.hint or "Send fewer metrics, or raise the resource's limits if this lasts."
            yield Diagnosis(State.THROTTLED, f"until {until}: {words}{waiting}", hint)
        case _ if words[:1].isdigit():
            hint = (
                gate.hint or "It is the service's own trouble: see Azure's status page if it lasts."
            )
            yield Diagnosis(State.FAILING, f"{words}, {gate.failures} in a row{waiting}", hint)
        case _:
            yield Diagnosis(State.UNREACHABLE, f"{words}, {gate.failures} in a row{waiting}", gate.hint)  # fmt: skip


def _full(facts: Facts) -> Iterator[Diagnosis]:
    outbox = facts.snapshot.outbox
    if outbox.full and outbox.size_bytes >= outbox.max_bytes:
        detail = f"the outbox holds {size(outbox.size_bytes)} of {size(outbox.max_bytes)}"
        hint = "Application Insights takes less than arrives: mend that first, or raise RECEIVER_OUTBOX_MAX_BYTES."
        yield Diagnosis(State.FULL, detail, hint)


def _receiving(facts: Facts) -> Iterator[Diagnosis]:
    found, flow = facts.snapshot, facts.flow
    last_at, up = found.write_handler.last_request_at, found.now - found.started_at
    hint = "Does prometheus.yml name this receiver under remote_write, and does it run? Ask: appinsights-receiver doctor."
    if not last_at:
        if up < STARTING_SECONDS:
            yield Diagnosis(State.WAITING, f"started {span(up)} ago, no request yet", hint)
        else:
            detail = f"no request since the start {span(up)} ago"
            yield Diagnosis(State.NOT_RECEIVING, detail, hint)
    elif found.now - last_at > SILENT_SECONDS:
        detail = f"last request {span(found.now - last_at)} ago"
        yield Diagnosis(State.NOT_RECEIVING, detail, hint)
    elif sum(flow.refused.values()) >= flow.requests > 0:
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(flow.refused.items()))
        detail = f"all {flow.requests} requests of the last minutes: {reasons}"
        yield Diagnosis(State.REFUSING, detail, "The answers' text, in Prometheus' log, says why; see the errors below.")  # fmt: skip


def _selecting(facts: Facts) -> Iterator[Diagnosis]:
    found, flow = facts.snapshot, facts.flow
    if not flow.ledger.received or flow.ledger.received > flow.ledger.unselected:
        return
    names = found.metric_names
    only_irates = all(name.endswith("_irate") for name in names)
    grace = FIRST_IRATES_SECONDS if only_irates else FIRST_VALUES_SECONDS
    if not facts.first_received_at or found.now - facts.first_received_at < grace:
        detail = "samples arrive; none of those that metrics.json selects has come yet"
        yield Diagnosis(State.WAITING, detail)
        return
    arriving = f" of {facts.names_seen} metrics that arrive" if facts.names_seen else ""
    detail = f"0{arriving} are selected ({flow.ledger.received} samples in {span(flow.seconds)})"
    if facts.absences:
        first = facts.absences[0]
        detail += f". {first.name}: {first.why}"
    listed = "metric" if len(names) == 1 else "metrics"
    hint = f"{found.metrics_json} names {len(names)} {listed}, and none of them arrives: appinsights-receiver explain METRIC says why."
    yield Diagnosis(State.FILTERED_OUT, detail, hint)


def _rejecting(facts: Facts) -> Iterator[Diagnosis]:
    flow = facts.flow
    rejected = {reason: n for reason, n in flow.ledger.rejected.items() if reason != "too_new"}
    if count := sum(rejected.values()):
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(rejected.items()))
        words = f": {facts.last_rejection[:WORDS_LIMIT]}" if facts.last_rejection else ""
        detail = f"{_items(count)} rejected in {span(flow.seconds)} ({reasons}){words}"
        yield Diagnosis(State.REJECTED, detail, "appinsights-receiver dead-letters shows them.")
    if flow.ledger.expired:
        detail = f"{_items(flow.ledger.expired)} expired ({TOO_OLD}): older than the 48 hours that Application Insights takes"
        yield Diagnosis(State.DROPPING, detail, "After an outage of two days this is its end; otherwise look at Prometheus' clock.")  # fmt: skip


def _dropping(facts: Facts) -> Iterator[Diagnosis]:
    flow = facts.flow
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(flow.ledger.dropped.items()))
    hint = "docs/metrics.md explains each reason."
    if any(reason not in HARMLESS_DROPS for reason in flow.ledger.dropped):
        yield Diagnosis(State.DROPPING, f"samples without a way to be sent in {span(flow.seconds)}: {reasons}", hint)  # fmt: skip
    elif flow.ledger.dropped and not flow.ledger.committed:
        yield Diagnosis(State.DROPPING, f"none of the selected samples is a number: {reasons}", "Quantiles are not numbers while no request comes: send Triton traffic, or select more.")  # fmt: skip


def _behind(facts: Facts) -> Iterator[Diagnosis]:
    found = facts.snapshot
    if found.oldest_seconds > BEHIND_SECONDS and not found.gate.failures:
        yield Diagnosis(State.BEHIND, _waiting(found), "It catches up by itself, new samples first; if it lasts, look at the time of a POST and at RECEIVER_SENDERS.")  # fmt: skip


def _configured(facts: Facts) -> Iterator[Diagnosis]:
    if facts.config_error:
        detail = f"what was in force before stays: {facts.config_error}"
        yield Diagnosis(State.CONFIG, detail, "Mend the file; it is read again when it changes.")


def _complete(facts: Facts) -> Iterator[Diagnosis]:
    found = facts.snapshot
    if not facts.first_received_at or facts.flow.ledger.received <= facts.flow.ledger.unselected:
        return
    waited = found.now - facts.first_received_at
    late = [
        each
        for each in facts.absences
        if waited >= (FIRST_IRATES_SECONDS if each.name.endswith("_irate") else STARTING_SECONDS)
    ]
    if late:
        first = late[0]
        detail = f"{len(late)} of {len(found.metric_names)} entries of metrics.json never seen. {first.name}: {first.why}"
        yield Diagnosis(State.INCOMPLETE, detail, f"appinsights-receiver explain {first.name}")


def _fine(facts: Facts) -> Iterator[Diagnosis]:
    found, flow = facts.snapshot, facts.flow
    if flow.seconds < 60:  # too short to speak of a pace
        delivered = f"{_items(flow.ledger.accepted)} delivered since the start"
    else:
        delivered = f"{round(60 * flow.ledger.accepted / flow.seconds)} items a minute delivered"
    last = span(max(0.0, found.now - found.write_handler.last_request_at))
    detail = f"{delivered}, {found.ledger.pending} waiting, last request {last} ago"
    yield Diagnosis(State.OK, detail)


_FINDERS: tuple[Callable[[Facts], Iterator[Diagnosis]], ...] = (
    _disk, _clock, _service, _full, _receiving, _selecting, _rejecting, _dropping, _behind,
    _configured, _complete, _fine,
)  # fmt: skip


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count} items"


def _waiting(found: Snapshot) -> str:
    return f"{size(found.outbox.size_bytes)} wait, oldest {span(found.oldest_seconds)}"
